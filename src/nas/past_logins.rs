//! How well the logins at each NAS were protected, kept over restarts: none is weaker than the ones before it.
//!
//! That is one small file beside the history. It is read at each login and written where something better was seen.
//! A file that cannot be read could say anything, so then a login that is not the best there is is not made.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::domain::name::NasName;
use crate::state::StateDir;

const FILE: &str = "nas-logins.json";
const LONGEST: u64 = 256 * 1024;

/// How well a login is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Protection {
    /// The NAS offers SCRAM, so that the key itself is not sent.
    pub(super) scram: bool,
    /// The login is tied to the certificate of the NAS.
    pub(super) bound: bool,
}

impl Protection {
    /// The better of both.
    pub(super) const fn or(self, other: Self) -> Self {
        Self { scram: self.scram || other.scram, bound: self.bound || other.bound }
    }
}

/// The logins at every NAS so far. Clones are the same.
#[derive(Clone, Debug)]
pub struct PastLogins(StateDir);

impl PastLogins {
    /// Those that are kept in the state folder `dir`, which need not be there yet.
    #[must_use]
    pub fn in_folder(dir: &Path) -> Self {
        Self(StateDir::new(dir))
    }

    /// Where they are kept, to be named to people.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.0.path_of(FILE)
    }

    /// Takes the next login at this NAS for the first one. Answers whether there was anything to forget.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written.
    pub fn forget(&self, nas: &NasName) -> io::Result<bool> {
        let mut known = false;
        self.change(|all| known = all.remove(nas.as_str()).is_some())?;
        Ok(known)
    }

    /// Those at this NAS, to be kept.
    pub(super) fn at(&self, nas: &NasName) -> PastLogin {
        PastLogin { all: self.clone(), nas: nas.clone(), keeps: true, since_start: Arc::default() }
    }

    /// The same for a visit, which changes nothing here.
    pub(super) fn look_at(&self, nas: &NasName) -> PastLogin {
        PastLogin { keeps: false, ..self.at(nas) }
    }

    fn read(&self) -> io::Result<BTreeMap<String, Protection>> {
        let bytes = self.0.read(FILE, LONGEST)?;
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose()?.unwrap_or_default())
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Protection>)) -> io::Result<()> {
        let locked = self.0.lock()?;
        let mut all = self.read()?;
        let before = all.clone();
        change(&mut all);
        if all == before { Ok(()) } else { locked.replace(FILE, &serde_json::to_vec(&all)?) }
    }
}

/// The logins at one NAS so far.
#[derive(Clone, Debug)]
pub(super) struct PastLogin {
    all: PastLogins,
    nas: NasName,
    keeps: bool,
    /// What was seen since we were started, which holds also where it could not be written.
    since_start: Arc<Mutex<Protection>>,
}

impl PastLogin {
    pub(super) const fn nas(&self) -> &NasName {
        &self.nas
    }

    /// The best there was, or why nobody knows.
    pub(super) async fn best(&self) -> io::Result<Protection> {
        let kept = self.off_the_async_threads(|this| {
            Ok(this.all.read()?.get(this.nas.as_str()).copied().unwrap_or_default())
        });
        let kept = kept.await?;
        Ok(kept.or(*self.since_start.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// From now on none may be weaker than this.
    pub(super) async fn was(&self, protection: Protection) {
        {
            let mut since_start = self.since_start.lock().unwrap_or_else(PoisonError::into_inner);
            *since_start = since_start.or(protection);
        }
        if !self.keeps {
            return;
        }
        let kept = self.off_the_async_threads(move |this| {
            this.all.change(|all| {
                let before = all.entry(this.nas.to_string()).or_default();
                *before = before.or(protection);
            })
        });
        if let Err(error) = kept.await {
            tracing::error!(
                nas = %self.nas, %error, file = %self.all.file().display(),
                "how well the login was protected could not be kept: after a restart it will not be known"
            );
        }
    }

    async fn off_the_async_threads<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&this)).await;
        done.unwrap_or_else(|_| Err(io::Error::other("the reader of the file failed")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAM: Protection = Protection { scram: true, bound: false };
    const BOUND: Protection = Protection { scram: false, bound: true };

    #[tokio::test]
    async fn the_best_of_each_nas_is_kept_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let past = || PastLogins::in_folder(&dir.path().join("state"));
        let (one, two): (NasName, NasName) = ("one".parse().unwrap(), "two".parse().unwrap());
        assert_eq!(past().at(&one).best().await.unwrap(), Protection::default());
        past().at(&one).was(SCRAM).await;
        past().at(&one).was(BOUND).await;
        past().at(&two).was(SCRAM).await;
        assert_eq!(past().at(&one).best().await.unwrap(), SCRAM.or(BOUND));
        assert!(past().forget(&one).unwrap() && !past().forget(&one).unwrap());
        assert_eq!(past().at(&one).best().await.unwrap(), Protection::default());
        assert_eq!(past().at(&two).best().await.unwrap(), SCRAM);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_no_empty_one_and_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let past = PastLogins::in_folder(dir.path());
        let one = past.at(&"one".parse().unwrap());
        one.was(SCRAM).await;
        std::fs::write(past.file(), b"{").unwrap();
        assert!(one.best().await.is_err());
        one.was(BOUND).await;
        assert_eq!(std::fs::read(past.file()).unwrap(), b"{");
    }
}
