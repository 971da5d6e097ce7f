//! Whether the world is as the configuration says: secrets can be read, certificates are some, the log has a
//! place.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::problem::{Complaint, Position, Problems};
use super::{Config, file};
use crate::domain::text::chain;
use crate::secret::{SecretError, SecretSource};

/// What it means when systemd passed no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Started as the service: they must be there.
    MustBeThere,
    /// Somebody checks by hand: systemd gives credentials to the service alone, so nothing can be said.
    MayBeAbsent,
}

/// What a look at the world found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// What must be mended.
    pub problems: Problems,
    /// What could not be looked at.
    pub notes: Vec<Note>,
    /// Of what they were found in.
    pub digests: Digests,
}

/// SHA-256 in hex of the files that were read, as `sha256sum` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// Of the configuration file; `None` where it could not be read.
    pub config: Option<String>,
    /// Of the policy file; `None` where there is none or it could not be read.
    pub policy: Option<String>,
}

/// Something that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The setting, such as `audit.hmac_key`.
    pub key: String,
    /// Why.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "note: {}: {}", self.key, self.what)
    }
}

/// A file or folder that a configuration names, and where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub(super) thing: Thing,
    pub(super) file: PathBuf,
    pub(super) at: Option<Position>,
    pub(super) key: String,
}

/// What is in the file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    /// CA certificates.
    CaFile(PathBuf),
    /// A secret.
    Secret(SecretSource),
    /// What we write.
    Folder(PathBuf),
}

impl Config {
    /// Looks at every file and folder that the configuration names, to find all problems in one go.
    #[must_use]
    pub fn check_files(&self, credentials: Credentials) -> Findings {
        look_at(&self.named, credentials)
    }
}

/// Looks at every one of these files and folders.
pub(super) fn look_at(all: &[Named], credentials: Credentials) -> Findings {
    let mut findings = Findings::default();
    for named in all {
        findings.look(named, credentials);
    }
    findings
}

impl Findings {
    fn look(&mut self, named: &Named, credentials: Credentials) {
        let Named { thing, file, at, key } = named;
        let found = match thing {
            Thing::CaFile(path) => ca_file(path),
            Thing::Folder(dir) => folder(dir),
            Thing::Secret(source) => match (source.load(), credentials) {
                (Ok(_), _) => Ok(()),
                (Err(SecretError::NoCredentials(name)), Credentials::MayBeAbsent) => {
                    let what = format!(
                        "the credential {name:?} was not looked at, the service alone can see it; the unit has it \
                         from {}",
                        source.place()
                    );
                    self.notes.push(Note { key: key.clone(), what });
                    Ok(())
                }
                (Err(error), _) => {
                    let complaint = Complaint::new(chain(&error));
                    Err(match remedy(source, key, &error) {
                        Some(hint) => complaint.hint(hint),
                        None => complaint,
                    })
                }
            },
        };
        if let Err(complaint) = found {
            self.problems.push(complaint.at(Some(file), *at, key.clone()));
        }
    }
}

/// What to do about the secret of the setting `key`, which cannot be had.
fn remedy(source: &SecretSource, key: &str, error: &SecretError) -> Option<String> {
    let place = source.place();
    let what = match error {
        // It says what to run.
        SecretError::Exposed { .. } => return None,
        SecretError::Unreadable { source: why, .. } if why.kind() == ErrorKind::PermissionDenied => {
            format!("this was tried as the user {}; try it as root", rustix::process::geteuid().as_raw())
        }
        SecretError::NotText(_) => format!("write the secret into {place}, on one line, and nothing else"),
        SecretError::Unreadable { .. } | SecretError::NoCredentials(_) => match key {
            "audit.signing_key" => format!("run: tailnas audit keygen {place}"),
            "audit.hmac_key" => format!("run: (umask 077; head -c 32 /dev/urandom | base64 >{place})"),
            _ => format!("write it into {place}, and let nobody else read that: chmod 600 {place}"),
        },
    };
    let whose = match source {
        SecretSource::Credential(_) => {
            "It stays root's, and a start hands it on: systemctl restart tailnas".to_owned()
        }
        SecretSource::File(_) => format!("The service reads it as its own user: chown tailnas: {place}"),
    };
    Some(format!("{what}. {whose}"))
}

fn ca_file(path: &Path) -> Result<(), Complaint> {
    let bytes = file::read(path).map_err(|complaint| complaint.prefixed(&path.display().to_string()))?;
    let unusable = |why: &str| {
        Complaint::new(format!("{} {why}", path.display()))
            .hint("it should hold CA certificates in PEM, each between BEGIN CERTIFICATE and END CERTIFICATE")
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|_| unusable("is not PEM"))?;
        roots.add(certificate).map_err(|_| unusable("holds something that is not a certificate"))?;
    }
    if roots.is_empty() {
        return Err(unusable("holds no certificate"));
    }
    Ok(())
}

/// The folder can be written, or can be made.
fn folder(dir: &Path) -> Result<(), Complaint> {
    let shown = dir.display();
    let writable = |dir: &Path| rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK);
    match std::fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => Err(Complaint::new(format!("{shown} is not a folder"))),
        Ok(_) => writable(dir).map_err(|error| Complaint::new(format!("{shown} cannot be written: {error}"))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = dir.parent().unwrap_or(dir);
            writable(parent).map_err(|error| {
                Complaint::new(format!(
                    "{shown} is not there and cannot be made in {}: {error}",
                    parent.display()
                ))
                .hint("make it, and give it to the user that tailnas runs as")
            })
        }
        Err(error) => Err(Complaint::new(format!("{shown} cannot be looked at: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_lacks_a_secret_is_told_what_to_do() {
        let file = SecretSource::File("/etc/tailnas/key".into());
        let credential = SecretSource::Credential("key".to_owned());
        let unreadable = |kind: ErrorKind| SecretError::Unreadable { path: "/x".into(), source: kind.into() };
        let none = SecretError::NoCredentials("key".to_owned());
        for (source, key, error, parts) in [
            (
                &file,
                "audit.signing_key",
                unreadable(ErrorKind::NotFound),
                &["audit keygen /etc/tailnas/key", "chown tailnas: /etc/tailnas/key"][..],
            ),
            (&file, "audit.hmac_key", unreadable(ErrorKind::NotFound), &["base64 >/etc/tailnas/key"]),
            (&file, "nas[0].reader.key", unreadable(ErrorKind::NotFound), &["chmod 600 /etc/tailnas/key"]),
            (
                &file,
                "nas[0].reader.key",
                unreadable(ErrorKind::PermissionDenied),
                &["as root", "chown tailnas:"],
            ),
            (&file, "nas[0].reader.key", SecretError::NotText("/x".into()), &["on one line"]),
            (
                &credential,
                "nas[0].reader.key",
                none,
                &["/etc/credstore/tailnas.key", "systemctl restart tailnas"],
            ),
            (
                &credential,
                "audit.signing_key",
                unreadable(ErrorKind::NotFound),
                &["audit keygen /etc/credstore/tailnas.key"],
            ),
        ] {
            let hint = remedy(source, key, &error).unwrap_or_default();
            for part in parts {
                assert!(hint.contains(part), "{part:?} is not in {hint:?}");
            }
        }
        let exposed = SecretError::Exposed { path: "/x".into(), mode: 0o644 };
        assert_eq!(remedy(&file, "nas[0].reader.key", &exposed), None, "it says what to run");
    }
}
