//! What the kernel must have: its version, namespaces, file systems, seccomp, security modules, parameters.

use crate::finding::Findings;
use crate::machine::{Machine, Presence};
use serde_json::{Map, Value};
use wb_doc::oci::{Mount, Namespace};
use wb_doc::{Document, Error};
use wb_sys::namespace;

/// Everything about the kernel.
pub fn examine(machine: &Machine, document: &Document, found: &mut Findings) -> Result<(), Error> {
    if !machine.is_at_least(5, 12) {
        found.lacks(
            "Linux 5.12",
            "ociVersion",
            format!("this is Linux {}, which lacks mount_setattr(2)", machine.release()),
            "a newer kernel",
        );
    }
    namespaces(machine, document, found)?;
    filesystems(machine, document, found)?;
    seccomp(machine, document, found);
    security_modules(machine, document, found);
    sysctls(machine, document, found)
}

fn namespaces(machine: &Machine, document: &Document, found: &mut Findings) -> Result<(), Error> {
    for wanted in document.read::<Vec<Namespace>>("/linux/namespaces")?.unwrap_or_default() {
        let what = format!("{} namespaces", wanted.kind);
        let Some(kind) = namespace::kind(&wanted.kind) else {
            found.lacks(
                &what,
                "linux.namespaces",
                "no kernel has that kind",
                "unshare(1) lists the kinds there are",
            );
            continue;
        };
        if let Some(path) = wanted.path {
            // Made on the way: by wb-netns, below the directory where ip-netns(8) looks.
            if !machine.exists(&path) && !path.starts_with("/run/netns/") {
                let cause = format!("{path} does not exist: what it belonged to has ended");
                found.lacks(&what, "linux.namespaces", cause, "start the container that is to share it");
            }
            continue;
        }
        if !machine.exists(&format!("/proc/self/ns/{}", kind.proc)) {
            let config = if wanted.kind == "time" { "TIME_NS" } else { "NAMESPACES" };
            let cause = format!("the kernel was built without them: no /proc/self/ns/{}", kind.proc);
            found.lacks(
                &what,
                "linux.namespaces",
                cause,
                format!("a kernel with CONFIG_{config} and its siblings"),
            );
        }
        let limit = format!("user.max_{}_namespaces", kind.proc);
        if machine.number(&format!("/proc/sys/{}", limit.replace('.', "/"))) == Some(0) {
            found.lacks(
                &what,
                "linux.namespaces",
                format!("{limit} is 0"),
                format!("sysctl -w {limit}=10000"),
            );
        }
    }
    Ok(())
}

fn filesystems(machine: &Machine, document: &Document, found: &mut Findings) -> Result<(), Error> {
    let mut wanted = Vec::new();
    if document.at("/wb/image").is_some() || document.at("/wb/rootfs").is_some() {
        wanted.push(("overlay".to_owned(), "wb.image".to_owned()));
    }
    for mount in document.read::<Vec<Mount>>("/mounts")?.unwrap_or_default() {
        let bound = mount.options.iter().any(|option| option == "bind" || option == "rbind");
        match mount.kind.as_deref() {
            None | Some("bind" | "none" | "cgroup" | "") => {}
            Some(_) if bound => {}
            Some(kind) => wanted.push((kind.to_owned(), format!("mounts {}", mount.destination))),
        }
    }
    for (kind, member) in wanted {
        if machine.has_filesystem(&kind) {
            continue;
        }
        let (cause, mend) = match machine.feature(&kind, &format!("{}_FS", kind.to_ascii_uppercase())) {
            Presence::Absent { cause, mend } => (cause, mend),
            _ => ("it is not in /proc/filesystems".into(), format!("modprobe {kind}")),
        };
        found.lacks(&format!("the file system {kind}"), &member, cause, mend);
    }
    Ok(())
}

/// The actions of the runtime-spec and of seccomp(2).
const ACTIONS: [(&str, &str); 9] = [
    ("SCMP_ACT_ALLOW", "allow"),
    ("SCMP_ACT_ERRNO", "errno"),
    ("SCMP_ACT_KILL", "kill_thread"),
    ("SCMP_ACT_KILL_THREAD", "kill_thread"),
    ("SCMP_ACT_KILL_PROCESS", "kill_process"),
    ("SCMP_ACT_TRAP", "trap"),
    ("SCMP_ACT_TRACE", "trace"),
    ("SCMP_ACT_LOG", "log"),
    ("SCMP_ACT_NOTIFY", "user_notif"),
];

