//! wb-unshare: new namespaces, then the next program as their first process.
//!
//! Usage: `wb-unshare [flags] [CMD…] | run --doc FD [--status-fd FD] NEXT… | create … | start | keep CMD…`
#![cfg_attr(not(test), no_main)]

mod birth;
mod flags;
mod hooks;
mod keep;
mod maps;
mod plan;
mod run;
mod subids;
mod two_phase;

use clap::{Parser, Subcommand};
use wb_doc::ExitCode;

const TOOL: &str = "wb-unshare";

/// New namespaces, then the next program as their first process
#[derive(Parser)]
#[command(name = "wb-unshare", version, args_conflicts_with_subcommands = true)]
#[command(
    override_usage = "wb-unshare [OPTIONS] [CMD...]\n       wb-unshare run|create|start|hook|keep [OPTIONS] [NEXT...]"
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
    Create(two_phase::CreateArgs),
    Start(two_phase::StartArgs),
    Hook(two_phase::HookArgs),
    Keep(keep::Args),
}

wb_sys::start!(main);

fn main() -> ExitCode {
    let cli = wb_doc::parse_filter::<Cli>();
    match cli.verb {
        None => flags::run(cli.flags),
        Some(Verb::Run(args)) => run::run(&args),
        Some(Verb::Create(args)) => two_phase::create(&args),
        Some(Verb::Start(args)) => two_phase::start(&args),
        Some(Verb::Hook(args)) => two_phase::hook(&args),
        Some(Verb::Keep(args)) => keep::run(&args),
    }
}
