//! Opens files that decide who may do what, and refuses those that somebody else could have written.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::problem::Complaint;

/// The largest file we read, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Reads the text of the file at `path`.
pub(super) fn read_text(path: &Path) -> Result<String, Complaint> {
    text(read(path)?)
}

/// Reads the text of the file at `path` also where somebody else could have written it: to look for what else is
/// wrong with it, and for nothing else. What is wrong with the file comes with it.
pub(super) fn look(path: &Path) -> (Result<String, Complaint>, Option<Complaint>) {
    match open(path) {
        Ok(Opened { file, exposed }) => (slurp(file).and_then(text), exposed),
        Err(complaint) => (Err(complaint), None),
    }
}

fn text(bytes: Vec<u8>) -> Result<String, Complaint> {
    String::from_utf8(bytes).map_err(|error| {
        let start = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count() + 1;
        Complaint::new(format!("is not UTF-8 text (line {line})")).hint("save it as UTF-8")
    })
}

/// Reads the file at `path`: a regular one, which nobody but its owner may write, of at most [`LARGEST`].
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Complaint> {
    let Opened { file, exposed } = open(path)?;
    exposed.map_or_else(|| slurp(file), Err)
}

/// A regular file, and what is wrong with who may write it.
struct Opened {
    file: File,
    exposed: Option<Complaint>,
}

fn open(path: &Path) -> Result<Opened, Complaint> {
    // Not blocking: a FIFO in the place of the file must not hold up the start. All questions are put to the
    // open file, so that nothing can be swapped between looking and reading.
    let file = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => unreadable(&error).hint(format!(
                "run this as root, and let the service read it as well, there is no secret in it: chmod go+r {}",
                path.display()
            )),
            _ => unreadable(&error),
        })?;
    let meta = file.metadata().map_err(|error| unreadable(&error))?;
    if !meta.is_file() {
        return Err(Complaint::new("is not a regular file"));
    }
    let mode = meta.mode() & 0o7777;
    let owner = meta.uid();
    let foreign = owner != 0 && owner != rustix::process::geteuid().as_raw();
    let exposed = (mode & 0o022 != 0).then(|| {
        let who = if mode & 0o002 != 0 { "everybody" } else { "its group" };
        Complaint::new(format!(
            "may be written by {who} (mode {mode:03o}), who could then decide what tailnas does"
        ))
        .hint(format!("run: chmod go-w {}", path.display()))
    });
    let exposed = exposed.or_else(|| {
        foreign.then(|| {
            Complaint::new(format!("belongs to the user {owner}, who could then decide what tailnas does"))
                .hint(format!("run: chown root: {}", path.display()))
        })
    });
    Ok(Opened { file, exposed })
}

fn slurp(file: File) -> Result<Vec<u8>, Complaint> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Complaint::new(format!("is larger than {LARGEST} bytes")));
    }
    Ok(bytes)
}

fn unreadable(error: &std::io::Error) -> Complaint {
    Complaint::new(format!("cannot be read: {error}"))
}
