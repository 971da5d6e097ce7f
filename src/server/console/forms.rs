//! Tokens of forms: what a page of ours gave to this person, for this purpose, to be used once. A page elsewhere can
//! make a browser send a form, and cannot know the token.
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
        out.insert(token, Token { user, purpose: purpose.into(), until: now + LIFETIME });
        hex::encode(token)
    }

    /// Takes the token back.
    pub fn spend(&self, user: u64, purpose: &str, token: &str) -> Result<(), Spent> {
        let mut key = [0; 32];
        hex::decode_to_slice(token, &mut key).map_err(|_| Spent)?;
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Shown for something else, it is used up as well.
        let token = out.remove(&key).ok_or(Spent)?;
        let good = token.user == user && token.purpose == purpose && self.clock.mono() < token.until;
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