fn seccomp(machine: &Machine, document: &Document, found: &mut Findings) {
    let wanted = document.at("/linux/seccomp");
    if document.str_at("/wb/seccomp") == Some("unconfined") && wanted.is_none() {
        return;
    }
    let Some(known) = machine.read("/proc/sys/kernel/seccomp/actions_avail") else {
        found.lacks(
            "seccomp",
            "linux.seccomp",
            "the kernel was built without it: no /proc/sys/kernel/seccomp",
            "a kernel with CONFIG_SECCOMP_FILTER, or --security-opt seccomp=unconfined",
        );
        return;
    };
    let known: Vec<&str> = known.split_whitespace().collect();
    let rules = wanted.and_then(|wanted| wanted["syscalls"].as_array()).into_iter().flatten();
    let actions =
        wanted.map(|wanted| &wanted["defaultAction"]).into_iter().chain(rules.map(|rule| &rule["action"]));
    for action in actions.filter_map(Value::as_str) {
        let kernel = ACTIONS.iter().find(|(name, _)| *name == action).map(|(_, kernel)| *kernel);
        if !kernel.is_some_and(|kernel| known.contains(&kernel)) {
            let cause = format!("this kernel has: {}", known.join(" "));
            found.lacks(
                &format!("seccomp's {action}"),
                "linux.seccomp",
                cause,
                "another action, or a newer kernel",
            );
        }
    }
}

fn security_modules(machine: &Machine, document: &Document, found: &mut Findings) {
    if let Some(profile) = document.str_at("/process/apparmorProfile").filter(|name| *name != "unconfined") {
        let member = "process.apparmorProfile";
        let loaded = machine.read("/sys/kernel/security/apparmor/profiles");
        if machine.read("/sys/module/apparmor/parameters/enabled").is_none_or(|on| on.trim() != "Y") {
            let mend = "boot with security=apparmor, or leave --security-opt apparmor= out";
            found.lacks("AppArmor", member, "the kernel runs without it", mend);
        } else if loaded
            .is_some_and(|text| !text.lines().any(|line| line.split(" (").next() == Some(profile)))
        {
            let mend = format!("apparmor_parser -r /etc/apparmor.d/{profile}");
            found.lacks(&format!("the AppArmor profile {profile}"), member, "it is not loaded", mend);
        }
    }
    if document.str_at("/process/selinuxLabel").is_some_and(|label| !label.is_empty())
        && !machine.exists("/sys/fs/selinux/enforce")
    {
        let mend = "boot with security=selinux, or leave --security-opt label= out";
        found.lacks("SELinux", "process.selinuxLabel", "the kernel runs without it", mend);
    }
}

fn sysctls(machine: &Machine, document: &Document, found: &mut Findings) -> Result<(), Error> {
    for name in document.read::<Map<String, Value>>("/linux/sysctl")?.unwrap_or_default().keys() {
        if !machine.exists(&format!("/proc/sys/{}", name.replace('.', "/"))) {
            let cause = format!("there is no /proc/sys/{}", name.replace('.', "/"));
            found.lacks(
                &format!("the kernel parameter {name}"),
                "linux.sysctl",
                cause,
                "sysctl -a lists what there is",
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIONS: (&str, &str) = ("proc/sys/kernel/seccomp/actions_avail", "kill_thread errno allow\n");

    fn examined(machine: &Machine, text: &str) -> Findings {
        let mut found = Findings::default();
        examine(machine, &Document::parse(text.as_bytes()).unwrap(), &mut found).unwrap();
        found
    }

    #[test]
    fn namespaces_may_be_built_out_or_limited_to_none() {
        let machine = Machine::of_files(
            "ns",
            &[ACTIONS, ("proc/self/ns/user", ""), ("proc/sys/user/max_user_namespaces", "0\n")],
        );
        let found = examined(&machine, r#"{"linux":{"namespaces":[{"type":"user"},{"type":"time"}]}}"#);
        assert_eq!(found.names(), ["user namespaces", "time namespaces"]);
        assert_eq!(found.0[0].mend, "sysctl -w user.max_user_namespaces=10000");
    }

    #[test]
    fn file_systems_of_images_and_mounts() {
        let machine = Machine::of_files("fs", &[ACTIONS, ("proc/filesystems", "nodev\ttmpfs\n\text4\n")]);
        let found = examined(
            &machine,
            r#"{"wb":{"image":{}},"mounts":[{"destination":"/a","type":"tmpfs"},{"destination":"/b","type":"nfs"},
                {"destination":"/c","source":"/c","options":["rbind"]}]}"#,
        );
        assert_eq!(found.names(), ["the file system overlay", "the file system nfs"]);
        assert_eq!(found.0[1].member, "mounts /b");
    }

    #[test]
    fn seccomp_needs_a_kernel_with_its_actions() {
        let without = Machine::of_files("noseccomp", &[]);
        assert_eq!(examined(&without, "{}").names(), ["seccomp"]);
        assert!(examined(&without, r#"{"wb":{"seccomp":"unconfined"}}"#).0.is_empty());
        let machine = Machine::of_files("seccomp", &[ACTIONS]);
        let notify = r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"action":"SCMP_ACT_NOTIFY"}]}}}"#;
        assert_eq!(examined(&machine, notify).names(), ["seccomp's SCMP_ACT_NOTIFY"]);
    }

    #[test]
    fn a_sysctl_must_exist() {
        let machine = Machine::of_files("sysctl", &[ACTIONS, ("proc/sys/net/core/somaxconn", "1")]);
        let found =
            examined(&machine, r#"{"linux":{"sysctl":{"net.core.somaxconn":"2","net.core.nosuch":"1"}}}"#);
        assert_eq!(found.names(), ["the kernel parameter net.core.nosuch"]);
    }
}
