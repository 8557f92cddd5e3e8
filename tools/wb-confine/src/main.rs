//! wb-confine: give up privileges, then the next program.
//!
//! Usage: `wb-confine [--doc FD|FILE [--status-fd FD]] [flags] [CMD…]`
#![cfg_attr(not(test), no_main)]

mod act;
mod directory;
mod flags;
mod identity;
mod init;
mod lookup;
mod plan;
mod priority;
mod seccomp;

use std::fs::File;
use wb_doc::{Context, Document, Error, ExitCode, chain};
use wb_sys::fd;

const TOOL: &str = "wb-confine";

/// What came with the program: the document, and the descriptors it keeps until it becomes the next one.
struct Inherited {
    document: Option<Document>,
    status: Option<File>,
    start: Option<File>,
    listener: Option<File>,
}

wb_sys::start!(main);

fn main() -> ExitCode {
    let cli = wb_doc::parse::<flags::Cli>();
    let mut inherited = Inherited { document: None, status: None, start: None, listener: None };
    let error = match take(&cli, &mut inherited) {
        Ok(()) => confine(&cli, &mut inherited),
        Err(error) => error,
    };
    chain::fail(TOOL, "", inherited.status.as_ref(), &error)
}

/// Takes the descriptors over by number, and reads the document. Nothing is changed yet.
fn take(cli: &flags::Cli, inherited: &mut Inherited) -> Result<(), Error> {
    let by_number = |name: &str, number: Option<i32>| {
        let take = |number| fd::inherited(number).context(|| format!("{name} {number}")).map(File::from);
        number.map(take).transpose()
    };
    inherited.status = by_number("--status-fd", cli.chain.status_fd)?;
    inherited.start = by_number("--start-fd", cli.start_fd)?;
    inherited.listener = by_number("--seccomp-fd", cli.seccomp_fd)?;
    if let Some(source) = cli.chain.source() {
        let read = |number| {
            let name = || format!("--doc {number}");
            let file = fd::inherited(number).context(name)?;
            fd::read_all(&file, wb_doc::MAX_DOCUMENT_BYTES).context(name)
        };
        inherited.document = Some(source.read(read)?);
    }
    Ok(())
}

/// Becomes the next program; returns only the failure.
fn confine(cli: &flags::Cli, inherited: &mut Inherited) -> Error {
    let plan = match &inherited.document {
        Some(document) => plan::Plan::of(document),
        None => Ok(plan::Plan::by_hand()),
    };
    let plan = plan.and_then(|plan| flags::apply(cli, plan));
    match plan.and_then(|plan| act::act(&plan, inherited)) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}
