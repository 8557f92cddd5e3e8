//! A layer's tar archive into a directory, in one pass, hashed to its end.
//!
//! Layers are hostile input. [`header`] and [`extended`] read the archive strictly, [`archive`] bounds what it may ask
//! for, [`parents`] and [`tree`] make files below one directory by descriptors, [`place`] gives the directory its
//! name only when it is whole.

pub mod archive;
mod extended;
mod header;
mod input;
mod parents;
mod place;
pub mod tree;

pub use archive::Limits;
pub use place::into_directory;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use wb_doc::{Context, Error, ExitCode};
use wb_store::Place;
use wb_store::image::Digest;

/// Unpack an uncompressed layer from standard input
///
/// With --diff-id the layer goes into the store, and only if it has that digest. With --store and --to the digest it
/// has is printed.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["diff_id", "store", "to"])))]
pub struct Args {
    /// Into the store, if this is the digest of the uncompressed layer
    #[arg(long, value_name = "sha256:HEX")]
    diff_id: Option<String>,
    /// Into the store, whatever its digest is
    #[arg(long)]
    store: bool,
    /// Into this directory, which must be empty or not exist
    #[arg(long, value_name = "DIR")]
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
    let file = File::from(stdin.as_fd().try_clone_to_owned().context(|| "standard input")?);
    let source = input::Input::new(file).context(|| "signalfd")?;
    let digest = if let Some(target) = &args.to {
        into_directory(target, source, limits)?
    } else {
        let expected = args.diff_id.as_deref().map(Digest::parse).transpose()?;
        place::into_store(&Place::from_env()?.layers(), expected.as_ref(), source, limits)?
    };
    if args.diff_id.is_none() {
        // The digest is a courtesy; the work is done even if nobody reads it.
        writeln!(std::io::stdout(), "{digest}").ok();
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
