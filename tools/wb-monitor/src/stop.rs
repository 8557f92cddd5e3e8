//! `stop` and `kill`: filters that end or signal the process of each document, and never another one.

use crate::attach::{ask, connect};
use crate::message::Request;
use crate::settings::{Run, STOP_TIMEOUT_S, stop_signal};
use nix::sys::signal::Signal;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};
use wb_doc::{Context, Document, Error, ExitCode, Filter, FilterArgs};
use wb_store::{Place, record};
use wb_sys::poll::{self, Set};
use wb_sys::{Errno, file, proc, process, signal};

/// How long the kernel and the clean-up may take after SIGKILL.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(30);

/// The flags of `stop`.
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    /// Seconds to wait before SIGKILL; -1 waits without end
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    time: Option<i64>,
    /// The signal that asks the container to end
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
}

/// The flags of `kill`.
#[derive(Debug, clap::Args)]
pub struct KillArgs {
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Ends the containers of the documents; those that have ended already are left alone.
pub fn stop(args: &StopArgs) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    let boot_id = proc::boot_id().context(|| "boot_id")?;
    let named = args.signal.as_deref().map(parse).transpose()?;
    Ok(Filter::doing("wb-monitor", "stop").run(&args.filter, |document| {
        let run: Run = document.read("/wb/run")?.unwrap_or_default();
        let number = named.map_or_else(|| stop_signal(&run), Ok)?;
        let timeout = args.time.or(run.stop_timeout).unwrap_or(STOP_TIMEOUT_S);
        let timeout = u64::try_from(timeout).ok().map(Duration::from_secs);
        end(&place, document, &boot_id, number, timeout)?;
        refresh(&place, document, &boot_id)
    }))
}

/// Signals the containers of the documents; one that does not run is an error.
pub fn kill(args: &KillArgs) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    let boot_id = proc::boot_id().context(|| "boot_id")?;
    let number = parse(&args.signal)?;
    Ok(Filter::doing("wb-monitor", "kill").run(&args.filter, |document| {
        let run: Run = document.read("/wb/run")?.unwrap_or_default();
        let Some(pidfd) = process_of(document, "/wb/state", &boot_id)? else {
            return Err(Error::new(format!("container {} is not running", document.id()?)));
        };
        let deadly = number == Signal::SIGKILL as i32;
        if deadly || number == stop_signal(&run)? {
            tell_monitor(&place, document)?;
        }
        send(&pidfd, number, "as asked")?;
        if deadly {
            thaw(document)?;
            kill_rest(document)?;
            wait_for(&pidfd, Some(CLEAN_UP_TIMEOUT)).map(drop)?;
        }
        Ok(())
    }))
}

fn parse(word: &str) -> Result<i32, Error> {
    signal::parse(word).map_err(|_| Error::usage(format!("invalid signal {word:?}")))
}

/// The process at `pointer`, held by a descriptor; none where it is gone. The number alone proves nothing: start time
/// and boot must be those of the record, and are compared after the descriptor is held.
fn process_of(document: &Document, pointer: &str, boot_id: &str) -> Result<Option<OwnedFd>, Error> {
    let pid: i32 = document.read(&format!("{pointer}/pid"))?.unwrap_or_default();
    if pid <= 0 {
        return Ok(None);
    }
    match process::pidfd_open(pid) {
        Ok(pidfd) => Ok(record::is_alive(document, pointer, boot_id).then_some(pidfd)),
        Err(Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno).context(|| format!("process {pid}")),
    }
}

fn end(
    place: &Place,
    document: &Document,
    boot_id: &str,
    number: i32,
    timeout: Option<Duration>,
) -> Result<(), Error> {
    // Held from before the first signal: its end is the end of the clean-up.
    let monitor = process_of(document, "/wb/state/monitor", boot_id)?;
    let process = process_of(document, "/wb/state", boot_id)?;
    if process.is_some() || monitor.is_some() {
        tell_monitor(place, document)?;
    }
    if let Some(process) = &process {
        if timeout != Some(Duration::ZERO) {
            send(process, number, "asks it to end")?;
        }
        if timeout == Some(Duration::ZERO) {
            send(process, Signal::SIGKILL as i32, "it gets no time")?;
        }
        thaw(document)?;
        if !wait_for(process, timeout)? {
            send(process, Signal::SIGKILL as i32, "it had its time")?;
            kill_rest(document)?;
            if !wait_for(process, Some(CLEAN_UP_TIMEOUT))? {
                return Err(Error::new("the process does not end, although it was killed")
                    .hint("a frozen cgroup keeps it: wb-cgroup thaw"));
            }
        }
    }
    match monitor {
        Some(monitor) if !wait_for(&monitor, Some(CLEAN_UP_TIMEOUT))? => {
            Err(Error::new("the container has ended, but its clean-up has not"))
        }
        _ => Ok(()),
    }
}

/// A container that is stopped on purpose is not started again.
fn tell_monitor(place: &Place, document: &Document) -> Result<(), Error> {
    if let Some(socket) = connect(place, document.id()?)? {
        // One that ends in this moment needs not be told.
        ask(&socket, &Request::Stop).ok();
    }
    Ok(())
}

fn send(pidfd: &OwnedFd, number: i32, why: &str) -> Result<(), Error> {
    match process::pidfd_send_signal(pidfd, number, why) {
        // It was quicker.
        Err(Errno::ESRCH) => Ok(()),
        other => other.context(|| format!("signal {}", process::signal_name(number))),
    }
}

/// Lets a paused container go on, once its signal waits for it: what is frozen can neither end nor be killed.
fn thaw(document: &Document) -> Result<(), Error> {
    if document.str_at("/wb/state/status") != Some("paused") {
        return Ok(());
    }
    for (controller, name, value) in
        [("freezer", "freezer.state", "THAWED"), ("unified", "cgroup.freeze", "0")]
    {
        let Some(directory) = document.str_at(&format!("/wb/cgroup/paths/{controller}")) else { continue };
        match file::write_control(&Path::new(directory).join(name), value, "it shall end") {
            Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => {}
            Err(errno) => return Err(errno).context(|| format!("{directory}/{name}")),
        }
    }
    Ok(())
}

/// Kills what shares the container's cgroup: where the container has no pid namespace of its own, its first process
/// does not take the others with it. Only cgroup v2 can do so in one step; `wb-cgroup delete` does the rest.
fn kill_rest(document: &Document) -> Result<(), Error> {
    let Some(directory) = document.str_at("/wb/cgroup/paths/unified") else { return Ok(()) };
    match file::write_control(&Path::new(directory).join("cgroup.kill"), "1", "everything in it") {
        Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        Err(errno) => Err(errno).context(|| format!("{directory}/cgroup.kill")),
    }
}

/// Waits for the process behind `pidfd` to end; whether it has. No timeout means without end.
pub fn wait_for(pidfd: &OwnedFd, timeout: Option<Duration>) -> Result<bool, Error> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut set = Set::default();
    set.add(pidfd, poll::IN, ());
    loop {
        set.wait(deadline).context(|| "poll")?;
        if set.at(0).1 != 0 {
            return Ok(true);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
    }
}

/// The document as it is now; one that was removed with its container keeps what is known.
fn refresh(place: &Place, document: &mut Document, boot_id: &str) -> Result<(), Error> {
    match record::read(place, document.id()?) {
        Ok(now) => *document = now,
        Err(_) => document.set("/wb/state/status", "exited")?,
    }
    record::true_status(document, boot_id).map(drop)
}
