//! The acts: join, clone, and what the child does before it becomes the next program.

use crate::hooks;
use crate::maps::Maps;
use crate::plan::Plan;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use wb_doc::chain::Report;
use wb_doc::oci::IdMapping;
use wb_doc::{Context, Error};
use wb_sys::attend::Attendant;
use wb_sys::clone::{Clone3, Cloned, clone3};
use wb_sys::namespace::{self, CLONE_NEWTIME};
use wb_sys::{Errno, cgroup, child, credentials, file, host, mount, pipe, process, procfs, program, tty};

/// What [`Birth::make`] has become: the same function returns in two processes.
#[derive(Debug)]
pub enum Birth {
    /// The caller. The child exists, and waits until [`Birth::allow`] if it has a user namespace to be mapped.
    Parent(Parent),
    /// The child, in its namespaces.
    Child(Child),
}

/// What the caller holds of the child.
#[derive(Debug)]
pub struct Parent {
    /// The child, as the caller's pid namespace numbers it.
    pub pid: Pid,
    /// Written to when the child may go on.
    go: Option<OwnedFd>,
}

/// What the child holds.
#[derive(Debug)]
pub struct Child {
    /// Read from until the parent says go on.
    wait: Option<OwnedFd>,
    /// Whether it was made inside its v2 cgroup.
    in_cgroup: bool,
}

/// Joins the namespaces that exist and makes the process for the others.
///
/// A `sibling` is the child of the caller's parent, which then waits for it.
pub fn make(plan: &Plan, sibling: bool) -> Result<Birth, Error> {
    let waits = plan.maps.is_some() || !plan.parent_hooks.is_empty();
    let (wait, go) = waits.then(pipe::pipe).transpose().context(|| "pipe")?.unzip();
    if !plan.join.is_empty() && !plan.parent_hooks.is_empty() {
        return make_aside(plan, sibling, wait, go);
    }
    let (born, in_cgroup) = join_and_clone(plan, sibling)?;
    Ok(match born {
        Cloned::Parent(pid) => Birth::Parent(Parent { pid, go }),
        Cloned::Child => {
            // The pipe ends when the parent dies, so its own end must not stay open here.
            drop(go);
            Birth::Child(Child { wait, in_cgroup })
        }
    })
}

/// The same by a process in between: it joins the namespaces, and its child is the caller's. The caller stays where it
/// is, since the hooks it runs belong there (config.md, "createRuntime").
fn make_aside(
    plan: &Plan,
    sibling: bool,
    wait: Option<OwnedFd>,
    go: Option<OwnedFd>,
) -> Result<Birth, Error> {
    let (read, write) = pipe::pipe().context(|| "pipe")?;
    let between = Clone3 { namespaces: CloneFlags::empty(), sibling, cgroup: None };
    if let Cloned::Parent(_) =
        clone3(between, "joins namespaces in place of this process").context(|| "clone3")?
    {
        drop((write, wait));
        let mut line = Vec::new();
        File::from(read).read_to_end(&mut line).context(|| "pipe")?;
        return match Report::parse(&line)? {
            Report::Started { pid, .. } => Ok(Birth::Parent(Parent { pid: Pid::from_raw(pid), go })),
            Report::Failed { error } => Err(Error::new(error.message).code(error.code)),
            Report::Ready { .. } => Err(Error::new("a report that nobody sends")),
        };
    }
    drop((read, go));
    let (report, code) = match join_and_clone(plan, true) {
        Ok((Cloned::Child, in_cgroup)) => return Ok(Birth::Child(Child { wait, in_cgroup })),
        Ok((Cloned::Parent(pid), _)) => (Report::Started { pid: pid.as_raw(), start_time: 0 }, 0),
        Err(error) => (Report::failed(crate::TOOL, "run", &error), 1),
    };
    // Who does not read any more is gone, and the child finds its pipe ended.
    pipe::write(&write, &report.to_line()).ok();
    wb_sys::clone::exit_now(code)
}

