//! `linux.resources.cpu`: time and placement.

use super::{Writes, not_on_v2};
use crate::resources::Cpu;
use wb_doc::Error;

/// The kernel's period, in microseconds.
const PERIOD_US: u64 = 100_000;

/// Adds the writes for `version`.
pub fn plan(writes: &mut Writes, cpu: &Cpu, version: u8) -> Result<(), Error> {
    // A group that is scheduled when all others are idle has no weight, and the kernel takes none. One that ceases
    // to be so does it before it gets its weight.
    writes.add("cpu", "cpu.idle", cpu.idle);
    let shares = cpu.shares.filter(|&shares| shares != 0 && cpu.idle != Some(1));
    let quota = cpu.quota.filter(|&quota| quota != 0);
    let period = cpu.period.filter(|&period| period != 0);
    if version == 2 {
        if cpu.realtime_period.is_some() || cpu.realtime_runtime.is_some() {
            return Err(not_on_v2("cpu.realtimeRuntime", "cpu"));
        }
        writes.add("cpu", "cpu.weight", shares.map(weight));
        if quota.is_some() || period.is_some() {
            let quota =
                quota.filter(|&quota| quota > 0).map_or_else(|| "max".into(), |quota| quota.to_string());
            writes.add("cpu", "cpu.max", Some(format!("{quota} {}", period.unwrap_or(PERIOD_US))));
        }
        writes.add("cpu", "cpu.max.burst", cpu.burst);
    } else {
        writes.add("cpu", "cpu.shares", shares);
        // The period first: the quota is checked against it.
        writes.add("cpu", "cpu.cfs_period_us", period);
        writes.add("cpu", "cpu.cfs_quota_us", quota.map(|quota| quota.max(-1)));
        writes.add("cpu", "cpu.cfs_burst_us", cpu.burst);
        writes.add("cpu", "cpu.rt_period_us", cpu.realtime_period);
        writes.add("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime);
    }
    writes.add("cpuset", "cpuset.cpus", cpu.cpus.as_ref().filter(|list| !list.is_empty()));
    writes.add("cpuset", "cpuset.mems", cpu.mems.as_ref().filter(|list| !list.is_empty()));
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{refused, shown};

    #[test]
    fn weights_agree_at_both_ends_and_at_the_default() {
        assert_eq!(weight(2), 1);
        assert_eq!(weight(1024), 100);
        assert_eq!(weight(262_144), 10_000);
    }

    #[test]
    fn every_member() {
        let text =
            r#"{"cpu":{"shares":512,"quota":-1,"period":50000,"burst":1000,"idle":0,"mems":"0","cpus":"1"}}"#;
        assert_eq!(
            shown(text, 2).unwrap(),
            [
                "cpu.idle=0",
                "cpu.weight=59",
                "cpu.max=max 50000",
                "cpu.max.burst=1000",
                "cpuset.cpus=1",
                "cpuset.mems=0"
            ]
        );
        let text =
            r#"{"cpu":{"shares":512,"quota":-5,"burst":9,"realtimePeriod":7,"realtimeRuntime":6,"idle":1}}"#;
        assert_eq!(
            shown(text, 1).unwrap(),
            [
                "cpu.idle=1",
                "cpu.cfs_quota_us=-1",
                "cpu.cfs_burst_us=9",
                "cpu.rt_period_us=7",
                "cpu.rt_runtime_us=6"
            ]
        );
        assert!(refused(r#"{"cpu":{"realtimePeriod":7}}"#, 2).contains("cpu controller"));
    }

    #[test]
    fn a_quota_alone_has_the_kernels_period() {
        assert_eq!(shown(r#"{"cpu":{"quota":5000}}"#, 2).unwrap(), ["cpu.max=5000 100000"]);
        assert_eq!(shown(r#"{"cpu":{"period":5000,"quota":0}}"#, 2).unwrap(), ["cpu.max=max 5000"]);
    }
}
