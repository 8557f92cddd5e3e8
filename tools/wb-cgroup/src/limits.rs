//! The other way round: from the control files of a living cgroup to `linux.resources`.

use crate::group::Group;
use serde_json::{Value, json};
use std::fs;
use wb_doc::{Document, Error};

/// What v1 shows for "no limit": the largest number of pages it can count, in bytes.
const V1_NO_LIMIT: u64 = 0x7fff_ffff_ffff_f000;

/// A member of `linux.resources`, and the file that holds it.
pub type Row = (&'static str, &'static str, &'static str);

const V1: [Row; 10] = [
    ("memory/limit", "memory", "memory.limit_in_bytes"),
    ("memory/swap", "memory", "memory.memsw.limit_in_bytes"),
    ("memory/reservation", "memory", "memory.soft_limit_in_bytes"),
    ("cpu/shares", "cpu", "cpu.shares"),
    ("cpu/period", "cpu", "cpu.cfs_period_us"),
    ("cpu/quota", "cpu", "cpu.cfs_quota_us"),
    ("cpu/cpus", "cpuset", "cpuset.cpus"),
    ("cpu/mems", "cpuset", "cpuset.mems"),
    ("pids/limit", "pids", "pids.max"),
    ("blockIO/weight", "blkio", "blkio.weight"),
];

const V2: [Row; 5] = [
    ("memory/limit", "memory", "memory.max"),
    ("memory/reservation", "memory", "memory.low"),
    ("cpu/cpus", "cpuset", "cpuset.cpus"),
    ("cpu/mems", "cpuset", "cpuset.mems"),
    ("pids/limit", "pids", "pids.max"),
];

/// Fills the members that the kernel has a limit for; `unified` holds what v2 counts in other units than the
/// runtime-spec.
pub fn read(group: &Group, document: &mut Document) -> Result<(), Error> {
    let content = |controller: &str, file: &str| -> Option<String> {
        // A file this kernel does not have is no limit.
        let text = fs::read_to_string(group.directory(controller)?.join(file)).ok()?;
        Some(text.trim_end().to_owned())
    };
    for (member, controller, file) in rows(group) {
        if let Some(value) = content(controller, file).and_then(|text| limit(member, &text)) {
            document.set(&format!("/linux/resources/{member}"), value)?;
        }
    }
    if let Some((quota, period)) = content("cpu", "cpu.max").as_deref().and_then(|text| text.split_once(' '))
    {
        if let (Ok(quota), Ok(period)) = (quota.parse::<u64>(), period.parse::<u64>()) {
            document.set("/linux/resources/cpu/quota", quota)?;
            document.set("/linux/resources/cpu/period", period)?;
        }
    }
    for (controller, file, default) in [("cpu", "cpu.weight", "100"), ("memory", "memory.swap.max", "max")] {
        if let Some(text) = content(controller, file).filter(|text| text != default) {
            let unified = document.read::<serde_json::Map<String, Value>>("/linux/resources/unified")?;
            let mut unified = unified.unwrap_or_default();
            unified.insert(file.to_owned(), Value::from(text));
            document.set("/linux/resources/unified", unified)?;
        }
    }
    Ok(())
}

/// The members that can be read back as they are. On a hybrid machine each controller is where it is.
pub fn rows(group: &Group) -> impl Iterator<Item = &'static Row> {
    let is_v1 = |row: &&Row| group.paths.contains_key(row.1);
    V1.iter().filter(is_v1).chain(V2.iter().filter(move |row| !is_v1(row)))
}

/// A control file's content as the member's value; `None` for "no limit".
fn limit(member: &str, text: &str) -> Option<Value> {
    if matches!(member, "cpu/cpus" | "cpu/mems") {
        return (!text.is_empty()).then(|| json!(text));
    }
    let number = text.parse::<i64>().ok()?;
    let unlimited =
        number < 0 || number.unsigned_abs() >= V1_NO_LIMIT || (member == "memory/reservation" && number == 0);
    (!unlimited).then(|| json!(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_no_member() {
        assert_eq!(limit("memory/limit", "max"), None);
        assert_eq!(limit("memory/limit", "9223372036854771712"), None);
        assert_eq!(limit("cpu/quota", "-1"), None);
        assert_eq!(limit("memory/limit", "4096"), Some(json!(4096)));
        assert_eq!(limit("cpu/cpus", "0-1"), Some(json!("0-1")));
    }
}
