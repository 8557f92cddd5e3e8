//! `create` and `run`: a container from a bundle.

use crate::bundle::{self, Extras};
use crate::chain::{self, News, Numbers, Status};
use crate::cli::{CreateArgs, RunArgs};
use crate::console::{self, Console};
use crate::listener::Listener;
use crate::log::Log;
use crate::record::{Container, Directory, Place};
use crate::{end, start, tools};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use wb_doc::{Context, Document, Error, ExitCode};
use wb_store::lock::Lock;
use wb_sys::signal::Signals;
use wb_sys::{child, fd, proc};

/// A container on its way.
#[derive(Debug)]
struct Making {
    directory: Directory,
    document: Document,
    console: Option<Console>,
    numbers: Numbers,
    /// Held until the container is complete: whoever deletes it waits for that.
    lock: Lock,
}

/// Runs `create`.
pub fn create(place: &Place, systemd: bool, args: &CreateArgs, log: &Log) -> Result<(), Error> {
    let mut making = begin(place, systemd, args, false, log)?;
    let made = making.make(true, log).and_then(|()| write_pid(args.pid_file.as_deref(), making.pid()));
    made.inspect_err(|_| making.undo(log))
}

/// Runs `run`.
pub fn run(place: &Place, systemd: bool, args: &RunArgs, log: &Log) -> Result<ExitCode, Error> {
    let mut making = begin(place, systemd, &args.create, !args.detach, log)?;
    let signals = if args.detach { None } else { Some(forwarded()?) };
    let made = making
        .make(false, log)
        .and_then(|()| write_pid(args.create.pid_file.as_deref(), making.pid()))
        .and_then(|()| start::poststart(&making.directory, &making.document));
    if let Err(error) = made {
        making.undo(log);
        return Err(error);
    }
    let Some(signals) = signals else { return Ok(ExitCode::SUCCESS) };
    let (pid, directory) = (making.pid(), making.finish());
    let code = wait(pid, &signals, directory.1);
    let container = Container::read(directory.0)?;
    let deleted = if args.keep { Ok(()) } else { end::destroy(container, log) };
    code.and_then(|code| deleted.map(|()| ExitCode::from(code)))
}

/// Signals that a waiting runtime hands on, and those it needs itself.
pub fn forwarded() -> Result<Signals, Error> {
    use nix::sys::signal::Signal;
    let own =
        [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP, Signal::SIGSYS];
    let kept = [
        Signal::SIGKILL,
        Signal::SIGSTOP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGTSTP,
        Signal::SIGPIPE,
    ];
    let all = Signal::iterator().filter(|signal| !own.contains(signal) && !kept.contains(signal));
    let numbers: Vec<i32> = all.map(|signal| signal as i32).collect();
    Signals::take(&numbers).context(|| "signals")
}

/// Waits for the end of the process, with its terminal where that is served here.
pub fn wait(pid: i32, signals: &Signals, console: Option<Console>) -> Result<u8, Error> {
    match console {
        Some(console) => console.serve(pid, signals),
        None => start::attend(pid, signals),
    }
}

/// Everything before the first process.
fn begin(place: &Place, systemd: bool, args: &CreateArgs, stays: bool, log: &Log) -> Result<Making, Error> {
    let preserve_fds = chain::preserved(args.preserve_fds)?;
    let extras = Extras {
        preserve_fds,
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        systemd_cgroup: systemd,
    };
    let document = bundle::read(&args.bundle, &args.id, extras, log)?;
    let numbers = Numbers::after(preserve_fds)?;
    let (directory, lock) = place.claim(&args.id)?;
    let mut making = Making { directory, document, console: None, numbers, lock };
    let prepared = making.prepare(args, stays, log);
    match prepared {
        Ok(()) => Ok(making),
        Err(error) => {
            // Nothing has run yet: where there is no cgroup, its maker has taken it back.
            if making.document.at("/wb/cgroup").is_some() {
                making.undo(log);
            } else {
                making.directory.remove()?;
            }
            Err(error)
        }
    }
}

impl Making {
    fn prepare(&mut self, args: &CreateArgs, stays: bool, log: &Log) -> Result<(), Error> {
        self.console = console::of(&self.document, args.console_socket.as_deref(), stays)?;
        // From here on whoever deletes the container knows which cgroup that is.
        self.directory.write(&self.document)?;
        // A maker that is killed meanwhile is waited for until this one has ended, too.
        fd::set_cloexec(&self.lock, false).context(|| "lock")?;
        let made = tools::filter(&["wb-cgroup", "create", "--vacant", "--also", "blkio"], &self.document);
        fd::set_cloexec(&self.lock, true).context(|| "lock")?;
        match made {
            Ok(document) => self.document = document,
            Err(error) if nix::unistd::geteuid().is_root() => return Err(error),
            Err(error) => {
                // As with runc: a caller without a cgroup of its own has no limits either.
                let asked = self.document.at("/linux/resources").is_some_and(limits_something);
                if asked {
                    return Err(error);
                }
                log.warning(&format!("no cgroup: {error}"));
            }
        }
        self.directory.write(&self.document)
    }

