//! A layer's tar archive into a directory, in one pass, hashed to its end.
//!
//! Layers are hostile input. [`header`] and [`extended`] read the archive strictly, [`archive`] bounds what it may ask
//! for, [`parents`] and [`tree`] make files below one directory by descriptors, [`place`] gives the directory its
//! name only when it is whole.

mod archive;
mod extended;
mod header;
mod parents;
mod place;
mod tree;

pub use archive::Limits;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use wb_doc::{Context, Error};
use wb_store::Place;
use wb_store::image::Digest;

/// Unpack an uncompressed layer from standard input
///
/// With --diff-id the layer goes into the store, and only if it has that digest. With --to it goes into a directory,
/// and its digest is printed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Digest of the uncompressed layer, as the image's configuration names it
    #[arg(long, value_name = "sha256:HEX", required_unless_present = "to")]
    diff_id: Option<String>,
    /// Unpack into this directory, which must be empty or not exist
    #[arg(long, value_name = "DIR", conflicts_with = "diff_id")]
    to: Option<PathBuf>,
    /// Most bytes of the uncompressed layer
    #[arg(long, value_name = "BYTES", default_value = "64g")]
    max_bytes: String,
    /// Most entries
    #[arg(long, value_name = "NUMBER", default_value_t = 4_000_000)]
    max_entries: u64,
    /// Longest path, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4095)]
    max_path: usize,
}

/// Runs the verb.
pub fn run(args: &Args) -> ExitCode {
    wb_doc::main("wb-rootfs: unpack", || unpack(args))
}

fn unpack(args: &Args) -> Result<ExitCode, Error> {
    let limits = Limits {
        bytes: u64::try_from(wb_doc::units::bytes(&args.max_bytes)?).unwrap_or(u64::MAX),
        entries: args.max_entries,
        path: args.max_path,
    };
    let stdin = std::io::stdin();
    wb_sys::tree::widen_pipe(stdin.as_fd());
    let source = File::from(stdin.as_fd().try_clone_to_owned().context(|| "standard input")?);
    if let Some(target) = &args.to {
        let digest = place::into_directory(target, source, limits)?;
        // The digest is a courtesy; the work is done even if nobody reads it.
        writeln!(std::io::stdout(), "{digest}").ok();
    } else if let Some(diff_id) = &args.diff_id {
        let diff_id = Digest::parse(diff_id)?;
        place::into_store(&Place::from_env()?.layers(), &diff_id, source, limits)?;
    }
    Ok(ExitCode::SUCCESS)
}
