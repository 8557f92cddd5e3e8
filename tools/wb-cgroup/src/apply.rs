//! Writing a plan into the control files of a cgroup that exists.

use crate::devices;
use crate::group::{Group, UNIFIED};
use crate::hierarchy::Hierarchies;
use crate::plan::Write;
use crate::resources::Resources;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_sys::{Errno, file};

const WHY: &str = "a limit is a line in a control file";

/// The controllers that are used: those a plan writes to, and the one that device rules need on v2.
pub fn controllers(writes: &[Write], resources: &Resources) -> BTreeSet<String> {
    // Files such as cgroup.max.depth belong to the core, which is always there.
    let written = writes.iter().map(|write| write.controller.clone()).filter(|name| name != "cgroup");
    let devices = (!resources.devices.is_empty()).then(|| "devices".to_owned());
    written.chain(devices).collect()
}

/// Writes the plan, and where devices are on v2 attaches their program. After a failure what was changed holds what
/// it held before.
pub fn apply(
    group: &Group,
    hierarchies: &Hierarchies,
    writes: &[Write],
    resources: &Resources,
) -> Result<(), Error> {
    let mut writes = writes.to_vec();
    order(group, &mut writes);
    if resources.memory.check_before_update && hierarchies.version_of("memory") == 2 {
        check_use(group, &writes)?;
    }
    let mut done = Vec::new();
    let result = writes
        .iter()
        .try_for_each(|write| put(group, write, &mut done))
        .and_then(|()| attach_devices(group, hierarchies, resources));
    result.map_err(|error| undo(error, done))
}

fn attach_devices(group: &Group, hierarchies: &Hierarchies, resources: &Resources) -> Result<(), Error> {
    match group.paths.get(UNIFIED) {
        Some(directory) if !resources.devices.is_empty() && hierarchies.version_of("devices") == 2 => {
            devices::attach(directory, &resources.devices)
        }
        _ => Ok(()),
    }
}

/// Two limits of which one must not pass the other at any moment: the file of the smaller one, that of the larger.
const PAIRS: [(&str, &str, &str); 3] = [
    ("memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    ("cpu", "cpu.cfs_burst_us", "cpu.cfs_quota_us"),
    ("cpu", "cpu.max.burst", "cpu.max"),
];

/// Where both limits of a pair are written, the larger one goes first when it grows, the smaller one when it
/// shrinks.
fn order(group: &Group, writes: &mut [Write]) {
    for (controller, smaller, larger) in PAIRS {
        let position = |name: &str| writes.iter().position(|write| write.file == name);
        let (Some(low), Some(high)) = (position(smaller), position(larger)) else { continue };
        // A file that is not there has no say; its own write tells.
        let now = group.directory(controller).and_then(|directory| number(&directory.join(larger)));
        let target = limit(&writes[low].value);
        let larger_first = now.is_some_and(|now| target > now);
        if larger_first != (high < low) {
            writes.swap(low, high);
        }
    }
}

/// The limit a control file holds.
fn number(path: &Path) -> Option<u128> {
    fs::read_to_string(path).ok().map(|text| limit(&text))
}

/// The first word as a number; `max` and -1 are more than any.
fn limit(text: &str) -> u128 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(u128::MAX)
}

/// v1 refuses a limit below what is used; v2 kills for it, unless it is looked at before.
fn check_use(group: &Group, writes: &[Write]) -> Result<(), Error> {
    let Some(write) = writes.iter().find(|write| write.file == "memory.max") else { return Ok(()) };
    let used = group.directory("memory").and_then(|directory| number(&directory.join("memory.current")));
    match used {
        Some(used) if limit(&write.value) < used => Err(Error::new(format!(
            "memory.max: the memory controller counts {used} bytes in use, which is more than {}",
            write.value
        ))
        .hint("memory.checkBeforeUpdate asks for this to be an error")),
        _ => Ok(()),
    }
}

/// Writes one line, and notes what the file held before.
fn put(group: &Group, write: &Write, done: &mut Vec<(PathBuf, String)>) -> Result<(), Error> {
    let directory = group.directory(&write.controller).ok_or_else(|| {
        Error::new(format!("{}: the {} controller is not available here", write.file, write.controller))
    })?;
    let (name, value) = variant(directory, write)?;
    let Some(name) = name else { return Ok(()) };
    let path = directory.join(name);
    // Of a file with many lines a single one cannot be put back, and v1's device rules are not read where they are written.
    let before = (write.controller != "devices").then(|| fs::read_to_string(&path).ok()).flatten();
    let before = before.filter(|text| text.lines().count() == 1);
    file::write_control(&path, &value, WHY).map_err(|errno| explained(&path, write, errno))?;
    done.extend(before.map(|before| (path.clone(), before)));
    heeded(&path, write)
}

