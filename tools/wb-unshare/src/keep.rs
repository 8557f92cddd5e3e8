//! `keep`: the namespaces that are kept for an ordinary user's containers, then a command in them.
//!
//! A user, a mount and a network namespace, one of each for a user; a parked process keeps them, and any other
//! process in them would do. The command joins user and mount namespace. The network namespace stands for the host's
//! where bridges are made: it is named by a variable and bound to a file, and only wb-netns goes there.

use crate::birth::{self, Birth, Parent};
use crate::plan::Plan;
use crate::{TOOL, subids};
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error, ExitCode};
use wb_store::Place;
use wb_store::kept::{self, Process};
use wb_store::lock::Lock;
use wb_sys::{Errno, child, clone, mount, namespace, park, pipe, process, program};

/// Become a command in the namespaces kept for this user, which are made where there are none
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End the process that keeps them, and what serves them
    #[arg(long, conflicts_with = "command")]
    end: bool,
    /// The command and its arguments
    #[arg(value_name = "CMD", trailing_var_arg = true, required_unless_present = "end")]
    command: Vec<OsString>,
}

/// The process that keeps the namespaces, and by what they are known should it be gone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keeper {
    #[serde(flatten)]
    process: Process,
    user_namespace: PathBuf,
    mount_namespace: PathBuf,
}

/// Runs the verb.
pub fn run(args: &Args) -> ExitCode {
    wb_doc::main(TOOL, || start(args).map_err(|error| error.within("keep")))
}

fn start(args: &Args) -> Result<ExitCode, Error> {
    // Root needs none; the variable is set all the same, so that nobody asks a second time.
    if nix::unistd::geteuid().is_root() {
        return if args.end {
            Ok(ExitCode::SUCCESS)
        } else {
            Err(become_command(args, &[(kept::NETNS, "")]))
        };
    }
    let place = Place::from_env()?;
    let own = Own { directory: kept::directory(&place) };
    if args.end {
        return own.end().map(|()| ExitCode::SUCCESS);
    }
    own.enter().map_err(|error| error.code(125))?;
    let network = own.network();
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::new(format!("{}: not UTF-8", path.display())).code(125))
    };
    let (root, run, network) = (text(place.root())?, text(place.run())?, text(&network)?);
    Err(become_command(args, &[("WB_ROOT", &root), ("WB_RUN", &run), (kept::NETNS, &network)]))
}

fn become_command(args: &Args, variables: &[(&str, &str)]) -> Error {
    let errno = program::exec_with(&args.command, variables, "root of the user's own namespaces");
    let name = args.command.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    Error::errno(format!("exec {name}"), errno).code(if errno == Errno::ENOENT { 127 } else { 126 })
}

/// What is kept for this user.
struct Own {
    directory: PathBuf,
}

impl Own {
    fn network(&self) -> PathBuf {
        self.directory.join("net")
    }

    fn file(&self) -> PathBuf {
        self.directory.join("keeper")
    }

