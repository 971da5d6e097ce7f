//! Passkeys: how we know that a person is there, and not a program with their node and their browser's cookies.
//!
//! `WebAuthn` with user verification, by the `webauthn-rs` crate. A passkey is enrolled through a link that root makes
//! on the host, once; from then on its owner can answer for one thing at a time: what is answered for stands with the
//! challenge on our side, and the answer, a [`Present`], says so.

mod store;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::{Host, Url};
use webauthn_rs::prelude::{
    Passkey, PasskeyAuthentication, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential,
    Uuid, Webauthn, WebauthnBuilder, WebauthnError,
};

use crate::clock::Clock;
use crate::state::StateDir;

use store::{Invitation, Kept, Store};

pub use store::{Revoked, StoreError};

/// How long a link to enrol is good.
pub const INVITED_FOR: Duration = Duration::from_mins(10);

/// How long somebody may take over one ceremony, at least.
const CEREMONY: Duration = Duration::from_mins(3);

/// Ceremonies of one kind under way at a time for one person; the oldest gives way. Nobody who has no passkey and no link has any.
const CEREMONIES_EACH: usize = 256;

/// Passkeys of one person.
const EACH: usize = 16;

/// Longest name of a passkey, in characters.
const LABEL: usize = 60;

/// The passkeys of everybody, and the ceremonies under way.
pub struct Passkeys {
    /// `Err` where browsers have no passkeys for an address like ours.
    webauthn: Result<Webauthn, PasskeyError>,
    store: Store,
    clock: Clock,
    under_way: Mutex<HashMap<[u8; 32], Ceremony>>,
}

/// A person, as the tailnet knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Their user id. Logins can be given anew, ids cannot.
    pub id: u64,
    /// Their login.
    pub login: String,
}

/// One passkey, as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name in our store, from the hash of its credential id.
    pub id: String,
    /// Whose it is.
    pub login: String,
    /// What its owner calls it.
    pub label: String,
    /// When it was enrolled, RFC 3339.
    pub added: String,
    /// When it was last used, RFC 3339.
    pub used: Option<String>,
}

/// What somebody answers for: one act, spelt out. Two that differ are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// To approve the plan with this digest.
    Approve([u8; 32]),
    /// To let changes be made again.
    Thaw,
}

/// The owner of a passkey is there, was verified by it, and answers for one act. Only [`Passkeys::finish`] makes one:
///
/// ```compile_fail,E0451
/// # use tailnas::passkey::{Act, Present};
/// fn there(real: Present) -> Present {
///     Present { act: Act::Thaw, passkey: String::new() }
/// }
/// ```
///
/// ```
/// # use tailnas::passkey::{Act, Present};
/// fn there(real: Present) -> Present {
///     real
/// }
/// ```
#[derive(Debug)]
#[must_use = "somebody was asked to prove that they are there"]
pub struct Present {
    act: Act,
    passkey: String,
}

impl Present {
    /// What they answer for.
    #[must_use]
    pub const fn act(&self) -> &Act {
        &self.act
    }

    /// With which passkey, by its name in our store.
    #[must_use]
    pub fn passkey(&self) -> &str {
        &self.passkey
    }
}

/// What a browser needs to begin.
#[derive(Debug)]
pub struct Begun {
    /// Names the ceremony.
    pub ceremony: String,
    /// The argument of `navigator.credentials.create` or `get`, binary values in base64url.
    pub options: Value,
}

