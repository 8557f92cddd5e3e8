//! The acts, in the one order that works: what needs privileges first, then giving them up, then the next program.

use crate::identity::{self, Ids};
use crate::plan::{Plan, Sets};
use crate::seccomp::Handover;
use crate::{Inherited, TOOL, directory, init, lookup};
use nix::sys::stat::{Mode, SFlag};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;
use wb_doc::chain::Report;
use wb_doc::{Context, Error};
use wb_sys::capability::Set;
use wb_sys::limits::{self, Limit, Resource};
use wb_sys::{Errno, capability, child, credentials, fd, hook, process, procfs};

/// Confines this process as planned and becomes the next program.
pub fn act(plan: &Plan, inherited: &mut Inherited) -> Result<Infallible, Error> {
    // Nothing of the caller's is open from here on, so that no name in /proc leads out of the root.
    close_the_rest(plan.preserve_fds, inherited)?;
    let handover = plan.seccomp.as_ref().map(|filter| filter.handover(inherited.listener.as_ref()));
    let handover = handover.transpose()?.flatten();
    if plan.keyring {
        new_keyring()?;
    }
    limits(plan)?;
    labels(plan)?;
    // Once capabilities are given up, whoever is inside already may look at this process as at its equal, and would
    // find the caller's environment. execve(2) switches it back on.
    credentials::set_dumpable(false).context(|| "PR_SET_DUMPABLE")?;
    let identity = identity::find(plan)?;
    match &plan.cwd {
        Some(path) => directory::enter(path)?,
        None => directory::check()?,
    }
    if plan.env.is_some() {
        give_standard_streams(identity.ids.as_ref(), plan.terminal)?;
    }
    let environment = environment(plan, identity.home);
    let strings =
        |words: &[OsString], what: &str| process::c_strings(words).context(|| format!("{what}: NUL byte"));
    let argv = strings(&plan.args, "process.args")?;
    let variables = strings(&environment, "process.env")?;
    become_user(identity.ids.as_ref(), plan.capabilities.bounding)?;
    nix::sys::stat::umask(Mode::from_bits_truncate(plan.umask));
    let program = lookup::find(&plan.args[0], &lookup::search_path(&environment))?;
    wait_for_start(inherited)?;
    run_hooks(plan)?;
    let path = strings(&[program.into_os_string()], "PATH")?;
    process::reset_signals().context(|| "signals")?;
    fd::cloexec_from(3 + plan.preserve_fds).context(|| "close-on-exec")?;
    if plan.no_new_privs {
        credentials::no_new_privs().context(|| "no_new_privs")?;
    }
    close_down(plan, handover)?;
    let exec = || {
        let errno = process::execve(&path[0], &argv, &variables, "the next program");
        lookup::refused(&plan.args[0], errno)
    };
    if plan.init { init::stay(inherited.status.take(), plan.terminal, exec) } else { Err(exec()) }
}

/// Closes every descriptor but the standard ones, those the next program is to have, and those still needed.
fn close_the_rest(preserve: u32, inherited: &Inherited) -> Result<(), Error> {
    let number = |file: &Option<File>| file.as_ref().and_then(|file| u32::try_from(file.as_raw_fd()).ok());
    let kept = [&inherited.status, &inherited.start, &inherited.listener];
    let mut keep: Vec<u32> = kept.into_iter().filter_map(number).collect();
    keep.sort_unstable();
    let mut first = 3 + preserve;
    for kept in keep {
        if kept > first {
            child::close_range(first, kept - 1).context(|| "close_range")?;
        }
        first = first.max(kept + 1);
    }
    child::close_range(first, u32::MAX).context(|| "close_range")
}

fn new_keyring() -> Result<(), Error> {
    match credentials::new_session_keyring() {
        // A kernel without keys, or a sandbox around us without the call: there is nothing to be reached.
        Ok(()) | Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        Err(errno) => Err(Error::errno("session keyring", errno)),
    }
}

