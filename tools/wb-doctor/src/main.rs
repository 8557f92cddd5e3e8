//! wb-doctor: what this machine lacks for a container, before anything is touched.
//!
//! `wb-doctor [--json] < documents`, `wb-doctor -n`
#![cfg_attr(not(test), no_main)]

mod control;
mod files;
mod finding;
mod ids;
mod kernel;
mod machine;
mod network;
mod ports;
mod privilege;

use clap::Parser;
use finding::{Finding, Findings};
use machine::Machine;
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use wb_doc::{Context, Document, Error, ExitCode, Filter, FilterArgs};

const TOOL: &str = "wb-doctor";

/// What this machine lacks for a container: each thing with its cause, and what mends it
#[derive(Parser)]
#[command(name = TOOL, version)]
struct Cli {
    /// Pass the documents on, with what is lacking in wb.lacks
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

wb_sys::start!(main);

fn main() -> ExitCode {
    let cli: Cli = wb_doc::parse_filter();
    let machine = match Machine::here() {
        Ok(machine) => machine,
        Err(error) => return wb_doc::main(TOOL, || Err(error)),
    };
    if cli.json {
        return Filter::doing(TOOL, "").run(&cli.filter, |document| {
            let found = examine(&machine, document)?;
            let fatal = found.0.iter().any(Finding::is_fatal);
            document.set("/wb/lacks", &found.0)?;
            if fatal { Err(Error::new("this machine lacks what the container needs")) } else { Ok(()) }
        });
    }
    wb_doc::main(TOOL, || tell(&machine, &cli.filter))
}

/// A table for people: the product. Without any document it is about containers in general.
fn tell(machine: &Machine, args: &FilterArgs) -> Result<ExitCode, Error> {
    let mut documents = wb_doc::documents(args)?.peekable();
    let mut lacking = false;
    let mut out = io::stdout().lock();
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let general = documents.peek().is_none();
    let general = general.then(|| Ok(Document::default()));
    for document in general.into_iter().chain(documents) {
        let document = document?;
        // Whoever failed has said so.
        if let Some(failure) = document.failure() {
            return Ok(ExitCode::from(failure.code.max(1)));
        }
        let found = examine(machine, &document)?;
        lacking |= found.0.iter().any(Finding::is_fatal);
        match out.write_all(found.shown(colour).as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::from(141)),
            written => written.context(|| "standard output")?,
        }
    }
    Ok(if lacking { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Everything that is lacking for a document. One without members is about containers in general.
fn examine(machine: &Machine, document: &Document) -> Result<Findings, Error> {
    let general;
    let document = if document.is_empty() {
        general = in_general()?;
        &general
    } else {
        document
    };
    let mut found = Findings::default();
    kernel::examine(machine, document, &mut found)?;
    privilege::examine(machine, document, &mut found)?;
    ids::examine(machine, document, &mut found)?;
    control::examine(machine, document, &mut found)?;
    files::examine(machine, document, &mut found)?;
    network::examine(machine, document, &mut found)?;
    ports::examine(machine, document, &mut found)?;
    Ok(found)
}

/// What `wb run -m 64m --cpus 0.5 --cpuset-cpus 0 IMAGE` on a network with names would ask for.
fn in_general() -> Result<Document, Error> {
    let kinds = ["pid", "mount", "uts", "ipc", "network", "cgroup"];
    let mounts = ["proc", "sysfs", "tmpfs", "devpts", "mqueue"]
        .map(|kind| json!({ "destination": format!("/{kind}"), "type": kind, "source": kind }));
    let namespaces = kinds.map(|kind| json!({ "type": kind }));
    Document::from_value(json!({
        "process": { "capabilities": { "bounding": wb_sys::capability::DOCKER_DEFAULT } },
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "resources": {
                "memory": { "limit": 1 }, "cpu": { "quota": 1, "cpus": "0" }, "pids": { "limit": 1 },
                "devices": [{ "allow": false }],
            },
        },
        "wb": { "image": {}, "network": { "name": "bridge" } },
    }))
}
