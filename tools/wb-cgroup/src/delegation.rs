//! What an ordinary user may limit: whatever is below the cgroup v2 directory that was delegated to that user, by
//! systemd for example (cgroup-v2.rst, "Delegation"). v1 delegates nothing by itself.

use crate::hierarchy::{Hierarchies, Hierarchy};
use crate::resources::Resources;
use nix::unistd::{AccessFlags, access};
use std::fs;
use std::path::{Path, PathBuf};
use wb_doc::{Document, Error};

/// The number of processes that wb-spec(8) puts into every document: nobody has asked for it.
const DEFAULT_PIDS: i64 = 2048;

/// Whether this is an ordinary user, or root of one's own user namespace only.
pub fn is_needed() -> bool {
    wb_store::kept::network().is_some() || !nix::unistd::geteuid().is_root()
}

/// Whether the document names a cgroup outside of the namespaces that are kept for a user: one that root gave away, in
/// whatever hierarchy, and that is used as it is.
pub fn is_given(document: &Document) -> bool {
    wb_store::kept::network().is_none() && document.at("/linux/cgroupsPath").is_some()
}

/// The hierarchies as this user may change them: the delegated directory as if it were the root. `None` where there is
/// none.
pub fn narrow(hierarchies: &Hierarchies) -> Option<Hierarchies> {
    let unified = hierarchies.unified.as_ref()?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = Path::new(own.lines().find_map(|line| line.strip_prefix("0::"))?);
    let root = highest(own, |path| may_divide(&unified.directory(path)))?;
    let mount_point = unified.directory(&root);
    let controllers = fs::read_to_string(mount_point.join("cgroup.controllers")).ok()?;
    Some(Hierarchies {
        unified: Some(Hierarchy::at(mount_point, root)),
        unified_controllers: controllers.split_whitespace().map(str::to_owned).collect(),
        ..Hierarchies::default()
    })
}

/// The path's ancestor farthest up that may be divided, with all between the two. Processes move below it only. The
/// cgroup itself is none: it has processes, and hands no controller on to children.
fn highest(own: &Path, may_divide: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    own.ancestors().skip(1).take_while(|path| may_divide(path)).last().map(Path::to_owned)
}

/// What delegation gives: the directory and the two files (cgroup-v2.rst, "Model of Delegation").
fn may_divide(directory: &Path) -> bool {
    let writable = |path: &Path| access(path, AccessFlags::W_OK).is_ok();
    writable(directory)
        && writable(&directory.join("cgroup.procs"))
        && writable(&directory.join("cgroup.subtree_control"))
}

/// What can be done of the resources: devices are guarded by the user namespace already, where the user makes none and
/// opens what the user may; and the default limit on processes is no request.
pub fn reduce(resources: &mut Resources, narrowed: Option<&Hierarchies>) {
    resources.devices.clear();
    let counts = narrowed.is_some_and(|found| found.unified_controllers.iter().any(|one| one == "pids"));
    if resources.pids.limit == Some(DEFAULT_PIDS) && !counts {
        resources.pids.limit = None;
    }
}

/// The error of a limit that was asked for where nothing is delegated.
pub fn nothing_delegated(controller: &str) -> Error {
    Error::new(format!("a limit on {controller}: no cgroup is delegated to this user")).hint(
        "with systemd: systemd-run --user --scope wb ...; else root gives a cgroup v2 directory away, see wb(1)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_directory_of_ones_own_counts() {
        let own = Path::new("/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope");
        let delegated = Path::new("/user.slice/user-1000.slice/user@1000.service");
        assert_eq!(highest(own, |path| path.starts_with(delegated)).as_deref(), Some(delegated));
        assert_eq!(highest(own, |_| false), None);
        assert_eq!(highest(own, |path| path == own), None);
        // One further up does not help: the way there leads over another's.
        let gap = |path: &Path| path.starts_with(delegated) || path == Path::new("/user.slice");
        assert_eq!(highest(own, gap).as_deref(), Some(delegated));
    }

    #[test]
    fn defaults_are_no_request() {
        let all = || Resources {
            devices: vec![crate::resources::DeviceRule::default()],
            pids: crate::resources::Pids { limit: Some(DEFAULT_PIDS) },
            ..Resources::default()
        };
        let mut resources = all();
        reduce(&mut resources, None);
        assert_eq!(resources, Resources::default());
        let mut resources = all();
        let found = Hierarchies { unified_controllers: vec!["pids".into()], ..Hierarchies::default() };
        reduce(&mut resources, Some(&found));
        assert_eq!(resources.pids.limit, Some(DEFAULT_PIDS));
    }
}
