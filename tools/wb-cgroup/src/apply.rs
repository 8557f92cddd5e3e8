//! Writing a plan into the control files of a cgroup that exists.

use crate::devices;
use crate::group::Group;
use crate::plan::{self, Write};
use crate::resources::Resources;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use wb_doc::{Context, Error};
use wb_sys::{Errno, file};

/// The writes that `resources` need on a machine of this cgroup version.
pub fn plan(resources: &Resources, version: u8) -> Result<Vec<Write>, Error> {
    if version == 2 { plan::v2(resources) } else { plan::v1(resources) }
}

/// The controllers that a plan writes to.
pub fn controllers(writes: &[Write]) -> BTreeSet<String> {
    // Files such as cgroup.max.depth belong to the core, which is always there.
    writes.iter().map(|write| write.controller.clone()).filter(|controller| controller != "cgroup").collect()
}

/// Writes the plan, and on v2 attaches the device program.
pub fn apply(group: &Group, writes: &[Write], resources: &Resources) -> Result<(), Error> {
    let mut writes = writes.to_vec();
    swap_before_memory_when_raising(group, &mut writes);
    for write in &writes {
        let directory = group.directory(&write.controller).ok_or_else(|| {
            Error::new(format!("{}: the {} controller is not available here", write.file, write.controller))
        })?;
        put(directory, write)?;
    }
    if group.version == 2 && !resources.devices.is_empty() {
        if let Some(directory) = group.directory(crate::group::UNIFIED) {
            devices::attach(directory, &resources.devices)?;
        }
    }
    Ok(())
}

/// v1 keeps memory ≤ memory+swap at every moment: lowering starts with memory, raising with memory+swap.
fn swap_before_memory_when_raising(group: &Group, writes: &mut [Write]) {
    let position = |name: &str| writes.iter().position(|write| write.file == name);
    let (Some(memory), Some(swap)) =
        (position("memory.limit_in_bytes"), position("memory.memsw.limit_in_bytes"))
    else {
        return;
    };
    let now = group
        .directory("memory")
        .and_then(|directory| fs::read_to_string(directory.join("memory.memsw.limit_in_bytes")).ok())
        .and_then(|text| text.trim_end().parse::<i128>().ok());
    let target = writes[memory].value.parse::<i128>().unwrap_or(-1);
    if now.is_some_and(|now| target < 0 || target > now) {
        writes.swap(memory, swap);
    }
}

fn put(directory: &Path, write: &Write) -> Result<(), Error> {
    let path = directory.join(&write.file);
    let why = "a limit is a line in a control file";
    match file::write_control(&path, &write.value, why) {
        Ok(()) => Ok(()),
        Err(Errno::ENOENT | Errno::EACCES) if !path.exists() => absent(directory, write, why),
        Err(errno) => {
            let error = Error::errno(format!("{} > {}", write.value, path.display()), errno);
            Err(match (errno, write.file.as_str()) {
                (Errno::EBUSY, "memory.max" | "memory.limit_in_bytes") => {
                    error.hint("the container uses more memory than that at present")
                }
                (Errno::EINVAL | Errno::ERANGE, _) => error.hint("the kernel does not take this value"),
                _ => error,
            })
        }
    }
}

/// A control file the kernel was built without.
fn absent(directory: &Path, write: &Write, why: &str) -> Result<(), Error> {
    let fallback = match (write.file.as_str(), write.value.as_str()) {
        // Without swap accounting there is nothing to account: a limit on memory and swap together holds anyway.
        ("memory.memsw.limit_in_bytes" | "memory.swap.max", _) => return Ok(()),
        ("blkio.weight", weight) => Some(("blkio.bfq.weight", weight.to_owned())),
        ("blkio.weight_device", line) => Some(("blkio.bfq.weight_device", line.to_owned())),
        // io.weight counts 1 to 10000 where bfq and the specification count 10 to 1000.
        ("io.bfq.weight", weight) => weight
            .parse::<u32>()
            .ok()
            .map(|weight| ("io.weight", format!("default {}", 1 + (weight.max(10) - 10) * 9999 / 990))),
        _ => None,
    };
    if let Some((name, value)) = fallback {
        let path = directory.join(name);
        if path.exists() {
            return file::write_control(&path, &value, why)
                .context(|| format!("{value} > {}", path.display()));
        }
    }
    Err(Error::new(format!(
        "{}: the {} controller of this kernel has no such file",
        write.file, write.controller
    )))
}
