//! What can go wrong between us and the NAS, in terms of what somebody can do about it.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::domain::text::foreign;

/// Why a method did not give its answer. None of these carries the traceback that the NAS sends along: it holds
/// the values of local variables, and with them secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NasError {
    /// There is no connection.
    #[error("the NAS cannot be reached since {}: {reason}", since.format("%Y-%m-%d %H:%M:%S UTC"))]
    Away {
        /// Since when.
        since: DateTime<Utc>,
        /// What the last attempt ran into.
        reason: String,
    },
    /// The NAS does not take our key. It is not tried again before a restart.
    #[error("the NAS refused the login: {reason}")]
    LoginRefused {
        /// Since when.
        since: DateTime<Utc>,
        /// What it said.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// A change was asked for and there is no account to make it with.
    #[error("no account for changes is configured for this NAS")]
    NoWriter,
    /// The account may not do this.
    #[error("the account {username} may not call {method} on the NAS")]
    NotAuthorized {
        /// What was called.
        method: &'static str,
        /// Our account.
        username: String,
        /// The role that would allow it; `None` where only a full administrator may.
        role: Option<&'static str>,
    },
    /// This generation of TrueNAS has nothing of the kind.
    #[error("TrueNAS {version} has no {method}")]
    NoSuchMethod {
        /// What would have been called.
        method: &'static str,
        /// What the NAS runs.
        version: String,
    },
    /// What the call was about is not there.
    #[error("the NAS does not have it: {what}")]
    NotFound {
        /// The words of the NAS.
        what: String,
    },
    /// What was to be made is already there.
    #[error("the NAS has it already: {what}")]
    Exists {
        /// The words of the NAS.
        what: String,
    },
    /// The NAS finds fault with the arguments.
    #[error("the NAS does not accept the arguments{}", list(fields))]
    Invalid {
        /// Each field, and what is wrong with it.
        fields: Vec<(String, String)>,
    },
    /// The NAS has too much to do, or is at this very thing.
    #[error("the NAS is busy: {reason}")]
    Busy {
        /// The words of the NAS.
        reason: String,
    },
    /// The call or its answer is larger than what can be sent.
    #[error("{} larger than {limit} bytes", if *answer { "the answer is" } else { "the call would be" })]
    TooLarge {
        /// The answer was, rather than the call.
        answer: bool,
        /// What the limit is.
        limit: usize,
    },
    /// The NAS did not answer in time something that changes nothing, or it was never sent.
    #[error("the NAS did not answer within {} s", after.as_secs())]
    Timeout {
        /// How long we waited.
        after: Duration,
    },
    /// A change was sent and no answer came back.
    #[error("it is not known whether {method} was done: {reason}")]
    Unknown {
        /// What was called.
        method: &'static str,
        /// Why no answer came.
        reason: String,
    },
    /// The answer is not what this method answers.
    #[error("the answer to {method} cannot be read: at {path}, {problem}")]
    Unexpected {
        /// What was called.
        method: &'static str,
        /// Where in the answer.
        path: String,
        /// What was wrong there, without the value that stood there.
        problem: String,
        /// It was a change, and it was made.
        changed: bool,
    },
    /// The NAS said no in some other way.
    #[error("the NAS refused with {errname}: {reason}")]
    Refused {
        /// Its name for the kind of error.
        errname: String,
        /// Its words.
        reason: String,
        /// It was a change, which may have got part of the way.
        change: bool,
    },
}

impl NasError {
    /// One word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Away { .. } => "nas_away",
            Self::LoginRefused { .. } => "nas_login_refused",
            Self::NoWriter => "no_writer",
            Self::NotAuthorized { .. } => "nas_not_authorized",
            Self::NoSuchMethod { .. } => "no_such_method",
            Self::NotFound { .. } => "not_found",
            Self::Exists { .. } => "exists",
            Self::Invalid { .. } => "invalid",
            Self::Busy { .. } => "busy",
            Self::TooLarge { .. } => "too_large",
            Self::Timeout { .. } => "timeout",
            Self::Unknown { .. } => "unknown",
            Self::Unexpected { .. } => "unexpected_answer",
            Self::Refused { .. } => "refused",
        }
    }

    /// What it means for the NAS.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => {
                "It is not known whether it was done. It was not tried again and must not be before somebody looks."
            }
            Self::Unexpected { changed: true, .. } => "It was done, but what the NAS said about it is lost.",
            Self::Refused { change: true, .. } => {
                "The NAS reports a failure. What it had begun before that may remain."
            }
            Self::Away { .. }
            | Self::LoginRefused { .. }
            | Self::NoWriter
            | Self::NotAuthorized { .. }
            | Self::NoSuchMethod { .. }
            | Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::Invalid { .. }
            | Self::Busy { .. }
            | Self::TooLarge { .. }
            | Self::Timeout { .. }
            | Self::Unexpected { changed: false, .. }
            | Self::Refused { change: false, .. } => "Nothing was changed.",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn next_step(&self) -> String {
        match self {
            Self::Away { .. } => "Check that the NAS is on and reachable; tailnas connects by itself.".into(),
            Self::LoginRefused { hint, .. } => hint.clone(),
            Self::NoWriter => {
                "Add a writer with an API key to [[nas]] in the configuration, and restart tailnas.".into()
            }
            Self::NotAuthorized { username, role: Some(role), .. } => format!(
                "On the NAS, give {username} the role {role}: Credentials > Groups > Privileges. \
                 tailnas need not be restarted, but the role holds from its next login on."
            ),
            Self::NotAuthorized { username, role: None, .. } => {
                format!("Only a full administrator may, and {username} is none. Do it in the web interface.")
            }
            Self::NoSuchMethod { .. } => {
                "Use another tool, or another version of TrueNAS. Trying again does not help.".into()
            }
            Self::NotFound { .. } => "List what is there, and check the spelling.".into(),
            Self::Exists { .. } => "Choose another name, or use the one that is there.".into(),
            Self::Invalid { .. } => "Correct the fields that are named.".into(),
            Self::Busy { .. } => "Wait a minute and try again.".into(),
            Self::TooLarge { answer: true, .. } => "Ask for less: filter, or set a limit.".into(),
            Self::TooLarge { answer: false, .. } => {
                "Send less. The NAS closes the connection on longer calls; the web interface can do it."
                    .into()
            }
            Self::Timeout { .. } => "Try again; ask for less if it stays that way.".into(),
            Self::Unknown { .. } => {
                "Look at the NAS, its job list first, before anything is repeated.".into()
            }
            Self::Unexpected { .. } => "Report this with the version of TrueNAS and of tailnas.".into(),
            Self::Refused { .. } => {
                "Read what the NAS says. Its own log (System > Audit) may say more.".into()
            }
        }
    }
}

fn list(fields: &[(String, String)]) -> String {
    fields.iter().enumerate().fold(String::new(), |mut text, (index, (field, problem))| {
        let _ = write!(text, "{} {field}: {problem}", if index == 0 { ":" } else { ";" });
        text
    })
}

/// Words that came from the NAS, fit for one line of a log.
pub(super) fn tame(text: &str) -> String {
    foreign(text, 600)
}
