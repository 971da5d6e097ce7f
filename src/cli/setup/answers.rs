//! What only a person knows: asked on the terminal, or read from a file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::Trouble;
use crate::app;
use crate::secret::{Secret, SecretSource};
use crate::tools::render;

/// The status of a program that Ctrl-C has ended, as shells have it.
const INTERRUPTED: i32 = 130;

/// Something to know.
pub(super) struct Question {
    /// Its name in a file of answers.
    name: &'static str,
    /// What a person is asked.
    words: &'static str,
    /// The answer where nobody is asked and nothing is given.
    default: Option<&'static str>,
}

impl Question {
    pub(super) const TAILSCALED: Self = Self {
        name: "tailscaled",
        words: "tailscaled's socket",
        default: Some("/run/tailscale/tailscaled.sock"),
    };
    pub(super) const PROVIDER: Self =
        Self { name: "provider", words: "The OAuth provider (TSIDP), https://…", default: None };
    pub(super) const NAS: Self = Self { name: "nas", words: "The NAS, by name or address", default: None };
    pub(super) const NAS_NAME: Self = Self { name: "nas-name", words: "What to call it", default: None };
    pub(super) const PIN: Self = Self {
        name: "nas-pin",
        words: "Is that its certificate? yes, no, or \"system\" to trust the CAs of this system instead",
        default: None,
    };
    pub(super) const READER: Self =
        Self { name: "reader", words: "The account on the NAS that looks", default: None };
    pub(super) const WRITER: Self = Self {
        name: "writer",
        words: "The account on the NAS that changes things; empty, and nothing can be changed",
        default: None,
    };
    pub(super) const MAINTENANCE: Self = Self {
        name: "maintenance",
        words: "The account on the NAS that may restart it, a full administrator; empty, and it is not restarted from here",
        default: Some(""),
    };
    pub(super) const READER_KEY: Self =
        Self { name: "reader-key-file", words: "Its API key (not shown)", default: None };
    pub(super) const WRITER_KEY: Self =
        Self { name: "writer-key-file", words: "Its API key (not shown)", default: None };
    pub(super) const MAINTENANCE_KEY: Self =
        Self { name: "maintenance-key-file", words: "Its API key (not shown)", default: None };
    pub(super) const ADMIN: Self = Self {
        name: "admin",
        words: "An administrator of the NAS who makes the accounts now; empty, to make them yourself",
        default: Some(""),
    };
    pub(super) const ADMIN_PASSWORD: Self =
        Self { name: "admin-password-file", words: "Their password (not shown, not kept)", default: None };
    pub(super) const SECOND_FACTOR: Self =
        Self { name: "admin-code-file", words: "The code of their second factor", default: None };
    pub(super) const LISTEN: Self = Self {
        name: "listen",
        words: "How clients come in: serve (through `tailscale serve`), tailnet (straight to this machine's tailnet \
                address), or systemd (as tailnas.socket already has it)",
        default: Some("serve"),
    };

    const ALL: [&'static Self; 15] = [
        &Self::TAILSCALED,
        &Self::PROVIDER,
        &Self::NAS,
        &Self::NAS_NAME,
        &Self::PIN,
        &Self::READER,
        &Self::READER_KEY,
        &Self::WRITER,
        &Self::WRITER_KEY,
        &Self::MAINTENANCE,
        &Self::MAINTENANCE_KEY,
        &Self::ADMIN,
        &Self::ADMIN_PASSWORD,
        &Self::SECOND_FACTOR,
        &Self::LISTEN,
    ];
}

/// What `--help` says of the file.
pub(super) fn help() -> String {
    let mut help = String::from(
        "Ask nothing, and take the answers from FILE: lines of NAME = VALUE. Lines that begin with # are comments. \
         No secret goes into it: what ends in -file names a file of mode 600 that holds one. An admin makes the accounts \
         on the NAS, and no key has to be given.\n",
    );
    for question in Question::ALL {
        let _ = write!(help, "\n  {:<20} {}", question.name, question.words);
    }
    help.push_str("\n\nnas-pin is the SHA-256 of the NAS's certificate itself, or system.");
    help
}

/// Where answers come from.
pub(super) enum Answers {
    /// A person at a terminal.
    Person { terminal: BufReader<File> },
    /// A file, with the names that have been asked for.
    Given { file: String, answers: BTreeMap<String, String> },
}

