//! Capabilities: docker's default set, and what `--cap-add`, `--cap-drop` and `--privileged` make of it.

use crate::flags::Given;
use serde_json::{Value, json};
use wb_doc::Error;
use wb_sys::capability::{self, Set};

/// capabilities(7), by number.
pub const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default set.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The capabilities of a new container.
pub fn of_run(given: &Given) -> Result<Vec<String>, Error> {
    if given.on("privileged") {
        return Ok(every());
    }
    changed(DEFAULT.iter().map(|name| format!("CAP_{name}")).collect(), given)
}

/// Every capability there is.
pub fn every() -> Vec<String> {
    ALL.iter().map(|name| format!("CAP_{name}")).collect()
}

/// `base` with the flags' additions and removals, as docker combines them: `ALL` first, then single names.
pub fn changed(base: Vec<String>, given: &Given) -> Result<Vec<String>, Error> {
    let add = given.all("cap-add").map(canonical).collect::<Result<Vec<_>, _>>()?;
    let drop = given.all("cap-drop").map(canonical).collect::<Result<Vec<_>, _>>()?;
    let is_all = |names: &[String]| names.iter().any(|name| name == "ALL");
    let mut set = match (is_all(&add), is_all(&drop)) {
        // Adding all and dropping some is all but those; dropping all and adding some is only those.
        (true, _) => every(),
        (false, true) => Vec::new(),
        (false, false) => base,
    };
    if !is_all(&drop) {
        set.retain(|name| !drop.contains(name));
    }
    for name in add {
        if name != "ALL" && !set.contains(&name) {
            set.push(name);
        }
    }
    Ok(set)
}

/// `net_admin`, `CAP_NET_ADMIN`, `NET_ADMIN` as `CAP_NET_ADMIN`.
fn canonical(name: &str) -> Result<String, Error> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" {
        return Ok("ALL".into());
    }
    if !ALL.contains(&bare) {
        return Err(Error::usage(format!("invalid capability: {:?}", wb_doc::escape(name))));
    }
    Ok(format!("CAP_{bare}"))
}

/// Refuses what nobody started from here can have: a program that needs it would fail later, and not say why. `ALL` is
/// all there is.
pub fn check_available(given: &Given) -> Result<(), Error> {
    let named = given.all("cap-add").map(canonical).collect::<Result<Vec<_>, _>>()?;
    if named.is_empty() {
        return Ok(());
    }
    let have = capability::bounding().map_err(|errno| Error::errno("bounding capabilities", errno))?;
    let missing = named.iter().find(|name| Set::of(name).is_some_and(|one| !have.contains(one)));
    missing.map_or(Ok(()), |name| {
        Err(Error::usage(format!(
            "--cap-add {}: not in this process's own bounding set",
            &name["CAP_".len()..]
        ))
        .hint("CapBnd of /proc/self/status is the most that containers started here can have"))
    })
}

/// `process.capabilities`: bounding, effective and permitted alike, nothing inheritable or ambient (an inheritable
/// set would let files with capabilities give more to users other than root: CVE-2022-24769).
pub fn sets(names: &[String]) -> Value {
    json!({"bounding": names, "effective": names, "permitted": names})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{RUN, parse};
    use crate::table::TABLE;

    fn of(line: &str) -> Result<Vec<String>, Error> {
        of_run(&parse(TABLE, RUN, line.split_ascii_whitespace().map(Into::into)).unwrap())
    }

    #[test]
    fn combines_as_docker_does() {
        assert_eq!(of("").unwrap().len(), 14);
        assert_eq!(of("--cap-drop ALL").unwrap(), Vec::<String>::new());
        assert_eq!(of("--cap-drop all --cap-add chown").unwrap(), ["CAP_CHOWN"]);
        assert_eq!(of("--cap-add ALL --cap-drop SYS_ADMIN").unwrap().len(), 40);
        assert_eq!(of("--cap-add CAP_NET_ADMIN --cap-add NET_ADMIN").unwrap().len(), 15);
        assert_eq!(of("--cap-drop mknod").unwrap().len(), 13);
        assert_eq!(of("--privileged --cap-drop ALL").unwrap().len(), 41);
        assert_eq!(of("--cap-add FOO").unwrap_err().to_string(), "invalid capability: \"FOO\"");
    }
}