/// Why there is no passkey, or why it proves nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PasskeyError {
    /// Browsers have no passkeys for an address without a name.
    #[error(
        "passkeys need a name, and the URL of this server has the address {0}: write a name into server.url"
    )]
    NoName(String),
    /// The library takes our name or our origin for wrong.
    #[error("passkeys cannot be used with the URL of this server: {0}")]
    Url(String),
    /// The file of passkeys.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The link is not good, or not good any more, or somebody else's.
    #[error(
        "this link is used up, more than ten minutes old, or for somebody else. Ask for a new one: on the host, \
         tailnas passkey enroll LOGIN"
    )]
    Link,
    /// There is no passkey to ask for.
    #[error(
        "you have no passkey here yet. Somebody who is root on the host makes the link for one: tailnas passkey enroll {0}"
    )]
    None(String),
    /// One person may have only so many.
    #[error("you have {EACH} passkeys here already; revoke one first")]
    TooMany,
    /// It took too long, or was used up, or belongs to somebody or something else.
    #[error("this took too long, or was answered already: begin again")]
    NoCeremony,
    /// What the browser sent is not an answer.
    #[error("what the browser sent is not an answer of a passkey")]
    Malformed,
    /// The signature, the origin, the counter or the user verification is not right.
    #[error("the passkey's answer is not good: {0}")]
    NotGood(String),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    NoRandomness,
}

enum Ceremony {
    Enrol {
        owner: Owner,
        invitation: [u8; 32],
        label: String,
        handle: Uuid,
        state: PasskeyRegistration,
        until: Duration,
    },
    Prove {
        owner: Owner,
        act: Act,
        /// Those that were asked for, by their names in our store.
        passkeys: Vec<String>,
        options: Value,
        state: PasskeyAuthentication,
        until: Duration,
    },
}

impl Ceremony {
    const fn of(&self) -> (&Owner, Duration) {
        match self {
            Self::Enrol { owner, until, .. } | Self::Prove { owner, until, .. } => (owner, *until),
        }
    }

    /// Whether the one gives way to the other: those of another kind leave each other alone, so that nothing is ever in the way of
    /// letting the brake go.
    const fn is_like(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Enrol { .. }, Self::Enrol { .. })
                | (Self::Prove { act: Act::Approve(_), .. }, Self::Prove { act: Act::Approve(_), .. })
                | (Self::Prove { act: Act::Thaw, .. }, Self::Prove { act: Act::Thaw, .. })
        )
    }
}

impl Passkeys {
    /// The passkeys kept in `dir`, for pages of `origin`.
    #[must_use]
    pub fn new(dir: &Path, origin: &Url, clock: Clock) -> Self {
        let webauthn = webauthn(origin);
        Self { webauthn, store: Store::new(StateDir::new(dir)), clock, under_way: Mutex::default() }
    }

    /// Makes a link's secret that lets `login` enrol one passkey within [`INVITED_FOR`]. Only its hash is kept.
    ///
    /// # Errors
    ///
    /// When it cannot be written down.
    pub fn invite(&self, login: &str) -> Result<String, PasskeyError> {
        self.webauthn()?;
        let secret = URL_SAFE_NO_PAD.encode(random()?);
        let now = self.clock.now();
        let expires = now + TimeDelta::from_std(INVITED_FOR).unwrap_or_default();
        let invitation = Invitation { login: login.to_owned(), hash: hash(&secret), expires };
        self.store.change(|kept| {
            kept.invitations.retain(|old| now < old.expires);
            kept.invitations.push(invitation);
            Ok(())
        })?;
        Ok(secret)
    }

    /// Every passkey, in the order of their enrolment.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is damaged.
    pub fn list(&self) -> Result<Vec<Listed>, PasskeyError> {
        Ok(self.store.read()?.passkeys.iter().map(Kept::listed).collect())
    }

    /// The passkeys of one person.
    ///
    /// # Errors
    ///
    /// As [`Passkeys::list`].
    pub fn of(&self, owner: &Owner) -> Result<Vec<Listed>, PasskeyError> {
        let kept = self.store.read()?;
        Ok(kept.passkeys.iter().filter(|kept| kept.user_id == owner.id).map(Kept::listed).collect())
    }

    /// Takes away the passkeys for which `which` holds, and says which those were. Until that is on record, they are
    /// among [`Passkeys::revoked`].
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written; then nothing is taken away.
    pub fn revoke(&self, which: impl Fn(&Listed) -> bool) -> Result<Vec<Listed>, PasskeyError> {
        self.store.change(|kept| {
            let (gone, left): (Vec<Kept>, _) =
                std::mem::take(&mut kept.passkeys).into_iter().partition(|k| which(&k.listed()));
            kept.passkeys = left;
            let gone: Vec<_> = gone.iter().map(Kept::listed).collect();
            kept.revoked.extend(gone.iter().map(|Listed { id, login, label, .. }| Revoked {
                id: id.clone(),
                login: login.clone(),
                label: label.clone(),
            }));
            Ok(gone)
        })
    }

