//! Relays, agents and other providers: who is admitted in other ways than from a node of their own with a token
//! of TSIDP's, and to what.

use std::sync::Arc;

use serde_json::{Value, json};
use tailnas::caller::{Caller, Denied, Gate, Rules};
use tailnas::config::{Agent, Grant, Grantee, LoginClaim, ProviderKind, Relay};
use tailnas::domain::risk::Risk;
use tailnas::domain::scope::{Scope, ScopeSet};
use tailnas::domain::who::Via;
use tailnas::oauth::{Freshness, Provider};
use tailnas::policy::{self, Refusal};
use tailnas_sim::localapi::User;
use tailnas_sim::tsidp::TokenSpec;

use crate::world::{ALICE, CAPABILITY, RESOURCE, World, address, bearer, connection};

async fn admit(gate: &Gate, node: &str, token: &str) -> Result<Caller, Denied> {
    gate.admit(connection(node), &bearer(token), Freshness::Cached).await
}

fn reason(answer: Result<Caller, Denied>) -> &'static str {
    answer.map_or_else(|denied| denied.reason(), |_| "admitted")
}

fn spelled(caller: &Caller) -> String {
    let nas = "home".parse().unwrap();
    let allowed = Scope::ALL.iter().filter(|scope| caller.grants().allows(**scope, &nas).is_some());
    allowed.map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
}

fn gate(world: &World, provider: Provider, change: impl FnOnce(&mut Rules)) -> Gate {
    let mut rules = Rules { capability: CAPABILITY.to_owned(), ..Rules::default() };
    change(&mut rules);
    Gate::new(world.localapi(), provider, rules)
}

fn grant(world: &World, node: &str, scopes: &[&str]) {
    world.tailnet.revoke(address(node), CAPABILITY);
    world.tailnet.grant(address(node), CAPABILITY, vec![json!({ "scopes": scopes })]);
}

fn relay(rules: &mut Rules) {
    rules.relays = vec![Relay { tag: "tag:ci".to_owned() }];
}

#[tokio::test]
async fn a_relay_may_do_what_both_its_node_and_the_person_may_and_nothing_for_good() {
    let world = World::new().await;
    let (token, _) = world.token("alice@example.com");
    let closed = gate(&world, world.provider(), |_| {});
    assert_eq!(reason(admit(&closed, "ci", &token).await), "tagged", "off unless it is listed");
    let other = gate(&world, world.provider(), |rules| {
        rules.relays = vec![Relay { tag: "tag:other".to_owned() }];
    });
    assert_eq!(reason(admit(&other, "ci", &token).await), "tagged");

    let gate = gate(&world, world.provider(), |rules| {
        relay(rules);
        rules.grants = vec![Grant {
            to: Grantee::Login("alice@example.com".to_owned()),
            scopes: ScopeSet::from_iter([Scope::AppsRead, Scope::UsersRead]),
            nas: None,
        }];
    });
    assert_eq!(spelled(&admit(&gate, "ci", &token).await.unwrap()), "", "the relay's node has no grant");
    grant(&world, "ci", &["storage:read", "storage:destroy", "apps:read", "change:approve", "vms:read"]);
    grant(&world, "laptop", &["storage:read", "storage:destroy", "storage:write", "change:approve"]);
    let caller = admit(&gate, "ci", &token).await.unwrap();
    assert_eq!(spelled(&caller), "storage:read apps:read");
    assert_eq!(caller.sources(), ["alice@example.com", "tag:ci"]);
    let who = caller.who();
    assert_eq!(who.via, Some(Via::Relay));
    assert_eq!(
        (who.peer.unwrap().tags, who.auth.unwrap().sub),
        (vec!["tag:ci".to_owned()], "456".to_owned())
    );

    // A second node of hers that may less: a right has to be hers on both, as we cannot see where she sits.
    world.tailnet.add_user_node(address("phone"), "phone", User::new(ALICE, "alice@example.com", "Alice"));
    assert_eq!(spelled(&admit(&gate, "ci", &token).await.unwrap()), "apps:read");
    world.tailnet.remove(address("phone"));
    let fresh = gate.readmit(&caller).await.unwrap();
    assert_eq!(spelled(fresh.caller()), "storage:read apps:read");

    // Whose nodes they are the list says: of everybody else's none is asked about.
    let before = world.tailscaled.requests().len();
    assert!(admit(&gate, "ci", &token).await.is_ok());
    let asked: Vec<_> = world.tailscaled.requests().split_off(before);
    let about = |node: &str| {
        let whois = format!("whois?addr={}", address(node));
        asked.iter().filter(|request| request.contains(&whois)).count()
    };
    assert_eq!((about("ci"), about("laptop"), about("bobs")), (1, 1, 0), "{asked:?}");

    // Somebody else's token has their rights; whoever has no node here has none, and is nobody to us.
    let (bobs, _) = world.token("bob@example.com");
    assert_eq!(spelled(&admit(&gate, "ci", &bobs).await.unwrap()), "");
    world.tailnet.set_sharer(address("bobs"), 99);
    assert_eq!(reason(admit(&gate, "ci", &bobs).await), "binding");
    assert_eq!(reason(admit(&gate, "ci", "0000").await), "inactive");
    world.tailnet.revoke(address("ci"), CAPABILITY);
    assert_eq!(spelled(gate.readmit(&caller).await.unwrap().caller()), "", "live, as everywhere");
}

