//! `linux.resources` of the OCI runtime-spec (config-linux.md, "Control groups"), and the flags that fill it.

use serde::Deserialize;
use std::collections::BTreeMap;
use wb_doc::{Document, Error, units};

/// The members of `linux.resources` that become control files.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Device access rules, in order.
    pub devices: Vec<DeviceRule>,
    /// Memory limits.
    pub memory: Memory,
    /// CPU time and placement.
    pub cpu: Cpu,
    /// Number of tasks.
    pub pids: Pids,
    /// Block devices.
    #[serde(rename = "blockIO")]
    pub block_io: BlockIo,
    /// Huge pages.
    pub hugepage_limits: Vec<Hugepage>,
    /// Network classes (v1 only).
    pub network: Network,
    /// RDMA by device.
    pub rdma: BTreeMap<String, Rdma>,
    /// v2 control files by name.
    pub unified: BTreeMap<String, String>,
}

/// One of `linux.resources.devices`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DeviceRule {
    /// Whether the rule allows or denies.
    pub allow: bool,
    /// `a`, `b` or `c`; absent means all.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Major number; absent means any.
    pub major: Option<i64>,
    /// Minor number; absent means any.
    pub minor: Option<i64>,
    /// Of `r`, `w` and `m`.
    pub access: Option<String>,
}

/// `linux.resources.memory`, in bytes; -1 means unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Hard limit.
    pub limit: Option<i64>,
    /// Soft limit.
    pub reservation: Option<i64>,
    /// Memory and swap together.
    pub swap: Option<i64>,
    /// Kernel memory (v1 of kernels before 5.16).
    pub kernel: Option<i64>,
    /// TCP buffers (v1 only).
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Option<i64>,
    /// 0 to 100 (v1 only).
    pub swappiness: Option<u64>,
    /// Wait instead of killing (v1 only).
    #[serde(rename = "disableOOMKiller")]
    pub disable_oom_killer: Option<bool>,
    /// Whether what children use counts for the group (v2: always).
    pub use_hierarchy: Option<bool>,
    /// Whether a limit below what is used at present is refused (v1: always).
    pub check_before_update: bool,
}

/// `linux.resources.cpu`; times in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cpu {
    /// Relative weight, 2 to 262144.
    pub shares: Option<u64>,
    /// CPU time a period; -1 means unlimited.
    pub quota: Option<i64>,
    /// What may be saved up from earlier periods.
    pub burst: Option<u64>,
    /// Length of a period.
    pub period: Option<u64>,
    /// Realtime CPU time a period (v1 only).
    pub realtime_runtime: Option<i64>,
    /// Realtime period (v1 only).
    pub realtime_period: Option<u64>,
    /// CPUs, in list format (cpuset(7)).
    pub cpus: Option<String>,
    /// Memory nodes, in list format.
    pub mems: Option<String>,
    /// SCHED_IDLE for the whole group.
    pub idle: Option<i64>,
}

/// `linux.resources.pids`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Pids {
    /// At most so many tasks; -1 means unlimited.
    pub limit: Option<i64>,
}

/// `linux.resources.blockIO`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockIo {
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// For tasks in the group itself (v1 CFQ only).
    pub leaf_weight: Option<u16>,
    /// Weights by device.
    pub weight_device: Vec<WeightDevice>,
    /// Bytes a second, by device.
    pub throttle_read_bps_device: Vec<Throttle>,
    /// Bytes a second, by device.
    pub throttle_write_bps_device: Vec<Throttle>,
    /// Operations a second, by device.
    #[serde(rename = "throttleReadIOPSDevice")]
    pub throttle_read_iops_device: Vec<Throttle>,
    /// Operations a second, by device.
    #[serde(rename = "throttleWriteIOPSDevice")]
    pub throttle_write_iops_device: Vec<Throttle>,
}

/// A device's weight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WeightDevice {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// For tasks in the group itself (v1 CFQ only).
    pub leaf_weight: Option<u16>,
}

/// A device's rate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Throttle {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// A second.
    pub rate: u64,
}

/// One of `linux.resources.hugepageLimits`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hugepage {
    /// `2MB`, `1GB`.
    pub page_size: String,
    /// In bytes.
    pub limit: u64,
}

/// `linux.resources.network`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Class of the group's packets.
    #[serde(rename = "classID")]
    pub class_id: Option<u32>,
    /// Priorities by interface.
    pub priorities: Vec<Priority>,
}

/// An interface's priority.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Priority {
    /// Interface.
    pub name: String,
    /// Priority.
    pub priority: u32,
}

/// One of `linux.resources.rdma`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rdma {
    /// Handles.
    pub hca_handles: Option<u32>,
    /// Objects.
    pub hca_objects: Option<u32>,
}

// The limits as flags; each overrides its member of `linux.resources`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LimitFlags {
    /// Memory limit, for example 100m
    #[arg(short = 'm', long, value_name = "BYTES")]
    memory: Option<String>,
    /// Memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Soft memory limit
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<String>,
    /// Number of CPUs, for example 0.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Relative CPU weight, 2 to 262144
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    cpu_shares: Option<u64>,
    /// CPUs to run on, for example 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Number of tasks; -1 for unlimited
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Relative block I/O weight, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
}

/// The CPU period that `--cpus` is given in, in microseconds: the kernel's default.
const PERIOD_US: u64 = 100_000;
/// The smallest quota the kernel takes, in microseconds.
const MIN_QUOTA_US: u64 = 1_000;

impl LimitFlags {
    /// Writes the flags that were given into the document.
    pub fn apply(&self, document: &mut Document) -> Result<(), Error> {
        let sizes =
            [("limit", &self.memory), ("swap", &self.memory_swap), ("reservation", &self.memory_reservation)];
        for (member, text) in sizes {
            if let Some(text) = text {
                document.set(&format!("/linux/resources/memory/{member}"), units::bytes(text)?)?;
            }
        }
        if let Some(text) = &self.cpus {
            let quota = units::nano_cpus(text)? / (1_000_000_000 / PERIOD_US);
            if quota < MIN_QUOTA_US {
                return Err(Error::usage(format!("--cpus {text}: the kernel's least is 0.01")));
            }
            document.set("/linux/resources/cpu/quota", quota)?;
            document.set("/linux/resources/cpu/period", PERIOD_US)?;
        }
        set(document, "cpu/shares", self.cpu_shares)?;
        set(document, "cpu/cpus", self.cpuset_cpus.as_ref())?;
        set(document, "cpu/mems", self.cpuset_mems.as_ref())?;
        set(document, "pids/limit", self.pids_limit)?;
        set(document, "blockIO/weight", self.blkio_weight)
    }
}

fn set(document: &mut Document, member: &str, value: Option<impl serde::Serialize>) -> Result<(), Error> {
    value.map_or(Ok(()), |value| document.set(&format!("/linux/resources/{member}"), value))
}
