//! What this process must be allowed, and what of it the container is to have.

use crate::finding::Findings;
use crate::machine::Machine;
use wb_doc::oci::{Namespace, Rlimit};
use wb_doc::{Document, Error};
use wb_sys::capability::Set;
use wb_sys::limits::{Resource, rlimit};

/// What the tools themselves need, and for what.
const NEEDED: [(&str, &str); 8] = [
    ("CAP_SYS_ADMIN", "namespaces and mounts"),
    ("CAP_SETUID", "to become the container's user"),
    ("CAP_SETGID", "to become the container's group"),
    ("CAP_SETPCAP", "to give up capabilities for good"),
    ("CAP_MKNOD", "device nodes, and the marks of deleted files in layers"),
    ("CAP_CHOWN", "the owners of files in layers"),
    ("CAP_DAC_OVERRIDE", "files of other owners in layers"),
    ("CAP_FOWNER", "modes and attributes of files in layers"),
];

/// Everything about capabilities, limits and scores.
pub fn examine(machine: &Machine, document: &Document, found: &mut Findings) -> Result<(), Error> {
    // Without root the tools work in a user namespace, where they have every capability.
    if machine.uid == 0 {
        for (name, why) in NEEDED {
            if lacks(machine, name) {
                let cause = format!("this process does not have it; it is needed for: {why}");
                found.lacks(
                    name,
                    "linux.namespaces",
                    cause,
                    "a shell of root that has it: capsh --print tells",
                );
            }
        }
        let namespaces = document.read::<Vec<Namespace>>("/linux/namespaces")?.unwrap_or_default();
        if namespaces.iter().any(|one| one.kind == "network") && lacks(machine, "CAP_NET_ADMIN") {
            let cause = "this process does not have it; it is needed for: interfaces, routes, rules";
            found.lacks(
                "CAP_NET_ADMIN",
                "wb.network",
                cause,
                "--network host, or a shell of root that has it",
            );
        }
        for name in document.read::<Vec<String>>("/process/capabilities/bounding")?.unwrap_or_default() {
            if lacks(machine, &name) {
                let cause = "this process does not have it, and nobody can give what he has not";
                found.note(&name, "process.capabilities", cause, "the container runs without it");
            }
        }
    }
    if machine.uid != 0 || lacks(machine, "CAP_SYS_RESOURCE") {
        limits(document, found)?;
    }
    Ok(())
}

fn lacks(machine: &Machine, name: &str) -> bool {
    Set::of(name).is_some_and(|one| !machine.permitted.contains(one))
}

/// Without CAP_SYS_RESOURCE a hard limit can only be lowered, and a score only be raised.
fn limits(document: &Document, found: &mut Findings) -> Result<(), Error> {
    for wanted in document.read::<Vec<Rlimit>>("/process/rlimits")?.unwrap_or_default() {
        let Some(resource) = Resource::of(&wanted.kind) else { continue };
        let Ok(have) = rlimit(resource) else { continue };
        if wanted.hard > have.hard {
            let cause = format!("the hard limit here is {}, and there is no CAP_SYS_RESOURCE", have.hard);
            let what = format!("{} {}", wanted.kind, wanted.hard);
            found.note(&what, "process.rlimits", cause, "the container gets the hard limit of here");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tools_need_and_what_the_container_is_to_have() {
        let mut machine = Machine::of_files("capabilities", &[]);
        machine.permitted = Set::ALL;
        for name in ["SYS_ADMIN", "NET_ADMIN", "SYS_TIME"] {
            machine.permitted = machine.permitted.without(Set::of(name).unwrap());
        }
        let text = r#"{"linux":{"namespaces":[{"type":"network"}]},
            "process":{"capabilities":{"bounding":["CAP_SYS_TIME","CAP_KILL"]}}}"#;
        let mut found = Findings::default();
        examine(&machine, &Document::parse(text.as_bytes()).unwrap(), &mut found).unwrap();
        assert_eq!(found.names(), ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_TIME"]);
        assert_eq!(
            found.0.iter().map(crate::finding::Finding::is_fatal).collect::<Vec<_>>(),
            [true, true, false]
        );
    }
}
