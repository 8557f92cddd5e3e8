//! wb-oci: the tools as one OCI runtime, with the command line that runc and crun share.
//!
//! Usage: `wb-oci [global options] create|start|state|kill|delete|run|exec|list|ps|… [options] ID`
//!
//! It makes nothing of a container itself: it reads the bundle, claims the id, and has `wb-cgroup`, `wb-unshare`,
//! `wb-rootfs`, `wb-confine` and `wb-nsenter` do the rest.
#![cfg_attr(not(test), no_main)]

mod bundle;
mod chain;
mod check;
mod cli;
mod console;
mod create;
mod end;
mod events;
mod exec;
mod features;
mod list;
mod listener;
mod log;
mod record;
mod spec;
mod start;
mod systemd;
mod tools;
mod update;

use cli::{Cli, Verb};
use wb_doc::{Error, ExitCode};

const TOOL: &str = "wb-oci";

wb_sys::start!(main);

fn main() -> ExitCode {
    let cli = wb_doc::parse::<Cli>();
    let log = log::Log::of(&cli.global);
    let result = run(&cli, &log);
    if let Err(error) = &result {
        log.error(error);
    }
    wb_doc::main(TOOL, || result.map_err(|error| error.within(cli.verb.name())))
}

fn run(cli: &Cli, log: &log::Log) -> Result<ExitCode, Error> {
    let place = record::Place::of(&cli.global)?;
    let done = |()| ExitCode::SUCCESS;
    match &cli.verb {
        Verb::Create(args) => create::create(&place, cli.global.systemd_cgroup(), args, log).map(done),
        Verb::Run(args) => create::run(&place, cli.global.systemd_cgroup(), args, log),
        Verb::Start(args) => start::start(&place, &args.id, log).map(done),
        Verb::State(args) => list::state(&place, &args.id).map(done),
        Verb::Kill(args) => end::kill(&place, args).map(done),
        Verb::Delete(args) => end::delete(&place, args, log).map(done),
        Verb::Exec(args) => exec::exec(&place, args, log),
        Verb::List(args) => list::list(&place, args).map(done),
        Verb::Ps(args) => list::ps(&place, args),
        Verb::Pause(args) => end::freeze(&place, &args.id, true).map(done),
        Verb::Resume(args) => end::freeze(&place, &args.id, false).map(done),
        Verb::Update(args) => update::update(&place, args).map(done),
        Verb::Events(args) => events::events(&place, args).map(done),
        Verb::Spec(args) => spec::spec(args).map(done),
        Verb::Features => features::features().map(done),
    }
}
