//! How many tokens a peer may have turned out to be no good before it is asked to slow down (RFC 7662 section
//! 4: whoever can ask about tokens freely can look for one that works).

use std::collections::HashMap;
use std::time::Duration;

/// One more is forgiven this often: five a second.
const EVERY: Duration = Duration::from_millis(200);

/// How many may come at once.
const BURST: u32 = 20;

/// How many peers are told apart. Those beyond share one account.
const MOST: usize = 4096;

/// The account of each peer: when all that was charged to it will be forgiven.
#[derive(Debug, Default)]
pub(super) struct Fishing(HashMap<String, Duration>);

impl Fishing {
    /// Charges `asker` with one token that is no good.
    ///
    /// # Errors
    ///
    /// How long to wait, when there have been too many. Nothing is charged then.
    pub(super) fn charge(&mut self, asker: &str, now: Duration) -> Result<(), Duration> {
        let forgiven = self.forgiven(asker, now) + EVERY;
        match forgiven.checked_sub(now + EVERY * BURST) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                self.set(asker, forgiven, now);
                Ok(())
            }
        }
    }

    /// Charges what cannot be refused any more, because it has been answered already.
    pub(super) fn charge_late(&mut self, asker: &str, now: Duration) {
        let forgiven = (self.forgiven(asker, now) + EVERY).min(now + EVERY * BURST);
        self.set(asker, forgiven, now);
    }

    /// Takes a charge back: the token was a good one, or nobody could tell.
    pub(super) fn give_back(&mut self, asker: &str, now: Duration) {
        let forgiven = self.forgiven(asker, now).saturating_sub(EVERY);
        self.set(asker, forgiven, now);
    }

    fn forgiven(&self, asker: &str, now: Duration) -> Duration {
        let known = self.0.get(asker).or_else(|| self.0.get("").filter(|_| self.0.len() >= MOST));
        known.copied().unwrap_or_default().max(now)
    }

    fn set(&mut self, asker: &str, forgiven: Duration, now: Duration) {
        if let Some(account) = self.0.get_mut(asker) {
            *account = forgiven;
            return;
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, forgiven| *forgiven > now);
        }
        let asker = if self.0.len() < MOST { asker } else { "" };
        self.0.insert(asker.to_owned(), forgiven);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn a_burst_and_then_five_a_second() {
        let mut fishing = Fishing::default();
        let taken = |fishing: &mut Fishing, at| (0..100).filter(|_| fishing.charge("a", at).is_ok()).count();
        assert_eq!(taken(&mut fishing, START), 20);
        assert_eq!(fishing.charge("a", START), Err(EVERY));
        assert_eq!(fishing.charge("b", START), Ok(()), "another peer has an account of its own");
        assert_eq!(taken(&mut fishing, START + Duration::from_secs(1)), 5);
        assert_eq!(taken(&mut fishing, START + Duration::from_mins(1)), 20, "no more is saved up");
    }

    #[test]
    fn what_was_no_fish_is_given_back_and_what_came_late_is_charged() {
        let mut fishing = Fishing::default();
        for _ in 0..1000 {
            fishing.charge("a", START).unwrap();
            fishing.give_back("a", START);
        }
        for _ in 0..1000 {
            fishing.charge_late("a", START);
        }
        assert_eq!(fishing.charge("a", START), Err(EVERY));
        assert_eq!(fishing.charge("a", START + EVERY), Ok(()), "and does not pile up");
    }

    #[test]
    fn a_crowd_of_peers_takes_bounded_room_and_shares_what_is_left() {
        let mut fishing = Fishing::default();
        let taken = (0..100_000).filter(|peer| fishing.charge(&peer.to_string(), START).is_ok()).count();
        assert!(taken <= MOST + BURST as usize, "{taken}");
        assert!(fishing.0.len() <= MOST + 1, "{}", fishing.0.len());
        let later = START + Duration::from_mins(1);
        assert_eq!(fishing.charge("new", later), Ok(()));
        assert_eq!(fishing.0.len(), 1, "what was forgiven is forgotten");
    }
}
