//! The cgroup controllers that the limits of a document need.

use crate::finding::Findings;
use crate::machine::{Machine, Presence};
use std::collections::BTreeSet;
use wb_doc::units::number_list;
use wb_doc::{Document, Error};

/// Members of `linux.resources`, and the controllers of v1 and v2 that serve them; on v2 devices are a program.
const MEMBERS: [(&str, &str, &str); 12] = [
    ("memory", "memory", "memory"),
    ("cpu/shares", "cpu", "cpu"),
    ("cpu/quota", "cpu", "cpu"),
    ("cpu/period", "cpu", "cpu"),
    ("cpu/cpus", "cpuset", "cpuset"),
    ("cpu/mems", "cpuset", "cpuset"),
    ("pids", "pids", "pids"),
    ("blockIO", "blkio", "io"),
    ("hugepageLimits", "hugetlb", "hugetlb"),
    ("rdma", "rdma", "rdma"),
    ("network/classID", "net_cls", ""),
    ("network/priorities", "net_prio", ""),
];

/// Files at the top of a v1 hierarchy without which a member has no effect, and what would give them.
const FILES: [(&str, &str, &str, &str); 3] = [
    ("memory/swap", "memory", "memory.memsw.limit_in_bytes", "boot with swapaccount=1"),
    ("cpu/quota", "cpu", "cpu.cfs_quota_us", "a kernel with CONFIG_CFS_BANDWIDTH"),
    ("cpu/realtimeRuntime", "cpu", "cpu.rt_runtime_us", "a kernel with CONFIG_RT_GROUP_SCHED"),
];

/// What is mounted of cgroups.
struct Hierarchies {
    /// v1 controllers and where they are mounted.
    v1: Vec<(String, String)>,
    /// Where v2 is mounted.
    v2: Option<String>,
    /// What v2 has.
    v2_controllers: BTreeSet<String>,
    /// Mount points that cannot be written to.
    read_only: Vec<String>,
}

/// Everything about limits.
pub fn examine(machine: &Machine, document: &Document, found: &mut Findings) -> Result<(), Error> {
    let Some(resources) = document.at("/linux/resources").and_then(|value| value.as_object()) else {
        return Ok(());
    };
    if resources.values().all(serde_json::Value::is_null) {
        return Ok(());
    }
    let have = hierarchies(machine);
    if have.v1.is_empty() && have.v2.is_none() {
        let mend = "mount -t cgroup2 none /sys/fs/cgroup";
        found.lacks("cgroups", "linux.resources", "no cgroup file system is mounted", mend);
        return Ok(());
    }
    for place in &have.read_only {
        let mend = format!("mount -o remount,rw {place}");
        found.lacks("writable cgroups", "linux.resources", format!("{place} is mounted read-only"), mend);
    }
    let asked = |member: &str| {
        document.at(&format!("/linux/resources/{member}")).is_some_and(|value| {
            let empty = value.as_object().is_some_and(serde_json::Map::is_empty)
                || value.as_array().is_some_and(Vec::is_empty);
            !empty
        })
    };
    for (member, v1, v2) in MEMBERS {
        if asked(member) && !have.has(v1, v2) {
            missing(machine, &have, (member, v1, v2), found);
        }
    }
    if have.is_v1() {
        on_v1(machine, &have, &asked, found);
    } else if asked("devices") {
        if let Presence::Absent { cause, mend } = machine.feature("", "CGROUP_BPF") {
            found.lacks("BPF programs on cgroups", "linux.resources.devices", cause, mend);
        }
    }
    processors(machine, document, found);
    huge_pages(machine, document, found)
}

/// The first of the CPUs and memory nodes that there are not.
fn processors(machine: &Machine, document: &Document, found: &mut Findings) {
    for (member, what, flag, online) in [
        ("cpus", "CPU", "--cpuset-cpus", "/sys/devices/system/cpu/online"),
        ("mems", "memory node", "--cpuset-mems", "/sys/devices/system/node/online"),
    ] {
        let asked = document.str_at(&format!("/linux/resources/cpu/{member}")).unwrap_or_default();
        let Some(have) = machine.read(online) else { continue };
        if let Some(number) = number_list(asked).difference(&number_list(&have)).next() {
            let cause = format!("{online} has {}", have.trim());
            let mend = format!("{flag} {}", have.trim());
            found.lacks(&format!("{what} {number}"), &format!("linux.resources.cpu.{member}"), cause, mend);
        }
    }
}

