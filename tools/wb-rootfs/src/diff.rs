//! What a container changed in its root.

use std::process::ExitCode;
use wb_doc::Error;

/// List what a container changed, or write it as a layer
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: &Args) -> ExitCode {
    wb_doc::main("wb-rootfs", || Err(Error::new("diff: not written yet")))
}
