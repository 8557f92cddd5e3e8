//! The form without a document: the namespaces of a process, or of files, then a command.

use crate::TOOL;
use crate::enter::{self, Cgroups, Made, Next};
use nix::sched::CloneFlags;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error, ExitCode};
use wb_sys::attend::Attendant;
use wb_sys::namespace::{self, KINDS, Kind};
use wb_sys::{Errno, clone, credentials, process};

/// Namespaces by flags; each of the process, or of a file.
#[derive(Debug, Default, clap::Args)]
#[allow(clippy::option_option, reason = "absent, present, present with a file")]
pub struct Args {
    /// The process whose namespaces are joined
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    target: Option<i32>,
    /// Join every namespace that is not the caller's own
    #[arg(short, long)]
    all: bool,
    /// Join the user namespace, and become its root
    #[arg(short = 'U', long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    user: Option<Option<PathBuf>>,
    /// Join the cgroup namespace
    #[arg(short = 'C', long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    cgroup: Option<Option<PathBuf>>,
    /// Join the ipc namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    ipc: Option<Option<PathBuf>>,
    /// Join the uts namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    uts: Option<Option<PathBuf>>,
    /// Join the network namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    net: Option<Option<PathBuf>>,
    /// Join the time namespace
    #[arg(short = 'T', long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    time: Option<Option<PathBuf>>,
    /// Join the pid namespace; the command is a child born in it
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pid: Option<Option<PathBuf>>,
    /// Join the mount namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    mount: Option<Option<PathBuf>>,
    /// The command and its arguments; a shell if absent
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// Which namespace files are joined.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    files: Vec<(Kind, PathBuf)>,
    /// Those that are left out where they are the caller's own already.
    all: bool,
}

impl Args {
    fn plan(&self) -> Result<Plan, Error> {
        let of_target = |kind: Kind| {
            let pid = self.target.ok_or_else(|| Error::usage("--target is missing"))?;
            Ok::<_, Error>(PathBuf::from(format!("/proc/{pid}/ns/{}", kind.proc)))
        };
        let chosen =
            [&self.user, &self.cgroup, &self.ipc, &self.uts, &self.net, &self.time, &self.pid, &self.mount];
        let mut files = Vec::new();
        for (kind, choice) in KINDS.into_iter().zip(chosen) {
            match choice {
                Some(Some(file)) => files.push((kind, file.clone())),
                Some(None) => files.push((kind, of_target(kind)?)),
                None if self.all => files.push((kind, of_target(kind)?)),
                None => {}
            }
        }
        if files.is_empty() {
            return Err(Error::usage("nothing to join").hint("--all, or --net, --mount and so on"));
        }
        Ok(Plan { files, all: self.all })
    }
}

/// Runs the form.
pub fn run(mut args: Args) -> ExitCode {
    wb_doc::main(TOOL, || {
        let plan = args.plan()?;
        enter::shield()?;
        if args.command.is_empty() {
            args.command = vec![std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())];
        }
        // Keeps the pid from being another process's before its namespaces have been opened.
        let target = args.target.map(|pid| process::pidfd_open(pid).context(|| format!("process {pid}")));
        let target = target.transpose()?;
        let opened = open(&plan)?;
        if let Some(target) = target {
            process::pidfd_send_signal(&target, 0, "still the process that was meant")
                .context(|| "the target has ended")?;
        }
        enter(&opened, &args.command)
    })
}

fn open(plan: &Plan) -> Result<Vec<(Kind, OwnedFd)>, Error> {
    let mut opened = Vec::new();
    for (kind, path) in &plan.files {
        if plan.all && is_own(*kind, path) {
            continue;
        }
        match namespace::open(path) {
            // A kernel without this kind has no file for it.
            Err(Errno::ENOENT) if plan.all && !Path::new("/proc/self/ns").join(kind.proc).exists() => {}
            fd => opened.push((*kind, fd.context(|| format!("{} namespace {}", kind.oci, path.display()))?)),
        }
    }
    Ok(opened)
}

/// Whether a namespace is the caller's own: its file is the same one.
fn is_own(kind: Kind, path: &Path) -> bool {
    let own = nix::sys::stat::stat(&Path::new("/proc/self/ns").join(kind.proc));
    match (own, nix::sys::stat::stat(path)) {
        (Ok(own), Ok(other)) => (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

fn enter(opened: &[(Kind, OwnedFd)], command: &[OsString]) -> Result<ExitCode, Error> {
    let joins = |flag: CloneFlags| opened.iter().any(|(kind, _)| kind.flag == flag);
    let next = Next::open(command)?;
    let needs_child = joins(CloneFlags::CLONE_NEWPID) || joins(namespace::CLONE_NEWTIME);
    if needs_child {
        credentials::set_dumpable(false).context(|| "PR_SET_DUMPABLE")?;
    }
    namespace::join_all(opened, "asked for").map_err(|(kind, errno)| {
        let error = Error::errno(format!("join the {} namespace", kind.oci), errno);
        match errno {
            Errno::EINVAL if kind.flag == CloneFlags::CLONE_NEWUSER => {
                error.hint("it is the caller's own already")
            }
            Errno::EINVAL => error.hint(format!("the file is no {} namespace", kind.oci)),
            _ => error,
        }
    })?;
    if joins(CloneFlags::CLONE_NEWUSER) {
        enter::become_root()?;
    }
    if !needs_child {
        return Err(next.become_it());
    }
    let attendant = Attendant::prepare().context(|| "signal mask")?;
    match enter::make_child(&Cgroups::default(), false)? {
        Made::Child(_) => {
            let error = attendant.release().context(|| "signal mask").err();
            let error = error.unwrap_or_else(|| next.become_it());
            let code = error.exit_code();
            wb_doc::main(TOOL, || Err(error));
            clone::exit_now(code)
        }
        Made::Parent(pid) => {
            let code = attendant.attend(pid, false).context(|| format!("wait for process {pid}"))?;
            Ok(ExitCode::from(code))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        args: Args,
    }

    fn plan(words: &[&str]) -> Result<Plan, Error> {
        Tool::try_parse_from([&["t"], words].concat()).unwrap().args.plan()
    }

    #[test]
    fn namespaces_of_a_process_or_of_a_file() {
        let plan = plan(&["-t", "7", "--net=/run/netns/x", "--mount", "ls", "-l"]).unwrap();
        let paths: Vec<_> = plan.files.iter().map(|(_, path)| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/run/netns/x", "/proc/7/ns/mnt"]);
    }

    #[test]
    fn says_what_is_missing() {
        assert!(plan(&["-t", "7"]).is_err());
        assert!(plan(&["--net"]).is_err());
        assert_eq!(plan(&["-t", "7", "--all"]).unwrap().files.len(), 8);
        assert!(Tool::try_parse_from(["t", "-t", "0"]).is_err());
    }
}