fn on_v1(machine: &Machine, have: &Hierarchies, asked: &impl Fn(&str) -> bool, found: &mut Findings) {
    if asked("devices") && !have.has("devices", "") {
        missing(machine, have, ("devices", "devices", ""), found);
    }
    if asked("unified") {
        let cause = "files of cgroup v2 are asked for, and this machine has cgroup v1";
        let mend = "boot with systemd.unified_cgroup_hierarchy=1, or no --cgroup-conf";
        found.lacks("cgroup v2", "linux.resources.unified", cause, mend);
    }
    for (member, controller, file, mend) in FILES {
        let directory = have.v1.iter().find(|(name, _)| name == controller).map(|(_, directory)| directory);
        let Some(directory) = directory.filter(|_| asked(member)) else { continue };
        if !machine.exists(&format!("{directory}/{file}")) {
            let cause = format!("the kernel has no {directory}/{file}");
            found.lacks(file, &format!("linux.resources.{}", member.replace('/', ".")), cause, mend);
        }
    }
}

fn missing(
    machine: &Machine,
    have: &Hierarchies,
    (member, v1, v2): (&str, &str, &str),
    found: &mut Findings,
) {
    let name = if have.is_v1() { v1 } else { v2 };
    let member = format!("linux.resources.{}", member.replace('/', "."));
    if name.is_empty() {
        let mend = "nftables can do the same: meta priority, socket cgroupv2";
        return found.lacks(
            &format!("the controller {v1}"),
            &member,
            "cgroup v2 has no such controller",
            mend,
        );
    }
    let what = format!("the cgroup controller {name}");
    // NAME, hierarchy, cgroups, enabled.
    let table = machine.read("/proc/cgroups").unwrap_or_default();
    let v1_of_v2 = if name == "io" { "blkio" } else { name };
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(v1_of_v2));
    let enabled = line.and_then(|line| line.split_whitespace().nth(3));
    let (cause, mend) = match enabled {
        Some("0") => (
            "it is switched off at boot".to_owned(),
            format!("boot with cgroup_enable={name}, without cgroup_disable={name}"),
        ),
        None => ("the kernel was built without it".to_owned(), "another kernel: Debian's has it".to_owned()),
        Some(_) if have.is_v1() => (
            "the kernel has it, and it is mounted nowhere".to_owned(),
            format!(
                "mkdir -p /sys/fs/cgroup/{name} && mount -t cgroup -o {name} cgroup /sys/fs/cgroup/{name}"
            ),
        ),
        Some(_) => {
            let top = have.v2.as_deref().unwrap_or("/sys/fs/cgroup");
            (format!("{top}/cgroup.controllers does not list it"), handed_down(name, top))
        }
    };
    found.lacks(&what, &member, cause, mend);
}

/// What gives a controller to a cgroup further down: whoever is above has to hand it on.
fn handed_down(name: &str, top: &str) -> String {
    format!("in the cgroup above: echo +{name} >cgroup.subtree_control ({top} shows a part of the tree)")
}

fn huge_pages(machine: &Machine, document: &Document, found: &mut Findings) -> Result<(), Error> {
    let limits =
        document.read::<Vec<serde_json::Value>>("/linux/resources/hugepageLimits")?.unwrap_or_default();
    for size in limits.iter().filter_map(|limit| limit["pageSize"].as_str()) {
        let kib = wb_doc::units::bytes(&size.to_ascii_lowercase()).unwrap_or_default() / 1024;
        if !machine.exists(&format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB")) {
            let cause = format!("there is no /sys/kernel/mm/hugepages/hugepages-{kib}kB");
            let mend = "ls /sys/kernel/mm/hugepages shows the sizes there are";
            found.lacks(&format!("huge pages of {size}"), "linux.resources.hugepageLimits", cause, mend);
        }
    }
    Ok(())
}

impl Hierarchies {
    fn is_v1(&self) -> bool {
        !self.v1.is_empty()
    }

    fn has(&self, v1: &str, v2: &str) -> bool {
        self.v1.iter().any(|(name, _)| name == v1) || self.v2_controllers.contains(v2)
    }
}

