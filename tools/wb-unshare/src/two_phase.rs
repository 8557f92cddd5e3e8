//! `create`, `start` and `hook`: a container in OCI's two phases (runtime.md, "Lifecycle").
//!
//! `create` leaves a process that is complete but for the user's program: it waits on a fifo in the container's run
//! directory. `start` writes to it.

use crate::TOOL;
use crate::birth::{self, Birth, Child};
use crate::hooks;
use crate::plan::Plan;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use wb_doc::chain::{self, Report};
use wb_doc::{Context, Document, Error, ExitCode, Filter, FilterArgs};
use wb_store::Place;
use wb_sys::tty::{self, Size};
use wb_sys::{Errno, child, clone, fd, memfd, pipe, proc, process, program, socket};

/// Make a container that is complete but for the user's program, and waits to be started
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    #[command(flatten)]
    input: FilterArgs,
    /// The container's standard input, output and error, as inherited file descriptors
    #[arg(long, value_name = "IN,OUT,ERR", value_delimiter = ',', num_args = 1)]
    stdio: Vec<i32>,
    /// Make a terminal for the container, and send its other end to this socket
    #[arg(long, value_name = "SOCKET", conflicts_with = "stdio")]
    console_socket: Option<PathBuf>,
    /// The next program and its arguments; it finds the document on descriptor 3, the status pipe on 4, the start on 5
    #[arg(value_name = "NEXT", trailing_var_arg = true, required = true)]
    next: Vec<OsString>,
}

/// Let a created container run the user's program
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    #[command(flatten)]
    input: FilterArgs,
}

/// Run a container's hooks of one kind
#[derive(Debug, clap::Args)]
pub struct HookArgs {
    #[command(flatten)]
    input: FilterArgs,
    /// prestart, createRuntime, poststart or poststop
    #[arg(value_name = "KIND", value_parser = ["prestart", "createRuntime", "poststart", "poststop"])]
    kind: String,
}

/// The descriptors the chain finds under these numbers.
const DOCUMENT: i32 = 3;
const STATUS: i32 = 4;
const START: i32 = 5;

fn fifo(place: &Place, id: &str) -> PathBuf {
    place.container_run(id).join("start")
}

/// Runs `create`.
pub fn create(args: &CreateArgs) -> ExitCode {
    // The document, which says whether others are there to look at this process, can be read only once.
    if let Err(errno) = program::shield_self() {
        return wb_doc::main(TOOL, || Err(Error::errno("/proc/self/exe", errno)));
    }
    let stdio: Result<Vec<OwnedFd>, Error> = args
        .stdio
        .iter()
        .map(|number| fd::inherited(*number).context(|| format!("--stdio {number}")))
        .collect();
    let stdio = match stdio {
        Ok(stdio) if matches!(stdio.len(), 0 | 3) => stdio,
        Ok(_) => return wb_doc::main(TOOL, || Err(Error::usage("--stdio takes three descriptors"))),
        Err(error) => return wb_doc::main(TOOL, || Err(error)),
    };
    Filter::doing(TOOL, "create").run(&args.input, |document| {
        let place = Place::from_env()?;
        let plan = Plan::of(document)?;
        let start = fifo(&place, document.id()?);
        make_fifo(&start)?;
        let made = make(args, document, &plan, &stdio, &start);
        if made.is_err() {
            // The failure says what matters; without the fifo nobody takes the container for created. The directory
            // goes too if nothing else is in it.
            fs::remove_file(&start).ok();
            start.parent().map(fs::remove_dir).transpose().ok();
        }
        let (pid, start_time) = made?;
        document.set("/wb/state/status", "created")?;
        document.set("/wb/state/pid", pid)?;
        document.set("/wb/state/startTime", start_time)?;
        document.set("/wb/state/bootId", proc::boot_id().context(|| "boot_id")?)
    })
}

fn make_fifo(path: &Path) -> Result<(), Error> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).context(|| format!("mkdir {}", directory.display()))?;
    }
    match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Err(Errno::EEXIST) => Err(Error::new("the container exists already")),
        other => other.context(|| format!("fifo {}", path.display())),
    }
}

