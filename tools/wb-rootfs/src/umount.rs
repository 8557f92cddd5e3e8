//! Undoes what mount did.

use std::process::ExitCode;
use wb_doc::Error;

/// Unmount a container's root file system
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: &Args) -> ExitCode {
    wb_doc::main("wb-rootfs", || Err(Error::new("umount: not written yet")))
}