    fn pid(&self) -> i32 {
        self.document.read("/wb/state/pid").ok().flatten().unwrap_or(0)
    }

    /// Starts the chain and waits until it is as far as it goes: before the user's program, or in it.
    fn make(&mut self, waits: bool, log: &Log) -> Result<(), Error> {
        let (mut status, writer) =
            if waits { Status::fifo(&self.directory.status())? } else { Status::pipe()? };
        let waits_on = waits.then(|| open_fifo(&self.directory.start())).transpose()?;
        let listener = Listener::of(&self.document)?;
        let mut given = vec![(writer.as_fd(), self.numbers.status())];
        given.extend(waits_on.iter().map(|fd| (fd.as_fd(), self.numbers.start())));
        given.extend(listener.iter().map(|one| (one.theirs.as_fd(), self.numbers.listener())));
        given.extend(standard_streams(self.console.as_ref()));
        let words = self.words(waits, listener.is_some());
        chain::start(&words, &self.document, self.numbers, &given)?;
        drop(given);
        drop((writer, waits_on));
        log.debug("the chain is on its way");
        self.hear(&mut status, waits, listener)?;
        self.directory.write(&self.document)
    }

    fn words(&self, waits: bool, listens: bool) -> Vec<OsString> {
        let numbers = self.numbers;
        let mut words = chain::tool(&["wb-unshare", "run"], numbers);
        words.push("--".into());
        words.extend(chain::tool(&["wb-rootfs", "enter"], numbers));
        words.push("--".into());
        words.extend(chain::tool(&["wb-confine"], numbers));
        let mut flag = |name: &str, number: i32| words.extend([name.into(), number.to_string().into()]);
        if waits {
            flag("--start-fd", numbers.start());
        }
        if listens {
            flag("--seccomp-fd", numbers.listener());
        }
        words
    }

    fn hear(&mut self, status: &mut Status, waits: bool, listener: Option<Listener>) -> Result<(), Error> {
        let mut listener = listener;
        loop {
            match status.hear()? {
                News::Started(pid, start_time) => {
                    self.document.set("/wb/state/pid", pid)?;
                    self.document.set("/wb/state/startTime", start_time)?;
                    self.document.set("/wb/state/bootId", proc::boot_id().context(|| "boot_id")?)?;
                    // From here on whoever deletes the container knows whom to kill.
                    self.directory.write(&self.document)?;
                    if let Some(listener) = listener.take() {
                        listener.prepare(&self.document, "creating", pid)?;
                    }
                }
                News::Ready if waits => return Ok(()),
                News::Ready => {}
                News::Failed(error) => return Err(error),
                News::Ended if waits || self.pid() == 0 => return Err(Error::new("the chain ended early")),
                News::Ended => return Ok(()),
            }
        }
    }

    /// Takes everything back; the failure that led here is reported, what fails here goes to the log.
    fn undo(&self, log: &Log) {
        end::take_back(&self.directory, &self.document, log);
    }

    /// The container is complete; gives up the lock.
    fn finish(self) -> (Directory, Option<Console>) {
        (self.directory, self.console)
    }
}

fn limits_something(resources: &serde_json::Value) -> bool {
    resources.as_object().is_some_and(|members| members.iter().any(|(name, _)| name != "devices"))
}

fn open_fifo(path: &Path) -> Result<OwnedFd, Error> {
    chain::make_fifo(path)?;
    // Both ends, so that opening does not wait, and reading does until somebody writes.
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).context(|| path.display().to_string())
}

/// The terminal in place of the caller's streams.
pub fn standard_streams(console: Option<&Console>) -> Vec<(BorrowedFd<'_>, i32)> {
    console.map(|console| (0..3).map(|number| (console.slave.as_fd(), number)).collect()).unwrap_or_default()
}

/// Writes a pid where an engine looks for it, whole or not at all.
pub fn write_pid(path: Option<&Path>, pid: i32) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    let name = || format!("--pid-file {}", path.display());
    let file = path.file_name().ok_or_else(|| Error::new(name()))?;
    let mut temporary = OsString::from(".");
    temporary.push(file);
    let temporary = path.with_file_name(temporary);
    std::fs::write(&temporary, pid.to_string()).context(name)?;
    std::fs::rename(&temporary, path).context(name)
}

/// Reaps what has ended of the chain, so that nothing of it counts for the container's end.
pub fn reap() {
    while child::reap().is_some() {}
}
