//! From `linux.resources` to control files: a pure value, a list of writes for each controller.

use crate::resources::{DeviceRule, Resources};
use wb_doc::Error;

/// One write to a control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The controller the file belongs to.
    pub controller: String,
    /// The file's name.
    pub file: String,
    /// What is written.
    pub value: String,
}

impl Write {
    fn new(controller: &str, file: impl Into<String>, value: String) -> Self {
        Self { controller: controller.to_owned(), file: file.into(), value }
    }
}

/// What v1 files hold for "no limit".
fn v1_limit(bytes: i64) -> String {
    bytes.max(-1).to_string()
}

/// What v2 files hold for "no limit".
fn v2_limit(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

/// The number of tasks: 0 and below mean "no limit", as docker reads them.
fn task_limit(limit: i64) -> String {
    if limit <= 0 { "max".into() } else { limit.to_string() }
}

/// The writes for cgroup v1.
pub fn v1(resources: &Resources) -> Result<Vec<Write>, Error> {
    if let Some(file) = resources.unified.keys().next() {
        return Err(Error::new(format!(
            "linux.resources.unified: {file} is a cgroup v2 file, and this machine has cgroup v1"
        )));
    }
    let mut writes = Vec::new();
    let mut add = |controller: &str, file: &str, value: Option<String>| {
        writes.extend(value.map(|value| Write::new(controller, file, value)));
    };
    let memory = &resources.memory;
    add("memory", "memory.limit_in_bytes", memory.limit.map(v1_limit));
    add("memory", "memory.memsw.limit_in_bytes", memory.swap.map(v1_limit));
    add("memory", "memory.soft_limit_in_bytes", memory.reservation.map(v1_limit));
    add("memory", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp.map(v1_limit));
    add("memory", "memory.swappiness", memory.swappiness.map(|value| value.to_string()));
    add("memory", "memory.oom_control", memory.disable_oom_killer.map(|value| u8::from(value).to_string()));
    let cpu = &resources.cpu;
    add("cpu", "cpu.shares", cpu.shares.filter(|&shares| shares != 0).map(|value| value.to_string()));
    // The period first: the quota is checked against it.
    add("cpu", "cpu.cfs_period_us", cpu.period.filter(|&period| period != 0).map(|value| value.to_string()));
    add("cpu", "cpu.cfs_quota_us", cpu.quota.filter(|&quota| quota != 0).map(v1_limit));
    add("cpu", "cpu.cfs_burst_us", cpu.burst.map(|value| value.to_string()));
    add("cpu", "cpu.rt_period_us", cpu.realtime_period.map(|value| value.to_string()));
    add("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime.map(|value| value.to_string()));
    add("cpu", "cpu.idle", cpu.idle.map(|value| value.to_string()));
    add("cpuset", "cpuset.cpus", cpu.cpus.clone().filter(|list| !list.is_empty()));
    add("cpuset", "cpuset.mems", cpu.mems.clone().filter(|list| !list.is_empty()));
    add("pids", "pids.max", resources.pids.limit.map(task_limit));
    let block = &resources.block_io;
    add("blkio", "blkio.weight", block.weight.filter(|&weight| weight != 0).map(|value| value.to_string()));
    add("blkio", "blkio.leaf_weight", block.leaf_weight.map(|value| value.to_string()));
    for device in &block.weight_device {
        let weight = device.weight.map(|weight| format!("{}:{} {weight}", device.major, device.minor));
        add("blkio", "blkio.weight_device", weight);
    }
    for (file, devices) in [
        ("blkio.throttle.read_bps_device", &block.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", &block.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", &block.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", &block.throttle_write_iops_device),
    ] {
        for device in devices {
            add("blkio", file, Some(format!("{}:{} {}", device.major, device.minor, device.rate)));
        }
    }
    for page in &resources.hugepage_limits {
        let file = format!("hugetlb.{}.limit_in_bytes", page.page_size);
        add("hugetlb", &file, Some(page.limit.to_string()));
    }
    add("net_cls", "net_cls.classid", resources.network.class_id.map(|id| id.to_string()));
    for priority in &resources.network.priorities {
        add("net_prio", "net_prio.ifpriomap", Some(format!("{} {}", priority.name, priority.priority)));
    }
    for (device, limit) in &resources.rdma {
        add("rdma", "rdma.max", Some(rdma(device, limit)));
    }
    for rule in &resources.devices {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        add("devices", file, Some(device_line(rule)?));
    }
    Ok(writes)
}

/// The writes for cgroup v2. Devices are no file there: they are a BPF program.
pub fn v2(resources: &Resources) -> Result<Vec<Write>, Error> {
    let mut writes = Vec::new();
    let mut add = |controller: &str, file: &str, value: Option<String>| {
        writes.extend(value.map(|value| Write::new(controller, file, value)));
    };
    let memory = &resources.memory;
    add("memory", "memory.max", memory.limit.map(v2_limit));
    add("memory", "memory.swap.max", swap_alone(memory.limit, memory.swap)?);
    add("memory", "memory.low", memory.reservation.map(v2_limit));
    if memory.disable_oom_killer == Some(true) {
        return Err(not_on_v2("memory.disableOOMKiller", "memory"));
    }
    if memory.kernel_tcp.is_some() {
        return Err(not_on_v2("memory.kernelTCP", "memory"));
    }
    if memory.swappiness.is_some() {
        return Err(not_on_v2("memory.swappiness", "memory"));
    }
    let cpu = &resources.cpu;
    if cpu.realtime_period.is_some() || cpu.realtime_runtime.is_some() {
        return Err(not_on_v2("cpu.realtimeRuntime", "cpu"));
    }
    add(
        "cpu",
        "cpu.weight",
        cpu.shares.filter(|&shares| shares != 0).map(|shares| weight(shares).to_string()),
    );
    if cpu.quota.is_some_and(|quota| quota != 0) || cpu.period.is_some_and(|period| period != 0) {
        let quota = v2_limit(cpu.quota.filter(|&quota| quota != 0).unwrap_or(-1));
        let period = cpu.period.filter(|&period| period != 0).unwrap_or(100_000);
        add("cpu", "cpu.max", Some(format!("{quota} {period}")));
    }
    add("cpu", "cpu.max.burst", cpu.burst.map(|value| value.to_string()));
    add("cpu", "cpu.idle", cpu.idle.map(|value| value.to_string()));
    add("cpuset", "cpuset.cpus", cpu.cpus.clone().filter(|list| !list.is_empty()));
    add("cpuset", "cpuset.mems", cpu.mems.clone().filter(|list| !list.is_empty()));
    add("pids", "pids.max", resources.pids.limit.map(task_limit));
    let block = &resources.block_io;
    add("io", "io.bfq.weight", block.weight.filter(|&weight| weight != 0).map(|value| value.to_string()));
    for device in &block.weight_device {
        let weight = device.weight.map(|weight| format!("{}:{} {weight}", device.major, device.minor));
        add("io", "io.bfq.weight", weight);
    }
    for (key, devices) in [
        ("rbps", &block.throttle_read_bps_device),
        ("wbps", &block.throttle_write_bps_device),
        ("riops", &block.throttle_read_iops_device),
        ("wiops", &block.throttle_write_iops_device),
    ] {
        for device in devices {
            let rate = if device.rate == 0 { "max".into() } else { device.rate.to_string() };
            add("io", "io.max", Some(format!("{}:{} {key}={rate}", device.major, device.minor)));
        }
    }
    for page in &resources.hugepage_limits {
        add("hugetlb", &format!("hugetlb.{}.max", page.page_size), Some(page.limit.to_string()));
    }
    if resources.network.class_id.is_some() || !resources.network.priorities.is_empty() {
        return Err(not_on_v2("network", "net_cls"));
    }
    for (device, limit) in &resources.rdma {
        add("rdma", "rdma.max", Some(rdma(device, limit)));
    }
    for (file, value) in &resources.unified {
        // A file of this very cgroup: its name has the controller in front and no slash.
        let controller = file.split('.').next().unwrap_or_default();
        if file.contains('/') || controller.is_empty() || controller == file {
            return Err(Error::new(format!("linux.resources.unified: {file:?} is no control file")));
        }
        // One line a write, as io.max and rdma.max want it.
        for line in value.lines() {
            add(controller, file, Some(line.to_owned()));
        }
    }
    Ok(writes)
}

fn not_on_v2(member: &str, controller: &str) -> Error {
    Error::new(format!(
        "linux.resources.{member}: the {controller} controller of cgroup v2 has no such limit"
    ))
}

/// v2 counts swap alone where the specification counts memory and swap together.
fn swap_alone(limit: Option<i64>, swap: Option<i64>) -> Result<Option<String>, Error> {
    match (limit, swap) {
        (_, None | Some(0)) => Ok(None),
        (_, Some(-1)) => Ok(Some("max".into())),
        (Some(limit), Some(swap)) if limit >= 0 && swap >= limit => Ok(Some((swap - limit).to_string())),
        (Some(limit), Some(swap)) if limit >= 0 => Err(Error::new(format!(
            "linux.resources.memory: swap {swap} counts memory too, and is less than the limit {limit}"
        ))),
        _ => Err(Error::new("linux.resources.memory: swap without a memory limit")),
    }
}

/// v1 shares (2 to 262144, default 1024) as a v2 weight (1 to 10000, default 100), so that both defaults, and both
/// ends, agree: the conversion of runc 1.3.2 and crun 1.23, which replaced the linear one that made 1024 a 39.
fn weight(shares: u64) -> u64 {
    #[allow(clippy::cast_precision_loss, reason = "at most 2^18")]
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10000")]
    let weight = 10_f64.powf(exponent).ceil() as u64;
    weight.clamp(1, 10_000)
}

fn rdma(device: &str, limit: &crate::resources::Rdma) -> String {
    let part =
        |name: &str, value: Option<u32>| value.map(|value| format!(" {name}={value}")).unwrap_or_default();
    format!("{device}{}{}", part("hca_handle", limit.hca_handles), part("hca_object", limit.hca_objects))
}

/// A rule in the notation of devices.allow (cgroup-v1/devices.rst).
fn device_line(rule: &DeviceRule) -> Result<String, Error> {
    let kind = rule.kind.as_deref().unwrap_or("a");
    if !matches!(kind, "a" | "b" | "c") {
        return Err(Error::new(format!("linux.resources.devices: type {kind:?} is none of a, b, c")));
    }
    let access = rule.access.as_deref().unwrap_or("rwm");
    if access.is_empty() || !access.bytes().all(|byte| b"rwm".contains(&byte)) {
        return Err(Error::new(format!("linux.resources.devices: access {access:?} is not of r, w, m")));
    }
    let number =
        |value: Option<i64>| value.filter(|&value| value >= 0).map_or("*".into(), |value| value.to_string());
    if kind == "a" {
        // The kernel takes `a` alone for every device and every access.
        return Ok("a".into());
    }
    Ok(format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(text: &str) -> Resources {
        serde_json::from_str(text).unwrap()
    }

    fn shown(writes: &[Write]) -> Vec<String> {
        writes.iter().map(|write| format!("{}={}", write.file, write.value)).collect()
    }

    const DAILY: &str = r#"{"memory":{"limit":104857600,"swap":209715200,"reservation":-1},
        "cpu":{"shares":1024,"quota":25000,"period":100000,"cpus":"0-1"},"pids":{"limit":0}}"#;

    #[test]
    fn v1_files() {
        assert_eq!(
            shown(&v1(&resources(DAILY)).unwrap()),
            [
                "memory.limit_in_bytes=104857600",
                "memory.memsw.limit_in_bytes=209715200",
                "memory.soft_limit_in_bytes=-1",
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=25000",
                "cpuset.cpus=0-1",
                "pids.max=max"
            ]
        );
    }

    #[test]
    fn v2_files() {
        assert_eq!(
            shown(&v2(&resources(DAILY)).unwrap()),
            [
                "memory.max=104857600",
                "memory.swap.max=104857600",
                "memory.low=max",
                "cpu.weight=100",
                "cpu.max=25000 100000",
                "cpuset.cpus=0-1",
                "pids.max=max"
            ]
        );
    }

    #[test]
    fn weights_agree_at_both_ends_and_at_the_default() {
        assert_eq!(weight(2), 1);
        assert_eq!(weight(1024), 100);
        assert_eq!(weight(262_144), 10_000);
    }

    #[test]
    fn swap_less_than_memory_is_refused() {
        assert!(v2(&resources(r#"{"memory":{"limit":100,"swap":50}}"#)).is_err());
        let unlimited = v2(&resources(r#"{"memory":{"limit":100,"swap":-1}}"#)).unwrap();
        assert_eq!(shown(&unlimited), ["memory.max=100", "memory.swap.max=max"]);
    }

    #[test]
    fn what_a_version_lacks_is_an_error_that_names_it() {
        let error = v1(&resources(r#"{"unified":{"memory.high":"1"}}"#)).unwrap_err().to_string();
        assert!(error.contains("memory.high"), "{error}");
        let error = v2(&resources(r#"{"memory":{"disableOOMKiller":true}}"#)).unwrap_err().to_string();
        assert!(error.contains("disableOOMKiller"), "{error}");
        assert!(v2(&resources(r#"{"unified":{"../x.y":"1"}}"#)).is_err());
    }

    #[test]
    fn device_rules_in_the_kernel_notation() {
        let rules = resources(
            r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":136,"access":"rw"}]}"#,
        );
        assert_eq!(shown(&v1(&rules).unwrap()), ["devices.deny=a", "devices.allow=c 136:* rw"]);
        assert!(v1(&resources(r#"{"devices":[{"allow":true,"type":"x"}]}"#)).is_err());
    }
}
