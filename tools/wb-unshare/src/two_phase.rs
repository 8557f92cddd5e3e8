//! `create` and `start`: OCI's two phases.

use crate::TOOL;
use std::process::ExitCode;
use wb_doc::Error;

/// Make a container that waits before the user's program
#[derive(Debug, clap::Args)]
pub struct CreateArgs {}

/// Let a created container go on
#[derive(Debug, clap::Args)]
pub struct StartArgs {}

pub fn create(_args: &CreateArgs) -> ExitCode {
    wb_doc::main(TOOL, || Err(Error::new("create: not written yet")))
}

pub fn start(_args: &StartArgs) -> ExitCode {
    wb_doc::main(TOOL, || Err(Error::new("start: not written yet")))
}
