//! `linux.resources`: docker's limits in the OCI's terms.

use crate::flags::{Given, invalid};
use serde_json::{Map, Value, json};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use wb_doc::{Context, Error, units};

/// Processes and threads a container may have where nothing else was asked: stops a fork bomb, hinders nobody.
const PIDS_LIMIT: i64 = 2048;
/// Below this nothing starts; a number without a unit is in bytes and is caught here.
const MIN_MEMORY: i64 = 6 << 20;
/// The period of `--cpus`, the kernel's default, in microseconds.
const CPU_PERIOD: u64 = 100_000;
/// The longest period, for quotas too small to be expressed in the usual one.
const LONG_PERIOD: u64 = 1_000_000;

/// The limits of a new container, without its device rules.
pub fn of_run(given: &Given) -> Result<Map<String, Value>, Error> {
    let mut resources = Map::new();
    change(&mut resources, given)?;
    if !resources.contains_key("pids") {
        resources.insert("pids".into(), json!({"limit": PIDS_LIMIT}));
    }
    Ok(resources)
}

/// Applies the flags given to `resources`; what was not given stays.
pub fn change(resources: &mut Map<String, Value>, given: &Given) -> Result<(), Error> {
    merge(resources, "memory", memory(given, resources.get("memory"))?);
    merge(resources, "cpu", cpu(given)?);
    if let Some(limit) = given.number::<i64>("pids-limit")? {
        let limit = if limit <= 0 { -1 } else { limit };
        resources.insert("pids".into(), json!({"limit": limit}));
    }
    merge(resources, "blockIO", block_io(given)?);
    for text in given.all("cgroup-conf") {
        let (file, value) = text.split_once('=').ok_or_else(|| invalid("cgroup-conf", text, "FILE=VALUE"))?;
        if file.is_empty() || file.contains('/') || file.starts_with('.') {
            return Err(invalid("cgroup-conf", text, "a file of the cgroup"));
        }
        merge(resources, "unified", Map::from_iter([(file.to_owned(), value.into())]));
    }
    Ok(())
}

fn merge(resources: &mut Map<String, Value>, member: &str, changes: Map<String, Value>) {
    if changes.is_empty() {
        return;
    }
    match resources.get_mut(member) {
        Some(Value::Object(old)) => old.extend(changes),
        _ => drop(resources.insert(member.into(), Value::Object(changes))),
    }
}

fn size(given: &Given, flag: &str) -> Result<Option<i64>, Error> {
    given
        .last(flag)
        .map(|text| units::bytes(text).map_err(|error| error.within(format!("--{flag}"))))
        .transpose()
}

fn memory(given: &Given, before: Option<&Value>) -> Result<Map<String, Value>, Error> {
    let mut memory = Map::new();
    let old = |member: &str| before.and_then(|before| before[member].as_i64());
    let limit = size(given, "memory")?.filter(|limit| *limit != 0);
    let swap = size(given, "memory-swap")?.filter(|swap| *swap != 0);
    let reservation = size(given, "memory-reservation")?.filter(|size| *size != 0);
    if let Some(limit) = limit {
        if limit < MIN_MEMORY {
            return Err(Error::usage(format!("--memory {limit}: the minimum is 6m"))
                .hint("a size without a unit is in bytes: 100m are 100 MiB"));
        }
        memory.insert("limit".into(), limit.into());
    }
    let in_force = limit.or(old("limit"));
    match (swap, in_force) {
        (Some(-1), _) => drop(memory.insert("swap".into(), (-1).into())),
        (Some(_), None) => {
            return Err(Error::usage("--memory-swap needs --memory: it is the sum of memory and swap"));
        }
        (Some(swap), Some(limit)) if swap < limit => {
            return Err(Error::usage(
                "--memory-swap is the sum of memory and swap and cannot be below --memory",
            ));
        }
        (Some(swap), Some(_)) => drop(memory.insert("swap".into(), swap.into())),
        // As docker: twice the memory, where nothing was said; at an update what was said before stays.
        (None, _) => match (limit, old("swap")) {
            (Some(limit), Some(swap)) if swap != -1 && swap < limit => {
                return Err(Error::usage(
                    "--memory is above the memory and swap set before: give --memory-swap as well",
                ));
            }
            (Some(limit), None) => drop(memory.insert("swap".into(), limit.saturating_mul(2).into())),
            _ => {}
        },
    }
    if let Some(reservation) = reservation {
        if in_force.is_some_and(|limit| reservation > limit) {
            return Err(Error::usage("--memory-reservation is above --memory"));
        }
        memory.insert("reservation".into(), reservation.into());
    }
    match given.number::<i64>("memory-swappiness")? {
        None | Some(-1) => {}
        Some(value @ 0..=100) => drop(memory.insert("swappiness".into(), value.into())),
        Some(value) => {
            return Err(invalid("memory-swappiness", &value.to_string(), "a number from 0 to 100"));
        }
    }
    if given.on("oom-kill-disable") {
        memory.insert("disableOOMKiller".into(), true.into());
    }
    Ok(memory)
}

