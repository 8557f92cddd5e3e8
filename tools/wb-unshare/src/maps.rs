//! The ids of a new user namespace (user_namespaces(7)).

use nix::unistd::Pid;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use wb_doc::oci::IdMapping;
use wb_doc::{Context, Error};
use wb_sys::file::write_control;

/// The two maps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maps {
    /// User ids.
    pub uids: Vec<IdMapping>,
    /// Group ids.
    pub gids: Vec<IdMapping>,
}

impl Maps {
    /// One id each: the caller's own, seen inside as `user` and `group`.
    pub fn own(user: u32, group: u32) -> Self {
        let one = |container_id, host_id| vec![IdMapping { container_id, host_id, size: 1 }];
        Self {
            uids: one(user, nix::unistd::geteuid().as_raw()),
            gids: one(group, nix::unistd::getegid().as_raw()),
        }
    }

    /// Whether these are the one id each that the kernel lets a process without privileges map.
    pub fn is_own(&self) -> bool {
        let own = |map: &[IdMapping], id: u32| matches!(map, [one] if one.size == 1 && one.host_id == id);
        own(&self.uids, nix::unistd::geteuid().as_raw()) && own(&self.gids, nix::unistd::getegid().as_raw())
    }

    /// Writes the maps of a process in a new user namespace; root and the owner of one id do so themselves, anybody
    /// else through newuidmap(1) and newgidmap(1), which know `/etc/subuid` and `/etc/subgid`.
    pub fn write(&self, pid: Pid) -> Result<(), Error> {
        let root = nix::unistd::geteuid().is_root();
        if root || self.is_own() {
            return self.write_to(&pid.to_string(), !root);
        }
        helper("newuidmap", pid, &self.uids)?;
        helper("newgidmap", pid, &self.gids)
    }

    /// Writes the maps of `/proc/<who>`. Without privileges the kernel wants setgroups(2) given up first
    /// (CVE-2014-8989).
    pub fn write_to(&self, who: &str, deny_setgroups: bool) -> Result<(), Error> {
        let proc = PathBuf::from("/proc").join(who);
        let put = |file: &str, content: &str, why: &str| {
            let path = proc.join(file);
            write_control(&path, content, why).context(|| path.display().to_string())
        };
        if deny_setgroups {
            put("setgroups", "deny", "wanted before a gid_map without privileges")?;
        }
        put("gid_map", &lines(&self.gids), "groups inside and outside")?;
        put("uid_map", &lines(&self.uids), "users inside and outside")
    }
}

/// `inside outside size`, a line each, as the kernel reads them.
fn lines(map: &[IdMapping]) -> String {
    map.iter().fold(String::new(), |mut text, one| {
        // Writing to a String cannot fail.
        writeln!(text, "{} {} {}", one.container_id, one.host_id, one.size).ok();
        text
    })
}

fn helper(program: &str, pid: Pid, map: &[IdMapping]) -> Result<(), Error> {
    let numbers = map.iter().flat_map(|one| [one.container_id, one.host_id, one.size]);
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(numbers.map(|number| number.to_string()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output =
        wb_sys::child::spawn(&mut command, "more ids than one's own are a set-uid program's to give")
            .and_then(Child::wait_with_output)
            .context(|| program.to_owned())
            .map_err(|error| error.hint("Debian has newuidmap and newgidmap in the package uidmap"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("{program}: {}", said.lines().next().unwrap_or("failed"))))
}

/// `INSIDE:OUTSIDE:SIZE`.
pub fn parse(text: &str) -> Result<IdMapping, String> {
    let wrong = || format!("{text:?} is not INSIDE:OUTSIDE:SIZE");
    let mut parts = text.split(':').map(str::parse::<u32>);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(container_id)), Some(Ok(host_id)), Some(Ok(size)), None) if size > 0 => {
            Ok(IdMapping { container_id, host_id, size })
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_three_numbers() {
        let map = parse("0:100000:65536").unwrap();
        assert_eq!(lines(&[map]), "0 100000 65536\n");
        for text in ["", "0", "0:1", "0:1:0", "0:1:2:3", "a:1:2", "-1:0:1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn knows_its_own_id() {
        assert!(Maps::own(0, 0).is_own());
        assert!(!Maps { uids: vec![parse("0:100000:65536").unwrap()], gids: Vec::new() }.is_own());
    }
}
