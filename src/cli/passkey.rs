//! `tailnas passkey`: the links through which people enrol, and what is enrolled.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::clock::Clock;
use crate::config::Config;
use crate::domain::text::foreign;
use crate::exit::Exit;
use crate::passkey::{INVITED_FOR, Listed, PasskeyError, Passkeys};

use super::{CONFIG, complain, load, say};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    /// The configuration file
    #[arg(long, short, default_value = CONFIG, value_name = "FILE", global = true)]
    config: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print a link through which somebody enrols one passkey, once and within ten minutes
    Enroll {
        /// Their tailnet login
        login: String,
    },
    /// List the passkeys
    List,
    /// Take passkeys away, at once
    Revoke {
        /// The passkey, as the list names it
        #[arg(required_unless_present = "login", conflicts_with = "login")]
        id: Option<String>,
        /// All passkeys of this login
        #[arg(long)]
        login: Option<String>,
    },
}

pub(super) fn run(args: &Args) -> Exit {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let passkeys = match passkeys(&config) {
        Ok(passkeys) => passkeys,
        Err(exit) => return exit,
    };
    match &args.command {
        Command::Enroll { login } => enroll(&config, &passkeys, login),
        Command::List => match passkeys.list() {
            Ok(all) if all.is_empty() => {
                say("Nobody has a passkey yet. Make a link for one: tailnas passkey enroll LOGIN\n");
                Exit::Ok
            }
            Ok(all) => {
                say(&table(&all));
                Exit::Ok
            }
            Err(error) => refused(&error),
        },
        Command::Revoke { id, login } => {
            let is_meant = |listed: &Listed| match (id, login) {
                (Some(id), _) => listed.id == *id,
                (None, Some(login)) => listed.login == *login,
                (None, None) => false,
            };
            match passkeys.revoke(is_meant) {
                Ok(gone) if gone.is_empty() => {
                    complain("There is no such passkey, so nothing was changed. See: tailnas passkey list");
                    Exit::Bad
                }
                Ok(gone) => {
                    say(&format!("Revoked; from now on good for nothing:\n{}", table(&gone)));
                    Exit::Ok
                }
                Err(error) => refused(&error),
            }
        }
    }
}

fn passkeys(config: &Config) -> Result<Passkeys, Exit> {
    let origin = config.server.url.origin();
    match origin.parse() {
        Ok(origin) => Ok(Passkeys::new(&config.state, &origin, Clock::system())),
        Err(error) => {
            complain(&format!("server.url: {origin} is no origin: {error}"));
            Err(Exit::Config)
        }
    }
}

fn enroll(config: &Config, passkeys: &Passkeys, login: &str) -> Exit {
    // A login is compared letter for letter with what the tailnet says; one that cannot be one is a slip.
    if login.is_empty() || login.len() > 320 || login.starts_with("tag:") || foreign(login, 320) != login {
        complain("That is no login of a person. Write it as `tailscale status` does; nothing was changed.");
        return Exit::Bad;
    }
    match passkeys.invite(login) {
        Ok(secret) => {
            say(&format!(
                "{}/console/enroll#{secret}\n\nThis link lets {login} enrol one passkey, once, within {} minutes, on a \
                 node of their own. Give it to nobody else: whoever can open it as them can approve as them.\n",
                config.server.url.origin(),
                INVITED_FOR.as_secs() / 60
            ));
            Exit::Ok
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &PasskeyError) -> Exit {
    complain(&error.to_string());
    match error {
        PasskeyError::NoName(_) | PasskeyError::Url(_) => Exit::Config,
        PasskeyError::Store(_) => {
            complain("The state folder belongs to the daemon: run this as root, on the daemon's host.");
            Exit::Unavailable
        }
        _ => Exit::Bad,
    }
}

fn table(all: &[Listed]) -> String {
    let mut text = String::new();
    for Listed { id, login, label, added, used } in all {
        let used = used.as_deref().unwrap_or("never");
        let _ = writeln!(
            text,
            "{id}  {}  {}  enrolled {added}  used {used}",
            foreign(login, 80),
            foreign(label, 60)
        );
    }
    text
}
