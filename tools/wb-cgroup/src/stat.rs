//! The accounts: what a cgroup has used, in one form for v1 and v2.

use crate::group::{Group, UNIFIED};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// What `wb.cgroup.stat` holds: times in nanoseconds, sizes in bytes. What the kernel does not count is absent.
pub fn stat(group: &Group) -> Value {
    let mut stat = Map::new();
    if group.version == 2 {
        v2(group, &mut stat);
    } else {
        v1(group, &mut stat);
    }
    Value::Object(stat)
}

fn v2(group: &Group, stat: &mut Map<String, Value>) {
    let Some(directory) = group.paths.get(UNIFIED) else { return };
    let cpu = keyed(directory, "cpu.stat");
    let us = |key: &str| cpu.get(key).and_then(Value::as_u64).map(|us| us * 1000);
    stat.insert(
        "cpu".into(),
        compact(json!({
            "usage": us("usage_usec"), "user": us("user_usec"), "system": us("system_usec"),
            "periods": cpu.get("nr_periods"), "throttledPeriods": cpu.get("nr_throttled"),
            "throttledTime": us("throttled_usec"), "pressure": pressure(directory, "cpu.pressure"),
        })),
    );
    let events = keyed(directory, "memory.events");
    let detail = keyed(directory, "memory.stat");
    stat.insert(
        "memory".into(),
        compact(json!({
            "usage": number(directory, "memory.current"), "limit": number(directory, "memory.max"),
            "peak": number(directory, "memory.peak"), "swap": number(directory, "memory.swap.current"),
            "inactiveFile": detail.get("inactive_file"), "anon": detail.get("anon"), "file": detail.get("file"),
            "oomKills": events.get("oom_kill"), "limitHits": events.get("max"),
            "pressure": pressure(directory, "memory.pressure"),
        })),
    );
    stat.insert("pids".into(), pids(directory));
    let io = fs::read_to_string(directory.join("io.stat")).unwrap_or_default();
    stat.insert("io".into(), io_v2(&io, pressure(directory, "io.pressure").as_ref()));
}

fn v1(group: &Group, stat: &mut Map<String, Value>) {
    if let Some(directory) = group.paths.get("cpuacct") {
        let usage = number(directory, "cpuacct.usage");
        let cpu = group.paths.get("cpu").map(|directory| keyed(directory, "cpu.stat")).unwrap_or_default();
        stat.insert(
            "cpu".into(),
            compact(json!({
                "usage": usage, "user": number(directory, "cpuacct.usage_user"),
                "system": number(directory, "cpuacct.usage_sys"), "periods": cpu.get("nr_periods"),
                "throttledPeriods": cpu.get("nr_throttled"), "throttledTime": cpu.get("throttled_time"),
            })),
        );
    }
    if let Some(directory) = group.paths.get("memory") {
        let detail = keyed(directory, "memory.stat");
        let limit = number(directory, "memory.limit_in_bytes")
            .filter(|limit| limit.as_u64().is_some_and(|limit| limit < u64::MAX / 4));
        stat.insert(
            "memory".into(),
            compact(json!({
                "usage": number(directory, "memory.usage_in_bytes"), "limit": limit,
                "peak": number(directory, "memory.max_usage_in_bytes"), "swap": detail.get("total_swap"),
                "inactiveFile": detail.get("total_inactive_file"), "anon": detail.get("total_rss"),
                "file": detail.get("total_cache"),
                "oomKills": keyed(directory, "memory.oom_control").get("oom_kill"),
                "limitHits": number(directory, "memory.failcnt"),
            })),
        );
    }
    if let Some(directory) = group.paths.get("pids") {
        stat.insert("pids".into(), pids(directory));
    }
    if let Some(directory) = group.paths.get("blkio") {
        let bytes = fs::read_to_string(directory.join("blkio.throttle.io_service_bytes")).unwrap_or_default();
        let operations = fs::read_to_string(directory.join("blkio.throttle.io_serviced")).unwrap_or_default();
        let sum = |text: &str, kind: &str| -> u64 {
            let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
            lines
                .filter(|(left, _)| left.ends_with(kind))
                .filter_map(|(_, value)| value.parse::<u64>().ok())
                .sum()
        };
        stat.insert(
            "io".into(),
            json!({
                "readBytes": sum(&bytes, " Read"), "writtenBytes": sum(&bytes, " Write"),
                "reads": sum(&operations, " Read"), "writes": sum(&operations, " Write"),
            }),
        );
    }
}

fn pids(directory: &Path) -> Value {
    compact(json!({
        "current": number(directory, "pids.current"), "limit": number(directory, "pids.max"),
        "limitHits": keyed(directory, "pids.events").get("max"),
    }))
}

fn io_v2(text: &str, pressure: Option<&Value>) -> Value {
    let sum = |key: &str| -> u64 {
        let words = text.split_whitespace().filter_map(|word| word.split_once('='));
        words.filter(|(name, _)| *name == key).filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    };
    compact(json!({
        "readBytes": sum("rbytes"), "writtenBytes": sum("wbytes"), "reads": sum("rios"), "writes": sum("wios"),
        "pressure": pressure,
    }))
}

/// A file with one number; `max` and absence are both no number.
fn number(directory: &Path, file: &str) -> Option<Value> {
    // A file this kernel does not have is an account it does not keep.
    fs::read_to_string(directory.join(file)).ok()?.trim_end().parse::<u64>().ok().map(Value::from)
}

/// A file of `key value` lines.
fn keyed(directory: &Path, file: &str) -> Map<String, Value> {
    let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(key, value)| Some((key.to_owned(), Value::from(value.parse::<u64>().ok()?)))).collect()
}

/// The `some` and `full` averages over ten seconds, in per cent (psi.rst).
fn pressure(directory: &Path, file: &str) -> Option<Value> {
    let text = fs::read_to_string(directory.join(file)).ok()?;
    let average = |kind: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        line.split_whitespace().find_map(|word| word.strip_prefix("avg10=")?.parse().ok())
    };
    Some(compact(json!({ "some": average("some"), "full": average("full") })))
}

/// An object without its null members.
fn compact(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_is_summed_over_devices() {
        let io = io_v2("8:0 rbytes=10 wbytes=1 rios=2 wios=1\n8:16 rbytes=5 wbytes=0 rios=1 wios=0\n", None);
        assert_eq!(io["readBytes"], 15);
        assert_eq!(io["reads"], 3);
    }
}
