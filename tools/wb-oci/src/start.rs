//! `start`: the container that waits runs its program; and waiting for the end of one.

use crate::chain::{News, Status};
use crate::log::Log;
use crate::record::{Directory, Place, Status as Life};
use crate::{end, tools};
use nix::sys::signal::Signal;
use wb_doc::{Context, Document, Error};
use wb_store::lock::Lock;
use wb_sys::poll::{self, Set};
use wb_sys::signal::Signals;
use wb_sys::{Errno, child, pipe, process};

/// Runs `start`.
pub fn start(place: &Place, id: &str, log: &Log) -> Result<(), Error> {
    let container = place.container(id)?;
    match container.status() {
        Life::Created => {}
        Life::Stopped => return Err(Error::new("cannot start a container that has stopped")),
        Life::Creating => return Err(Error::new("cannot start a container that is being created")),
        Life::Running | Life::Paused => {
            return Err(Error::new("cannot start an already running container"));
        }
    }
    if container.is_frozen() {
        return Err(Error::new("cannot start a paused container"));
    }
    let directory = &container.directory;
    let mut status = Status::open(&directory.status())?;
    let_go(directory)?;
    let outcome = loop {
        match status.hear()? {
            News::Failed(error) => break Err(error),
            News::Ended => break Ok(()),
            News::Started(..) | News::Ready => {}
        }
    };
    let started = outcome.and_then(|()| poststart(directory, &container.document));
    if started.is_err() {
        // runtime.md, "Lifecycle", 7 and 9: stopped, and on with 12, which is the deletion.
        // Without the directory somebody else has deleted it.
        if let Ok(_lock) = Lock::directory(directory.path()) {
            end::take_back(directory, &container.document, log);
        }
    }
    started
}

/// Lets it go, and takes the pipe away: of two at once one succeeds in that, and is the one who starts. In this order,
/// since whoever is killed in between leaves a container that runs, and not one that waits and says it runs.
fn let_go(directory: &Directory) -> Result<(), Error> {
    let path = directory.start();
    let name = || path.display().to_string();
    let gone = || Error::new("cannot start an already running container");
    let fifo = directory.waited_on()?.ok_or_else(gone)?;
    pipe::write(&fifo, b"!").context(name)?;
    match nix::unistd::unlink(&path) {
        Err(Errno::ENOENT) => Err(gone()),
        other => other.context(name),
    }
}

/// Runs the hooks that follow the start of the user's program.
pub fn poststart(directory: &Directory, document: &Document) -> Result<(), Error> {
    hooks(directory, document, "poststart")
}

/// Runs the hooks of one kind, if there are any.
pub fn hooks(directory: &Directory, document: &Document, kind: &str) -> Result<(), Error> {
    if wb_doc::hooks::of(document, kind)?.is_empty() {
        return Ok(());
    }
    // The hooks' words go where this program's go.
    directory.write(document)?;
    tools::filter(&["wb-unshare", "hook", kind], document).map(drop)
}

/// Hands signals on to the process and waits for its end; its exit status.
pub fn attend(pid: i32, signals: &Signals) -> Result<u8, Error> {
    let mut set = Set::default();
    let mut code = None;
    loop {
        while let Some(number) = signals.next() {
            if number != Signal::SIGCHLD as i32 {
                match child::kill(pid, number, "a signal for the container") {
                    Ok(()) | Err(Errno::ESRCH) => continue,
                    Err(errno) => return Err(Error::errno("signal", errno)),
                }
            }
            while let Some(status) = child::reap() {
                if status.pid().map(nix::unistd::Pid::as_raw) == Some(pid) {
                    code = process::exit_code(status);
                }
            }
        }
        if let Some(code) = code {
            return Ok(code);
        }
        set.clear();
        set.add(signals, poll::IN, ());
        set.wait(None).context(|| "poll")?;
    }
}
