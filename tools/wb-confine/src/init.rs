//! `--init`: process 1 stays and has the program as its child, so that orphans are reaped and signals arrive.
//!
//! The kernel gives process 1 no default actions: a program that does not handle SIGTERM cannot be stopped by it, and
//! zombies stay. As any other process it behaves as everywhere else. What stays has given up all that the program has.

use crate::TOOL;
use nix::sys::signal::{SigSet, Signal};
use std::convert::Infallible;
use std::fs::File;
use wb_doc::{Context, Error, chain};
use wb_sys::{child, process};

/// Raised by the process's own fault or by its terminal: not for others to be told of.
const OWN: [Signal; 12] = [
    Signal::SIGKILL,
    Signal::SIGSTOP,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGSYS,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGTSTP,
];

/// Forks the program that `exec` becomes, forwards signals to it, reaps every child, and ends as the program ends.
pub fn stay(status: Option<File>, terminal: bool, exec: impl FnOnce() -> Error) -> Result<Infallible, Error> {
    let mut forwarded = SigSet::empty();
    Signal::iterator().filter(|signal| !OWN.contains(signal)).for_each(|signal| forwarded.add(signal));
    let mut blocked = forwarded;
    // Or the child would be stopped when it takes the terminal over.
    blocked.add(Signal::SIGTTOU);
    blocked.thread_block().context(|| "signals")?;
    let program = child::fork("the program is a child of process 1", || {
        let error = match prepare(terminal) {
            Ok(()) => exec(),
            Err(error) => error,
        };
        // What it returns says the same as the number this child ends with.
        let _: wb_doc::ExitCode = chain::fail(TOOL, "", status.as_ref(), &error);
        i32::from(error.exit_code())
    })
    .context(|| "fork")?;
    // The pipe now ends when the child becomes the program.
    drop(status);
    wb_sys::trace::end_on_stderr();
    loop {
        match forwarded.wait().context(|| "wait for a signal")? {
            Signal::SIGCHLD => {
                while let Some(ended) = child::reap() {
                    if ended.pid() == Some(program) {
                        if let Some(code) = process::exit_code(ended) {
                            std::process::exit(i32::from(code));
                        }
                    }
                }
            }
            // It may be gone already, which the next SIGCHLD tells.
            signal => drop(child::kill(program.as_raw(), signal as i32, "process 1 passes it on")),
        }
    }
}

/// A process group of its own, in front of the terminal if there is one; nothing blocked.
fn prepare(terminal: bool) -> Result<(), Error> {
    let own = nix::unistd::Pid::from_raw(0);
    nix::unistd::setpgid(own, own).context(|| "process group")?;
    if terminal {
        // Without a controlling terminal there is nobody to be in front of.
        nix::unistd::tcsetpgrp(std::io::stdin(), nix::unistd::getpid()).ok();
    }
    process::reset_signals().context(|| "signals")
}
