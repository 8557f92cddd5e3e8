//! wb-rootfs: layers into a root file system, and into it.
//!
//! Usage: `wb-rootfs unpack | mount | umount | diff | cp | export | open | enter`
#![cfg_attr(not(test), no_main)]

mod attribute;
mod copy;
mod cp;
mod diff;
mod enter;
mod export;
mod idmap;
mod mount;
mod open;
mod tar_out;
mod umount;
mod unpack;

use clap::{Parser, Subcommand};
use wb_doc::{ExitCode, FilterArgs};

/// Layers into a root file system, and into it
#[derive(Parser)]
#[command(name = "wb-rootfs", version)]
struct Cli {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Unpack(unpack::Args),
    Mount(mount::Args),
    Umount(umount::Args),
    Diff(diff::Args),
    Cp(cp::Args),
    Export(export::Args),
    Enter(enter::Args),
    Open(open::Args),
}

wb_sys::start!(main);

fn main() -> ExitCode {
    let Cli { filter, verb } = wb_doc::parse_filter();
    match verb {
        Verb::Unpack(args) => unpack::run(&args),
        Verb::Mount(args) => mount::run(&args, &filter),
        Verb::Umount(args) => umount::run(&args, &filter),
        Verb::Diff(args) => diff::run(&args),
        Verb::Cp(args) => cp::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Enter(args) => enter::run(&args, &filter),
        Verb::Open(args) => open::run(&args, &filter),
    }
}
