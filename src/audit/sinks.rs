//! Where checkpoints go besides the log itself, so that whoever has the log in their hands has not got everything:
//! a file beside it, the journal (another user's store), and a file that the operator chose on another machine.
//!
//! None of them holds up the log or stops it. What a sink missed it never gets, and need not: each checkpoint
//! covers all before it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use rustix::fs::OFlags;

use super::note::Note;
use super::storage::Folder;
use crate::clock::Clock;
use crate::domain::text::Escaped;
use crate::state::hand_over;

/// The file beside the log.
pub(super) const BESIDE: &str = "checkpoints";

/// The target under which checkpoints go to the journal, where `TARGET=` finds them.
pub const JOURNALED: &str = "tailnas::audit::checkpoint";

/// How often a sink is written at most.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a start waits for the copy on another machine, and a stop for each sink.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of the end of a file is looked at for its last checkpoints.
const TAIL: u64 = 16 * 1024;

/// How much of it is looked at for all of them: three years of one a minute.
const MOST: u64 = 512 * 1024 * 1024;

/// Where checkpoints go.
#[derive(Debug, Default)]
pub(super) struct Sinks(Vec<Arc<Post>>);

/// How far a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkHealth {
    /// Which one.
    pub name: String,
    /// How many records its newest checkpoint covers; `None` before the first since the start.
    pub size: Option<u64>,
    /// How long it has had nothing newer, although there was something; `None` where it has everything.
    pub behind: Option<Duration>,
    /// Why it could not be written, where it could not.
    pub error: Option<String>,
}

/// In one line, for a person.
impl fmt::Display for SinkHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, size, behind, error } = self;
        write!(f, "checkpoints to {}: ", Escaped(name))?;
        match size {
            Some(size) => write!(f, "up to record {size}")?,
            None => f.write_str("none since the start")?,
        }
        if let Some(behind) = behind {
            write!(f, ", behind for {} s", behind.as_secs())?;
        }
        match error {
            Some(error) => write!(f, ": {}", Escaped(error)),
            None => Ok(()),
        }
    }
}

/// Takes checkpoints to one place, on a thread of its own: an unreachable file system may hold it up for ever.
struct Post {
    name: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Option<(u64, String)>,
    /// Since when the sink has not had the newest checkpoint.
    since: Option<Duration>,
    done: Option<u64>,
    error: Option<String>,
    closing: bool,
    gone: bool,
}

/// Checkpoints found in a sink, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub sink: String,
    pub notes: Vec<Note>,
}

impl Sinks {
    /// Starts those of a log in `dir`.
    pub fn start(dir: &Path, copy: Option<&Path>, clock: &Clock) -> io::Result<Self> {
        let beside = dir.join(BESIDE);
        let mut posts = vec![
            Post::start(BESIDE.to_owned(), clock, move |note| append(&beside, note))?,
            Post::start("journal".to_owned(), clock, |note| {
                tracing::info!(target: JOURNALED, "{}", note.trim_end());
                Ok(())
            })?,
        ];
        if let Some(copy) = copy.map(PathBuf::from) {
            posts.push(Post::start(copy.display().to_string(), clock, move |note| append(&copy, note))?);
        }
        Ok(Self(posts))
    }

    /// Hands a checkpoint to all of them. Never waits.
    pub fn publish(&self, size: u64, note: &str, now: Duration) {
        for post in &self.0 {
            let mut state = post.state();
            state.waiting = Some((size, note.to_owned()));
            state.since.get_or_insert(now);
            post.changed.notify_all();
        }
    }

    /// How they are.
    pub fn health(&self, now: Duration) -> Vec<SinkHealth> {
        let health = |post: &Arc<Post>| {
            let state = post.state();
            let behind = state.since.map(|since| now.saturating_sub(since));
            SinkHealth { name: post.name.clone(), size: state.done, behind, error: state.error.clone() }
        };
        self.0.iter().map(health).collect()
    }

