//! wb-nsenter: join a container's namespaces, then the next program.
//!
//! Usage: `wb-nsenter --target PID [flags] [CMD…] | run --doc FD [--status-fd FD] NEXT…`
#![cfg_attr(not(test), no_main)]

mod container;
mod enter;
mod flags;
mod run;

use clap::{Parser, Subcommand};
use wb_doc::ExitCode;

const TOOL: &str = "wb-nsenter";

/// Join namespaces of a process, then become the next program in them
#[derive(Parser)]
#[command(name = "wb-nsenter", version, args_conflicts_with_subcommands = true)]
#[command(
    override_usage = "wb-nsenter --target PID [OPTIONS] [CMD...]\n       wb-nsenter run [OPTIONS] NEXT..."
)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: flags::Args,
}

#[derive(Subcommand)]
enum Verb {
    Run(run::Args),
}

wb_sys::start!(main);

fn main() -> ExitCode {
    let cli = wb_doc::parse::<Cli>();
    match cli.verb {
        None => flags::run(cli.flags),
        Some(Verb::Run(args)) => run::run(&args),
    }
}
