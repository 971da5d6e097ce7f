//! Tokens of forms: what a page of ours gave to this person, for this purpose, to be used once; to be asked for a passkey, as
//! often as they like. A page elsewhere can make a browser send a form, and cannot know the token.
//!
//! They prove nothing about a person being there: a program with the person's node can ask for a page too. That is
//! what passkeys are for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// How long a page may lie open.
const LIFETIME: Duration = Duration::from_hours(1);

/// Tokens in all, and for one person. The oldest give way. A program with a person's node may ask for forty pages a second,
/// and must not have the brake or a no taken out of the person's hands before they have read the page.
const IN_ALL: usize = 65_536;
const EACH: usize = 4096;

/// The tokens that are out.
#[derive(Debug)]
pub(super) struct Forms {
    clock: Clock,
    out: Mutex<HashMap<[u8; 32], Token>>,
}

#[derive(Debug)]
struct Token {
    user: u64,
    purpose: String,
    /// It is not used up.
    lasts: bool,
    until: Duration,
}

/// The token is not one that was given out for this, or it was used already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spent;

impl Forms {
    pub fn new(clock: Clock) -> Self {
        Self { clock, out: Mutex::default() }
    }

    /// A token for `user` to do `purpose` once. Without randomness it is one that nothing takes.
    pub fn issue(&self, user: u64, purpose: impl Into<String>) -> String {
        self.put(Token { user, purpose: purpose.into(), lasts: false, until: self.clock.mono() + LIFETIME })
    }

    /// A token for `user` to be asked for their passkey, for `purpose`. That does nothing yet, so each page has the same one: a
    /// program with the person's node that opens page after page, or sends what it finds there, leaves them theirs.
    pub fn to_be_asked(&self, user: u64, purpose: impl Into<String>) -> String {
        let (purpose, page) = (purpose.into(), self.clock.mono() + LIFETIME);
        let is_this = |token: &Token| {
            token.lasts && token.user == user && token.purpose == purpose && page <= token.until
        };
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let there = out.iter().find(|(_, token)| is_this(token)).map(|(key, _)| hex::encode(key));
        drop(out);
        // Who gets it last may let their page lie open as long as anybody.
        there.unwrap_or_else(|| self.put(Token { user, purpose, lasts: true, until: page + LIFETIME }))
    }

    fn put(&self, new: Token) -> String {
        let user = new.user;
        let mut token = [0; 32];
        if getrandom::fill(&mut token).is_err() {
            return String::new();
        }
        let now = self.clock.mono();
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.retain(|_, token| now < token.until);
        let theirs = out.values().filter(|token| token.user == user).count();
        if theirs >= EACH || out.len() >= IN_ALL {
            let giving_way = out.iter().filter(|(_, token)| theirs < EACH || token.user == user);
            let oldest = giving_way.min_by_key(|(_, token)| token.until).map(|(key, _)| *key);
            oldest.and_then(|key| out.remove(&key));
        }
        out.insert(token, new);
        hex::encode(token)
    }

    /// Takes the token back, unless it is one to be asked with.
    pub fn spend(&self, user: u64, purpose: &str, token: &str) -> Result<(), Spent> {
        let mut key = [0; 32];
        hex::decode_to_slice(token, &mut key).map_err(|_| Spent)?;
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let token = out.get(&key).ok_or(Spent)?;
        let good = token.user == user && token.purpose == purpose && self.clock.mono() < token.until;
        // Shown for something else, it is used up as well.
        if !token.lasts {
            out.remove(&key);
        }
        good.then_some(()).ok_or(Spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_person_one_purpose_and_one_use() {
        let forms = Forms::new(Clock::system());
        let token = forms.issue(456, "freeze");
        assert_eq!(forms.spend(456, "freeze", &token), Ok(()));
        assert_eq!(forms.spend(456, "freeze", &token), Err(Spent), "replayed");
        for (user, purpose) in [(457, "freeze"), (456, "thaw")] {
            let token = forms.issue(456, "freeze");
            assert_eq!(forms.spend(user, purpose, &token), Err(Spent), "{user} {purpose}");
            assert_eq!(forms.spend(456, "freeze", &token), Err(Spent), "it is used up by the attempt");
        }
        for token in ["", "x", &"0".repeat(64), &"0".repeat(62)] {
            assert_eq!(forms.spend(456, "freeze", token), Err(Spent), "{token:?}");
        }
    }

    #[test]
    fn whoever_opens_pages_and_sends_their_forms_leaves_the_person_what_asks_for_a_passkey() {
        let forms = Forms::new(Clock::system());
        let theirs = forms.to_be_asked(456, "thaw");
        for _ in 0..=EACH {
            forms.issue(456, "freeze");
            assert_eq!(forms.to_be_asked(456, "thaw"), theirs);
            assert_eq!(forms.spend(456, "freeze", &theirs), Err(Spent));
            assert_eq!(forms.spend(456, "thaw", &theirs), Ok(()));
        }
        assert_eq!(forms.spend(457, "thaw", &theirs), Err(Spent));
        assert_ne!(forms.to_be_asked(457, "thaw"), theirs);
        assert_ne!(forms.to_be_asked(456, "approve 01"), theirs);
    }

    #[test]
    fn who_opens_many_pages_loses_the_oldest_and_nobody_elses() {
        let forms = Forms::new(Clock::system());
        let others = forms.issue(457, "freeze");
        let first = forms.issue(456, "freeze");
        for _ in 0..EACH {
            forms.issue(456, "freeze");
        }
        assert_eq!(forms.spend(456, "freeze", &first), Err(Spent));
        assert_eq!(forms.spend(457, "freeze", &others), Ok(()));
    }
}
