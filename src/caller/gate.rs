//! Where a connection and a token become a caller.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;

use super::denied::{Denied, Why};
use super::grants::Grants;
use super::notices::Notices;
use super::rules::Rules;
use super::{Caller, FreshCaller, Login, Standing};
use crate::config::Agent;
use crate::domain::who::Who;
use crate::oauth::{ActiveToken, Bearer, Freshness, Holder, Provider};
use crate::tailnet::{LocalApi, Peer, PeerUser, Silence, WhoisError};

/// Admits callers.
pub struct Gate {
    localapi: LocalApi,
    house: watch::Sender<Arc<House>>,
    notices: Notices,
}

/// What is asked and what is allowed. All of it changes at once or none.
struct House {
    provider: Provider,
    rules: Rules,
}

impl Gate {
    /// A gate that asks `provider` about tokens and gives grants by `rules`.
    #[must_use]
    pub fn new(localapi: LocalApi, provider: Provider, rules: Rules) -> Self {
        let house = watch::Sender::new(Arc::new(House { provider, rules }));
        Self { localapi, house, notices: Notices::default() }
    }

    /// From now on asks this provider, and gives grants by these rules. Whoever is being admitted is admitted by
    /// the old ones; before a change everybody is admitted anew.
    pub fn replace(&self, provider: Provider, rules: Rules) {
        self.house.send_replace(Arc::new(House { provider, rules }));
    }

    /// The provider that is asked at present.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.house().provider.clone()
    }

    /// Admits whoever is at the other end of a connection from `addr` and presents `bearer`.
    ///
    /// The tailnet is asked each time and first: a stranger's token is of no interest to anybody, and a peer
    /// that has lost its place or its grants has lost them now.
    pub async fn admit(
        &self,
        addr: SocketAddr,
        bearer: &Bearer,
        freshness: Freshness,
    ) -> Result<Caller, Denied> {
        let House { provider, rules } = &*self.house();
        let peer = whois(&self.localapi, addr).await?;
        let relay = rules.relay(&peer);
        if peer.user().is_none() && relay.is_none() {
            return Err(Denied::new(Why::Tagged, met(&peer, None)));
        }
        welcome(&self.localapi, &peer).await?;

        let token = match provider.introspect(bearer, freshness, peer.node_id()).await {
            Ok(token) => token,
            Err(error) => return Err(Denied::new(Why::Token(error), met(&peer, None))),
        };
        self.join(rules, peer, token, bearer).await
    }

    /// A peer and a token become a caller, if both are the same person.
    async fn join(
        &self,
        rules: &Rules,
        peer: Peer,
        token: ActiveToken,
        bearer: &Bearer,
    ) -> Result<Caller, Denied> {
        let relay = rules.relay(&peer);
        let foreign = |token: &ActiveToken| Denied::new(Why::Binding, met(&peer, Some(token)));
        let login = |user, token| Login { user, token, bearer: bearer.clone() };
        match (peer.user().cloned(), relay) {
            (Some(user), _) => {
                if !is_of(token.holder(), &user) {
                    return Err(foreign(&token));
                }
                let grants = Grants::of_person(rules, &peer, &user, &token, &self.notices);
                Ok(Caller { peer, standing: Standing::Person(login(user, token)), grants })
            }
            (None, Some(relay)) => {
                let nodes = self
                    .nodes_of(token.holder())
                    .await
                    .map_err(|silence| unavailable(&silence, met(&peer, Some(&token))))?;
                let Some(user) = nodes.first().and_then(Peer::user).cloned() else {
                    return Err(foreign(&token));
                };
                let grants = Grants::of_relay(rules, &peer, &user, &nodes, &token, &self.notices);
                let standing = Standing::Relayed(relay.tag.clone(), login(user, token));
                Ok(Caller { peer, standing, grants })
            }
            (None, None) => Err(Denied::new(Why::Tagged, met(&peer, None))),
        }
    }

    /// Admits whoever is at the other end of a connection from `addr` and presents no token, if the
    /// configuration lists a tag of theirs as an agent's; `None` if it does not.
    pub async fn admit_agent(&self, addr: SocketAddr) -> Result<Option<Caller>, Denied> {
        let House { provider: _, rules } = &*self.house();
        if rules.agents.is_empty() {
            return Ok(None);
        }
        let peer = whois(&self.localapi, addr).await?;
        let Some(agent) = rules.agent(&peer) else { return Ok(None) };
        welcome(&self.localapi, &peer).await?;
        let grants = Grants::of_agent(rules, &peer, agent, &self.notices);
        let Agent { tag, .. } = agent;
        Ok(Some(Caller { standing: Standing::Agent(tag.clone()), grants, peer }))
    }

    /// Admits the person at the other end of a connection from `addr` to the console: on a node of their own, by
    /// the tailnet's word alone, with what tailnet and policy file give them. It is for looking, and for saying yes
    /// or no to what was proposed elsewhere.
    pub async fn admit_visitor(&self, addr: SocketAddr) -> Result<Caller, Denied> {
        let House { provider: _, rules } = &*self.house();
        let peer = whois(&self.localapi, addr).await?;
        let Some(user) = peer.user().cloned() else {
            return Err(Denied::new(Why::Tagged, met(&peer, None)));
        };
        welcome(&self.localapi, &peer).await?;
        let grants = Grants::of_anyone(rules, &peer, &user, &self.notices);
        Ok(Caller { standing: Standing::Visitor(user), grants, peer })
    }

    /// Asks tailnet and provider about `caller` again, as if for the first time, before something is changed.
    pub async fn readmit(&self, caller: &Caller) -> Result<FreshCaller, Denied> {
        let addr = caller.peer.addr();
        let again = match &caller.standing {
            Standing::Person(login) | Standing::Relayed(_, login) => {
                self.admit(addr, &login.bearer, Freshness::Fresh).await?
            }
            Standing::Agent(_) => match self.admit_agent(addr).await? {
                Some(again) => again,
                None => return Err(Denied::new(Why::Changed, caller.who())),
            },
            Standing::Visitor(_) => self.admit_visitor(addr).await?,
        };
        same(caller, again)
    }

    /// Asks the tailnet about whoever proposed a change that a person has approved since: whether they are still
    /// who they were, and what they may do now. Their token may have ended meanwhile; it was good when they
    /// proposed, and it is no longer on their word alone that the change is made.
    pub async fn reconsider(&self, caller: &Caller) -> Result<FreshCaller, Denied> {
        let again = match &caller.standing {
            Standing::Person(login) | Standing::Relayed(_, login) => {
                let House { provider: _, rules } = &*self.house();
                let peer = whois(&self.localapi, caller.peer.addr()).await?;
                welcome(&self.localapi, &peer).await?;
                self.join(rules, peer, login.token.clone(), &login.bearer).await?
            }
            Standing::Agent(_) | Standing::Visitor(_) => return self.readmit(caller).await,
        };
        same(caller, again)
    }

    /// The nodes of the person whose token it is, each as WhoIs tells it. The list of everybody says which to ask
    /// about, so that a large tailnet costs one question more than this person has nodes, and nothing else.
    async fn nodes_of(&self, holder: &Holder) -> Result<Vec<Peer>, Silence> {
        let mut nodes = Vec::new();
        for node in self.localapi.roster().await?.others() {
            let listed = match holder {
                Holder::UserId(subject) => node.user_id().is_some_and(|id| is_id_of(subject, id)),
                Holder::Login(login) => node.login() == Some(login),
            };
            let Some(ip) = node.addresses().first().filter(|_| listed) else { continue };
            match self.localapi.whois(SocketAddr::new(*ip, 0)).await {
                Ok(peer)
                    if peer.sharer().is_none() && peer.user().is_some_and(|user| is_of(holder, user)) =>
                {
                    nodes.push(peer);
                }
                // Somebody else's, or gone since it was listed.
                Ok(_) | Err(WhoisError::Unknown) => {}
                Err(WhoisError::Unavailable(silence)) => return Err(silence),
            }
        }
        Ok(nodes)
    }

    fn house(&self) -> Arc<House> {
        Arc::clone(&self.house.borrow())
    }
}

