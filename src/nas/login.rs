//! Saying who we are, and being let in or not.

use std::io;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::tame;
use super::methods::Listed;
use super::past_logins::{PastLogin, Protection};
use super::rpc::{Answer, Connection, Failure, Refusal};
use super::scram::{Exchange, Fault};
use super::version::{Candidate, Version};
use crate::domain::name::NasName;
use crate::secret::Secret;

const PATIENCE: Duration = Duration::from_secs(30);
/// From here on a session can give up the right to change anything.
const BECOMES_READONLY: Version = Version::new(26, 0, 0);
/// From here on the NAS tells before a login which kinds it takes. Asking an older one is an error.
const TELLS_MECHANISMS: Version = Version::new(26, 0, 0);
const UNKNOWN: &str = "the NAS answered the login in a way that we do not know";

/// An account on the NAS.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) username: String,
    pub(super) key: Secret,
    /// It is to look only, and the NAS is asked to hold it to that.
    pub(super) only_looks: bool,
    /// How well its logins at this NAS were protected so far, and those of its other accounts.
    pub(super) past: PastLogin,
}

impl Account {
    /// The number that its key begins with, and that the NAS knows it by.
    pub(super) fn number(&self) -> Option<i64> {
        self.key.expose().split_once('-').and_then(|(number, _)| number.parse().ok())
    }
}

/// What is done with another key where there is a service that uses it: a part of hints.
pub(super) const PUT_IN_PLACE: &str = "put it in place and run: systemctl restart tailnas";

/// Why there is no session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It may go better next time.
    Away(String),
    /// The NAS wants to be left alone for a while.
    NotSoSoon(String),
    /// It will not go better until somebody does something. Trying on would only lock the account.
    Refused { reason: &'static str, hint: String },
}

/// What `auth.login_ex` takes for an API key.
#[derive(Serialize)]
struct ApiKeyPlain<'a> {
    mechanism: &'static str,
    username: &'a str,
    api_key: &'a str,
    login_options: LoginOptions,
}

#[derive(Serialize)]
struct LoginOptions {
    user_info: bool,
}

/// What `auth.login_ex` takes for each half of a SCRAM exchange.
#[derive(Serialize)]
struct Scram<'a> {
    mechanism: &'static str,
    #[serde(rename = "scram_type")]
    half: &'static str,
    rfc_str: &'a str,
}

#[derive(Deserialize)]
struct Verdict {
    response_type: String,
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    rfc_str: Option<String>,
}

/// Logs in, and answers the full name of the version that runs there. The login is tied to the certificate with
/// this end point, where the NAS knows how.
pub(super) async fn log_in(
    connection: &Connection,
    account: &Account,
    generation: Version,
    end_point: Option<&[u8]>,
) -> Result<String, Trouble> {
    let scram = offers_scram(connection, generation).await?;
    let now = Protection { scram, bound: scram && end_point.is_some() };
    no_weaker(&account.past.best().await, now, account.past.nas())?;
    if scram {
        // What it offers it must go on offering, also if it refuses this login.
        account.past.was(Protection { scram, bound: false }).await;
        if !now.bound {
            tracing::warn!(
                nas = %account.past.nas(),
                "the certificate of the NAS is of a kind that a login cannot be tied to (RFC 5929)"
            );
        }
        log_in_by_scram(connection, account, end_point).await?;
        account.past.was(now).await;
    } else {
        log_in_by_key(connection, account).await?;
    }

    if account.only_looks && generation >= BECOMES_READONLY {
        give_up_writing(connection, &account.username).await?;
    }
    // For people only, so a NAS that does not tell is still a NAS.
    let version = ask(connection, "system.version", &[(); 0]).await.ok();
    let version = version.and_then(|answer| serde_json::from_str::<String>(answer.json()).ok());
    Ok(version.map_or_else(|| generation.to_string(), |text| tame(&text)))
}

/// Whether the NAS takes SCRAM.
async fn offers_scram(connection: &Connection, generation: Version) -> Result<bool, Trouble> {
    if generation < TELLS_MECHANISMS {
        return Ok(false);
    }
    let answer = ask(connection, "auth.mechanism_choices", &[(); 0]).await.map_err(no_verdict)?;
    let choices: Vec<String> = serde_json::from_str(answer.json())
        .map_err(|_| Trouble::Away("the kinds of login that the NAS offers cannot be read".into()))?;
    Ok(choices.iter().any(|choice| choice == "SCRAM"))
}

