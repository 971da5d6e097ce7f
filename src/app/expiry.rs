//! What ends by itself, certificates and API keys, told while there is time.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::audit::Journal;
use crate::clock::Clock;
use crate::domain::name::NasName;
use crate::lifecycle::Lifecycle;
use crate::nas::methods::api_key::{self, Keys};
use crate::nas::{By, Fleet, Nas, Status};
use crate::server::health::{Ending, Ends};

/// How often it is looked whether there is a connection that was not looked at.
const TICK: Duration = Duration::from_secs(5);

/// How often each NAS is looked at.
const EVERY: Duration = Duration::from_hours(12);

/// Looks at each NAS when it has let us in, and twice a day from then on.
pub(super) struct Watch {
    pub(super) fleet: Fleet,
    pub(super) journal: Journal,
    pub(super) ends: Ends,
    pub(super) clock: Clock,
    pub(super) lifecycle: Lifecycle,
}

impl Watch {
    /// Comes to its end with the lifecycle.
    pub(super) async fn run(self) {
        // By the connection: the next one may be to another certificate, or with another key.
        let mut looked: BTreeMap<NasName, (DateTime<Utc>, Duration)> = BTreeMap::new();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.lifecycle.ending() => return,
            }
            for (name, nas) in self.fleet.now().iter() {
                let Status::Up { since, .. } = nas.status() else { continue };
                let now = self.clock.mono();
                let due =
                    looked.get(name).is_none_or(|(of, at)| *of != since || now.saturating_sub(*at) > EVERY);
                if due {
                    looked.insert(name.clone(), (since, now));
                    self.look(name, nas).await;
                }
            }
        }
    }

    async fn look(&self, name: &NasName, nas: &Nas) {
        self.tell(Ending::Certificate, name, nas.certificate_ends());
        let numbered = nas.key_numbers();
        let numbers: Vec<_> = numbered.iter().map(|(_, number)| *number).collect();
        let warrant = self.journal.system("expiry");
        let keys = match nas.session(&warrant).call(Keys, api_key::numbered(&numbers)).await {
            Ok(keys) => keys,
            Err(error) => {
                // A reader of somebody's choosing may lack the role; the NAS raises alerts of its own.
                tracing::info!(nas = %name, %error, "when our API keys end cannot be seen");
                return;
            }
        };
        for (what, by) in [
            (Ending::ReaderKey, By::Reader),
            (Ending::WriterKey, By::Writer),
            (Ending::MaintenanceKey, By::Maintenance),
        ] {
            let number = numbered.iter().find(|(of, _)| *of == by).map(|(_, number)| *number);
            let key = keys.iter().find(|key| Some(key.id) == number);
            self.tell(what, name, key.and_then(|key| key.expires_at).map(|at| at.0));
        }
    }

    fn tell(&self, what: Ending, nas: &NasName, at: Option<DateTime<Utc>>) {
        self.ends.note(what, Some(nas), at);
        if let Some(notice) = at.and_then(|at| what.notice(at, self.clock.now())) {
            tracing::warn!(%nas, "{notice}");
        }
    }
}
