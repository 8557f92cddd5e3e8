//! A layer's tar archive into a directory.

use std::process::ExitCode;
use wb_doc::Error;

/// Unpack an uncompressed layer from standard input
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: &Args) -> ExitCode {
    wb_doc::main("wb-rootfs", || Err(Error::new("unpack: not written yet")))
}
