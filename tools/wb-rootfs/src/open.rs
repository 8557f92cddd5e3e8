//! What enter needs of the host, opened before a user namespace takes the host out of reach.

use crate::enter::{self, Plan, Trees};
use std::ffi::OsString;
use std::fs::File;
use wb_doc::chain::{self, Source};
use wb_doc::{Error, ExitCode, FilterArgs, escape};
use wb_sys::{Errno, program};

/// Open a container's root and the sources of its bind mounts, and run the next program
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Report a failure as a JSON line on this inherited file descriptor, not on standard error
    #[arg(long, value_name = "FD")]
    status_fd: Option<i32>,
    /// The next program and its arguments
    #[arg(last = true, value_name = "NEXT", required = true)]
    next: Vec<OsString>,
}

/// Runs the verb; does not return where it succeeds.
pub fn run(args: &Args, input: &FilterArgs) -> ExitCode {
    let (inherited, error) = match enter::Inherited::take(args.status_fd) {
        Ok(mut inherited) => {
            let Err(error) = open(args, input, &mut inherited);
            (inherited, error)
        }
        Err(error) => (enter::Inherited::default(), error),
    };
    chain::fail("wb-rootfs", "open", inherited.status.map(File::from), &error)
}

fn open(
    args: &Args,
    input: &FilterArgs,
    inherited: &mut enter::Inherited,
) -> Result<std::convert::Infallible, Error> {
    let source = input.doc.as_ref().map(Source::of).ok_or_else(|| Error::usage("--doc is missing"))?;
    let plan = Plan::of(&inherited.document(&source)?, None)?;
    let trees = Trees::open(&plan)?;
    let variable = trees.pass_on()?;
    inherited.pass_on()?;
    let why = "the next program of the chain";
    let errno = program::exec_with(&args.next, &[(enter::VARIABLE, &variable)], why);
    let code = if errno == Errno::ENOENT { 127 } else { 126 };
    Err(Error::errno(escape(&args.next[0].to_string_lossy()), errno).code(code))
}