/// Refuses a login that is less protected than the ones before. The NAS tells to anybody and before any proof what it
/// offers, so whoever stood in between could otherwise have us send the key itself, or take a login further.
fn no_weaker(before: &io::Result<Protection>, now: Protection, nas: &NasName) -> Result<(), Trouble> {
    let (reason, when) = match before {
        Err(error) if !(now.scram && now.bound) => {
            return Err(Trouble::Refused {
                reason: "how well the logins at this NAS were protected before cannot be read, and this one could be \
                         weaker",
                hint: format!(
                    "The file nas-logins.json in the state folder: {}. Mend that, or remove the file to have the next \
                     login at each NAS taken for the first one, and run: systemctl restart tailnas",
                    tame(&error.to_string())
                ),
            });
        }
        Ok(before) if before.scram && !now.scram => (
            "the NAS offered a login that keeps the key secret (SCRAM), and now wants the key itself",
            "the NAS was put back to an older version or is another one now",
        ),
        Ok(before) if before.bound && !now.bound => (
            "the login was tied to the certificate of the NAS, and the one it has now is of a kind that it cannot be \
             tied to",
            "the NAS has a new certificate (Ed25519, as a rule)",
        ),
        Ok(_) | Err(_) => return Ok(()),
    };
    Err(Trouble::Refused {
        reason,
        hint: format!(
            "If {when}, run: tailnas doctor --forget-login {nas}, and then: systemctl restart tailnas. If not, find out \
             who answers in its place."
        ),
    })
}

async fn log_in_by_key(connection: &Connection, account: &Account) -> Result<(), Trouble> {
    let login = ApiKeyPlain {
        mechanism: "API_KEY_PLAIN",
        username: &account.username,
        api_key: account.key.expose(),
        login_options: LoginOptions { user_info: false },
    };
    judge(&submit(connection, &login).await?, &account.username)
}

async fn log_in_by_scram(
    connection: &Connection,
    account: &Account,
    end_point: Option<&[u8]>,
) -> Result<(), Trouble> {
    let exchange = Exchange::begin(&account.username, &account.key, end_point).map_err(not_proven)?;
    let first = exchange.first();
    let challenge = say(connection, account, "CLIENT_FIRST_MESSAGE", &first).await?;
    // A third of a second of a processor and more: others wait for this thread.
    let reckoned = tokio::task::spawn_blocking(move || exchange.finish(&challenge)).await;
    let (last, expected) = reckoned
        .map_err(|_| Trouble::Away("the answer to the NAS's challenge could not be reckoned".into()))?
        .map_err(not_proven)?;
    let signature = say(connection, account, "CLIENT_FINAL_MESSAGE", &last).await?;
    expected.verify(&signature).map_err(not_proven)
}

/// Says one half of a SCRAM exchange, and answers what the NAS says to it.
async fn say(
    connection: &Connection,
    account: &Account,
    half: &'static str,
    rfc_str: &str,
) -> Result<String, Trouble> {
    let verdict = submit(connection, &Scram { mechanism: "SCRAM", half, rfc_str }).await?;
    match (verdict.response_type.as_str(), verdict.rfc_str) {
        ("SCRAM_RESPONSE", Some(answer)) => Ok(answer),
        // A success without a proof is none.
        ("SUCCESS" | "SCRAM_RESPONSE", _) => Err(not_proven(Fault::Unreadable)),
        (response_type, _) => {
            let verdict = Verdict { response_type: response_type.into(), urls: verdict.urls, rfc_str: None };
            judge(&verdict, &account.username)?;
            Err(not_proven(Fault::Unreadable))
        }
    }
}

fn not_proven(fault: Fault) -> Trouble {
    let (reason, hint): (_, String) = match fault {
        Fault::KeyForm => (
            "the API key has not the form NUMBER-TEXT",
            format!("Copy the whole key, with the number in front, {PUT_IN_PLACE}"),
        ),
        Fault::Username => (
            "the user name is empty or has a comma or an equals sign in it, which this login cannot carry",
            "Use an account on the NAS with another name.".into(),
        ),
        Fault::NoRandomness => {
            return Trouble::Away("the kernel has no randomness to log in with".into());
        }
        Fault::Unreadable | Fault::ForeignNonce => (
            "the NAS does not follow the rules of the login (SCRAM)",
            "Report this with the version of TrueNAS, if it is one that answers there.".into(),
        ),
        Fault::Iterations(rounds) => (
            "the NAS asks for a number of rounds in the login (SCRAM) that is not safe",
            format!("It asked for {rounds}. Make a new API key on the NAS, or report this."),
        ),
        Fault::NotTheNas => (
            "the NAS could not prove that it knows the API key",
            "Find out who answers at this address. The key was not given away.".into(),
        ),
    };
    Trouble::Refused { reason, hint }
}