/// What is limited or ordered while privileges are there.
fn limits(plan: &Plan) -> Result<(), Error> {
    for (resource, limit) in &plan.rlimits {
        if plan.exact_rlimits {
            limits::set_rlimit(*resource, *limit)
                .context(|| format!("{} {}:{}", resource.name(), limit.soft, limit.hard))?;
        } else {
            set_rlimit(*resource, *limit, plan.verbose)?;
        }
    }
    if let Some(score) = plan.oom_score_adj {
        let path = Path::new("self/oom_score_adj");
        if !procfs::read(path).is_ok_and(|now| now.trim() == score.to_string()) {
            procfs::write(path, &score.to_string(), "who goes first when memory is short")
                .context(|| format!("oom_score_adj {score}"))?;
        }
    }
    if let Some(scheduling) = plan.scheduling {
        limits::set_scheduling(scheduling).context(|| "process.scheduler")?;
    }
    if let Some((class, priority)) = plan.io_priority {
        limits::set_io_priority(class, priority).context(|| "process.ioPriority")?;
    }
    if let Some(persona) = plan.personality {
        limits::personality(persona).context(|| "linux.personality")?;
    }
    Ok(())
}

/// Without CAP_SYS_RESOURCE a hard limit cannot be raised: the nearest possible one is set, as a container that does
/// not start for it helps nobody.
fn set_rlimit(resource: Resource, limit: Limit, verbose: bool) -> Result<(), Error> {
    let name = || format!("{} {}:{}", resource.name(), limit.soft, limit.hard);
    match limits::set_rlimit(resource, limit) {
        Err(Errno::EPERM) => {
            let nearest = limit.within(limits::rlimit(resource).context(name)?);
            if verbose {
                let Limit { soft, hard } = nearest;
                let line =
                    format!("{TOOL}: {}: set to {soft}:{hard}, the most that is allowed here\n", name());
                // Advice nobody can read must not stop the work.
                std::io::stderr().write_all(line.as_bytes()).ok();
            }
            limits::set_rlimit(resource, nearest).context(name)
        }
        other => other.context(name),
    }
}

/// The labels of the security modules, which take effect at execve(2).
fn labels(plan: &Plan) -> Result<(), Error> {
    let write = |files: &[&str], content: &str, what: &str| {
        let mut result = Err(Errno::ENOENT);
        for file in files {
            result = procfs::write(Path::new(file), content, "the label of the next program");
            if !matches!(result, Err(Errno::ENOENT)) {
                break;
            }
        }
        result.map_err(|errno| {
            let error = Error::errno(format!("{what} {content}"), errno);
            match errno {
                Errno::ENOENT | Errno::EINVAL => {
                    error.hint("this kernel may not have it: see /sys/kernel/security/lsm")
                }
                _ => error,
            }
        })
    };
    if let Some(profile) = &plan.apparmor {
        let content = format!("exec {profile}");
        write(&["self/attr/apparmor/exec", "self/attr/exec"], &content, "process.apparmorProfile")?;
    }
    if let Some(label) = &plan.selinux {
        write(&["self/attr/exec"], label, "process.selinuxLabel")?;
    }
    Ok(())
}

/// Lets the user open `/dev/stdout` and its terminal by name, as docker does. Only pipes and the container's own
/// terminal: a file or another's terminal keeps its owner.
fn give_standard_streams(ids: Option<&Ids>, terminal: bool) -> Result<(), Error> {
    let Some(ids) = ids.filter(|ids| ids.uid != 0) else { return Ok(()) };
    let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for (number, stream) in [input.as_fd(), output.as_fd(), errors.as_fd()].into_iter().enumerate() {
        let Ok(status) = nix::sys::stat::fstat(stream) else { continue };
        let kind = SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits());
        let own_terminal =
            terminal && kind == SFlag::S_IFCHR && nix::unistd::isatty(stream).is_ok_and(|is| is);
        if status.st_uid == ids.uid || !(kind == SFlag::S_IFIFO || own_terminal) {
            continue;
        }
        match nix::unistd::fchown(stream, Some(ids.uid.into()), None) {
            // Without the privilege for it the streams work all the same, only not by name.
            Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL) => {}
            Err(errno) => return Err(Error::errno(format!("owner of file descriptor {number}"), errno)),
        }
    }
    Ok(())
}