#[tokio::test]
async fn an_agent_is_its_tag_and_has_what_its_section_or_the_tailnet_gives() {
    let world = World::new().await;
    grant(&world, "ci", &["jobs:read", "storage:destroy", "change:approve"]);
    let listed = |scopes: Option<&[Scope]>| {
        let scopes = scopes.map(|scopes| scopes.iter().copied().collect());
        gate(&world, world.provider(), |rules| {
            rules.agents = vec![Agent { tag: "tag:ci".to_owned(), scopes, nas: None }];
        })
    };
    let closed = gate(&world, world.provider(), |_| {});
    assert!(closed.admit_agent(connection("ci")).await.unwrap().is_none(), "off unless it is listed");
    for (scopes, have) in [
        (None, "jobs:read"),
        (Some(&[Scope::SystemRead, Scope::StorageDestroy, Scope::ChangeApprove][..]), "system:read"),
        (Some(&[]), ""),
    ] {
        let caller = listed(scopes).admit_agent(connection("ci")).await.unwrap().unwrap();
        assert_eq!(spelled(&caller), have);
        assert_eq!((caller.name(), caller.user(), caller.via()), ("tag:ci", None, Some(Via::Agent)));
        assert!(caller.who().auth.is_none() && caller.token().is_none());
    }
    let gate = listed(None);
    assert!(gate.admit_agent(connection("laptop")).await.unwrap().is_none(), "people need a token");
    assert!(gate.admit_agent(connection("own")).await.unwrap().is_none());
    assert_eq!(gate.admit_agent(connection("nobody")).await.unwrap_err().reason(), "peer_unknown");
    let (token, _) = world.token("alice@example.com");
    assert_eq!(reason(admit(&gate, "ci", &token).await), "tagged", "an agent is no relay");
    let caller = gate.admit_agent(connection("ci")).await.unwrap().unwrap();
    assert!(gate.readmit(&caller).await.is_ok());
    world.tailnet.remove(address("ci"));
    world.tailnet.add_tagged_node(address("ci"), "ci2", &["tag:ci"]);
    assert_eq!(gate.readmit(&caller).await.unwrap_err().reason(), "changed", "another node");
    assert_eq!(world.tsidp.introspections(), 0, "nobody asks the provider about an agent");

    // Every process on our own machine is our own node.
    let gate = crate::rights::gate(&world, world.provider(), |rules| {
        rules.agents = vec![Agent { tag: "tag:truenas-mcp".to_owned(), scopes: None, nas: None }];
    });
    assert_eq!(gate.admit_agent(connection("own")).await.unwrap_err().reason(), "own_node");
}

