//! The accounts: what a cgroup has used, in one form for v1 and v2.

use crate::group::{Group, UNIFIED};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// What `wb.cgroup.stat` holds: times in nanoseconds, sizes in bytes. What the kernel does not count is absent.
///
/// Each controller is read where it is: on a hybrid machine some are on v1 and some on v2.
pub fn stat(group: &Group) -> Value {
    let mut stat = Map::new();
    let mut add = |member: &str, account: Option<Value>| {
        stat.extend(account.map(|account| (member.to_owned(), account)));
    };
    let v1 = |controller: &str| group.paths.get(controller).map(PathBuf::as_path);
    // Every v2 cgroup has cpu.stat; the other files show that the controller is here.
    let v2 = |file: &str| {
        let directory = group.paths.get(UNIFIED).filter(|directory| directory.join(file).exists());
        directory.map(PathBuf::as_path)
    };
    add(
        "cpu",
        v1("cpuacct").map(|directory| cpu_v1(directory, v1("cpu"))).or_else(|| v2("cpu.stat").map(cpu_v2)),
    );
    add("memory", v1("memory").map(memory_v1).or_else(|| v2("memory.current").map(memory_v2)));
    add("pids", v1("pids").or_else(|| v2("pids.current")).map(pids));
    add("io", v1("blkio").map(io_v1).or_else(|| v2("io.stat").map(io_v2)));
    add(
        "hugetlb",
        v1("hugetlb").or_else(|| group.paths.get(UNIFIED).map(PathBuf::as_path)).and_then(hugetlb),
    );
    Value::Object(stat)
}

fn cpu_v2(directory: &Path) -> Value {
    let cpu = keyed(directory, "cpu.stat");
    let us = |key: &str| cpu.get(key).and_then(Value::as_u64).map(|us| us * 1000);
    compact(json!({
        "usage": us("usage_usec"), "user": us("user_usec"), "system": us("system_usec"),
        "periods": cpu.get("nr_periods"), "throttledPeriods": cpu.get("nr_throttled"),
        "throttledTime": us("throttled_usec"), "pressure": pressure(directory, "cpu.pressure"),
    }))
}

fn cpu_v1(accounts: &Path, limits: Option<&Path>) -> Value {
    let cpu = limits.map(|directory| keyed(directory, "cpu.stat")).unwrap_or_default();
    compact(json!({
        "usage": number(accounts, "cpuacct.usage"), "user": number(accounts, "cpuacct.usage_user"),
        "system": number(accounts, "cpuacct.usage_sys"), "periods": cpu.get("nr_periods"),
        "throttledPeriods": cpu.get("nr_throttled"), "throttledTime": cpu.get("throttled_time"),
    }))
}

fn memory_v2(directory: &Path) -> Value {
    let events = keyed(directory, "memory.events");
    let detail = keyed(directory, "memory.stat");
    compact(json!({
        "usage": number(directory, "memory.current"), "limit": number(directory, "memory.max"),
        "peak": number(directory, "memory.peak"), "swap": number(directory, "memory.swap.current"),
        "inactiveFile": detail.get("inactive_file"), "anon": detail.get("anon"), "file": detail.get("file"),
        "oomKills": events.get("oom_kill"), "limitHits": events.get("max"),
        "pressure": pressure(directory, "memory.pressure"),
    }))
}

fn memory_v1(directory: &Path) -> Value {
    let detail = keyed(directory, "memory.stat");
    let limit = number(directory, "memory.limit_in_bytes")
        .filter(|limit| limit.as_u64().is_some_and(|limit| limit < u64::MAX / 4));
    compact(json!({
        "usage": number(directory, "memory.usage_in_bytes"), "limit": limit,
        "peak": number(directory, "memory.max_usage_in_bytes"), "swap": detail.get("total_swap"),
        "inactiveFile": detail.get("total_inactive_file"), "anon": detail.get("total_rss"),
        "file": detail.get("total_cache"),
        "oomKills": keyed(directory, "memory.oom_control").get("oom_kill"),
        "limitHits": limit_hits_v1(directory),
    }))
}

/// How often v1 memory was at its limit. Where that on memory and swap is as low, it is met first and alone.
pub fn limit_hits_v1(directory: &Path) -> Option<u64> {
    let hits = |file: &str| number(directory, file).and_then(|hits| hits.as_u64());
    Some(hits("memory.failcnt")? + hits("memory.memsw.failcnt").unwrap_or_default())
}

fn io_v1(directory: &Path) -> Value {
    let bytes = fs::read_to_string(directory.join("blkio.throttle.io_service_bytes")).unwrap_or_default();
    let operations = fs::read_to_string(directory.join("blkio.throttle.io_serviced")).unwrap_or_default();
    let sum = |text: &str, kind: &str| -> u64 {
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        lines
            .filter(|(left, _)| left.ends_with(kind))
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum()
    };
    json!({
        "readBytes": sum(&bytes, " Read"), "writtenBytes": sum(&bytes, " Write"),
        "reads": sum(&operations, " Read"), "writes": sum(&operations, " Write"),
    })
}

fn io_v2(directory: &Path) -> Value {
    let text = fs::read_to_string(directory.join("io.stat")).unwrap_or_default();
    io_sums(&text, pressure(directory, "io.pressure").as_ref())
}

/// By page size; nothing where the controller is not here.
fn hugetlb(directory: &Path) -> Option<Value> {
    let (mut sizes, is_v2) = (Map::new(), !directory.join("tasks").exists());
    for entry in fs::read_dir(directory).ok()?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((size, file)) = name.strip_prefix("hugetlb.").and_then(|rest| rest.split_once('.')) else {
            continue;
        };
        if file == if is_v2 { "current" } else { "usage_in_bytes" } {
            let number = |file: &str| number(directory, &format!("hugetlb.{size}.{file}"));
            let (limit, hits) = if is_v2 {
                let events = keyed(directory, &format!("hugetlb.{size}.events"));
                (number("max"), events.get("max").cloned())
            } else {
                (number("limit_in_bytes"), number("failcnt"))
            };
            let limit = limit.filter(|limit| limit.as_u64().is_some_and(|limit| limit < u64::MAX / 4));
            let account = json!({"usage": number(file), "limit": limit, "limitHits": hits});
            sizes.insert(size.to_owned(), compact(account));
        }
    }
    (!sizes.is_empty()).then_some(Value::Object(sizes))
}

fn pids(directory: &Path) -> Value {
    compact(json!({
        "current": number(directory, "pids.current"), "limit": number(directory, "pids.max"),
        "limitHits": keyed(directory, "pids.events").get("max"),
    }))
}

fn io_sums(text: &str, pressure: Option<&Value>) -> Value {
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
        let io =
            io_sums("8:0 rbytes=10 wbytes=1 rios=2 wios=1\n8:16 rbytes=5 wbytes=0 rios=1 wios=0\n", None);
        assert_eq!(io["readBytes"], 15);
        assert_eq!(io["reads"], 3);
    }
}