/// The environment of the next program: exactly the document's, or the caller's.
fn environment(plan: &Plan, home: Option<String>) -> Vec<OsString> {
    let Some(env) = &plan.env else {
        return std::env::vars_os()
            .map(|(mut pair, value)| {
                pair.push("=");
                pair.push(value);
                pair
            })
            .collect();
    };
    let home = home.map(|home| OsString::from(format!("HOME={home}")));
    env.iter().map(OsString::from).chain(home).collect()
}

/// Changes groups and ids; the permitted capabilities stay until they are set.
fn become_user(ids: Option<&Ids>, bounding: Set) -> Result<(), Error> {
    capability::limit_bounding(bounding).map_err(|errno| {
        let error = Error::errno("bounding capabilities", errno);
        if errno == Errno::EPERM { error.hint("this needs CAP_SETPCAP: be root") } else { error }
    })?;
    let Some(Ids { uid, gid, groups }) = ids else { return Ok(()) };
    capability::keep_over_setuid(true).context(|| "PR_SET_KEEPCAPS")?;
    match credentials::setgroups(groups) {
        // A user namespace that has given setgroups(2) up has one group to give, and everybody in it has that.
        Err(Errno::EPERM) if groups.iter().all(|group| group == gid) && setgroups_denied() => {}
        other => other.context(|| format!("groups {groups:?}"))?,
    }
    credentials::setgid(*gid).context(|| format!("group {gid}"))?;
    credentials::setuid(*uid).context(|| format!("user {uid}"))?;
    capability::keep_over_setuid(false).context(|| "PR_SET_KEEPCAPS")
}

fn setgroups_denied() -> bool {
    procfs::read(Path::new("self/setgroups")).is_ok_and(|text| text.trim() == "deny")
}

/// `startContainer`: inside, once the container is started, as the user it is for.
fn run_hooks(plan: &Plan) -> Result<(), Error> {
    for hook in &plan.hooks {
        let name = || format!("hook {}", hook.path);
        let timeout = hook.timeout.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
        let (path, input) = (Path::new(&hook.path), plan.told.as_slice());
        let what = hook::Hook { path, args: &hook.args, env: &hook.env, input, timeout };
        match hook::run(what).context(name)? {
            hook::End::Status(0) => {}
            end => return Err(Error::new(format!("{}: {end:?}", name()))),
        }
    }
    Ok(())
}

/// The filter and the capabilities: the last acts, so that the filter has to allow few calls of this tool.
fn close_down(plan: &Plan, handover: Option<Handover>) -> Result<(), Error> {
    match &plan.seccomp {
        None => set_capabilities(plan.capabilities),
        Some(filter) if plan.no_new_privs => {
            set_capabilities(plan.capabilities)?;
            filter.load(handover)
        }
        Some(filter) => {
            // Without no_new_privs the filter takes CAP_SYS_ADMIN, which a change of uid has taken out of force.
            let permitted = capability::permitted().context(|| "capabilities")?;
            capability::set(permitted, permitted, Set::default()).context(|| "capabilities")?;
            filter.load(handover).map_err(|error| match error.raw_errno() {
                Some(Errno::EACCES) => error.hint("it takes CAP_SYS_ADMIN, or no_new_privs"),
                _ => error,
            })?;
            set_capabilities(plan.capabilities)
        }
    }
}

/// Gives up everything but the sets; what the caller does not have cannot be given.
fn set_capabilities(sets: Sets) -> Result<(), Error> {
    let have = capability::permitted().context(|| "capabilities")?;
    let permitted = sets.permitted.and(have);
    let inheritable = sets.inheritable.and(have);
    capability::set(sets.effective.and(permitted), permitted, inheritable).context(|| "capabilities")?;
    capability::set_ambient(sets.ambient.and(permitted).and(inheritable)).context(|| "ambient capabilities")
}

/// Waits until the container is started, if it is one that is created first.
fn wait_for_start(inherited: &mut Inherited) -> Result<(), Error> {
    let Some(mut start) = inherited.start.take() else { return Ok(()) };
    if let Some(status) = &inherited.status {
        // It stays open: whoever starts the container may hear by it how that went.
        (&*status).write_all(&Report::Ready { ready: true }.to_line()).context(|| "status pipe")?;
    }
    let mut byte = [0];
    match start.read(&mut byte).context(|| "wait for the start")? {
        1 if byte == *b"!" => Ok(()),
        _ => Err(Error::new("given up before the start")),
    }
}