    /// The passkeys that were taken away and are not on record as such.
    ///
    /// # Errors
    ///
    /// As [`Passkeys::list`].
    pub fn revoked(&self) -> Result<Vec<Revoked>, PasskeyError> {
        Ok(self.store.read()?.revoked)
    }

    /// That this one was taken away is on record now.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written; then it is put on record once more.
    pub fn is_recorded(&self, revoked: &Revoked) -> Result<(), PasskeyError> {
        self.store.change(|kept| {
            kept.revoked.retain(|one| one != revoked);
            Ok(())
        })
    }

    /// Begins to enrol a passkey for `owner`, who came with the secret of a link.
    ///
    /// # Errors
    ///
    /// When the link is not for them or not good any more, or they have too many.
    pub fn begin_enrolment(&self, owner: &Owner, secret: &str, label: &str) -> Result<Begun, PasskeyError> {
        let webauthn = self.webauthn()?;
        let kept = self.store.read()?;
        let invitation = hash(secret);
        if !kept.invitations.iter().any(|old| self.is_good(old, owner, &invitation)) {
            return Err(PasskeyError::Link);
        }
        let theirs: Vec<&Kept> = kept.passkeys.iter().filter(|kept| kept.user_id == owner.id).collect();
        if theirs.len() >= EACH {
            return Err(PasskeyError::TooMany);
        }
        // One handle for a person, so that an authenticator knows its own again.
        let handle = theirs.first().map_or_else(Uuid::new_v4, |kept| kept.handle);
        let known = theirs.iter().map(|kept| kept.key.cred_id().clone()).collect();
        let (options, state) = webauthn
            .start_passkey_registration(handle, &owner.login, &owner.login, Some(known))
            .map_err(|error| not_good(&error))?;
        let label: String = crate::domain::text::foreign(label, LABEL);
        let label = if label.is_empty() { "passkey".to_owned() } else { label };
        let until = self.clock.mono() + CEREMONY;
        let owner = owner.clone();
        let options = serde_json::to_value(options).map_err(|_| PasskeyError::Malformed)?;
        let ceremony = self.keep(Ceremony::Enrol { owner, invitation, label, handle, state, until })?;
        Ok(Begun { ceremony, options })
    }

    /// Ends an enrolment with what the browser's authenticator said. The link is used up then.
    ///
    /// # Errors
    ///
    /// When the answer is not good, or the link was used up meanwhile.
    pub fn finish_enrolment(
        &self,
        owner: &Owner,
        ceremony: &str,
        answer: Value,
    ) -> Result<Listed, PasskeyError> {
        let webauthn = self.webauthn()?;
        let Some(Ceremony::Enrol { invitation, label, handle, state, .. }) = self.take(owner, ceremony)
        else {
            return Err(PasskeyError::NoCeremony);
        };
        let answer: RegisterPublicKeyCredential =
            serde_json::from_value(answer).map_err(|_| PasskeyError::Malformed)?;
        let key = webauthn.finish_passkey_registration(&answer, &state).map_err(|error| not_good(&error))?;
        let now = self.clock.now();
        self.store.change(|kept| {
            let at = kept.invitations.iter().position(|old| self.is_good(old, owner, &invitation));
            kept.invitations.remove(at.ok_or(PasskeyError::Link)?);
            if kept.passkeys.iter().any(|old| old.key.cred_id() == key.cred_id()) {
                return Err(PasskeyError::NotGood("it is enrolled already".to_owned()));
            }
            let new = Kept {
                id: name_of(&key),
                user_id: owner.id,
                login: owner.login.clone(),
                label,
                added: now,
                used: None,
                handle,
                key,
            };
            let listed = new.listed();
            kept.passkeys.push(new);
            Ok(listed)
        })
    }

