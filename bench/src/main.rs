//! The daemon measured beside what a user would pick instead, in one run. `bench/run.sh` gets everything that this needs.

mod chart;
mod check;
mod load;
mod machine;
mod measure;
mod process;
mod report;
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use measure::{BARE, OURS, Pace, Programs};
use report::Run;
use servers::Launch;

/// Measures the daemon beside other MCP servers, and writes what came of it.
#[derive(Debug, Parser)]
struct Args {
    /// The demo, which can be the daemon
    #[arg(long, value_name = "FILE")]
    demo: PathBuf,

    /// How the daemon was built, in words
    #[arg(long, value_name = "TEXT")]
    built: String,

    /// Python with FastMCP
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,

    /// Why there is no Python
    #[arg(long, value_name = "TEXT", default_value = "no --python was given")]
    no_python: String,

    /// Node.js
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,

    /// Why there is no Node.js
    #[arg(long, value_name = "TEXT", default_value = "no --node was given")]
    no_node: String,

    /// The folder of the scripts of the others, with what they need
    #[arg(long, value_name = "DIR")]
    peers: PathBuf,

    /// Where the results go
    #[arg(long, value_name = "DIR")]
    docs: PathBuf,

    /// Less than two minutes, and less exact
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the benchmark could not go on: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether all that is ours could be measured.
fn run(args: &Args) -> Result<bool, String> {
    let began = Instant::now();
    let cores = machine::share_out()?;
    let bare = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("bare");
    let script = |program: &Option<PathBuf>, name: &str, why: &String| match program {
        Some(program) => Ok((program.clone(), args.peers.join(name))),
        None => Err(why.clone()),
    };
    let programs = Programs {
        demo: args.demo.clone(),
        bare,
        fastmcp: script(&args.python, "fastmcp_server.py", &args.no_python),
        typescript: script(&args.node, "server.mjs", &args.no_node),
    };
    let pace = if args.quick { Pace::quick() } else { Pace::usual() };
    let launch = Launch { core: cores.server };
    // More threads than cores: what the simulator thinks about for long keeps nobody else from being answered.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2 * cores.all).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let measured = runtime.block_on(measure::everything(&programs, &launch, &pace))?;
    let run = Run {
        day: chrono::Utc::now().format("%Y-%m-%d").to_string(),
        machine: machine::describe(cores, &std::env::temp_dir()),
        command: if args.quick { "bench/run.sh --quick" } else { "bench/run.sh" }.to_owned(),
        built: args.built.clone(),
        took: began.elapsed().as_secs(),
    };
    println!("{}", report::write(&args.docs, &run, &measured)?);
    let ours = |server| [OURS, BARE].contains(&server);
    Ok(measured.cells.iter().all(|cell| cell.samples.is_ok() || !ours(cell.server)))
}