/// Everything the child gets, by the numbers it is to have.
struct Given {
    fds: Vec<(OwnedFd, i32)>,
    /// A copy of the status pipe that outlives the placing.
    status: File,
}

fn make(
    args: &CreateArgs,
    document: &Document,
    plan: &Plan,
    stdio: &[OwnedFd],
    start: &Path,
) -> Result<(i32, u64), Error> {
    let (read, write) = pipe::pipe().context(|| "status pipe")?;
    // Both ends, so that opening does not wait, and reading does until somebody writes.
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let waits_on = nix::fcntl::open(start, flags, Mode::empty()).context(|| start.display().to_string())?;
    let sealed = memfd::sealed("document", &document.to_line()).context(|| "the document for the chain")?;
    let status = File::from(write.try_clone().context(|| "status pipe")?);
    let mut fds = vec![(sealed, DOCUMENT), (write, STATUS), (waits_on, START)];
    fds.extend(standard_streams(args, document, stdio)?);
    let given = Given { fds, status };
    match birth::make(plan, false)? {
        Birth::Child(child) => {
            // Its own end would keep the pipe open after the program has been executed.
            drop(read);
            let error = become_created(child, plan, &given, &args.next);
            chain::fail(TOOL, "create", Some(&given.status), &error);
            clone::exit_now(error.exit_code())
        }
        Birth::Parent(parent) => {
            drop(given);
            let start_time =
                proc::start_time(parent.pid.as_raw()).context(|| format!("process {}", parent.pid))?;
            let ready = parent.allow(plan).and_then(|()| wait_until_ready(read));
            if let Err(error) = ready {
                // A zombie goes with this process.
                let signal = nix::sys::signal::Signal::SIGKILL as i32;
                match wb_sys::child::kill(parent.pid.as_raw(), signal, "what is half made does not stay") {
                    Ok(()) | Err(Errno::ESRCH) => return Err(error),
                    Err(errno) => return Err(error.within(format!("process {} stays: {errno}", parent.pid))),
                }
            }
            Ok((parent.pid.as_raw(), start_time))
        }
    }
}

fn become_created(child: Child, plan: &Plan, given: &Given, next: &[OsString]) -> Error {
    let placed =
        child.settle_before_session(plan).and_then(|()| place_all(given)).and_then(|()| birth::session(plan));
    placed.err().unwrap_or_else(|| birth::become_next(plan, next))
}

/// First out of the way, then each to its number: one may lie where another is to go.
fn place_all(given: &Given) -> Result<(), Error> {
    let moved = |fd: &OwnedFd| {
        let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(100)).context(|| "descriptors of the container")?;
        fd::inherited(copy).context(|| "descriptors of the container")
    };
    let copies = given.fds.iter().map(|(fd, number)| Ok((moved(fd)?, *number)));
    for (copy, number) in copies.collect::<Result<Vec<_>, Error>>()? {
        child::place(copy, number).context(|| format!("descriptor {number}"))?;
    }
    Ok(())
}

/// Reads the status pipe to the container's word that it is ready.
fn wait_until_ready(read: OwnedFd) -> Result<(), Error> {
    for line in BufReader::new(File::from(read)).lines() {
        match Report::parse(line.context(|| "status pipe")?.as_bytes())? {
            Report::Ready { .. } => return Ok(()),
            Report::Started { .. } => {}
            Report::Failed { error } => return Err(error.to_error()),
        }
    }
    Err(Error::new("the container's first process ended before it was ready"))
}

/// Standard input, output and error of the container, with their numbers.
fn standard_streams(
    args: &CreateArgs,
    document: &Document,
    stdio: &[OwnedFd],
) -> Result<Vec<(OwnedFd, i32)>, Error> {
    let copy = |fd: &OwnedFd| fd.try_clone().context(|| "descriptors of the container");
    if let Some(path) = &args.console_socket {
        let slave = console(path, document)?;
        return (0..3).map(|number| Ok((copy(&slave)?, number))).collect();
    }
    if document.read("/process/terminal")?.unwrap_or(false) && stdio.is_empty() {
        return Err(Error::new("process.terminal: --console-socket is missing"));
    }
    if let [input, output, errors] = stdio {
        return Ok(vec![(copy(input)?, 0), (copy(output)?, 1), (copy(errors)?, 2)]);
    }
    // Standard output is the pipe this document goes down.
    let errors = std::io::stderr().as_fd().try_clone_to_owned().context(|| "standard error")?;
    let null = File::open("/dev/null").context(|| "/dev/null")?;
    Ok(vec![(null.into(), 0), (copy(&errors)?, 1), (errors, 2)])
}

