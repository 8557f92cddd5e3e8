//! `run`: into the container of a document, then the next program of the chain.

use crate::TOOL;
use crate::container::{Container, Identity};
use crate::enter::{self, Cgroups, Made, Next};
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use wb_doc::chain::{self, ChainArgs, Report};
use wb_doc::{Context, Document, Error, ExitCode};
use wb_sys::attend::Attendant;
use wb_sys::{Errno, clone, credentials, fd, namespace, proc, process};

const VERB: &str = "run";

/// Join a running container as its document describes it, then become the next program inside
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    chain: ChainArgs,
}

/// Runs the verb.
pub fn run(args: &Args) -> ExitCode {
    let mut status = None;
    match start(&args.chain, &mut status) {
        Ok(code) => code,
        Err(error) => chain::fail(TOOL, VERB, status.as_ref(), &error),
    }
}

fn start(args: &ChainArgs, status: &mut Option<File>) -> Result<ExitCode, Error> {
    enter::shield()?;
    if let Some(number) = args.status_fd {
        *status = Some(File::from(fd::inherited(number).context(|| format!("--status-fd {number}"))?));
    }
    let status = status.as_ref();
    let mut passed: Option<File> = None;
    let source = args.source().ok_or_else(|| Error::usage("--doc is missing"))?;
    let document: Document = source.read(|number| {
        let name = || format!("--doc {number}");
        let file = passed.insert(File::from(fd::inherited(number).context(name)?));
        fd::read_all(&*file, wb_doc::MAX_DOCUMENT_BYTES).context(name)
    })?;

    let container = Container::of(&document)?;
    let next = Next::open(&args.next)?;
    let process = hold(&container)?;
    let cgroups = Cgroups::open(&container.cgroups)?;
    // From here on this process and its child are closed to whoever is inside, until the next program is executed.
    credentials::set_dumpable(false).context(|| "PR_SET_DUMPABLE")?;
    let attendant =
        if status.is_none() { Some(Attendant::prepare().context(|| "signal mask")?) } else { None };
    // Pids are numbered as the host's /proc has them, which is out of sight once the mount namespace is joined.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let host =
        status.map(|_| nix::fcntl::open("/proc", flags, Mode::empty()).context(|| "/proc")).transpose()?;
    let join = |namespaces: CloneFlags, why: &str| {
        if namespaces.is_empty() {
            return Ok(());
        }
        namespace::setns(&process, namespaces, why)
            .context(|| format!("join the namespaces of {}", container.name))
    };
    // The cgroup namespace comes last: where cgroup v2 is mounted with `nsdelegate`, as systemd does, a process that
    // is inside it and whose cgroup is not has no way into the cgroup (ENOENT), neither by birth nor by writing.
    let last = container.namespaces & CloneFlags::CLONE_NEWCGROUP;
    // One call joins all others or none; the pid namespace is the child's.
    join(container.namespaces - last, "into the container")?;
    match enter::make_child(&cgroups, status.is_some())? {
        Made::Child(born_inside) => {
            let settle = || {
                // By itself: once it runs the program it may end, and be waited for, before the parent has looked.
                if let (Some(status), Some(host)) = (status, &host) {
                    report_start(host, status)?;
                }
                cgroups.join(born_inside)?;
                join(last, "whose root is the cgroup it is in by now")?;
                if container.namespaces.contains(CloneFlags::CLONE_NEWUSER) {
                    enter::become_root()?;
                }
                if let Some(attendant) = attendant {
                    // After the change of ids, which would take it back.
                    let signal = nix::sys::signal::Signal::SIGKILL;
                    credentials::set_parent_death_signal(signal).context(|| "PR_SET_PDEATHSIG")?;
                    attendant.release().context(|| "signal mask")?;
                }
                enter::session(container.terminal)?;
                for file in passed.iter().chain(status) {
                    fd::set_cloexec(file, false).context(|| "descriptors of the next program")?;
                }
                Ok(())
            };
            let error: Error = settle().err().unwrap_or_else(|| next.become_it());
            chain::fail(TOOL, VERB, status, &error);
            clone::exit_now(error.exit_code())
        }
        Made::Parent(pid) => match attendant {
            Some(attendant) => {
                let code = attendant.attend(pid, true).context(|| format!("wait for process {pid}"))?;
                Ok(ExitCode::from(code))
            }
            None => Ok(ExitCode::SUCCESS),
        },
    }
}

/// A handle on the very process the document means: opened first, compared then, so that no other can slip in.
fn hold(container: &Container) -> Result<OwnedFd, Error> {
    let Identity { pid, start_time, boot_id } = &container.process;
    let gone = || Error::new(format!("{} is not running", container.name));
    let handle = match process::pidfd_open(*pid) {
        Err(Errno::ESRCH | Errno::EINVAL) => return Err(gone()),
        other => other.context(|| format!("process {pid}"))?,
    };
    if proc::is_alive(*pid, *start_time, boot_id) { Ok(handle) } else { Err(gone()) }
}

/// Says on the status pipe that this process, the child, exists, with the number that `proc` has for it.
fn report_start(proc: &OwnedFd, mut status: &File) -> Result<(), Error> {
    let (pid, start_time) = proc::own_at(proc).context(|| "/proc/self/stat")?;
    match status.write_all(&Report::Started { pid, start_time }.to_line()) {
        Ok(()) => Ok(()),
        // Nobody reads any more.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error).context(|| "status pipe"),
    }
}
