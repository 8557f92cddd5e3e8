//! A container's root as one tar: its layers and what it wrote, without volumes and without what is only there while it
//! runs.

use crate::cp::Stream;
use crate::cp::view::View;
use crate::tar_out::Writer;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use wb_doc::{Context, Error, ExitCode, FilterArgs};

/// Write a container's root as a tar, without its volumes
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// A file to write to, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: &Args) -> ExitCode {
    wb_doc::main("wb-rootfs: export", || export(args))
}

fn export(args: &Args) -> Result<ExitCode, Error> {
    let mut document = wb_doc::read_one(&args.filter)?;
    if let Some(failure) = document.failure() {
        // It has been printed by the stage that failed.
        return Ok(ExitCode::from(failure.code.max(1)));
    }
    let stdout = std::io::stdout();
    let out: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(File::create(path).context(|| path.display().to_string())?),
        None if stdout.is_terminal() => {
            return Err(Error::usage("a tar is not written to a terminal").hint("-o FILE, or redirect it"));
        }
        None => {
            wb_sys::tree::widen_pipe(&stdout);
            Box::new(stdout.lock())
        }
    };
    let view = View::without_volumes(&mut document)?;
    let owner = |uid, gid| view.inside(uid, gid);
    Stream::new(Writer::new(out), &owner).whole(&view.root, b"")?;
    Ok(ExitCode::SUCCESS)
}