/// Joins what exists, then makes the process for the rest; whether that was born in its v2 cgroup.
fn join_and_clone(plan: &Plan, sibling: bool) -> Result<(Cloned, bool), Error> {
    join(plan)?;
    if plan.new.contains(CLONE_NEWTIME) {
        new_time(&plan.time_offsets)?;
    }
    let unified = plan.cgroups.get("unified").map(|path| (path, cgroup::open(path)));
    let unified = match unified {
        None => None,
        Some((path, fd)) => Some(fd.context(|| format!("cgroup {}", path.display()))?),
    };
    // The cgroup namespace takes the cgroup its maker is in as its root, so the child makes it once it has joined.
    // The time namespace has been made above, since its offsets are set before anybody is in it.
    let namespaces = plan.new.difference(CloneFlags::CLONE_NEWCGROUP | CLONE_NEWTIME);
    clone_child(namespaces, sibling, unified.as_ref())
}

fn clone_child(
    namespaces: CloneFlags,
    sibling: bool,
    unified: Option<&OwnedFd>,
) -> Result<(Cloned, bool), Error> {
    use std::os::fd::AsFd;
    let why = "the first process of the new namespaces";
    if let Some(fd) = unified {
        let what = Clone3 { namespaces, sibling, cgroup: Some(fd.as_fd()) };
        match clone3(what, why) {
            Ok(born) => return Ok((born, true)),
            // An old kernel, or a cgroup that refuses it: the child joins by itself, or says why not.
            Err(Errno::EINVAL | Errno::E2BIG | Errno::EACCES | Errno::EOPNOTSUPP | Errno::EBUSY) => {}
            Err(errno) => return Err(refused(namespaces, errno)),
        }
    }
    let what = Clone3 { namespaces, sibling, cgroup: None };
    let born = clone3(what, why).map_err(|errno| refused(namespaces, errno))?;
    Ok((born, false))
}

fn refused(namespaces: CloneFlags, errno: Errno) -> Error {
    let error = Error::errno(format!("clone3 {}", namespace::flag_names(namespaces)), errno);
    match errno {
        Errno::EPERM if !nix::unistd::geteuid().is_root() => error.hint("be root, or add a user namespace"),
        Errno::ENOSPC => error.hint("see /proc/sys/user/max_*_namespaces"),
        _ => error,
    }
}

/// Joins the namespaces that are given by path; all are opened before the first is joined.
fn join(plan: &Plan) -> Result<(), Error> {
    let open = |(kind, path): &(namespace::Kind, PathBuf)| {
        let fd = namespace::open(path).context(|| format!("{} namespace {}", kind.oci, path.display()))?;
        Ok((*kind, fd))
    };
    let opened = plan.join.iter().map(open).collect::<Result<Vec<_>, Error>>()?;
    namespace::join_all(&opened, "it exists already").map_err(|(kind, errno)| {
        let path = plan.join.iter().find(|(other, _)| *other == kind).map(|(_, path)| path.display());
        let path = path.map_or(String::new(), |path| path.to_string());
        let error = Error::errno(format!("join the {} namespace {path}", kind.oci), errno);
        match errno {
            Errno::EINVAL => error.hint(format!("{path} is no {} namespace", kind.oci)),
            _ => error,
        }
    })
}

/// A time namespace is made for children only, and its clocks are set before the first enters.
fn new_time(offsets: &[String]) -> Result<(), Error> {
    namespace::unshare(CLONE_NEWTIME, "for the child: the caller stays in its own").context(|| "unshare")?;
    if !offsets.is_empty() {
        let path = Path::new("/proc/self/timens_offsets");
        file::write_control(path, &offsets.concat(), "clocks ahead of the host's")
            .context(|| path.display().to_string())?;
    }
    Ok(())
}

