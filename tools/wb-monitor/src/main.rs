//! `wb-monitor`: stays with one container for its life: its streams, its terminal, its log, its exit status and its
//! clean-up, nothing else.
//!
//! usage: `wb-monitor run [--finish PROGRAM] [-d | -a [-i]] ID -- CHAIN…`, and `attach`, `wait`, `logs`, `stop`,
//! `kill`, `exec`
#![cfg_attr(not(test), no_main)]

mod attach;
mod client;
mod exec;
mod logs;
mod message;
mod monitor;
mod run;
mod settings;
mod stop;

use clap::Parser;
use wb_doc::{ExitCode, clock};

#[derive(Parser)]
#[command(name = "wb-monitor", version, about = "Attend a container: stdio, tty, log, exit status, clean-up")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Run a container through a chain of programs and attend it to its end
    Run(run::RunArgs),
    /// Connect to a running container
    Attach(attach::AttachArgs),
    /// Wait for containers to end and print their exit codes
    Wait(attach::WaitArgs),
    /// Print what a container has written
    Logs(logs::LogsArgs),
    /// Run another program in a container through a chain of programs, and attend it
    Exec(exec::ExecArgs),
    /// Ask the containers of the documents to end, then kill them
    Stop(stop::StopArgs),
    /// Signal the containers of the documents
    Kill(stop::KillArgs),
}

wb_sys::start!(main);

fn main() -> ExitCode {
    // The verbs that stand in a pipe say so in the pipe when their flags are wrong.
    let in_pipe = std::env::args_os().nth(1).is_some_and(|verb| verb == "stop" || verb == "kill");
    let cli: Cli = if in_pipe { wb_doc::parse_filter() } else { wb_doc::parse() };
    wb_doc::main("wb-monitor", || match cli.verb {
        Verb::Run(args) => run::run(args),
        Verb::Attach(args) => attach::attach(&args),
        Verb::Wait(args) => attach::wait(&args),
        Verb::Logs(args) => logs::logs(&args),
        Verb::Exec(args) => exec::exec(&args),
        Verb::Stop(args) => stop::stop(&args),
        Verb::Kill(args) => stop::kill(&args),
    })
}
