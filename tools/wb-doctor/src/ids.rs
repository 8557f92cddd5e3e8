//! Whose ids a container may use: user namespaces without root, subordinate ids, idmapped mounts.

use crate::finding::Findings;
use crate::machine::Machine;
use std::path::Path;
use wb_doc::oci::{IdMapping, Namespace};
use wb_doc::{Document, Error};
use wb_sys::mount_fd::{self, Change};
use wb_sys::{Errno, idmap};

/// Everything about users and groups.
pub fn examine(machine: &Machine, document: &Document, found: &mut Findings) -> Result<(), Error> {
    if machine.uid != 0 {
        without_root(machine, found);
        return Ok(());
    }
    let namespaces = document.read::<Vec<Namespace>>("/linux/namespaces")?.unwrap_or_default();
    let own = namespaces.iter().any(|one| one.kind == "user" && one.path.is_none());
    if own && document.at("/wb/image").is_some() {
        idmapped_mounts(machine, document, found)?;
    }
    Ok(())
}

/// Somebody else than root needs a user namespace with a range of ids that is his.
fn without_root(machine: &Machine, found: &mut Findings) {
    let member = "linux.namespaces user";
    for (name, on) in
        [("kernel.unprivileged_userns_clone", 0), ("kernel.apparmor_restrict_unprivileged_userns", 1)]
    {
        if machine.number(&format!("/proc/sys/{}", name.replace('.', "/"))) == Some(on) {
            let mend = format!("as root: sysctl -w {name}={}", 1 - on);
            found.lacks("user namespaces for everybody", member, format!("{name} is {on}"), mend);
        }
    }
    // Not by getpwuid(3): a static program cannot load what that asks.
    let users = machine.read("/etc/passwd").unwrap_or_default();
    let login = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let login = login.filter(|fields| fields.get(2) == Some(&machine.uid.to_string().as_str()));
    let who = login.map(|fields| fields[0].to_owned()).next().unwrap_or_else(|| machine.uid.to_string());
    for (file, kind) in [("/etc/subuid", "subuids"), ("/etc/subgid", "subgids")] {
        if !has_range(&machine.read(file).unwrap_or_default(), &who, machine.uid) {
            let mend = format!("as root: usermod --add-{kind} 100000-165535 {who}");
            found.lacks(kind, member, format!("{file} has no range for {who}"), mend);
        }
    }
    for program in ["newuidmap", "newgidmap"] {
        if machine.program(program).is_none() {
            let cause = "it is not in PATH; only a program of root's may map other ids than one's own";
            found.lacks(program, member, cause, "as root: apt-get install uidmap");
        }
    }
}

/// A line `NAME:FIRST:COUNT` (subuid(5)) for this user.
fn has_range(text: &str, name: &str, uid: u32) -> bool {
    text.lines().any(|line| {
        let mut fields = line.split(':');
        let owner = fields.next().unwrap_or_default();
        let count = fields.nth(1).and_then(|count| count.parse::<u64>().ok()).unwrap_or_default();
        (owner == name || owner == uid.to_string()) && count > 0
    })
}

/// Tries it, on a copy of a mount that nobody ever sees.
fn idmapped_mounts(machine: &Machine, document: &Document, found: &mut Findings) -> Result<(), Error> {
    let maps = document.read::<Vec<IdMapping>>("/linux/uidMappings")?.unwrap_or_default();
    let map = maps.first().copied().unwrap_or(IdMapping { container_id: 0, host_id: 100_000, size: 65_536 });
    if machine.is_at_least(5, 19) {
        let line = format!("{} {} {}\n", map.container_id, map.host_id, map.size);
        let Some(directory) = machine.place.root().ancestors().find(|path| path.exists()) else {
            return Ok(());
        };
        match attempt(directory, &line) {
            Err(Errno::EINVAL) => {
                let cause = format!("the file system of {} does not know them", directory.display());
                let mend = "WB_ROOT on ext4, xfs or btrfs (tmpfs since Linux 6.3)";
                found.lacks("idmapped mounts", "linux.uidMappings", cause, mend);
            }
            Err(Errno::EPERM) => {
                let cause = "this process may not make them: it is itself in a user namespace, or confined";
                found.lacks("idmapped mounts", "linux.uidMappings", cause, "root of the machine itself");
            }
            _ => {}
        }
    } else {
        let cause =
            format!("this is Linux {}: an overlay of mapped layers came with 5.19", machine.release());
        found.lacks("idmapped mounts", "linux.uidMappings", cause, "a newer kernel, or no --userns");
    }
    Ok(())
}

fn attempt(directory: &Path, map: &str) -> Result<(), Errno> {
    use std::os::fd::AsFd;
    let tree = mount_fd::clone_path(directory, false, "a copy of a mount, to try its ids on")?;
    let namespace = idmap::user_namespace(map, map)?;
    let change = Change { userns: Some(namespace.as_fd()), ..Change::default() };
    mount_fd::set_attributes(&tree, change, "can ids be mapped here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_by_name_or_number() {
        assert!(has_range("root:1:2\nme:100000:65536\n", "me", 1000));
        assert!(has_range("1000:100000:65536", "me", 1000));
        assert!(!has_range("you:100000:65536\nme:5:0\nme\n", "me", 1000));
    }

    #[test]
    fn without_root_everything_is_named() {
        let mut machine =
            Machine::of_files("rootless", &[("proc/sys/kernel/unprivileged_userns_clone", "0\n")]);
        machine.uid = 4_000_000;
        let mut found = Findings::default();
        examine(&machine, &Document::default(), &mut found).unwrap();
        let names = ["user namespaces for everybody", "subuids", "subgids", "newuidmap", "newgidmap"];
        assert_eq!(found.names(), names);
    }
}
