//! Into a root file system: mounts, pivot_root, then the next program.

use std::process::ExitCode;
use wb_doc::Error;

/// Enter a root file system and run the next program in it
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: &Args) -> ExitCode {
    wb_doc::main("wb-rootfs", || Err(Error::new("enter: not written yet")))
}
