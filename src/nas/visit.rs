//! A visit to a NAS by somebody who wants to know what is wrong: one step after the other, and nothing is kept.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use tokio::time::Instant;

use super::connection::{Live, connect};
use super::login::{Account, PUT_IN_PLACE, Trouble};
use super::methods::api_key::{Keys, numbered};
use super::methods::{Listed, Method as _};
use super::rpc::{Budget, Failure};
use super::tls::{Dialer, NoWay, PinError, presented};
use super::version::{Candidate, Version};
use super::{PastLogins, StartError, http, key_of};
use crate::config::{self, Pin};
use crate::net::certificate;

const PATIENCE: Duration = Duration::from_secs(10);

/// What `auth.me` answers.
#[derive(Deserialize)]
struct Me {
    privilege: Privilege,
}

#[derive(Deserialize)]
struct Privilege {
    roles: Set,
}

#[derive(Deserialize)]
struct Set {
    #[serde(rename = "$set")]
    set: Vec<String>,
}

/// What a NAS shows to anybody.
#[derive(Debug)]
pub struct Shown {
    /// The pin of its certificate.
    pub pin: Pin,
    /// When that ends, by its own word.
    pub ends: Option<DateTime<Utc>>,
    /// Whether the certificate is one that the configuration trusts, or why not.
    pub trusted: Result<(), NoWay>,
    /// What generation it is, where it is trusted; or why none that we speak to.
    pub generation: Result<Version, String>,
    /// What time it has, where it is trusted.
    pub clock: Option<DateTime<Utc>>,
}

/// Why an account was not let in.
#[derive(Debug)]
pub struct TurnedAway {
    /// What happened.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

impl TurnedAway {
    /// What to do where the key is only about to be given, and there is no service yet that would have to be restarted.
    #[must_use]
    pub fn hint_before_there_is_a_service(&self) -> String {
        self.hint.replace(PUT_IN_PLACE, "give that one")
    }
}

/// An account that was let in.
#[derive(Debug)]
pub struct LetIn {
    /// What runs there, `TrueNAS-25.10.1`.
    pub version: String,
    /// The generation of its interface.
    pub generation: Version,
    /// Its roles, as far as the NAS tells.
    pub roles: Vec<String>,
    /// When its key ends.
    pub ends: KeyEnd,
}

/// When an API key ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEnd {
    /// Then.
    At(DateTime<Utc>),
    /// Never.
    Never,
    /// Its account cannot see that.
    Unseen,
}

/// Looks at a NAS without a login.
///
/// # Errors
///
/// When there is none to be seen.
pub async fn look(nas: &config::Nas) -> Result<Shown, PinError> {
    let (pin, shown) = presented(nas).await?;
    let ends = certificate::ends(&shown);
    let dialer = Dialer::new(nas)?;
    if let Err(why) = dialer.dial().await {
        let generation = Err("it was not asked".to_owned());
        return Ok(Shown { pin, ends, trusted: Err(why), generation, clock: None });
    }
    Ok(match http::greet(&dialer).await {
        Ok(greeting) => {
            Shown { pin, ends, trusted: Ok(()), generation: greeting.generation, clock: greeting.date }
        }
        Err(why) => Shown { pin, ends, trusted: Ok(()), generation: Err(why), clock: None },
    })
}

/// Logs in as the reader or the writer, looks at what that account is, and leaves.
///
/// # Errors
///
/// When it is not let in.
pub async fn knock(nas: &config::Nas, login: &config::Login, past: &PastLogins) -> Result<LetIn, TurnedAway> {
    let broken = |error: StartError| TurnedAway {
        reason: crate::domain::text::chain(&error),
        hint: "Mend what it names.".to_owned(),
    };
    let dialer = Dialer::new(nas).map_err(broken)?;
    let account = Account {
        username: login.username.clone(),
        key: key_of(login).map_err(broken)?,
        // Not even the writer is to change anything now.
        only_looks: false,
        past: past.look_at(&nas.name),
    };
    let (live, socket) = connect(&dialer, &Budget::new(), &account).await.map_err(turned_away)?;
    let number = account.number();
    tokio::select! {
        let_in = look_around(live, number) => Ok(let_in),
        lost = socket => Err(TurnedAway {
            reason: lost.to_string(),
            hint: "Try again; if it stays so, look at the NAS.".to_owned(),
        }),
    }
}

async fn look_around(live: Live, number: Option<i64>) -> LetIn {
    let Live { connection, generation, version } = live;
    let until = Instant::now() + PATIENCE;
    let me = connection.call("auth.me", &[(); 0], until).await.ok();
    let me = me.and_then(|answer| serde_json::from_str::<Me>(answer.json()).ok());
    let roles = me.map(|me| me.privilege.roles.set).unwrap_or_default();
    let ends = match number {
        Some(number) => {
            let name = Keys::CANDIDATES.first().map_or("", |candidate| candidate.name);
            let answer = connection.call(name, &numbered(&[number]), until).await;
            end_of(number, answer.map(|answer| answer.json().to_owned()))
        }
        None => KeyEnd::Unseen,
    };
    LetIn { version, generation, roles, ends }
}

/// What a visit sends that is none of the methods and not the login.
pub(super) fn sent() -> Vec<Listed> {
    const ME: &[Candidate] = &Candidate::always("auth.me");
    vec![Listed::besides::<Me>(ME, false, &[(); 0])]
}

fn end_of(number: i64, answer: Result<String, Failure>) -> KeyEnd {
    let keys = answer
        .ok()
        .and_then(|json| serde_json::from_str::<<Keys as super::methods::Method>::Reply>(&json).ok());
    match keys.and_then(|keys| keys.into_iter().find(|key| key.id == number)) {
        Some(key) => key.expires_at.map_or(KeyEnd::Never, |at| KeyEnd::At(at.0)),
        None => KeyEnd::Unseen,
    }
}

fn turned_away(trouble: Trouble) -> TurnedAway {
    match trouble {
        Trouble::Refused { reason, hint } => {
            TurnedAway { reason: format!("it refused the login: {reason}"), hint }
        }
        Trouble::NotSoSoon(reason) => TurnedAway { reason, hint: "Wait a minute and try again.".to_owned() },
        Trouble::Away(reason) => TurnedAway {
            reason,
            hint: "Is it still starting? Try again in a minute; if it stays so, look at the NAS.".to_owned(),
        },
    }
}