fn explained(path: &Path, write: &Write, errno: Errno) -> Error {
    let error = Error::errno(format!("{} > {}", write.value.trim_end(), path.display()), errno);
    match (errno, write.file.as_str()) {
        (Errno::EBUSY, "memory.max" | "memory.limit_in_bytes") => {
            error.hint("the container uses more memory than that at present")
        }
        (Errno::EOPNOTSUPP, "io.bfq.weight" | "blkio.weight_device") => {
            error.hint("the device's scheduler must be bfq: /sys/block/DEVICE/queue/scheduler")
        }
        (Errno::EINVAL | Errno::ERANGE, _) => error.hint("the kernel does not take this value"),
        _ => error,
    }
}

/// The file that holds the limit on this kernel and what is written to it; no file where there is nothing to do.
fn variant(directory: &Path, write: &Write) -> Result<(Option<String>, String), Error> {
    let there = |name: &str| directory.join(name).exists();
    if there(&write.file) {
        return Ok((Some(write.file.clone()), write.value.clone()));
    }
    let other = match write.file.as_str() {
        // Without swap accounting there is nothing to account: a limit on memory and swap together holds anyway.
        "memory.memsw.limit_in_bytes" | "memory.swap.max" => return Ok((None, String::new())),
        // Kernels before 5.7 know use alone.
        name if name.contains(".rsvd.") => return Ok((None, String::new())),
        "blkio.weight" => Some(("blkio.bfq.weight", write.value.clone())),
        "blkio.weight_device" => Some(("blkio.bfq.weight_device", write.value.clone())),
        "io.bfq.weight" => io_weight(&write.value).map(|value| ("io.weight", value)),
        _ => None,
    };
    match other {
        Some((name, value)) if there(name) => Ok((Some(name.to_owned()), value)),
        _ => Err(Error::new(format!(
            "{}: the {} controller of this kernel has no such file",
            write.file, write.controller
        ))),
    }
}

/// `io.weight` counts 1 to 10000 where bfq and the specification count 10 to 1000.
fn io_weight(line: &str) -> Option<String> {
    let (device, weight) = line.split_once(' ').unwrap_or(("default", line));
    let weight = weight.parse::<u32>().ok()?;
    Some(format!("{device} {}", 1 + (weight.max(10) - 10) * 9999 / 990))
}

/// Kernels from 5.16 on take a limit on kernel memory and forget it.
fn heeded(path: &Path, write: &Write) -> Result<(), Error> {
    let is_forgotten = || limit(&write.value) < u128::MAX && number(path).is_some_and(|now| now > 1 << 62);
    if write.file == "memory.kmem.limit_in_bytes" && is_forgotten() {
        return Err(Error::new(format!("{}: the memory controller of this kernel ignores it", write.file)));
    }
    Ok(())
}

/// Puts back, the last change first, and says what could not be.
fn undo(error: Error, done: Vec<(PathBuf, String)>) -> Error {
    done.into_iter().rev().fold(error, |error, (path, before)| {
        let undone = file::write_control(&path, before.trim_end(), "as it was before")
            .context(|| format!("{} > {}", before.trim_end(), path.display()));
        match undone {
            Ok(()) => error,
            Err(undo) => error.hint(format!("and this stays changed: {undo}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_the_cost_model_count_to_ten_thousand() {
        assert_eq!(io_weight("1000").as_deref(), Some("default 10000"));
        assert_eq!(io_weight("8:0 10").as_deref(), Some("8:0 1"));
        assert_eq!(io_weight("x"), None);
    }

    #[test]
    fn no_limit_is_the_largest() {
        assert!(limit("-1") > limit("9223372036854771712\n"));
        assert!(limit("max 100000") > limit("25000 100000"));
    }

    #[test]
    fn the_larger_of_a_pair_goes_first_when_it_grows() {
        let directory = std::env::temp_dir().join(format!("wb-pairs-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("memory.memsw.limit_in_bytes"), "1000\n").unwrap();
        let group = Group { version: 1, paths: [("memory".to_owned(), directory.clone())].into() };
        let write = |file: &str, value: &str| Write {
            controller: "memory".into(),
            file: file.into(),
            value: value.into(),
        };
        for (value, first) in [("500", "memory.limit_in_bytes"), ("-1", "memory.memsw.limit_in_bytes")] {
            let mut writes =
                [write("memory.limit_in_bytes", value), write("memory.memsw.limit_in_bytes", value)];
            order(&group, &mut writes);
            assert_eq!(writes[0].file, first);
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
