//! `kill`, `delete`, `pause`, `resume`: how a container stops and goes.

use crate::cli::{DeleteArgs, KillArgs};
use crate::log::Log;
use crate::record::{Container, Directory, Identity, Place, Status};
use crate::{start, tools};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use wb_doc::{Context, Document, Error};
use wb_store::lock::Lock;
use wb_sys::poll::{self, Set};
use wb_sys::{Errno, pipe, proc, process};

/// What a created container that is not to be started is told: any byte but the one that starts it.
const GIVE_UP: &[u8] = b"0";

/// How long a killed process may take to die.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `kill`.
pub fn kill(place: &Place, args: &KillArgs) -> Result<(), Error> {
    let number = wb_sys::signal::parse(&args.signal)
        .map_err(|_| Error::usage(format!("unknown signal {:?}", args.signal)))?;
    let container = place.container(&args.id)?;
    if args.all {
        return kill_all(&container, number);
    }
    let identity = container.alive().ok_or_else(not_running)?;
    signal(identity, number)?;
    let frozen = number == Signal::SIGKILL as i32 && container.is_frozen();
    // On cgroup v1 a frozen process dies only once it is thawed.
    if frozen && container.cgroups.contains_key("freezer") { freeze_it(&container, false) } else { Ok(()) }
}

fn not_running() -> Error {
    Error::new("container not running")
}

/// A signal to the very process that was written down.
pub fn signal(identity: &Identity, number: i32) -> Result<(), Error> {
    let Identity { pid, start_time, boot_id } = identity;
    let handle = match process::pidfd_open(*pid) {
        Err(Errno::ESRCH | Errno::EINVAL) => return Err(not_running()),
        other => other.context(|| format!("process {pid}"))?,
    };
    // Opened first, compared then: no other process can slip in between.
    if !proc::is_alive(*pid, *start_time, boot_id) {
        return Err(not_running());
    }
    match process::pidfd_send_signal(&handle, number, "a signal for the container") {
        Err(Errno::ESRCH) => Err(not_running()),
        other => other.context(|| format!("signal {number} to process {pid}")),
    }
}

fn kill_all(container: &Container, number: i32) -> Result<(), Error> {
    for pid in members(container)? {
        let sent = process::pidfd_open(pid)
            .and_then(|handle| process::pidfd_send_signal(&handle, number, "every process of the container"));
        match sent {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(Error::errno(format!("process {pid}"), errno)),
        }
    }
    Ok(())
}

/// The processes in the container's cgroup; without one, the first process alone.
pub fn members(container: &Container) -> Result<Vec<i32>, Error> {
    if container.cgroups.is_empty() {
        return Ok(container.alive().map(|identity| identity.pid).into_iter().collect());
    }
    let lines = tools::lines(&["wb-cgroup", "procs"], &container.document)?;
    Ok(lines.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Runs `pause` and `resume`.
pub fn freeze(place: &Place, id: &str, frozen: bool) -> Result<(), Error> {
    let container = place.container(id)?;
    match (container.status(), frozen) {
        (Status::Running | Status::Created, true) | (Status::Paused, false) => freeze_it(&container, frozen),
        (status, true) => Err(Error::new(format!("cannot pause a container that is {}", status.name()))),
        (_, false) if container.is_frozen() => freeze_it(&container, false),
        (status, false) => Err(Error::new(format!("container not paused: it is {}", status.name()))),
    }
}

fn freeze_it(container: &Container, frozen: bool) -> Result<(), Error> {
    let verb = if frozen { "freeze" } else { "thaw" };
    tools::filter(&["wb-cgroup", verb], &container.document).map(drop)
}

/// Runs `delete`.
pub fn delete(place: &Place, args: &DeleteArgs, log: &Log) -> Result<(), Error> {
    let directory = match place.directory(&args.id) {
        Err(_) if args.force => return Ok(()),
        other => other?,
    };
    if !args.force {
        // Whoever is being made is not waited for.
        let container = Container::read(place.directory(&args.id)?)?;
        let status = container.status();
        if status != Status::Stopped {
            let id = &args.id;
            return Err(Error::new(format!(
                "cannot delete container {id} that is not stopped: {}",
                status.name()
            )));
        }
    }
    // Whoever makes it, or deletes it too, comes first.
    let _lock = Lock::directory(directory.path())?;
    match Container::read(directory) {
        Ok(container) => destroy(container, log),
        // Its maker was killed before there was anything, or another has deleted it meanwhile.
        Err(error) if args.force => place.directory(&args.id).map_or(Ok(()), |directory| {
            log.warning(&error.to_string());
            directory.remove()
        }),
        Err(error) => Err(error),
    }
}

/// Kills what is left, undoes what was made, and runs the hooks that follow.
pub fn destroy(container: Container, log: &Log) -> Result<(), Error> {
    if let Some(identity) = container.alive() {
        kill_and_wait(identity, &container)?;
    } else if let Some(fifo) = container.directory.waited_on()? {
        // Its maker was killed before it knew who waits; without a cgroup nobody else knows.
        pipe::write(&fifo, GIVE_UP).context(|| "what the container waits on")?;
    }
    let Container { directory, document, cgroups, .. } = container;
    // One whose maker was killed before it knew may have its cgroup; if that is somebody else's, it stays.
    let only_vacant: &[&str] = if cgroups.is_empty() { &["--vacant"] } else { &[] };
    tools::filter(&[&["wb-cgroup", "delete"], only_vacant].concat(), &document)?;
    // Each of them is run, and a failure is no failure of the deletion (runtime.md, "Lifecycle", 13).
    if let Err(error) = start::hooks(&directory, &document, "poststop") {
        log.warning(&format!("poststop: {error}"));
        wb_doc::warn(crate::TOOL, &format!("poststop: {error}"));
    }
    directory.remove()
}

fn kill_and_wait(identity: &Identity, container: &Container) -> Result<(), Error> {
    let handle = match process::pidfd_open(identity.pid) {
        Err(Errno::ESRCH) => return Ok(()),
        other => other.context(|| format!("process {}", identity.pid))?,
    };
    match signal(identity, Signal::SIGKILL as i32) {
        Err(_) if container.alive().is_none() => return Ok(()),
        other => other?,
    }
    if container.is_frozen() {
        freeze_it(container, false)?;
    }
    let mut set = Set::default();
    set.add(&handle, poll::IN, ());
    set.wait(Some(Instant::now() + PATIENCE)).context(|| "poll")?;
    if container.alive().is_some() {
        return Err(Error::new(format!("process {} does not die", identity.pid)));
    }
    Ok(())
}

/// Takes a container back that could not be completed. The failure that led here is the one to be reported: what
/// fails here is only logged.
pub fn take_back(directory: &Directory, document: &Document, log: &Log) {
    let taken = (|| {
        directory.write(document)?;
        let container = Container::read(directory.again())?;
        destroy(container, log)
    })();
    if let Err(error) = taken {
        log.warning(&format!("undo: {error}"));
        wb_doc::warn(crate::TOOL, &format!("undo: {error}"));
    }
    crate::create::reap();
}