/// A new terminal, whose other end goes to the socket with its name as the message, as runc does.
fn console(path: &Path, document: &Document) -> Result<OwnedFd, Error> {
    let name = || format!("--console-socket {}", path.display());
    let (master, slave) = tty::open_pty().context(|| "pty")?;
    if let Some(size) = document.read::<wb_doc::oci::ConsoleSize>("/process/consoleSize")? {
        tty::set_size(&slave, Size { rows: size.height, columns: size.width })
            .context(|| "process.consoleSize")?;
    }
    let socket = socket::connect_to(path).context(name)?;
    socket::send(&socket, b"/dev/ptmx", &[master.as_raw_fd()]).context(name)?;
    Ok(slave)
}

/// Runs `start`.
pub fn start(args: &StartArgs) -> ExitCode {
    Filter::doing(TOOL, "start").run(&args.input, |document| {
        let path = fifo(&Place::from_env()?, document.id()?);
        let pid = alive(document)?;
        let gone = || Error::new("the container is not waiting to be started");
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fifo = match nix::fcntl::open(&path, flags, Mode::empty()) {
            // Nobody has it open any more.
            Err(Errno::ENOENT | Errno::ENXIO) => return Err(gone()),
            other => other.context(|| path.display().to_string())?,
        };
        pipe::write(&fifo, b"!").context(|| path.display().to_string())?;
        // Of two at once one takes it away, and is the one who starts. Only now: whoever is killed in between leaves a
        // container that runs, and not one that nobody can start any more.
        match nix::unistd::unlink(&path) {
            Err(Errno::ENOENT) => return Err(gone()),
            other => other.context(|| path.display().to_string())?,
        }
        document.set("/wb/state/status", "running")?;
        document.set("/wb/state/startedAt", format!("{:.9}", jiff::Timestamp::now()))?;
        hooks::run_all(&wb_doc::hooks::of(document, "poststart")?, document, "running", Some(pid))
    })
}

/// The pid of the container's first process, if it is still that process.
fn alive(document: &Document) -> Result<i32, Error> {
    let (pid, start_time, boot_id) = (
        document.read::<i32>("/wb/state/pid")?,
        document.read::<u64>("/wb/state/startTime")?,
        document.str_at("/wb/state/bootId"),
    );
    let (Some(pid), Some(start_time), Some(boot_id)) = (pid, start_time, boot_id) else {
        return Err(Error::new("the container has not been created"));
    };
    let handle = match process::pidfd_open(pid) {
        Err(Errno::ESRCH | Errno::EINVAL) => return Err(Error::new("the container has ended")),
        other => other.context(|| format!("process {pid}"))?,
    };
    let alive = proc::is_alive(pid, start_time, boot_id);
    drop(handle);
    if alive { Ok(pid) } else { Err(Error::new("the container has ended")) }
}

/// Runs `hook`.
pub fn hook(args: &HookArgs) -> ExitCode {
    let (status, filter) = match args.kind.as_str() {
        "poststop" => ("stopped", Filter::undoing(TOOL, "hook")),
        "poststart" => ("running", Filter::doing(TOOL, "hook")),
        _ => ("creating", Filter::doing(TOOL, "hook")),
    };
    filter.run(&args.input, |document| {
        let list = wb_doc::hooks::of(document, &args.kind)?;
        if status == "stopped" {
            // runtime.md, "Lifecycle": the others go on as if one had succeeded.
            return hooks::run_each(&list, document, status);
        }
        let pid = document.read::<i32>("/wb/state/pid")?;
        hooks::run_all(&list, document, status, pid)
    })
}
