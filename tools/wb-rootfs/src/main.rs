//! wb-rootfs: layers into a root file system, and into it.
//!
//! Usage: `wb-rootfs unpack | mount | umount | diff | enter`

mod diff;
mod enter;
mod mount;
mod umount;
mod unpack;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Layers into a root file system, and into it
#[derive(Parser)]
#[command(name = "wb-rootfs", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Unpack(unpack::Args),
    Mount(mount::Args),
    Umount(umount::Args),
    Diff(diff::Args),
    Enter(enter::Args),
}

fn main() -> ExitCode {
    match wb_doc::parse_filter::<Cli>().verb {
        Verb::Unpack(args) => unpack::run(&args),
        Verb::Mount(args) => mount::run(&args),
        Verb::Umount(args) => umount::run(&args),
        Verb::Diff(args) => diff::run(&args),
        Verb::Enter(args) => enter::run(&args),
    }
}