#[tokio::test]
async fn whatever_is_granted_what_takes_a_person_is_closed_to_machines() {
    let world = World::new().await;
    let everything: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    grant(&world, "ci", &everything);
    grant(&world, "laptop", &everything);
    let gate = gate(&world, world.provider(), |rules| {
        relay(rules);
        rules.agents = vec![Agent { tag: "tag:ci".to_owned(), scopes: None, nas: None }];
    });
    let (token, _) = world.token("alice@example.com");
    let person = admit(&gate, "laptop", &token).await.unwrap();
    let relayed = admit(&gate, "ci", &token).await.unwrap();
    let agent = gate.admit_agent(connection("ci")).await.unwrap().unwrap();
    let nas = "home".parse().unwrap();
    for scope in Scope::ALL {
        for risk in [Risk::Read, Risk::Reversible, Risk::Disruptive, Risk::Destructive] {
            let covered = |caller: &Caller| policy::covered(caller.grants(), Some(*scope), risk, Some(&nas));
            assert!(covered(&person).is_ok(), "{scope} {risk}");
            let closed = scope.is_for_people() || risk == Risk::Destructive;
            for machine in [&relayed, &agent] {
                match covered(machine) {
                    Ok(_) => assert!(!closed, "{scope} {risk}"),
                    Err(refusal) => {
                        assert!(
                            closed && refusal == Refusal::TakesAPerson { risk },
                            "{scope} {risk} {refusal:?}"
                        );
                    }
                }
            }
        }
    }
    assert!(
        ["storage:destroy", "apps:destroy", "vms:destroy", "change:approve"]
            .iter()
            .all(|scope| scope.parse::<Scope>().unwrap().is_for_people())
    );
}

