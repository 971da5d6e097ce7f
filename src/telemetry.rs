//! Logs: to journald with their fields under systemd, to stderr otherwise.

use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::audit::JOURNALED;

pub use crate::domain::text::chain;

/// What decides which events are logged. There is one, as there is one log.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Starts logging at `level`. The libraries below us say only what is wrong: at `info` the SDK writes three
/// lines a request, and at `debug` it writes arguments. Signed checkpoints of the audit log are said at any level.
pub fn start(level: Level) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let _ = FILTER.set(handle);
    let registry = tracing_subscriber::registry().with(filter);
    if is_journal(std::env::var_os("JOURNAL_STREAM").as_deref(), std::io::stderr())
        && let Ok(journald) = tracing_journald::layer()
    {
        registry.with(journald.with_syslog_identifier("tailnas".to_owned())).init();
        return;
    }
    let stderr = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    registry.with(stderr).init();
}

/// Whether `output` is the stream to the journal that `$JOURNAL_STREAM` names by device and inode (systemd.exec(5)). A
/// program that a service starts inherits the variable, also where its output is sent elsewhere.
fn is_journal(named: Option<&OsStr>, output: impl AsFd) -> bool {
    let (Some(named), Ok(output)) = (named, rustix::fs::fstat(output)) else { return false };
    named.to_str() == Some(format!("{}:{}", output.st_dev, output.st_ino).as_str())
}

/// From now on logs at `level`.
pub fn set_level(level: Level) {
    // It fails only where nothing was started, and then there is nothing to set.
    if let Some(handle) = FILTER.get() {
        let _ = handle.reload(filter(level));
    }
}

fn filter(level: Level) -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN.min(level.into()))
        .with_target("tailnas", level)
        // They write down what clients send, and a client can make them write without end.
        .with_target("rmcp", LevelFilter::OFF)
        .with_target("h2", LevelFilter::OFF)
        .with_target("rustls", LevelFilter::OFF)
        .with_target(JOURNALED, Level::INFO)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_journal_is_the_stream_that_systemd_named_and_no_other() {
        let [journal, other] = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        let metadata = journal.metadata().unwrap();
        let named = format!("{}:{}", metadata.dev(), metadata.ino());
        assert!(is_journal(Some(OsStr::new(&named)), &journal));
        assert!(!is_journal(Some(OsStr::new(&named)), &other), "inherited, and the output goes elsewhere");
        assert!(!is_journal(None, &journal));
        for named in ["", "1", "1:1", &named.replace(':', "")] {
            assert!(!is_journal(Some(OsStr::new(named)), &journal), "{named:?}");
        }
    }

    /// What these say comes from whoever is at the other end: words that were sent, in as many lines as they like.
    #[test]
    fn libraries_that_repeat_what_strangers_send_are_silent_at_any_level() {
        let filter = filter(Level::TRACE);
        for target in ["rmcp::service", "h2::proto", "rustls::msgs::handshake", "rustls::common_state"] {
            assert!(!filter.would_enable(target, &Level::ERROR), "{target}");
        }
        assert!(filter.would_enable("tailnas::server", &Level::TRACE));
        assert!(filter.would_enable("tokio_tungstenite", &Level::WARN));
        assert!(!filter.would_enable("hyper", &Level::INFO));
    }
}
