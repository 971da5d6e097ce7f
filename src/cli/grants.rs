//! `tailnas grants`: who may do what, and what to write into the tailnet policy so that they may.

mod block;

pub(super) use self::block::text;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::caller::{Denied, Grants, Rules, explain};
use crate::clock::Clock;
use crate::config::Config;
use crate::dispatch::{self, Catalogue};
use crate::domain::name::NasName;
use crate::exit::Exit;
use crate::tailnet::{LocalApi, Node, Peer};
use crate::telemetry::chain;
use crate::tools::Spec;

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
    /// Say of each tool why somebody may call it or may not, on each of their nodes
    Explain {
        /// Their tailnet login, or the tag of an agent
        login: String,
        /// Look at the node with this address alone
        #[arg(long)]
        address: Option<IpAddr>,
    },
    /// Print grants for the tailnet policy, with the names of this tailnet, to cut down and paste
    Print,
}

pub(super) fn run(args: &Args) -> Exit {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("tailnas: the asynchronous runtime could not be started: {error}"));
            return Exit::Bug;
        }
    };
    let localapi = LocalApi::new(&config.tailnet.socket, Clock::system());
    runtime.block_on(async {
        match &args.command {
            Command::Explain { login, address } => tell(&config, &localapi, login, *address).await,
            Command::Print => match localapi.roster().await {
                Ok(roster) => {
                    say(&text(&config, &roster));
                    Exit::Ok
                }
                Err(error) => unreachable_tailscaled(&error),
            },
        }
    })
}

fn unreachable_tailscaled(error: &dyn std::error::Error) -> Exit {
    complain(&format!(
        "tailscaled could not be asked who is on the tailnet: {}\nNothing was changed. Is tailscaled running, and is \
         tailnet.socket its socket?",
        chain(error)
    ));
    Exit::Unavailable
}

async fn tell(config: &Config, localapi: &LocalApi, login: &str, address: Option<IpAddr>) -> Exit {
    let addresses = if let Some(address) = address {
        vec![address]
    } else {
        let roster = match localapi.roster().await {
            Ok(roster) => roster,
            Err(error) => return unreachable_tailscaled(&error),
        };
        let theirs = |node: &&Node| node.login() == Some(login) || node.tags().iter().any(|tag| tag == login);
        roster.others().iter().filter(theirs).filter_map(|node| node.addresses().first().copied()).collect()
    };
    if addresses.is_empty() {
        complain(&format!(
            "{login} has no node on this tailnet that this one can see, and may call nothing from elsewhere.\nIs the \
             login spelled as `tailscale status` spells it, and may their node reach this one at all?"
        ));
        return Exit::Bad;
    }
    let rules = Rules::of(config);
    let mut exit = Exit::Ok;
    for address in addresses {
        match explain(localapi, &rules, address).await {
            Ok((peer, grants)) if is_named(&peer, login) => {
                for nas in &config.nas {
                    say(&explanation(&peer, &grants, &nas.name));
                }
            }
            Ok((peer, _)) => {
                exit = Exit::Bad;
                let whose =
                    peer.user().map_or_else(|| peer.tags().join(", "), |user| user.login().to_owned());
                complain(&format!("The node at {address} is not {login}'s: it is {whose}'s."));
            }
            Err(denied) => {
                exit = Exit::Bad;
                complain(&format!("Nobody is admitted from {address}: {}.", why(&denied, &rules)));
            }
        }
    }
    exit
}

fn is_named(peer: &Peer, login: &str) -> bool {
    peer.user().map_or_else(|| peer.tags().iter().any(|tag| tag == login), |user| user.login() == login)
}

fn why(denied: &Denied, rules: &Rules) -> String {
    match denied.reason() {
        "peer_unknown" => "tailscaled knows no node with that address".to_owned(),
        "tailscaled_down" => "tailscaled gave no answer".to_owned(),
        "shared_in" => "the node was shared in from another tailnet".to_owned(),
        "own_node" => "that is this machine itself, and every process on it".to_owned(),
        "tagged" if !rules.relays.is_empty() => {
            "it is a tagged node and no [[agent]]. If it is a [[relay]], it may do what both its own node and the \
             person whose token it brings may do, and nothing that destroys or approves"
                .to_owned()
        }
        "tagged" => "it is a tagged node, and neither a [[relay]] nor an [[agent]] of the configuration".to_owned(),
        other => other.to_owned(),
    }
}

/// What a node's user may call, tool by tool, from the same judgement that calls get.
fn explanation(peer: &Peer, grants: &Grants, nas: &NasName) -> String {
    let whose = peer.user().map_or_else(|| peer.tags().join(", "), |user| user.login().to_owned());
    let mut text = format!("{whose} on {} ({}), NAS {nas}:\n", peer.node_name(), peer.addr().ip());
    let catalogue = Catalogue::new();
    let may = |spec: &Spec| dispatch::explain(spec, grants, nas).0;
    let shown: Vec<_> = catalogue.for_whoever(may).map(|item| item.spec().name).collect();
    for spec in catalogue.specs() {
        let _ = match spec.scope {
            None if !shown.contains(&spec.name) => {
                writeln!(text, "  ✗ {:<20} is for those who can change something", spec.name)
            }
            _ => writeln!(text, "  {}", line(spec, grants, nas)),
        };
    }
    text.push_str(if grants.is_machine() {
        "An agent comes without a token. What destroys or approves is closed to it.\n\n"
    } else {
        "With a token of theirs for this resource. One that has scopes of ours allows these and no others.\n\n"
    });
    text
}

fn line(spec: &Spec, grants: &Grants, nas: &NasName) -> String {
    let (may, why) = dispatch::explain(spec, grants, nas);
    format!("{} {:<20} {why}", if may { "✓" } else { "✗" }, spec.name)
}