fn hierarchies(machine: &Machine) -> Hierarchies {
    let mut have =
        Hierarchies { v1: Vec::new(), v2: None, v2_controllers: BTreeSet::new(), read_only: Vec::new() };
    for mount in machine.mounts.iter().filter(|mount| mount.fstype.starts_with("cgroup")) {
        if mount.options.split(',').any(|option| option == "ro") {
            have.read_only.push(mount.mount_point.clone());
        }
        if mount.fstype == "cgroup2" {
            if have.v2.is_none() {
                let text =
                    machine.read(&format!("{}/cgroup.controllers", mount.mount_point)).unwrap_or_default();
                have.v2_controllers = text.split_whitespace().map(str::to_owned).collect();
                have.v2 = Some(mount.mount_point.clone());
            }
        } else {
            let names = mount.super_options.split(',').filter(|option| {
                MEMBERS.iter().any(|(_, v1, _)| v1 == option)
                    || matches!(*option, "devices" | "freezer" | "cpuacct")
            });
            have.v1.extend(names.map(|name| (name.to_owned(), mount.mount_point.clone())));
        }
    }
    have
}

#[cfg(test)]
mod tests {
    use super::*;
    use wb_sys::proc::MountInfo;

    fn mount(fstype: &str, mount_point: &str, options: &str, super_options: &str) -> MountInfo {
        MountInfo {
            device: "0:30".into(),
            root: "/".into(),
            mount_point: mount_point.into(),
            options: options.into(),
            optional: Vec::new(),
            fstype: fstype.into(),
            source: "cgroup".into(),
            super_options: super_options.into(),
        }
    }

    fn examined(machine: &Machine, resources: &str) -> Findings {
        let mut found = Findings::default();
        let document = format!(r#"{{"linux":{{"resources":{resources}}}}}"#);
        examine(machine, &Document::parse(document.as_bytes()).unwrap(), &mut found).unwrap();
        found
    }

    const CGROUPS: &str =
        "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t2\t1\t1\npids\t0\t1\t1\ncpu\t0\t1\t0\n";

    #[test]
    fn v1_controllers_are_mounted_mountable_off_or_unknown() {
        let mut machine = Machine::of_files("v1", &[("proc/cgroups", CGROUPS)]);
        machine.mounts = vec![mount("cgroup", "/sys/fs/cgroup/memory", "rw", "rw,memory")];
        let found = examined(
            &machine,
            r#"{"memory":{"limit":1,"swap":2},"pids":{"limit":1},"cpu":{"shares":2,"cpus":"0"}}"#,
        );
        assert_eq!(
            found.names(),
            [
                "the cgroup controller cpu",
                "the cgroup controller cpuset",
                "the cgroup controller pids",
                "memory.memsw.limit_in_bytes"
            ]
        );
        assert!(found.0[0].mend.contains("cgroup_enable=cpu"));
        assert!(found.0[2].mend.ends_with("mount -t cgroup -o pids cgroup /sys/fs/cgroup/pids"));
        assert_eq!(found.0[3].mend, "boot with swapaccount=1");
        assert_eq!(examined(&machine, r#"{"unified":{"memory.high":"1"}}"#).names(), ["cgroup v2"]);
        assert!(examined(&machine, r#"{"memory":{},"blockIO":{},"hugepageLimits":[]}"#).0.is_empty());
    }

    #[test]
    fn v2_controllers_are_listed_at_its_top() {
        let files = [("proc/cgroups", CGROUPS), ("sys/fs/cgroup/cgroup.controllers", "memory io\n")];
        let mut machine = Machine::of_files("v2", &files);
        machine.mounts = vec![mount("cgroup2", "/sys/fs/cgroup", "ro", "rw")];
        let found = examined(
            &machine,
            r#"{"memory":{"limit":1},"blockIO":{"weight":10},"pids":{"limit":1},"network":{"classID":1}}"#,
        );
        let names = ["writable cgroups", "the cgroup controller pids", "the controller net_cls"];
        assert_eq!(found.names(), names);
        assert_eq!(found.0[0].mend, "mount -o remount,rw /sys/fs/cgroup");
    }

    #[test]
    fn without_any_cgroup_the_first_step_is_said() {
        let machine = Machine::of_files("nocgroup", &[]);
        assert_eq!(examined(&machine, r#"{"pids":{"limit":1}}"#).names(), ["cgroups"]);
        assert!(examined(&machine, "{}").0.is_empty());
    }
}