    /// Begins to ask `owner` for one of their passkeys, to answer for `act`. Who begins it once more is asked the same: a program with
    /// the person's node may begin as often as it likes, and what the person has begun stays.
    ///
    /// # Errors
    ///
    /// When they have none, or the file of passkeys is damaged.
    pub fn begin(&self, owner: &Owner, act: Act) -> Result<Begun, PasskeyError> {
        let webauthn = self.webauthn()?;
        let kept = self.store.read()?;
        let theirs: Vec<Kept> = kept.passkeys.into_iter().filter(|kept| kept.user_id == owner.id).collect();
        if theirs.is_empty() {
            return Err(PasskeyError::None(owner.login.clone()));
        }
        let passkeys: Vec<String> = theirs.iter().map(|kept| kept.id.clone()).collect();
        if let Some(begun) = self.begun_already(owner, act, &passkeys) {
            return Ok(begun);
        }
        let keys: Vec<Passkey> = theirs.into_iter().map(|kept| kept.key).collect();
        let (options, state) =
            webauthn.start_passkey_authentication(&keys).map_err(|error| not_good(&error))?;
        let options = serde_json::to_value(options).map_err(|_| PasskeyError::Malformed)?;
        // Whoever is asked the same later has as long for it.
        let until = self.clock.mono() + 2 * CEREMONY;
        let (owner, asked) = (owner.clone(), options.clone());
        let ceremony = self.keep(Ceremony::Prove { owner, act, passkeys, options: asked, state, until })?;
        Ok(Begun { ceremony, options })
    }

    /// What `owner` is asked for `act` already, of the same passkeys and with time enough to answer.
    fn begun_already(&self, owner: &Owner, act: Act, passkeys: &[String]) -> Option<Begun> {
        let in_time = self.clock.mono() + CEREMONY;
        self.under_way().iter().find_map(|(name, ceremony)| match ceremony {
            Ceremony::Prove { owner: whose, act: what, passkeys: of, options, until, .. }
                if (whose, *what, &of[..]) == (owner, act, passkeys) && in_time <= *until =>
            {
                Some(Begun { ceremony: hex::encode(name), options: options.clone() })
            }
            _ => None,
        })
    }

    /// Ends what [`Passkeys::begin`] began. A challenge is good for one right answer. A wrong one, which any program with the
    /// person's node can give, leaves it as it is.
    ///
    /// # Errors
    ///
    /// When the answer is not of a passkey of `owner`, is not for that challenge, was given without verifying its
    /// user, or its counter shows that the passkey was copied.
    pub fn finish(&self, owner: &Owner, ceremony: &str, answer: Value) -> Result<Present, PasskeyError> {
        let webauthn = self.webauthn()?;
        let state = self.asked(owner, ceremony).ok_or(PasskeyError::NoCeremony)?;
        let answer: PublicKeyCredential =
            serde_json::from_value(answer).map_err(|_| PasskeyError::Malformed)?;
        let result =
            webauthn.finish_passkey_authentication(&answer, &state).map_err(|error| not_good(&error))?;
        // The library asks for it; that nobody is let through without it does not rest on the library alone.
        if !result.user_verified() {
            return Err(PasskeyError::NotGood("it did not verify its user".to_owned()));
        }
        // Of two that answer it at the same time one has it.
        let Some(Ceremony::Prove { act, .. }) = self.take(owner, ceremony) else {
            return Err(PasskeyError::NoCeremony);
        };
        let now = self.clock.now();
        self.store.change(|kept| {
            // Looked for again: it may have been revoked since it was asked for.
            let key = kept
                .passkeys
                .iter_mut()
                .find(|kept| kept.user_id == owner.id && kept.key.cred_id() == result.cred_id())
                .ok_or(PasskeyError::NoCeremony)?;
            key.key.update_credential(&result);
            key.used = Some(now);
            Ok(Present { act, passkey: key.id.clone() })
        })
    }

    fn webauthn(&self) -> Result<&Webauthn, PasskeyError> {
        self.webauthn.as_ref().map_err(Clone::clone)
    }

