//! Every NAS there is, by its name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Keys, Nas, PastLogins, Prepared, StartError};
use crate::clock::Clock;
use crate::config;
use crate::domain::name::NasName;
use crate::lifecycle::Lifecycle;

/// Every NAS there is. Clones are the same fleet: a reload changes what all of them hold.
///
/// Each has its own sessions, its own pauses between attempts and its own health; one that is away is away for
/// nobody else.
#[derive(Clone, Debug)]
pub struct Fleet {
    roll: Arc<RwLock<Roll>>,
    past: PastLogins,
}

/// The NASes at one moment.
pub type Roll = Arc<BTreeMap<NasName, Nas>>;

/// A fleet as a new configuration wants it: everything that could fail has been done, and nothing was changed.
#[must_use = "nothing has changed yet"]
pub struct Muster(Vec<Place>);

enum Place {
    /// It is there already, and goes on with these keys.
    Kept(Nas, Keys),
    /// It is new, or so different that it needs sessions of its own.
    New(Box<Prepared>),
}

impl Fleet {
    /// Starts to keep a connection to each NAS of `configs`, and waits for none.
    ///
    /// # Errors
    ///
    /// When there is nothing to connect with for one of them. Then none is started.
    pub fn start(
        configs: &[config::Nas],
        past: PastLogins,
        clock: &Clock,
        lifecycle: &Lifecycle,
    ) -> Result<Self, StartError> {
        let fleet = Self { roll: Arc::default(), past };
        let muster = fleet.muster(configs, clock)?;
        fleet.take_over(muster, lifecycle);
        Ok(fleet)
    }

    /// Makes everything that `configs` needs, and changes nothing.
    ///
    /// # Errors
    ///
    /// When there is nothing to connect with for one of them.
    pub fn muster(&self, configs: &[config::Nas], clock: &Clock) -> Result<Muster, StartError> {
        let now = self.now();
        let place = |config: &config::Nas| match now.get(&config.name) {
            Some(nas) if nas.is_the_one(config) => Ok(Place::Kept(nas.clone(), Keys::load(config)?)),
            _ => Ok(Place::New(Box::new(Nas::prepare(config, &self.past, clock)?))),
        };
        Ok(Muster(configs.iter().map(place).collect::<Result<_, StartError>>()?))
    }

    /// From now on the fleet is this one. A NAS that is in it no longer is asked nothing new; its sessions end
    /// when what is under way on them has come to its end.
    pub fn take_over(&self, Muster(places): Muster, lifecycle: &Lifecycle) {
        let nas = |place| match place {
            Place::Kept(nas, keys) => {
                nas.use_keys(keys);
                nas
            }
            Place::New(prepared) => prepared.start(lifecycle),
        };
        let roll = places.into_iter().map(nas).map(|nas| (nas.name().clone(), nas)).collect();
        *self.roll.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(roll);
    }

    /// The NASes there are now.
    #[must_use]
    pub fn now(&self) -> Roll {
        Arc::clone(&self.roll.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How it is with each, for a person.
impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, nas)) in self.now().iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}NAS {name} {}", nas.status())?;
        }
        Ok(())
    }
}
