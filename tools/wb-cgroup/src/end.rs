//! Freezing, killing and removing everything in a cgroup.

use crate::group::{self, Group, UNIFIED};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};
use wb_doc::{Context, Error};
use wb_sys::{Errno, file, process};

/// How long dying processes are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// SIGKILL, for a call that takes the number.
const SIGKILL: i32 = 9;

/// Stops every process of the cgroup (or lets it go on) and waits until the kernel says that it is so.
pub fn freeze(group: &Group, frozen: bool) -> Result<(), Error> {
    let why = if frozen { "stop every process of the cgroup" } else { "let them go on" };
    if let Some(directory) = group.paths.get("freezer") {
        let control = directory.join("freezer.state");
        let state = if frozen { "FROZEN" } else { "THAWED" };
        file::write_control(&control, state, why).context(|| control.display().to_string())?;
        return until(|| {
            let now = fs::read_to_string(&control).context(|| control.display().to_string())?;
            Ok(now.trim_end() == state)
        })
        .and_then(|reached| settled(reached, &control));
    }
    let directory = group.paths.get(UNIFIED).ok_or_else(no_group)?;
    let control = directory.join("cgroup.freeze");
    file::write_control(&control, if frozen { "1" } else { "0" }, why)
        .context(|| control.display().to_string())?;
    let events = directory.join("cgroup.events");
    let line = format!("frozen {}", u8::from(frozen));
    until(|| {
        let now = fs::read_to_string(&events).context(|| events.display().to_string())?;
        Ok(now.lines().any(|found| found == line))
    })
    .and_then(|reached| settled(reached, &control))
}

fn settled(reached: bool, control: &Path) -> Result<(), Error> {
    if reached {
        Ok(())
    } else {
        Err(Error::new(format!("{}: the state does not settle", control.display())))
    }
}

/// Asks again until `reached`: at once, then in growing steps up to the end of the patience.
fn until(mut reached: impl FnMut() -> Result<bool, Error>) -> Result<bool, Error> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(50);
    while !reached()? {
        if start.elapsed() > PATIENCE {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(true)
}

/// Refuses a cgroup that is somebody's: what joined it would share limits with strangers, and end with them.
pub fn is_vacant(group: &Group) -> Result<(), Error> {
    let says = |controller: &str, file: &str, word: &str| {
        let path = group.paths.get(controller).map(|directory| directory.join(file));
        path.and_then(|path| fs::read_to_string(path).ok()).is_some_and(|text| text.trim_end() != word)
    };
    if says("freezer", "freezer.state", "THAWED") || says(UNIFIED, "cgroup.freeze", "0") {
        return Err(Error::new("the cgroup is there, and frozen"));
    }
    match members(group)?.len() {
        0 => Ok(()),
        count => Err(Error::new(format!("the cgroup is there, with {count} processes in it"))),
    }
}

/// Kills every process of the cgroup and its descendants; nothing that forks meanwhile escapes.
pub fn kill(group: &Group) -> Result<(), Error> {
    if let Some(directory) = group.paths.get(UNIFIED).filter(|_| group.version == 2) {
        let control = directory.join("cgroup.kill");
        match file::write_control(&control, "1", "SIGKILL to the whole tree at once") {
            Ok(()) | Err(Errno::ENODEV) => return Ok(()),
            // Kernels before 5.14 have no cgroup.kill.
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(Error::errno(control.display(), errno)),
        }
    }
    if members(group)?.is_empty() {
        return Ok(());
    }
    // Frozen, nothing can fork away from under the list.
    freeze(group, true)?;
    let killed = members(group).and_then(|pids| {
        pids.iter().try_for_each(|&pid| match process::pidfd_open(pid) {
            Ok(pidfd) => match process::pidfd_send_signal(&pidfd, SIGKILL, "everything in the cgroup ends") {
                Ok(()) | Err(Errno::ESRCH) => Ok(()),
                Err(errno) => Err(Error::errno(format!("kill process {pid}"), errno)),
            },
            Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(Error::errno(format!("process {pid}"), errno)),
        })
    });
    // A frozen process dies only once it is thawed.
    freeze(group, false)?;
    killed
}

/// The processes of the cgroup and its descendants.
pub fn members(group: &Group) -> Result<Vec<i32>, Error> {
    // On v1 any hierarchy lists every process; the freezer's is the one that can be frozen.
    let directory = group.paths.get("freezer").or_else(|| group.paths.values().next());
    let Some(directory) = directory else { return Ok(Vec::new()) };
    let mut pids = Vec::new();
    for child in group::subtree(directory) {
        pids.extend(group::processes(&child)?);
    }
    Ok(pids)
}

/// Removes the cgroup and its descendants from every hierarchy; what still runs in it is killed and waited for.
///
/// `parent` is the name of the cgroup all containers of this place share. Goes on after an error and reports the
/// first. A cgroup that is not there is removed.
pub fn delete(group: &Group, parent: &str) -> Result<(), Error> {
    let mut first = None;
    for directory in group.directories() {
        // What it says where it does not go at once is what counts.
        let removed = rmdir(directory).or_else(|_| remove(&group.now(), directory));
        match (removed, directory.parent()) {
            (Err(error), _) => {
                first.get_or_insert(error);
            }
            // Our own parent goes with its last child; with others in it the kernel says EBUSY.
            (Ok(()), Some(above)) if above.file_name().is_some_and(|name| name == parent) => {
                rmdir(above).ok();
            }
            _ => {}
        }
    }
    first.map_or(Ok(()), Err)
}

/// Removes what does not go at once: processes or cgroups are in it.
fn remove(group: &Group, top: &Path) -> Result<(), Error> {
    for directory in group::subtree(top) {
        match rmdir(&directory) {
            Err(Errno::EBUSY) => {
                kill(group)?;
                wait_until_empty(&directory)?;
                // The last task may still be on its way out of the kernel.
                until(|| Ok(rmdir(&directory) != Err(Errno::EBUSY)))?;
                rmdir(&directory)
            }
            other => other,
        }
        .context(|| directory.display().to_string())?;
    }
    Ok(())
}

fn rmdir(directory: &Path) -> Result<(), Errno> {
    match file::rmdir(directory, "an empty cgroup goes with its directory") {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        other => other,
    }
}

/// Waits on a handle of each process rather than asking again and again.
fn wait_until_empty(directory: &Path) -> Result<(), Error> {
    let end = Instant::now() + PATIENCE;
    loop {
        let pids = group::processes(directory)?;
        let handles: Vec<_> = pids.iter().filter_map(|&pid| process::pidfd_open(pid).ok()).collect();
        if handles.is_empty() {
            return Ok(());
        }
        for handle in &handles {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(format!("{}: processes do not die", directory.display())));
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(handle.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::errno("waiting for processes to die", errno)),
            }
        }
    }
}

/// What a verb says about a cgroup that does not exist.
pub fn no_group() -> Error {
    let hint = if crate::delegation::is_needed() {
        "an ordinary user's containers have one where a cgroup v2 directory is delegated to the user"
    } else {
        "wb-cgroup create makes it"
    };
    Error::new("the container has no cgroup").hint(hint)
}