    fn is_good(&self, invitation: &Invitation, owner: &Owner, hash: &[u8; 32]) -> bool {
        invitation.hash == *hash && invitation.login == owner.login && self.clock.now() < invitation.expires
    }

    fn keep(&self, ceremony: Ceremony) -> Result<String, PasskeyError> {
        let name = random()?;
        let now = self.clock.mono();
        let mut under_way = self.under_way();
        under_way.retain(|_, ceremony| now < ceremony.of().1);
        let alike = |other: &Ceremony| other.is_like(&ceremony) && other.of().0 == ceremony.of().0;
        let theirs = under_way.iter().filter(|(_, other)| alike(other));
        if theirs.clone().count() >= CEREMONIES_EACH {
            let oldest = theirs.min_by_key(|(_, other)| other.of().1).map(|(name, _)| *name);
            oldest.and_then(|name| under_way.remove(&name));
        }
        under_way.insert(name, ceremony);
        Ok(hex::encode(name))
    }

    /// What is asked in the ceremony of this name, if it is `owner`'s.
    fn asked(&self, owner: &Owner, ceremony: &str) -> Option<PasskeyAuthentication> {
        let mut name = [0; 32];
        hex::decode_to_slice(ceremony, &mut name).ok()?;
        match self.under_way().get(&name)? {
            Ceremony::Prove { owner: whose, state, until, .. }
                if whose == owner && self.clock.mono() < *until =>
            {
                Some(state.clone())
            }
            _ => None,
        }
    }

    /// The ceremony of this name, if it is `owner`'s. It is over with that.
    fn take(&self, owner: &Owner, ceremony: &str) -> Option<Ceremony> {
        let mut name = [0; 32];
        hex::decode_to_slice(ceremony, &mut name).ok()?;
        let mut under_way = self.under_way();
        let (whose, until) = under_way.get(&name)?.of();
        if whose != owner {
            return None;
        }
        let in_time = self.clock.mono() < until;
        under_way.remove(&name).filter(|_| in_time)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<[u8; 32], Ceremony>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Passkeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passkeys")
    }
}

/// The library, for our name and our origin: it refuses what was signed for any other.
fn webauthn(origin: &Url) -> Result<Webauthn, PasskeyError> {
    let Some(Host::Domain(name)) = origin.host() else {
        return Err(PasskeyError::NoName(origin.host_str().unwrap_or_default().to_owned()));
    };
    let wrong = |error: WebauthnError| PasskeyError::Url(error.to_string());
    WebauthnBuilder::new(name, origin).map_err(wrong)?.rp_name("tailnas").build().map_err(wrong)
}

fn not_good(error: &WebauthnError) -> PasskeyError {
    PasskeyError::NotGood(error.to_string())
}