async fn submit<L: Serialize>(connection: &Connection, login: &L) -> Result<Verdict, Trouble> {
    let answer = ask(connection, "auth.login_ex", &(login,)).await.map_err(no_verdict)?;
    serde_json::from_str(answer.json())
        .map_err(|_| Trouble::Away("the answer to the login cannot be read".into()))
}

async fn ask<P: Serialize>(connection: &Connection, method: &str, params: &P) -> Result<Answer, Failure> {
    connection.call(method, params, Instant::now() + PATIENCE).await
}

fn judge(verdict: &Verdict, username: &str) -> Result<(), Trouble> {
    let (reason, hint) = match verdict.response_type.as_str() {
        "SUCCESS" => return Ok(()),
        "AUTH_ERR" => (
            "the user name and the API key do not belong together, or the key is no more",
            format!(
                "Check that the key was made for the user {username}, or make a new one \
                 (Credentials > Users > API Keys), {PUT_IN_PLACE}. From TrueNAS 26 on a proxy that ends TLS \
                 between the two makes the login fail too: connect to the NAS itself."
            ),
        ),
        "EXPIRED" => (
            "the API key has expired or was revoked",
            format!(
                "The NAS revokes a key that was ever sent without TLS, through a proxy too. Make a new key for \
                 {username}, {PUT_IN_PLACE}"
            ),
        ),
        "OTP_REQUIRED" => (
            "the account wants a second factor",
            format!(
                "Use an account of its own for tailnas, without two-factor login, instead of {username}."
            ),
        ),
        "DENIED" => (
            "the account may not use the API",
            format!("Give {username} a privilege (Credentials > Groups > Privileges) and restart tailnas."),
        ),
        "REDIRECT" => {
            let to = tame(&verdict.urls.join(", "));
            return Err(Trouble::NotSoSoon(format!(
                "this is the standby controller; the active one is at {to}. Use the address that moves with it"
            )));
        }
        _ => (UNKNOWN, "Report this with the version of TrueNAS.".into()),
    };
    Err(Trouble::Refused { reason, hint })
}

/// Has the NAS take this session's right to change anything, so that it does not depend on us alone.
async fn give_up_writing(connection: &Connection, username: &str) -> Result<(), Trouble> {
    match ask(connection, "privilege.become_readonly", &[(); 0]).await {
        Ok(_) => Ok(()),
        // Every version that we ask it of has it.
        Err(Failure::Answered(refusal)) if refusal.is_no_such_method() => Err(Trouble::Refused {
            reason: "the session could not be made read-only: the NAS says that it cannot do that \
                     (privilege.become_readonly)",
            hint: "TrueNAS can since 26.0. Update the NAS if it runs a preview of that; if not, report this with its \
                   version."
                .into(),
        }),
        Err(Failure::Answered(refusal)) if refusal.errno() == Some(Refusal::EACCES) => {
            // The right to do this comes with READONLY_ADMIN, so the account has a few roles of somebody's choosing.
            // What those allow stays allowed, and `tailnas doctor` tells of those that allow changes.
            tracing::warn!(
                username,
                "the reader's roles do not include READONLY_ADMIN, so the NAS cannot narrow them; tailnas doctor \
                 tells whether they allow changes"
            );
            Ok(())
        }
        Err(Failure::Answered(refusal)) => {
            Err(Trouble::Away(format!("the session could not be made read-only: {}", refusal.words())))
        }
        Err(other) => Err(no_verdict(other)),
    }
}

fn no_verdict(failure: Failure) -> Trouble {
    match failure {
        Failure::Lost { lost, .. } => Trouble::Away(format!("during the login, {lost}")),
        Failure::Deadline { .. } => {
            Trouble::Away(format!("the login was not answered within {} s", PATIENCE.as_secs()))
        }
        Failure::TooLong => Trouble::Refused {
            reason: "the API key or the user name is far too long",
            hint: "Put the right key in place and run: systemctl restart tailnas".into(),
        },
        Failure::Answered(refusal) if refusal.errno() == Some(Refusal::EBUSY) => {
            Trouble::NotSoSoon("the NAS limits logins for a minute".into())
        }
        Failure::Answered(refusal) if refusal.errno() == Some(Refusal::EOPNOTSUPP) => Trouble::Refused {
            reason: "the NAS accepts no API keys at its present level of assurance",
            hint: "Login by API key is off while the STIG security profile is on.".into(),
        },
        Failure::Answered(refusal) => Trouble::Away(format!("the login failed: {}", refusal.words())),
    }
}

