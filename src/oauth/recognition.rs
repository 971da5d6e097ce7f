//! Whether the provider may no longer know *us*.
//!
//! RFC 7662 section 2.2 has it answer `active: false` to whoever may not ask, so that looks like nothing but bad
//! tokens.

use super::fingerprint::Fingerprint;

/// So many tokens in a row that are not active are no longer an everyday thing.
const SUSPICIOUS: u32 = 10;

/// The present run of answers that say "not active".
#[derive(Default)]
pub(super) struct Recognition {
    run: u32,
    first: Option<Fingerprint>,
    /// Not all about the first token: a client that repeats a dead one is no sign of anything.
    several: bool,
}

impl Recognition {
    /// The provider knows this token, and so it knows us.
    pub(super) fn active(&mut self) {
        if self.is_in_doubt() {
            tracing::info!("the provider says of a token that it is active: it recognises us");
        }
        *self = Self::default();
    }

    /// The provider says "not active".
    pub(super) fn inactive(&mut self, token: Fingerprint) {
        let doubted = self.is_in_doubt();
        self.run = self.run.saturating_add(1);
        self.several |= *self.first.get_or_insert(token) != token;
        if self.is_in_doubt() && !doubted {
            tracing::error!(
                answers = self.run,
                "the provider may not recognise us: it said of every token lately that it is not active, and to a \
                 client it does not know it says the same. Nobody is admitted; the NAS is not touched. Look at the \
                 provider's log, whether its node and ours are on the tailnet, and at provider.client if it is set. \
                 After a restart of TSIDP, or while somebody tries tokens (token_fishing in the audit log), this is \
                 to be expected and ends with the next login"
            );
        }
    }

    /// Whether there is reason to think that it does not know us.
    pub(super) const fn is_in_doubt(&self) -> bool {
        self.run >= SUSPICIOUS && self.several
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::{Bearer, Presented};

    fn prints(count: u8) -> Vec<Fingerprint> {
        let ink = super::super::fingerprint::Ink::new().unwrap();
        let bearer = |number: u8| -> Bearer {
            let field = http::HeaderValue::from_str(&format!("Bearer t{number}")).unwrap();
            match Presented::in_fields([&field]) {
                Presented::Token(bearer) => bearer,
                other => panic!("{other:?}"),
            }
        };
        (0..count).map(|number| ink.take(&bearer(number))).collect()
    }

    #[test]
    fn ten_in_a_row_about_more_than_one_token_and_none_active_between() {
        let prints = prints(2);
        let run = |tokens: &[Fingerprint], times: usize| {
            let mut recognition = Recognition::default();
            tokens.iter().cycle().take(times).for_each(|token| recognition.inactive(*token));
            recognition
        };
        assert!(!run(&prints[..1], 1000).is_in_doubt(), "one dead token, again and again");
        assert!(!run(&prints, 9).is_in_doubt());
        let mut doubted = run(&prints, 10);
        assert!(doubted.is_in_doubt());
        doubted.active();
        assert!(!doubted.is_in_doubt());
        doubted.inactive(prints[0]);
        doubted.inactive(prints[1]);
        assert!(!doubted.is_in_doubt(), "it begins anew");
    }
}
