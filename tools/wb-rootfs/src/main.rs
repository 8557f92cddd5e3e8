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
#[derive(Debug, Parser)]
#[command(name = "wb-rootfs", version)]
struct Cli {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
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

impl Cli {
    /// What a verb of the flows means without flags.
    fn alone(verb: &str) -> Option<Self> {
        let verb = match verb {
            "mount" => Verb::Mount(mount::Args::default()),
            "umount" => Verb::Umount(umount::Args::default()),
            _ => return None,
        };
        Some(Self { verb, filter: FilterArgs::default() })
    }
}

wb_sys::start!(main);

fn main() -> ExitCode {
    let Cli { filter, verb } = wb_doc::alone(Cli::alone).unwrap_or_else(wb_doc::parse_filter);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_alone_means_what_clap_makes_of_it() {
        for verb in ["mount", "umount"] {
            let claps = Cli::try_parse_from(["tool", verb]).unwrap();
            assert_eq!(format!("{:?}", Cli::alone(verb).unwrap()), format!("{claps:?}"));
        }
        assert!(Cli::alone("list").is_none());
    }
}