/// What whoever is at `ip` would be allowed, with a token that takes nothing away. It admits nobody.
///
/// # Errors
///
/// Why nobody at that address is admitted, whatever their token.
pub async fn explain(localapi: &LocalApi, rules: &Rules, ip: IpAddr) -> Result<(Peer, Grants), Denied> {
    let peer = whois(localapi, SocketAddr::new(ip, 0)).await?;
    let notices = Notices::default();
    let grants = match (peer.user(), rules.agent(&peer)) {
        (Some(user), _) => Grants::of_anyone(rules, &peer, user, &notices),
        (None, Some(agent)) => Grants::of_agent(rules, &peer, agent, &notices),
        (None, None) => return Err(Denied::new(Why::Tagged, met(&peer, None))),
    };
    welcome(localapi, &peer).await?;
    Ok((peer, grants))
}

fn same(before: &Caller, again: Caller) -> Result<FreshCaller, Denied> {
    if again.is_same_as(before) {
        Ok(FreshCaller(again))
    } else {
        Err(Denied::new(Why::Changed, again.who()))
    }
}

async fn whois(localapi: &LocalApi, addr: SocketAddr) -> Result<Peer, Denied> {
    localapi.whois(addr).await.map_err(|error| match error {
        WhoisError::Unknown => Denied::new(Why::PeerUnknown, Who::default()),
        WhoisError::Unavailable(silence) => unavailable(&silence, Who::default()),
    })
}

/// Whether `peer` is of this tailnet and not our own node.
async fn welcome(localapi: &LocalApi, peer: &Peer) -> Result<(), Denied> {
    let deny = |why| Err(Denied::new(why, met(peer, None)));
    if peer.sharer().is_some() {
        return deny(Why::SharedIn);
    }
    let own = localapi.own_node_id().await.map_err(|silence| unavailable(&silence, met(peer, None)))?;
    if peer.node_id() == own { deny(Why::OwnNode) } else { Ok(()) }
}

/// Whether the token is `user`'s. With TSIDP the id decides; names can be given anew and are not looked at.
fn is_of(holder: &Holder, user: &PeerUser) -> bool {
    match holder {
        Holder::UserId(subject) => is_id_of(subject, user.id()),
        Holder::Login(login) => login == user.login(),
    }
}

/// Whether TSIDP means the user of this id. It writes `456` here and `userid:456` elsewhere.
fn is_id_of(subject: &str, id: u64) -> bool {
    subject.strip_prefix("userid:").unwrap_or(subject) == id.to_string()
}

fn met(peer: &Peer, token: Option<&ActiveToken>) -> Who {
    Who { peer: Some(peer.note()), auth: token.map(ActiveToken::note), ..Who::default() }
}

fn unavailable(silence: &Silence, who: Who) -> Denied {
    Denied::new(Why::PeerUnavailable, who).because(silence)
}
