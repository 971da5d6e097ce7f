//! The file of passkeys.

use std::io;
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use webauthn_rs::prelude::{Passkey, Uuid};

use super::{Listed, PasskeyError};
use crate::state::StateDir;

const FILE: &str = "passkeys.json";

/// The version of the format. A newer one is not read.
const FORMAT: u64 = 1;

/// Longest file, passkeys and open links in it.
const LONGEST: u64 = 1024 * 1024;
const PASSKEYS: usize = 512;
const INVITATIONS: usize = 64;

/// Why nothing can be said about passkeys. It never means that none are needed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be read.
    #[error("the file of passkeys, {}, cannot be read: {why}. Until it can, nobody can approve anything with one", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The file is not what we wrote.
    #[error(
        "the file of passkeys, {}, is damaged: {why}. Until it is put back from a copy or taken away, nobody can approve \
         anything with one; taken away, everybody enrols anew", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer tailnas wrote it.
    #[error("the file of passkeys, {}, has format {found}; this version reads up to {FORMAT}. Use the newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// There are too many.
    #[error("there are {PASSKEYS} passkeys or {INVITATIONS} open links, which is the most")]
    Full,
    /// The file cannot be written.
    #[error("the file of passkeys, {}, cannot be written: {why}. Nothing was changed", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    format: u64,
    pub passkeys: Vec<Kept>,
    pub invitations: Vec<Invitation>,
    /// Passkeys that root has taken away and of which the log does not know yet.
    #[serde(default)]
    pub revoked: Vec<Revoked>,
}

/// As much of any version as tells which one it is.
#[derive(Deserialize)]
struct Format {
    format: u64,
}

/// A passkey as it is kept. There is no secret in it: that is in the authenticator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub id: String,
    pub user_id: u64,
    pub login: String,
    pub label: String,
    pub added: DateTime<Utc>,
    pub used: Option<DateTime<Utc>>,
    pub handle: Uuid,
    pub key: Passkey,
}

/// A passkey that is good for nothing any more: as much of it as is put on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// Its name in our store.
    pub id: String,
    /// Whose it was.
    pub login: String,
    /// What its owner called it.
    pub label: String,
}

/// A link to enrol that is still open.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Invitation {
    pub login: String,
    #[serde(with = "hex::serde")]
    pub hash: [u8; 32],
    pub expires: DateTime<Utc>,
}

#[derive(Debug)]
pub(super) struct Store(StateDir);

impl Kept {
    pub fn listed(&self) -> Listed {
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let Self { id, login, label, added, used, .. } = self;
        Listed {
            id: id.clone(),
            login: login.clone(),
            label: label.clone(),
            added: time(*added),
            used: used.map(time),
        }
    }
}

impl Store {
    pub const fn new(dir: StateDir) -> Self {
        Self(dir)
    }

    /// Read each time: root may have taken a passkey away, and that is to count at once.
    pub fn read(&self) -> Result<Contents, StoreError> {
        let path = || self.0.path_of(FILE);
        let unreadable = |error: io::Error| StoreError::Unreadable { path: path(), why: error.to_string() };
        let Some(bytes) = self.0.read(FILE, LONGEST).map_err(unreadable)? else {
            let (passkeys, invitations, revoked) = (Vec::new(), Vec::new(), Vec::new());
            return Ok(Contents { format: FORMAT, passkeys, invitations, revoked });
        };
        let damaged = |error: serde_json::Error| StoreError::Damaged { path: path(), why: error.to_string() };
        let Format { format: found } = serde_json::from_slice(&bytes).map_err(damaged)?;
        match found {
            FORMAT => serde_json::from_slice(&bytes).map_err(damaged),
            found if found > FORMAT => Err(StoreError::Newer { path: path(), found }),
            found => Err(StoreError::Damaged { path: path(), why: format!("there is no format {found}") }),
        }
    }

    /// Changes the contents, while nobody else does, and has them on disk when it returns.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut Contents) -> Result<T, PasskeyError>,
    ) -> Result<T, PasskeyError> {
        let unwritable =
            |error: io::Error| StoreError::Unwritable { path: self.0.path_of(FILE), why: error.to_string() };
        let locked = self.0.lock().map_err(unwritable)?;
        let mut contents = self.read()?;
        let told = change(&mut contents)?;
        // What nobody puts on record, since the daemon does not run, does not grow without end.
        let most = contents.revoked.len().saturating_sub(PASSKEYS);
        contents.revoked.drain(..most);
        if contents.passkeys.len() > PASSKEYS || contents.invitations.len() > INVITATIONS {
            return Err(StoreError::Full.into());
        }
        let bytes = serde_json::to_vec_pretty(&contents).map_err(|error| unwritable(error.into()))?;
        if bytes.len() as u64 > LONGEST {
            return Err(StoreError::Full.into());
        }
        locked.replace(FILE, &bytes).map_err(unwritable)?;
        Ok(told)
    }
}