impl Parent {
    /// Does what the child waits for: the maps of its user namespace, hooks. Then lets it go on.
    pub fn allow(&self, plan: &Plan) -> Result<(), Error> {
        let Some(go) = &self.go else { return Ok(()) };
        if let Some(maps) = &plan.maps {
            maps.write(self.pid)?;
        }
        hooks::run_all(&plan.parent_hooks, &plan.told, "creating", Some(self.pid.as_raw()))?;
        pipe::write(go, b"!").context(|| "pipe to the child").map(drop)
    }

    /// Stays in front of the child until it ends, and gives its exit status.
    pub fn attend(&self, attendant: Attendant, own_session: bool) -> Result<u8, Error> {
        attendant.attend(self.pid, own_session).context(|| format!("wait for process {}", self.pid))
    }
}

impl Child {
    /// Makes the namespaces the container's own, up to the moment before the next program.
    pub fn settle(self, plan: &Plan) -> Result<(), Error> {
        self.settle_before_session(plan)?;
        session(plan)
    }

    /// The same without the session, for a child whose standard input is not the container's yet.
    pub fn settle_before_session(self, plan: &Plan) -> Result<(), Error> {
        // With the ids of the caller still, since the cgroup files belong to it.
        join_cgroups(&plan.cgroups, self.in_cgroup)?;
        if let Some(score) = plan.oom_score_adj {
            set_oom_score(score)?;
        }
        if let Some(wait) = self.wait {
            wait_for_parent(&wait)?;
        }
        match &plan.maps {
            Some(maps) => become_root(maps)?,
            None if plan.enters_user_namespace() => become_root_there()?,
            None => {}
        }
        settle_in_place(plan)?;
        if plan.child_hooks.is_empty() {
            return Ok(());
        }
        // The host's /proc is still there, and numbers this process as the host does.
        let own = std::fs::read_link("/proc/self").context(|| "/proc/self")?;
        let pid = own.to_str().and_then(|pid| pid.parse().ok());
        hooks::run_all(&plan.child_hooks, &plan.told, "creating", pid)
    }
}

/// What is the same in a child and in a process that has unshared itself.
pub fn settle_in_place(plan: &Plan) -> Result<(), Error> {
    if plan.new.contains(CloneFlags::CLONE_NEWCGROUP) {
        cgroup::unshare().context(|| "unshare CLONE_NEWCGROUP")?;
    }
    if let Some(name) = &plan.hostname {
        host::set_hostname(name).context(|| format!("hostname {name}"))?;
    }
    if let Some(name) = &plan.domainname {
        host::set_domainname(name).context(|| format!("domainname {name}"))?;
    }
    if plan.new.contains(CloneFlags::CLONE_NEWNET) {
        host::loopback_up().context(|| "loopback interface")?;
    }
    if plan.private && plan.new.contains(CloneFlags::CLONE_NEWNS) {
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount::mount(None, Path::new("/"), None, flags, None, "no mount made here reaches the host")
            .context(|| "make / private")?;
    }
    if plan.mount_proc {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let why = "/proc shows the pid namespace of the one who mounted it";
        mount::mount(Some("proc"), Path::new("/proc"), Some("proc"), flags, None, why)
            .context(|| "proc on /proc")?;
    }
    Ok(())
}

/// A session of its own: what the caller's terminal sends does not reach it, and TIOCSTI into the caller's
/// terminal is refused.
pub fn session(plan: &Plan) -> Result<(), Error> {
    if !plan.session {
        return Ok(());
    }
    match child::new_session() {
        // A process that has unshared itself may lead a group already; a child never does.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(Error::errno("setsid", errno)),
    }
    if plan.terminal {
        match tty::set_controlling(std::io::stdin()) {
            // By hand, without wb-monitor, the terminal is the caller's and stays so.
            Ok(()) | Err(Errno::EPERM) => {}
            Err(errno) => {
                return Err(Error::errno("process.terminal: standard input", errno)
                    .hint("wb-monitor gives the container a terminal"));
            }
        }
    }
    Ok(())
}

