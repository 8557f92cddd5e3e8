//! `--security-opt`, `--privileged`, and what of /proc and /sys a container does not see.

use crate::flags::{Given, invalid};
use crate::seccomp as profile;
use serde_json::Value;
use std::path::Path;
use wb_doc::Error;
use wb_store::Place;

/// Docker's list and podman's together.
const MASKED: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The options given, as name and value.
fn options(given: &Given) -> impl Iterator<Item = (&str, &str)> {
    given.all("security-opt").map(|option| option.split_once(['=', ':']).unwrap_or((option, "")))
}

/// Refuses what is not known, so that nobody believes in a protection that is not there.
fn check(given: &Given) -> Result<(), Error> {
    for option in given.all("security-opt") {
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        let known = match name {
            "no-new-privileges" => matches!(value, "" | "true" | "false"),
            "seccomp" | "apparmor" | "label" | "mask" | "unmask" => !value.is_empty(),
            "systempaths" => value == "unconfined",
            _ => false,
        };
        if !known {
            let wanted =
                "no-new-privileges, seccomp=, apparmor=, label=, systempaths=unconfined, mask= or unmask=";
            return Err(invalid("security-opt", option, wanted));
        }
    }
    Ok(())
}

/// `process.noNewPrivileges`: off as with docker, so that su and sudo work.
pub fn no_new_privileges(given: &Given) -> Result<bool, Error> {
    check(given)?;
    let last = options(given).filter(|(name, _)| *name == "no-new-privileges").last();
    Ok(last.is_some_and(|(_, value)| value != "false"))
}

/// `process.apparmorProfile` and `process.selinuxLabel`; an error where the kernel has no such module.
pub fn labels(given: &Given) -> Result<Vec<(&'static str, String)>, Error> {
    let mut labels = Vec::new();
    for (name, value) in options(given) {
        match (name, value) {
            ("apparmor", "unconfined") | ("label", "disable") => {}
            ("apparmor", profile) => {
                if !Path::new("/sys/kernel/security/apparmor").exists() {
                    return Err(Error::new("--security-opt apparmor: this kernel runs without AppArmor"));
                }
                labels.push(("apparmorProfile", profile.to_owned()));
            }
            ("label", label) => {
                if !Path::new("/sys/fs/selinux/enforce").exists() {
                    return Err(Error::new("--security-opt label: this kernel runs without SELinux"));
                }
                labels.push(("selinuxLabel", label.to_owned()));
            }
            _ => {}
        }
    }
    Ok(labels)
}

/// `wb.seccomp`: `unconfined` where no filter is wanted; nothing where the default applies or `linux.seccomp` says.
pub fn seccomp_mode(given: &Given) -> Result<Option<&'static str>, Error> {
    check(given)?;
    Ok(match seccomp_option(given) {
        Some("unconfined") => Some("unconfined"),
        None if given.on("privileged") => Some("unconfined"),
        _ => None,
    })
}

/// `linux.seccomp` from the profile a flag names.
pub fn seccomp(given: &Given) -> Result<Option<Value>, Error> {
    match seccomp_option(given) {
        None | Some("unconfined" | "builtin") => Ok(None),
        // wb-confine has the default without being told; written out, it goes with the document to any runtime.
        Some("default") => Ok(Some(wb_doc::seccomp::default_profile(&crate::capabilities::of_run(given)?))),
        Some(path) => profile::read(path, &crate::capabilities::of_run(given)?).map(Some),
    }
}

/// `wb.seccompFilter`: the profile as the kernel takes it, so that no start compiles it again.
pub fn filter(place: &Place, profile: Option<&Value>) -> Result<Option<Value>, Error> {
    let Some(profile) = profile else { return Ok(None) };
    let filter = wb_seccomp::kept::filter(place, profile)?;
    Ok(Some(wb_seccomp::kept::to_document(profile, &filter)))
}

fn seccomp_option(given: &Given) -> Option<&str> {
    options(given).filter(|(name, _)| *name == "seccomp").last().map(|(_, value)| value)
}

/// `linux.maskedPaths`
pub fn masked_paths(given: &Given) -> Result<Vec<String>, Error> {
    check(given)?;
    if is_bare(given) {
        return Ok(Vec::new());
    }
    let mut paths: Vec<String> = MASKED.map(str::to_owned).to_vec();
    // How hot each CPU runs tells what its other users compute.
    for cpu in 0.. {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle");
        if !Path::new(&path).exists() {
            break;
        }
        paths.push(path);
    }
    for (name, value) in options(given) {
        match name {
            "mask" => paths.extend(value.split(':').map(str::to_owned)),
            "unmask" => paths.retain(|path| !is_unmasked(path, value)),
            _ => {}
        }
    }
    Ok(paths)
}

/// `linux.readonlyPaths`
pub fn readonly_paths(given: &Given) -> Result<Vec<String>, Error> {
    check(given)?;
    if is_bare(given) {
        return Ok(Vec::new());
    }
    let mut paths = READ_ONLY.map(str::to_owned).to_vec();
    for (_, value) in options(given).filter(|(name, _)| *name == "unmask") {
        paths.retain(|path| !is_unmasked(path, value));
    }
    Ok(paths)
}

fn is_bare(given: &Given) -> bool {
    given.on("privileged") || options(given).any(|(name, _)| name == "systempaths")
}

fn is_unmasked(path: &str, value: &str) -> bool {
    value == "ALL" || value.split(':').any(|unmasked| unmasked.trim_end_matches("/*") == path)
}