fn name_of(key: &Passkey) -> String {
    hex::encode(&Sha256::digest(&**key.cred_id())[..4])
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn random() -> Result<[u8; 32], PasskeyError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| PasskeyError::NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    struct Bench {
        passkeys: Passkeys,
        folder: tempfile::TempDir,
    }

    fn bench_at(origin: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let origin = origin.parse().unwrap();
        Bench { passkeys: Passkeys::new(folder.path(), &origin, Clock::system()), folder }
    }

    fn bench() -> Bench {
        bench_at("https://nas-mcp.tail1234.ts.net")
    }

    fn alice() -> Owner {
        Owner { id: 456, login: "alice@example.com".into() }
    }

    #[test]
    fn a_link_is_for_one_person_and_its_secret_is_not_on_disk() {
        let Bench { passkeys, folder } = bench();
        let secret = passkeys.invite("alice@example.com").unwrap();
        let begun = passkeys.begin_enrolment(&alice(), &secret, "a key").unwrap();
        assert_eq!(begun.options["publicKey"]["rp"]["id"], "nas-mcp.tail1234.ts.net");
        assert_eq!(begun.options["publicKey"]["authenticatorSelection"]["userVerification"], "required");
        let bob = Owner { id: 457, login: "bob@github".into() };
        for (owner, secret) in [(&bob, secret.as_str()), (&alice(), "x"), (&alice(), "")] {
            let refused = passkeys.begin_enrolment(owner, secret, "");
            assert!(matches!(refused, Err(PasskeyError::Link)), "{owner:?}");
        }
        let file = std::fs::read_to_string(folder.path().join("passkeys.json")).unwrap();
        assert!(!file.contains(&secret) && file.contains(&hex::encode(hash(&secret))), "{file}");
        let mode = std::fs::metadata(folder.path().join("passkeys.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn who_has_no_passkey_proves_nothing() {
        let Bench { passkeys, .. } = bench();
        assert!(matches!(passkeys.begin(&alice(), Act::Thaw), Err(PasskeyError::None(_))));
        assert!(matches!(
            passkeys.finish(&alice(), &"0".repeat(64), json!({})),
            Err(PasskeyError::NoCeremony)
        ));
        assert!(passkeys.list().unwrap().is_empty());
        assert!(passkeys.revoke(|_| true).unwrap().is_empty());
    }

    #[test]
    fn a_ceremony_is_its_owners_and_good_for_one_answer() {
        let Bench { passkeys, .. } = bench();
        let secret = passkeys.invite("alice@example.com").unwrap();
        let begin = || passkeys.begin_enrolment(&alice(), &secret, "").unwrap().ceremony;
        let bob = Owner { id: 457, login: "alice@example.com".into() };
        let ceremony = begin();
        let by_bob = passkeys.finish_enrolment(&bob, &ceremony, json!({}));
        assert!(matches!(by_bob, Err(PasskeyError::NoCeremony)), "the id counts, not the login");
        let answer = || passkeys.finish_enrolment(&alice(), &ceremony, json!({ "id": 7 }));
        assert!(matches!(answer(), Err(PasskeyError::Malformed)));
        assert!(matches!(answer(), Err(PasskeyError::NoCeremony)));
        let first = begin();
        for _ in 0..CEREMONIES_EACH {
            begin();
        }
        let late = passkeys.finish_enrolment(&alice(), &first, json!({ "id": 7 }));
        assert!(matches!(late, Err(PasskeyError::NoCeremony)), "the oldest gave way");
        assert_eq!(passkeys.under_way().len(), CEREMONIES_EACH);
    }

    #[test]
    fn what_cannot_be_read_is_never_taken_for_an_empty_file() {
        for (text, why) in [
            ("", "damaged"),
            ("{", "damaged"),
            ("{}", "damaged"),
            (r#"{"format":1}"#, "damaged"),
            (r#"{"format":0,"passkeys":[],"invitations":[]}"#, "damaged"),
            (r#"{"format":1,"passkeys":[{}],"invitations":[]}"#, "damaged"),
            (r#"{"format":1,"passkeys":[],"invitations":[],"more":1}"#, "damaged"),
            (r#"{"format":2,"keys":[]}"#, "format 2"),
        ] {
            let Bench { passkeys, folder } = bench();
            let file = folder.path().join("passkeys.json");
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            let errors = [
                passkeys.list().map(drop),
                passkeys.begin(&alice(), Act::Thaw).map(drop),
                passkeys.invite("alice@example.com").map(drop),
                passkeys.revoke(|_| true).map(drop),
            ];
            for error in errors {
                assert!(error.unwrap_err().to_string().contains(why), "{text:?}");
            }
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "it is left as it is");
        }
        let Bench { passkeys, folder } = bench();
        passkeys.invite("alice@example.com").unwrap();
        let file = folder.path().join("passkeys.json");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(passkeys.list().unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn an_address_is_no_name() {
        for origin in ["http://127.0.0.1:8080", "https://[fd7a:115c:a1e0::1]"] {
            let Bench { passkeys, .. } = bench_at(origin);
            let error = passkeys.invite("alice@example.com").unwrap_err();
            assert!(error.to_string().contains("server.url"), "{error}");
        }
        assert!(bench_at("http://localhost:8080").passkeys.invite("x").is_ok());
    }
}
