//! wb-describe: a document from a live process, and how it differs from what was asked.
//!
//! `wb-describe PID|CONTAINER`, `wb-describe drift < documents`
#![cfg_attr(not(test), no_main)]

mod drift;
mod mounts;
mod namespaces;
mod network;
mod process;

use clap::Parser;
use nix::sched::CloneFlags;
use serde_json::json;
use std::fs::File;
use wb_doc::{Context, Document, Error, ExitCode, Filter, FilterArgs};
use wb_store::{Place, record};

const TOOL: &str = "wb-describe";

/// A document from a live process: whatever started it, and whatever it was asked to be
#[derive(Parser)]
#[command(name = TOOL, version)]
struct Cli {
    /// A process, a container, or `drift`: compare documents on standard input with their processes
    #[arg(value_name = "PID|CONTAINER|drift")]
    what: String,
    #[command(flatten)]
    filter: FilterArgs,
}

wb_sys::start!(main);

fn main() -> ExitCode {
    let cli: Cli = wb_doc::parse_filter();
    if cli.what == "drift" {
        return Filter::doing(TOOL, "drift").run(&cli.filter, |document| {
            let pid = living(document)?;
            let differences = drift::compare(document, &describe(pid)?)?;
            document.set("/wb/drift", differences)
        });
    }
    // A failure goes down the pipe as a document: the next stage would take an empty input for success.
    wb_doc::emit(TOOL, "", pid_of(&cli.what).and_then(describe))
}

/// A number is a process; anything else is a container of ours.
fn pid_of(what: &str) -> Result<i32, Error> {
    if let Ok(pid) = what.parse() {
        return Ok(pid);
    }
    let place = Place::from_env()?;
    let id = record::resolve(&place, what)?;
    living(&record::read(&place, &id)?)
}

/// The process of a document, if it is still the one the document means.
fn living(document: &Document) -> Result<i32, Error> {
    let not_running = || Error::new(format!("container {} is not running", document.id().unwrap_or("?")));
    let pid = document.read::<i32>("/wb/state/pid")?.ok_or_else(not_running)?;
    let start = document.read::<u64>("/wb/state/startTime")?.unwrap_or_default();
    let boot = document.str_at("/wb/state/bootId").unwrap_or_default();
    if wb_sys::proc::is_alive(pid, start, boot) { Ok(pid) } else { Err(not_running()) }
}

/// Everything the kernel says about a process, as a document.
fn describe(pid: i32) -> Result<Document, Error> {
    let mut document = Document::default();
    document.set("/ociVersion", "1.2.0")?;
    let about = |error: Error| error.within(format!("process {pid}"));
    process::describe(pid, &mut document).map_err(about)?;
    mounts::describe(pid, &mut document).map_err(about)?;
    namespaces::describe(pid, &mut document).map_err(about)?;
    network::describe(pid, &mut document).map_err(about)?;
    if let Some(name) = hostname(pid)? {
        document.set("/hostname", name)?;
    }
    document.set(
        "/wb/state",
        json!({
            "status": "running", "pid": pid,
            "startTime": wb_sys::proc::start_time(pid).context(|| format!("process {pid}"))?,
            "bootId": wb_sys::proc::boot_id().context(|| "boot id")?,
        }),
    )?;
    Ok(document)
}

/// The name in the process's UTS namespace: only a member can ask, so this process joins it and comes back.
fn hostname(pid: i32) -> Result<Option<String>, Error> {
    let open = |who: &str| {
        let path = format!("/proc/{who}/ns/uts");
        File::open(&path).context(|| path)
    };
    let (own, theirs) = (open("self")?, open(&pid.to_string())?);
    wb_sys::namespace::setns(&theirs, CloneFlags::CLONE_NEWUTS, "only a member can read the host name")
        .context(|| format!("uts namespace of process {pid}"))?;
    let name = nix::unistd::gethostname().context(|| "gethostname");
    wb_sys::namespace::setns(&own, CloneFlags::CLONE_NEWUTS, "and back").context(|| "own uts namespace")?;
    Ok(name?.into_string().ok())
}