/// What a login sends that is none of the methods.
pub(super) fn sent() -> Vec<Listed> {
    const LOGIN: &[Candidate] = &Candidate::always("auth.login_ex");
    const SCRAM: &[Candidate] = &[Candidate::since(TELLS_MECHANISMS, "auth.login_ex")];
    const MECHANISMS: &[Candidate] = &[Candidate::since(TELLS_MECHANISMS, "auth.mechanism_choices")];
    const READONLY: &[Candidate] = &[Candidate::since(BECOMES_READONLY, "privilege.become_readonly")];
    let key = ApiKeyPlain {
        mechanism: "API_KEY_PLAIN",
        username: "tailnas-reader",
        api_key: "7-text",
        login_options: LoginOptions { user_info: false },
    };
    let scram = |half| {
        let half = Scram { mechanism: "SCRAM", half, rfc_str: "n,,n=tailnas-reader:7,r=nonce" };
        Listed { reads: knows, ..Listed::besides::<Verdict>(SCRAM, false, &(half,)) }
    };
    vec![
        Listed { reads: knows, ..Listed::besides::<Verdict>(LOGIN, false, &(key,)) },
        scram("CLIENT_FIRST_MESSAGE"),
        scram("CLIENT_FINAL_MESSAGE"),
        Listed::besides::<Vec<String>>(MECHANISMS, false, &[(); 0]),
        Listed::besides::<IgnoredAny>(READONLY, false, &[(); 0]),
    ]
}

/// Whether this is a verdict that we have advice for.
fn knows(text: &str) -> Result<(), String> {
    let verdict: Verdict = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match judge(&verdict, "") {
        Err(Trouble::Refused { reason: UNKNOWN, .. }) if verdict.rfc_str.is_none() => {
            Err(format!("{} is unknown", verdict.response_type))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_login_is_weaker_than_the_ones_before() {
        let protection = |(scram, bound)| Protection { scram, bound };
        let (none, scram, both) = ((false, false), (true, false), (true, true));
        for (before, now, word) in [
            (Some(none), none, None),
            (Some(none), both, None),
            (Some(scram), scram, None),
            (Some(scram), both, None),
            (Some(both), both, None),
            (Some(scram), none, Some("wants the key itself")),
            (Some(both), none, Some("wants the key itself")),
            (Some(both), scram, Some("tied to the certificate")),
            // Nobody knows what it was: only the best is good enough.
            (None, both, None),
            (None, scram, Some("cannot be read")),
            (None, none, Some("cannot be read")),
        ] {
            let known = before.map(protection).ok_or_else(|| io::Error::other("no"));
            let verdict = no_weaker(&known, protection(now), &"homenas".parse().unwrap());
            match (verdict, word) {
                (Ok(()), None) => {}
                (Err(Trouble::Refused { reason, hint }), Some(word)) => {
                    assert!(reason.contains(word), "{before:?} {now:?}: {reason}");
                    let mend =
                        if before.is_some() { "doctor --forget-login homenas" } else { "nas-logins.json" };
                    assert!(hint.contains(mend), "{hint}");
                }
                (verdict, _) => panic!("{before:?} {now:?}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn every_verdict_of_the_nas_has_its_own_advice() {
        let verdict = |text: &str| {
            let urls = vec!["https://active".into()];
            let verdict = Verdict { response_type: text.into(), urls, rfc_str: None };
            judge(&verdict, "tailnas-reader")
        };
        assert_eq!(verdict("SUCCESS"), Ok(()));
        for (text, word) in [
            ("AUTH_ERR", "made for the user tailnas-reader"),
            ("EXPIRED", "revokes a key"),
            ("OTP_REQUIRED", "two-factor"),
            ("DENIED", "privilege"),
            ("SCRAM_RESPONSE", "Report this"),
            ("", "Report this"),
        ] {
            match verdict(text) {
                Err(Trouble::Refused { hint, .. }) => assert!(hint.contains(word), "{text}: {hint}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(
            matches!(verdict("REDIRECT"), Err(Trouble::NotSoSoon(reason)) if reason.contains("https://active"))
        );
    }

    #[test]
    fn a_nas_that_limits_logins_is_left_alone_and_one_that_takes_no_keys_is_not_asked_again() {
        let refusal = |errno: i64| {
            let error = serde_json::json!({"code": -32001, "data": {"error": errno, "reason": "[E] no"}});
            no_verdict(Failure::Answered(serde_json::from_value(error).unwrap()))
        };
        assert!(matches!(refusal(16), Trouble::NotSoSoon(_)));
        assert!(matches!(refusal(95), Trouble::Refused { .. }));
        assert_eq!(refusal(22), Trouble::Away("the login failed: no".into()));
    }
}
