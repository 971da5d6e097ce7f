//! What ends by itself, certificates and API keys, told while there is time.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::audit::Journal;
use crate::clock::Clock;
use crate::domain::name::NasName;
use crate::lifecycle::Lifecycle;
use crate::nas::methods::api_key::{self, Keys};
use crate::nas::{Fleet, Nas, Status};
use crate::server::health::{Ending, Ends};

/// How often it is looked whether there is a connection that was not looked at.
const TICK: Duration = Duration::from_secs(5);

/// How often each NAS is looked at.
const EVERY: Duration = Duration::from_hours(12);

/// How long before its end something is told.
const NOTICE: TimeDelta = TimeDelta::days(14);

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
        let (reader, writer) = nas.key_numbers();
        let numbers: Vec<_> = [reader, writer].into_iter().flatten().collect();
        let warrant = self.journal.system("expiry");
        let keys = match nas.session(&warrant).call(Keys, api_key::numbered(&numbers)).await {
            Ok(keys) => keys,
            Err(error) => {
                // A reader of somebody's choosing may lack the role; the NAS raises alerts of its own.
                tracing::info!(nas = %name, %error, "when our API keys end cannot be seen");
                return;
            }
        };
        let end = |number: Option<i64>| {
            keys.iter().find(|key| Some(key.id) == number).and_then(|key| key.expires_at).map(|at| at.0)
        };
        self.tell(Ending::ReaderKey, name, end(reader));
        self.tell(Ending::WriterKey, name, end(writer));
    }

    fn tell(&self, what: Ending, nas: &NasName, at: Option<DateTime<Utc>>) {
        self.ends.note(what, Some(nas), at);
        let Some(at) = at.filter(|at| *at - self.clock.now() < NOTICE) else { return };
        let (what, mend) = match what {
            // Looked after where it is renewed.
            Ending::OurCertificate => return,
            Ending::Certificate => {
                ("the certificate of the NAS", "renew it under System > Certificates there")
            }
            Ending::ReaderKey => ("the API key of the reader", NEW_KEY),
            Ending::WriterKey => ("the API key of the writer", NEW_KEY),
        };
        tracing::warn!(
            %nas,
            ends = %at.format("%Y-%m-%d %H:%M UTC"),
            "{what} ends soon, and from then on the NAS is out of reach: {mend}"
        );
    }
}

const NEW_KEY: &str = "make a new one there (Credentials > Users > API Keys), put it in place, and run systemctl restart tailnas";