fn cpu(given: &Given) -> Result<Map<String, Value>, Error> {
    let mut cpu = Map::new();
    if let Some(shares) = given.number::<i64>("cpu-shares")? {
        match shares {
            0 => {}
            // The kernel's own range is 2 to 262144 and it clamps silently.
            2..=262_144 => drop(cpu.insert("shares".into(), shares.into())),
            _ => return Err(invalid("cpu-shares", &shares.to_string(), "a number from 2 to 262144")),
        }
    }
    let period = given.number::<u64>("cpu-period")?.filter(|period| *period != 0);
    let quota = given.number::<i64>("cpu-quota")?.filter(|quota| *quota != 0);
    if let Some(text) = given.last("cpus") {
        if period.is_some() || quota.is_some() {
            return Err(Error::usage("conflicting options: --cpus and --cpu-period or --cpu-quota"));
        }
        if let Some((quota, period)) = quota_of_cpus(units::nano_cpus(text)?)
            .map_err(|()| invalid("cpus", text, "a number from 0.001"))?
        {
            cpu.insert("quota".into(), quota.into());
            cpu.insert("period".into(), period.into());
        }
    }
    if let Some(quota) = quota {
        if quota != -1 && quota < 1000 {
            return Err(invalid("cpu-quota", &quota.to_string(), "at least 1000 microseconds"));
        }
        cpu.insert("quota".into(), quota.into());
    }
    if let Some(period) = period {
        if !(1000..=LONG_PERIOD).contains(&period) {
            return Err(invalid("cpu-period", &period.to_string(), "1000 to 1000000 microseconds"));
        }
        cpu.insert("period".into(), period.into());
    }
    if let Some(period) = given.number::<u64>("cpu-rt-period")? {
        cpu.insert("realtimePeriod".into(), period.into());
    }
    if let Some(runtime) = given.number::<i64>("cpu-rt-runtime")? {
        cpu.insert("realtimeRuntime".into(), runtime.into());
    }
    for (flag, member) in [("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")] {
        if let Some(list) = given.last(flag).filter(|list| !list.is_empty()) {
            if !is_list(list) {
                return Err(invalid(flag, list, "a list such as 0-2,4"));
            }
            cpu.insert(member.into(), list.into());
        }
    }
    Ok(cpu)
}

/// Quota and period in microseconds; nothing for 0 CPUs, an error for less than the kernel can express.
///
/// The kernel's smallest quota is 1 ms: what is smaller in the usual period is told in the longest one.
fn quota_of_cpus(nano: u64) -> Result<Option<(u64, u64)>, ()> {
    if nano == 0 {
        return Ok(None);
    }
    for period in [CPU_PERIOD, LONG_PERIOD] {
        let product = u128::from(nano) * u128::from(period);
        let quota = u64::try_from(product / 1_000_000_000).map_err(|_| ())?;
        if quota >= 1000 {
            return Ok(Some((quota, period)));
        }
    }
    Err(())
}

/// `0-2,4`
fn is_list(text: &str) -> bool {
    text.split(',').all(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) => first <= last,
            _ => false,
        }
    })
}

fn block_io(given: &Given) -> Result<Map<String, Value>, Error> {
    let mut block_io = Map::new();
    match given.number::<u16>("blkio-weight")? {
        None | Some(0) => {}
        Some(weight @ 10..=1000) => drop(block_io.insert("weight".into(), weight.into())),
        Some(weight) => return Err(invalid("blkio-weight", &weight.to_string(), "a number from 10 to 1000")),
    }
    for (flag, list, member) in [
        ("blkio-weight-device", "weightDevice", "weight"),
        ("device-read-bps", "throttleReadBpsDevice", "rate"),
        ("device-write-bps", "throttleWriteBpsDevice", "rate"),
        ("device-read-iops", "throttleReadIOPSDevice", "rate"),
        ("device-write-iops", "throttleWriteIOPSDevice", "rate"),
    ] {
        let devices =
            given.all(flag).map(|text| of_device(flag, member, text)).collect::<Result<Vec<_>, _>>()?;
        if !devices.is_empty() {
            block_io.insert(list.into(), devices.into());
        }
    }
    Ok(block_io)
}