impl Answers {
    pub(super) fn new(file: Option<&Path>) -> Result<Self, Trouble> {
        let Some(file) = file else {
            let none = |error: io::Error| {
                Trouble::new(format!("there is no terminal to ask on: {error}"), "Say --answers FILE.")
            };
            let terminal = File::options().read(true).write(true).open("/dev/tty").map_err(none)?;
            leave_as_found(terminal.try_clone().map_err(none)?).map_err(none)?;
            return Ok(Self::Person { terminal: BufReader::new(terminal) });
        };
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| {
            Trouble::new(format!("{shown} cannot be read: {error}"), "Name a file that can.")
        })?;
        Ok(Self::Given { file: shown.to_string(), answers: parse(&text, &shown.to_string())? })
    }

    pub(super) const fn are_a_persons(&self) -> bool {
        matches!(self, Self::Person { .. })
    }

    /// The answer to `question`; `guess` where none is given and it has no default of its own.
    pub(super) fn to(&mut self, question: &Question, guess: Option<&str>) -> Result<String, Trouble> {
        let guess = guess.or(question.default);
        match self {
            Self::Given { file, answers } => match answers.get(question.name).map(String::as_str).or(guess) {
                Some(answer) => Ok(answer.to_owned()),
                None => Err(Trouble::new(
                    format!("{file} does not say {}: {}", question.name, question.words),
                    format!("Write into it: {} = VALUE", question.name),
                )),
            },
            Self::Person { terminal } => loop {
                let hint = match guess {
                    Some(guess) if !guess.is_empty() => format!(" [{guess}]"),
                    _ => String::new(),
                };
                let line = ask(terminal, &format!("{}{hint}: ", question.words))?;
                match (line.as_str(), guess) {
                    ("", Some(guess)) => return Ok(guess.to_owned()),
                    ("", None) => {}
                    (line, _) => return Ok(line.to_owned()),
                }
            },
        }
    }

    /// The answer to `question` about a path. A person is asked only where the usual one is not there.
    pub(super) fn unless_usual(&mut self, question: &Question) -> Result<String, Trouble> {
        match question.default {
            Some(usual) if self.are_a_persons() && Path::new(usual).exists() => Ok(usual.to_owned()),
            _ => self.to(question, None),
        }
    }

    /// A secret: typed without being shown, or read from the file that the answer names.
    pub(super) fn secret(&mut self, question: &Question) -> Result<Secret, Trouble> {
        if let Self::Given { .. } = self {
            let file = self.to(question, None)?;
            return SecretSource::File(file.into()).load().map_err(|error| {
                Trouble::new(crate::telemetry::chain(&error), format!("Mend that, or {}.", question.name))
            });
        }
        let Self::Person { terminal } = self else { return Err(no_terminal("it is gone")) };
        let shown = tcgetattr(terminal.get_ref()).map_err(no_terminal)?;
        let mut hidden = shown.clone();
        hidden.local_modes -= LocalModes::ECHO;
        tcsetattr(terminal.get_ref(), OptionalActions::Flush, &hidden).map_err(no_terminal)?;
        let line = ask(terminal, &format!("{}: ", question.words));
        // Whatever became of it: a terminal that shows nothing looks broken.
        let _ = tcsetattr(terminal.get_ref(), OptionalActions::Flush, &shown);
        let _ = terminal.get_mut().write_all(b"\n");
        Ok(Secret::new(line?))
    }
}

/// Ends this program when it is asked to stop, with the terminal as it is now: somebody who presses Ctrl-C while a secret is
/// typed must see again what they type. On a thread of its own, since whoever waits for an answer hears nothing else.
fn leave_as_found(terminal: File) -> io::Result<()> {
    let found = tcgetattr(&terminal)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked_to_stop = {
        let _entered = runtime.enter();
        app::asked_to_stop()
    };
    std::thread::Builder::new().name("interrupted".to_owned()).spawn(move || {
        runtime.block_on(asked_to_stop);
        let _ = tcsetattr(&terminal, OptionalActions::Flush, &found);
        let _ = (&terminal).write_all(b"\n");
        std::process::exit(INTERRUPTED)
    })?;
    Ok(())
}

fn ask(terminal: &mut BufReader<File>, words: &str) -> Result<String, Trouble> {
    let mut line = String::new();
    terminal.get_mut().write_all(words.as_bytes()).map_err(no_terminal)?;
    match terminal.read_line(&mut line) {
        Ok(0) => Err(no_terminal("it was closed")),
        Ok(_) => Ok(line.trim().to_owned()),
        Err(error) => Err(no_terminal(error)),
    }
}

fn no_terminal(error: impl std::fmt::Display) -> Trouble {
    Trouble::new(format!("the terminal gives no answer: {error}"), "Answer the question.")
}

/// Lines of `NAME = VALUE`.
fn parse(text: &str, file: &str) -> Result<BTreeMap<String, String>, Trouble> {
    let mut answers = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let known = line.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        match known {
            Some((name, value)) if Question::ALL.iter().any(|question| question.name == name) => {
                answers.insert(name.to_owned(), value.to_owned());
            }
            _ => {
                return Err(Trouble::new(
                    format!("{file}, line {}: {} is no answer", number + 1, render::foreign(line, 60)),
                    "tailnas setup --help says which there are.",
                ));
            }
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_lines_and_no_others_are_taken() {
        let answers = parse("# mine\n\nnas = wss://nas.example\n  nas-pin=system \n", "f").unwrap();
        assert_eq!(answers["nas"], "wss://nas.example");
        assert_eq!(answers["nas-pin"], "system");
        for (text, line) in [("nas wss://x", "line 1"), ("# c\nkey = hunter2", "line 2")] {
            let trouble = parse(text, "f").unwrap_err();
            assert!(trouble.what.contains(line), "{trouble:?}");
        }
    }

    #[test]
    fn the_help_names_every_answer() {
        for question in Question::ALL {
            assert!(help().contains(question.name));
        }
    }
}