fn join_cgroups(paths: &BTreeMap<String, PathBuf>, in_unified: bool) -> Result<(), Error> {
    // Controllers that share a hierarchy share a directory.
    let mut joined: Vec<&PathBuf> = Vec::new();
    for (controller, path) in paths {
        let unified = controller == "unified";
        if (unified && in_unified) || joined.contains(&path) {
            continue;
        }
        cgroup::join(path, unified).context(|| format!("join cgroup {}", path.display()))?;
        joined.push(path);
    }
    Ok(())
}

fn set_oom_score(score: i32) -> Result<(), Error> {
    let path = Path::new("self/oom_score_adj");
    if procfs::read(path).is_ok_and(|now| now.trim() == score.to_string()) {
        return Ok(());
    }
    procfs::write(path, &score.to_string(), "who goes first when memory is short")
        .context(|| format!("process.oomScoreAdj {score}"))
}

/// Waits until the parent has done its part.
fn wait_for_parent(wait: &OwnedFd) -> Result<(), Error> {
    let mut byte = [0];
    match pipe::read(wait, &mut byte).context(|| "wait for the parent")? {
        1 => Ok(()),
        // The parent has reported why.
        _ => wb_sys::clone::exit_now(1),
    }
}

/// Becomes root inside: without it, files made here would belong to nobody.
fn become_root(maps: &Maps) -> Result<(), Error> {
    let has_root = |map: &[IdMapping]| map.iter().any(|one| one.container_id == 0);
    if has_root(&maps.gids) {
        credentials::setgid(0).context(|| "become group 0 of the user namespace")?;
    }
    if has_root(&maps.uids) {
        credentials::setuid(0).context(|| "become user 0 of the user namespace")?;
    }
    Ok(())
}

/// Becomes root of a user namespace that was there before, where it has a root.
fn become_root_there() -> Result<(), Error> {
    for (id, result) in [("group", credentials::setgid(0)), ("user", credentials::setuid(0))] {
        match result {
            // EINVAL: 0 is not in its map.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(Error::errno(format!("become {id} 0 of the user namespace"), errno)),
        }
    }
    Ok(())
}

/// If the parent is killed, so is this process. A change of ids takes it back, so it is asked for again after one.
pub fn die_with_parent() -> Result<(), Error> {
    credentials::set_parent_death_signal(Signal::SIGKILL).context(|| "prctl PR_SET_PDEATHSIG")
}

/// Before a pid namespace is joined: those who live in it already may open `/proc/PID/exe` of whoever comes, and must
/// find no file of the host that can be written to (CVE-2019-5736).
///
/// The tool is executed once more, after `pass_on` has let its descriptors survive that.
pub fn shield(plan: &Plan, pass_on: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let what = || "/proc/self/exe, to be executed from where nobody can write to it";
    if !joins_pids(plan) || program::is_shielded().context(what)? {
        return Ok(());
    }
    pass_on()?;
    program::shield_self().context(what)
}

fn joins_pids(plan: &Plan) -> bool {
    plan.join.iter().any(|(kind, _)| kind.flag == CloneFlags::CLONE_NEWPID)
}

/// Becomes the next program; returns only the failure.
pub fn become_next(plan: &Plan, next: &[OsString]) -> Error {
    let why = "the next program";
    let shielded = next.first().filter(|word| joins_pids(plan) && program::is_tool(word));
    let errno = match shielded.map(|word| program::find(word).and_then(|path| program::open_detached(&path)))
    {
        None => process::exec(next, why),
        Some(Ok(tool)) => program::exec_fd(tool, next, why),
        Some(Err(errno)) => errno,
    };
    let name = next.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match errno {
        Errno::ENOENT => Error::errno(format!("exec {name}"), errno).code(127),
        _ => Error::errno(format!("exec {name}"), errno).code(126),
    }
}