/// `/dev/sda:10m` as `{major, minor, rate}`.
fn of_device(flag: &str, member: &str, text: &str) -> Result<Value, Error> {
    let wrong = || invalid(flag, text, "DEVICE:VALUE");
    let (device, value) = text.rsplit_once(':').ok_or_else(wrong)?;
    let value =
        if flag.ends_with("bps") { units::bytes(value)? } else { value.parse().map_err(|_| wrong())? };
    if value < 0 || (member == "weight" && !(10..=1000).contains(&value)) {
        return Err(wrong());
    }
    let metadata = std::fs::metadata(device).context(|| format!("--{flag} {device}"))?;
    if !metadata.file_type().is_block_device() {
        return Err(Error::usage(format!("--{flag} {device}: not a block device")));
    }
    let rdev = metadata.rdev();
    let mut entry = Map::new();
    entry.insert("major".into(), nix::sys::stat::major(rdev).into());
    entry.insert("minor".into(), nix::sys::stat::minor(rdev).into());
    entry.insert(member.into(), value.into());
    Ok(Value::Object(entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{RUN, UPDATE, parse};
    use crate::table::TABLE;

    fn of(line: &str) -> Result<Value, Error> {
        let given = parse(TABLE, RUN, line.split_ascii_whitespace().map(Into::into)).unwrap();
        of_run(&given).map(Value::Object)
    }

    #[test]
    fn limits_as_docker_converts_them() {
        for (line, pointer, value) in [
            ("", "/pids", json!({"limit": 2048})),
            ("-m 100m", "/memory", json!({"limit": 104_857_600, "swap": 209_715_200})),
            ("-m 100m --memory-swap -1", "/memory/swap", json!(-1)),
            ("-m 100m --memory-swap 100m", "/memory/swap", json!(104_857_600)),
            ("-m 1g --memory-reservation 512m", "/memory/reservation", json!(536_870_912)),
            ("--cpus 0.25", "/cpu", json!({"quota": 25_000, "period": 100_000})),
            ("--cpus 0.04", "/cpu", json!({"quota": 4000, "period": 100_000})),
            ("--cpus 1.5", "/cpu", json!({"quota": 150_000, "period": 100_000})),
            ("--cpus 0.005", "/cpu", json!({"quota": 5000, "period": 1_000_000})),
            ("--cpu-shares 512", "/cpu", json!({"shares": 512})),
            ("-c 512 --cpuset-cpus 0-1", "/cpu", json!({"shares": 512, "cpus": "0-1"})),
            ("--cpu-period 50000 --cpu-quota 25000", "/cpu", json!({"quota": 25_000, "period": 50_000})),
            ("--pids-limit 64", "/pids/limit", json!(64)),
            ("--pids-limit -1", "/pids/limit", json!(-1)),
            ("--pids-limit 0", "/pids/limit", json!(-1)),
            ("--blkio-weight 300", "/blockIO", json!({"weight": 300})),
            ("--cgroup-conf memory.high=1000", "/unified", json!({"memory.high": "1000"})),
            (
                "--memory-swappiness 0 --oom-kill-disable",
                "/memory",
                json!({"swappiness": 0, "disableOOMKiller": true}),
            ),
        ] {
            assert_eq!(of(line).unwrap().pointer(pointer), Some(&value), "{line}");
        }
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for line in [
            "-m 100",
            "-m x",
            "--memory-swap 1g",
            "-m 1g --memory-swap 512m",
            "-m 100m --memory-reservation 1g",
            "--cpus 1 --cpu-quota 5000",
            "--cpus 0.0001",
            "--cpus x",
            "--cpu-shares 1",
            "--cpu-period 5",
            "--cpu-quota 5",
            "--cpuset-cpus 1-",
            "--cpuset-cpus 2-1",
            "--pids-limit x",
            "--blkio-weight 5",
            "--device-read-bps /dev/null:1m",
            "--memory-swappiness 101",
            "--cgroup-conf ../x=1",
        ] {
            assert!(of(line).is_err(), "{line}");
        }
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name() {
        let mut resources = of("-m 100m --cpus 1 --pids-limit 9").unwrap().as_object().unwrap().clone();
        let given = parse(TABLE, UPDATE, ["-m", "150m", "-c", "7"].map(Into::into)).unwrap();
        change(&mut resources, &given).unwrap();
        assert_eq!(resources["memory"], json!({"limit": 157_286_400, "swap": 209_715_200}));
        assert_eq!(resources["cpu"], json!({"quota": 100_000, "period": 100_000, "shares": 7}));
        assert_eq!(resources["pids"], json!({"limit": 9}));
        let given = parse(TABLE, UPDATE, ["-m", "1g"].map(Into::into)).unwrap();
        assert!(change(&mut resources, &given).is_err());
    }
}