    fn lock(&self) -> Result<Lock, Error> {
        let shown = || self.directory.display().to_string();
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).context(shown)?;
        Lock::directory(&self.directory)
    }

    fn keeper(&self) -> Result<Option<Keeper>, Error> {
        match fs::read(self.file()) {
            // One that is not whole keeps nothing.
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(|| self.file().display().to_string()),
        }
    }

    /// Joins them; of several first callers at once one makes them.
    fn enter(&self) -> Result<(), Error> {
        if self.join_kept()? {
            return Ok(());
        }
        let _lock = self.lock()?;
        if self.join_kept()? {
            return Ok(());
        }
        if let Some(member) = self.keeper()?.and_then(|keeper| member(&keeper)) {
            join(&member)?;
            return self.park_one(&Plan::default());
        }
        self.make()?;
        if self.join_kept()? { Ok(()) } else { Err(Error::new("the process that keeps them has ended")) }
    }

    fn join_kept(&self) -> Result<bool, Error> {
        match self.keeper()?.map(|keeper| keeper.process.hold()).transpose()?.flatten() {
            Some(process) => join(&process).map(|()| true),
            None => Ok(false),
        }
    }

    fn make(&self) -> Result<(), Error> {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let maps = subids::maps(uid, gid).unwrap_or_else(|| {
            warn_of_one_id(uid);
            crate::maps::Maps::own(0, 0)
        });
        let network = self.network();
        let shown = || network.display().to_string();
        // What served the namespaces before ends with the file.
        match fs::remove_file(&network) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).context(shown),
            _ => {}
        }
        File::create(&network).context(shown)?;
        let new = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
        self.park_one(&Plan { new, maps: Some(maps), ..Plan::default() })
    }

    /// Leaves a process behind in the namespaces of the plan, or in these. It has written itself down when this
    /// returns.
    fn park_one(&self, plan: &Plan) -> Result<(), Error> {
        let (reader, writer) = pipe::pipe().context(|| "pipe")?;
        match birth::make(plan, false).map_err(explain)? {
            Birth::Child(child) => {
                drop(reader);
                let settled = child.settle(plan).and_then(|()| self.settle(!plan.new.is_empty()));
                let word = settled.as_ref().err().map_or("ready".to_owned(), Error::to_string);
                // Nobody is left to tell if this fails.
                pipe::write(&writer, word.as_bytes()).ok();
                if settled.is_err() {
                    clone::exit_now(1);
                }
                park::forever(&[])
            }
            Birth::Parent(parent) => {
                drop(writer);
                wait_until_ready(parent, plan, reader)
            }
        }
    }

    /// The parked process, before it is parked.
    fn settle(&self, bind: bool) -> Result<(), Error> {
        // The terminal's signals and its end are not for this one, and no directory is kept busy.
        child::new_session().context(|| "setsid")?;
        nix::unistd::chdir("/").context(|| "/")?;
        if bind {
            let (network, why) = (self.network(), "a name for it, and a reference");
            mount::mount(Some("/proc/self/ns/net"), &network, None, MsFlags::MS_BIND, None, why)
                .context(|| network.display().to_string())?;
        }
        let link = |name: &str| {
            let path = Path::new("/proc/self/ns").join(name);
            fs::read_link(&path).context(|| path.display().to_string())
        };
        let process = Process::of(i32::try_from(std::process::id()).map_err(Error::new)?)?;
        let keeper = Keeper { process, user_namespace: link("user")?, mount_namespace: link("mnt")? };
        let text = serde_json::to_vec(&keeper).context(|| "the keeper")?;
        wb_store::atomic::write(&self.file(), &text, wb_store::atomic::Durability::Visible)
    }

    /// Ends the keeper and what serves the namespaces, unless something else runs in them.
    fn end(&self) -> Result<(), Error> {
        if !self.directory.exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        let Some(keeper) = self.keeper()? else { return Ok(()) };
        let way_out = Process::read(&self.directory.join(kept::WAY_OUT))?;
        let serves =
            |pid: i32| pid == keeper.process.pid || way_out.as_ref().is_some_and(|out| out.pid == pid);
        let others: Vec<_> = members(&keeper).into_iter().filter(|pid| !serves(*pid)).collect();
        if let Some(first) = others.first() {
            let message = format!("{} processes are still in them, {first} among them", others.len());
            return Err(Error::new(message).hint("wb ps; wb stop CONTAINER"));
        }
        if let Some(way_out) = way_out {
            way_out.end("nobody has to be led out any more")?;
        }
        keeper.process.end("the namespaces go with their last process")?;
        for name in ["net", kept::WAY_OUT, "keeper"] {
            let path = self.directory.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).context(|| path.display().to_string());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn wait_until_ready(parent: Parent, plan: &Plan, reader: OwnedFd) -> Result<(), Error> {
    parent.allow(plan)?;
    drop(parent);
    let mut word = String::new();
    File::from(reader).read_to_string(&mut word).context(|| "the process that keeps the namespaces")?;
    match word.as_str() {
        "ready" => Ok(()),
        "" => Err(Error::new("the process that keeps the namespaces has ended")),
        failure => Err(Error::new(failure)),
    }
}

/// Joins the user and the mount namespace of a process, and stays in the same directory.
fn join(process: &OwnedFd) -> Result<(), Error> {
    let here = std::env::current_dir().context(|| "the working directory")?;
    let both = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    namespace::setns(process, both, "root inside, and nobody's but this user's outside")
        .context(|| "the user's namespaces")?;
    // Joining a mount namespace leads to its root.
    nix::unistd::chdir(&here).context(|| here.display().to_string())
}

/// The processes of the user and mount namespace.
fn members(keeper: &Keeper) -> Vec<i32> {
    let is = |pid: i32, name: &str, expected: &Path| {
        // A process that ends meanwhile, or another user's, is none.
        fs::read_link(format!("/proc/{pid}/ns/{name}")).is_ok_and(|found| found == expected)
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is(*pid, "user", &keeper.user_namespace) && is(*pid, "mnt", &keeper.mount_namespace))
        .collect()
}

/// A handle on any process that is in them still, where the keeper itself has been killed.
fn member(keeper: &Keeper) -> Option<OwnedFd> {
    // The numbers of namespaces are used again after a reboot.
    let boot = wb_sys::proc::boot_id().ok()?;
    let pids = if boot == keeper.process.boot_id { members(keeper) } else { Vec::new() };
    pids.into_iter().find_map(|pid| process::pidfd_open(pid).ok())
}

fn warn_of_one_id(uid: u32) {
    let name = subids::names(uid, &fs::read_to_string("/etc/passwd").unwrap_or_default()).swap_remove(0);
    let message = format!(
        "{name} has no range in both /etc/subuid and /etc/subgid: user and group 0 is all its containers have \
         (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}, or any other free range)"
    );
    wb_doc::warn(TOOL, &message);
}

/// What keeps an ordinary user from making a user namespace.
fn explain(error: Error) -> Error {
    let reads = |name: &str, value: &str| {
        fs::read_to_string(Path::new("/proc/sys").join(name)).is_ok_and(|text| text.trim() == value)
    };
    let switch = [
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    match switch.iter().find(|(name, value, _)| reads(name, value)) {
        Some((_, _, set)) => error.hint(format!("the administrator has switched it off: sysctl -w {set}")),
        None => error,
    }
}
