//! `mounts`: what every container has, and then what the flags add or replace.

use crate::flags::Given;
use crate::namespaces::{Mode, mode, running};
use crate::run::Subject;
use crate::volumes;
use serde_json::Value;
use wb_doc::{Error, oci::Mount, units};

/// The mounts of a new container.
pub struct Mounts {
    /// The member `mounts`, parents before children.
    pub mounts: Vec<Mount>,
    /// The member `wb.volumes`.
    pub volumes: Vec<Value>,
}

/// The usual mounts (docker's flags, and `noexec` on /dev): destination, type, source, options.
const USUAL: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777"]),
];

const SHM_SIZE: i64 = 64 << 20;

/// The members `mounts` and `wb.volumes`.
pub fn mounts(given: &Given, subject: &Subject) -> Result<Mounts, Error> {
    let mut mounts: Vec<Mount> = USUAL
        .into_iter()
        .map(|(destination, kind, source, options)| Mount {
            destination: destination.to_owned(),
            kind: Some(kind.to_owned()),
            source: Some(source.to_owned()),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            ..Mount::default()
        })
        .collect();
    let shm_size = match given.last("shm-size") {
        Some(text) => units::bytes(text).map_err(|error| error.within("--shm-size"))?,
        None => SHM_SIZE,
    };
    if shm_size < 0 {
        return Err(crate::flags::invalid("shm-size", "-1", "a size"));
    }
    for mount in &mut mounts {
        match mount.destination.as_str() {
            "/dev/shm" => {
                mount.options.push(format!("size={}", if shm_size == 0 { SHM_SIZE } else { shm_size }));
            }
            // A privileged container may change what it sees there, as docker lets it.
            "/sys" | "/sys/fs/cgroup" if given.on("privileged") => {
                mount.options.retain(|option| option != "ro");
            }
            _ => {}
        }
    }
    share_ipc(given, subject, &mut mounts)?;
    let mut asked = volumes::volumes(given, subject)?;
    // Parents before children; equal depths keep the order of the flags.
    asked.sort_by_key(|volume| volume.mount.destination.matches('/').count());
    mounts.retain(|usual| asked.iter().all(|volume| volume.mount.destination != usual.destination));
    let notes = asked.iter().filter_map(|volume| volume.volume.clone()).collect();
    mounts.extend(asked.into_iter().map(|volume| volume.mount));
    Ok(Mounts { mounts, volumes: notes })
}

/// Shared memory of another namespace, which is a file system of its own; message queues belong to the namespace that
/// is joined, wherever they are mounted.
fn share_ipc(given: &Given, subject: &Subject, mounts: &mut Vec<Mount>) -> Result<(), Error> {
    let root = match mode(given, "ipc")? {
        Mode::Private => return Ok(()),
        Mode::None => {
            mounts.retain(|mount| mount.destination != "/dev/shm");
            return Ok(());
        }
        Mode::Host => String::new(),
        Mode::Container(container) => format!("/proc/{}/root", running(&subject.place, container)?.1),
    };
    for mount in mounts.iter_mut().filter(|mount| mount.destination == "/dev/shm") {
        mount.source = Some(format!("{root}{}", mount.destination));
        mount.kind = Some("bind".into());
        mount.options = ["rbind", "nosuid", "noexec", "nodev", "rprivate"].map(str::to_owned).to_vec();
    }
    Ok(())
}