/// The claims of some other provider, changed by `change`.
fn claims(world: &World, change: &Value) -> Value {
    let now = world.tsidp.now().timestamp();
    let mut claims = json!({
        "active": true, "iss": world.tsidp.issuer(), "aud": [RESOURCE], "exp": now + 300, "token_type": "Bearer",
        "sub": "0b1c6c3e-uuid", "email": "alice@example.com", "email_verified": true, "username": "alice",
        "preferred_username": "alice@example.com", "client_id": "mcp", "scope": "openid email",
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[tokio::test]
async fn another_provider_binds_by_the_claim_that_is_trusted_and_by_no_other() {
    let world = World::new().await;
    let generic = |login_claim| {
        let kind = ProviderKind::Generic { login_claim, scopes: vec!["openid".to_owned()] };
        gate(&world, world.provider_with(|config| config.kind = kind), |_| {})
    };
    let mut number = 0;
    for (login_claim, change, node, answer) in [
        (LoginClaim::Email, json!({}), "laptop", "admitted"),
        (LoginClaim::Email, json!({}), "bobs", "binding"),
        (LoginClaim::Email, json!({ "sub": "457" }), "bobs", "binding"),
        (LoginClaim::Email, json!({ "email": "bob@example.com" }), "bobs", "admitted"),
        (LoginClaim::Email, json!({ "email": "Alice@example.com" }), "laptop", "binding"),
        (LoginClaim::Email, json!({ "email": "alice@example.com " }), "laptop", "binding"),
        (LoginClaim::Email, json!({ "email_verified": false }), "laptop", "login_claim"),
        (LoginClaim::Email, json!({ "email_verified": null }), "laptop", "login_claim"),
        (LoginClaim::Email, json!({ "email": null }), "laptop", "login_claim"),
        (LoginClaim::Email, json!({ "iss": "https://other.example" }), "laptop", "issuer"),
        (LoginClaim::Email, json!({ "iss": null }), "laptop", "issuer"),
        // Neither a name nor the id of the tailnet's user is an identity here.
        (LoginClaim::Email, json!({ "email": "x@example.com", "sub": "456" }), "laptop", "binding"),
        (LoginClaim::PreferredUsername, json!({}), "laptop", "admitted"),
        (LoginClaim::PreferredUsername, json!({ "preferred_username": null }), "laptop", "login_claim"),
        (LoginClaim::Username, json!({}), "laptop", "binding"),
        (LoginClaim::Username, json!({ "username": "alice@example.com" }), "laptop", "admitted"),
    ] {
        number += 1;
        let token = format!("t{number}");
        world.tsidp.set_claims(&token, claims(&world, &change));
        assert_eq!(
            reason(admit(&generic(login_claim), node, &token).await),
            answer,
            "{login_claim:?} {change}"
        );
    }
    // TSIDP's own tokens say no such thing, and its subject counts for nothing here.
    let (token, _) = world.token("alice@example.com");
    assert_eq!(reason(admit(&generic(LoginClaim::Email), "laptop", &token).await), "login_claim");
    let caller = admit(&generic(LoginClaim::Email), "laptop", "t1").await.unwrap();
    let auth = caller.who().auth.unwrap();
    assert_eq!((&*auth.iss, &*auth.sub), (&*world.tsidp.issuer(), "0b1c6c3e-uuid"), "the identity");
}

#[tokio::test]
async fn behind_a_relay_another_providers_people_are_found_by_their_login() {
    let world = World::new().await;
    let kind = ProviderKind::Generic { login_claim: LoginClaim::Email, scopes: vec!["openid".to_owned()] };
    let gate = gate(&world, world.provider_with(|config| config.kind = kind), relay);
    grant(&world, "ci", &["storage:read", "apps:read"]);
    grant(&world, "laptop", &["storage:read", "vms:read"]);
    world.tsidp.set_claims("t1", claims(&world, &json!({})));
    world.tsidp.set_claims("t2", claims(&world, &json!({ "email": "carol@example.com" })));
    assert_eq!(spelled(&admit(&gate, "ci", "t1").await.unwrap()), "storage:read");
    assert_eq!(reason(admit(&gate, "ci", "t2").await), "binding");
}

#[tokio::test]
async fn a_token_of_a_provider_with_our_scopes_allows_these_and_no_others() {
    let world = World::new().await;
    grant(&world, "laptop", &["storage:read", "storage:write"]);
    let nas = "home".parse().unwrap();
    for (by_token, scope, left, withheld) in [
        (true, "openid", "", true),
        (true, "openid storage:write", "storage:write", true),
        (true, "storage:read vms:read", "storage:read", false),
        (false, "openid", "storage:read storage:write", false),
        (false, "openid storage:write", "storage:write", true),
    ] {
        let gate = gate(&world, world.provider(), |rules| rules.by_token = by_token);
        let mut spec = TokenSpec::new("alice@example.com", RESOURCE);
        spec.scopes = scope.split(' ').map(str::to_owned).collect();
        let caller = admit(&gate, "laptop", &world.tsidp.mint(spec)).await.unwrap();
        assert_eq!(spelled(&caller), left, "{by_token} {scope}");
        assert_eq!(
            caller.grants().withheld_by_token(Scope::StorageRead, &nas),
            withheld,
            "{by_token} {scope}"
        );
        assert!(!caller.grants().withheld_by_token(Scope::UsersRead, &nas), "no token would help");
    }
}

#[tokio::test]
async fn what_is_replaced_counts_from_the_next_request_on_and_for_changes_under_way() {
    let world = World::new().await;
    let (token, _) = world.token("alice@example.com");
    let gate = Arc::new(world.gate(Vec::new()));
    let caller = admit(&gate, "laptop", &token).await.unwrap();
    assert_eq!(spelled(&caller), "");
    let policy = vec![Grant {
        to: Grantee::Login("alice@example.com".to_owned()),
        scopes: ScopeSet::from_iter([Scope::StorageWrite]),
        nas: None,
    }];
    let rules = Rules { capability: CAPABILITY.to_owned(), grants: policy, ..Rules::default() };
    gate.replace(world.provider(), rules);
    assert_eq!(spelled(&admit(&gate, "laptop", &token).await.unwrap()), "storage:write");
    assert_eq!(spelled(gate.readmit(&caller).await.unwrap().caller()), "storage:write");
}