    /// Lets them write what waits, and leaves behind what does not come to an end.
    pub fn close(&self) {
        for post in &self.0 {
            post.state().closing = true;
            post.changed.notify_all();
        }
        for post in &self.0 {
            let gone = post.changed.wait_timeout_while(post.state(), PATIENCE, |state| !state.gone);
            if gone.is_ok_and(|(_, result)| result.timed_out()) {
                tracing::warn!(sink = post.name, "the last checkpoint could not be written there in time");
            }
        }
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Post {
    fn start(
        name: String,
        clock: &Clock,
        write: impl Fn(&str) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let post = Arc::new(Self { name, state: Mutex::default(), changed: Condvar::new() });
        let (ours, clock) = (Arc::clone(&post), clock.clone());
        std::thread::Builder::new().name("audit-sink".to_owned()).spawn(move || ours.run(&clock, write))?;
        Ok(post)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, clock: &Clock, write: impl Fn(&str) -> io::Result<()>) {
        loop {
            let (size, note) = {
                let idle = |state: &mut State| state.waiting.is_none() && !state.closing;
                let mut state =
                    self.changed.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
                let Some(next) = state.waiting.take() else {
                    state.gone = true;
                    drop(state);
                    self.changed.notify_all();
                    return;
                };
                next
            };
            let result = write(&note);
            let mut state = self.state();
            match result {
                Ok(()) => {
                    if state.error.take().is_some() {
                        tracing::info!(sink = self.name, "checkpoints are written there again");
                    }
                    state.done = Some(size);
                    state.since = state.waiting.is_some().then(|| clock.mono());
                }
                Err(error) => {
                    if state.error.replace(error.to_string()).is_none() {
                        tracing::warn!(
                            sink = self.name, %error,
                            "a checkpoint of the audit log could not be written there; the next one is tried again"
                        );
                    }
                }
            }
            // A pause after each, so that a busy log does not flood the place.
            drop(self.changed.wait_timeout_while(state, PAUSE, |state| !state.closing));
        }
    }
}

fn append(path: &Path, note: &str) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
    let mut how = File::options();
    how.append(true).mode(0o600).custom_flags(flags);
    let mut file = match how.clone().create_new(true).open(path) {
        Ok(made) => {
            hand_over(&made, path.parent().unwrap_or(path))?;
            made
        }
        // One that is there keeps its owner, whatever folder the operator has put it into.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => how.open(path)?,
        Err(error) => return Err(error),
    };
    // In one piece, with an empty line behind, so that a note cut off by a crash spoils no other.
    file.write_all(format!("{note}\n").as_bytes())?;
    file.sync_data()
}

/// What the sinks of a log already have. A copy that cannot be read in time is left out, and named.
pub(super) fn look(dir: &Path, copy: Option<&Path>) -> (Vec<Found>, Option<String>) {
    let mut found = Vec::new();
    let mut unread = None;
    match last_notes(&dir.join(BESIDE), TAIL) {
        Ok(notes) => found.push(Found { sink: BESIDE.to_owned(), notes }),
        Err(error) => unread = Some(format!("{BESIDE}: {error}")),
    }
    if let Some(copy) = copy {
        let sink = copy.display().to_string();
        match within(PATIENCE, copy) {
            Ok(notes) => found.push(Found { sink, notes }),
            Err(error) => unread = Some(format!("{sink}: {error}")),
        }
    }
    (found, unread)
}

/// On a thread of its own: another machine's file system may never answer.
fn within(patience: Duration, path: &Path) -> io::Result<Vec<Note>> {
    let (to, answer) = mpsc::channel();
    let path = path.to_owned();
    std::thread::Builder::new()
        .name("audit-copy".to_owned())
        .spawn(move || to.send(last_notes(&path, TAIL)))?;
    answer.recv_timeout(patience).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// All the checkpoints in the file beside a log in `folder`; none where there is no such file.
pub(super) fn beside(folder: &Folder) -> io::Result<Vec<Note>> {
    last_notes(&folder.path(BESIDE), MOST)
}

fn last_notes(path: &Path, tail: u64) -> io::Result<Vec<Note>> {
    let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
    let mut file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{} is not a regular file", path.display())));
    }
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(tail)))?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes)?;
    Ok(Note::all_in(&String::from_utf8_lossy(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_sink_that_fails_holds_up_nothing_and_says_since_when() {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("not/there/yet");
        let clock = Clock::system();
        let sinks = Sinks::start(dir.path(), Some(&copy), &clock).unwrap();
        let failing =
            || sinks.health(clock.mono()).into_iter().find(|sink| sink.name.ends_with("yet")).unwrap();
        sinks.publish(1, "first\n", clock.mono());
        while failing().error.is_none() {
            std::thread::yield_now();
        }
        assert!(failing().behind.is_some() && failing().size.is_none());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        sinks.publish(2, "second\n", clock.mono());
        sinks.close();
        let healed = failing();
        assert_eq!((healed.size, healed.behind, healed.error), (Some(2), None, None));
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), "second\n\n");
        let beside = std::fs::read_to_string(dir.path().join(BESIDE)).unwrap();
        assert!(beside.ends_with("second\n\n"));
    }
}
