//! From `linux.resources` to control files: a pure value, a list of writes, each to the version its controller has
//! on this machine.

mod block_io;
mod cpu;
pub mod devices;
mod memory;

use crate::resources::{Hugepage, Network, Rdma, Resources};
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

/// A plan in the making.
#[derive(Default)]
struct Writes(Vec<Write>);

impl Writes {
    /// Nothing is written for what was not given.
    fn add(&mut self, controller: &str, file: impl Into<String>, value: Option<impl ToString>) {
        self.0.extend(value.map(|value| Write {
            controller: controller.to_owned(),
            file: file.into(),
            value: value.to_string(),
        }));
    }
}

/// The writes that `resources` need, in their order; `version_of` says for each controller where it is: on a hybrid
/// machine some are on v1 and some on v2.
pub fn plan(resources: &Resources, version_of: impl Fn(&str) -> u8) -> Result<Vec<Write>, Error> {
    let mut writes = Writes::default();
    memory::plan(&mut writes, &resources.memory, version_of("memory"))?;
    cpu::plan(&mut writes, &resources.cpu, version_of("cpu"))?;
    writes.add("pids", "pids.max", resources.pids.limit.map(task_limit));
    // The controller of block devices has another name in each version.
    let block_io = if version_of("io") == 2 { 2 } else { version_of("blkio") };
    block_io::plan(&mut writes, &resources.block_io, block_io)?;
    hugetlb(&mut writes, &resources.hugepage_limits, version_of("hugetlb"));
    network(&mut writes, &resources.network, version_of("net_cls"))?;
    for (device, limit) in &resources.rdma {
        writes.add("rdma", "rdma.max", Some(rdma(device, limit)));
    }
    // v2 has no file for devices, but a BPF program.
    if version_of("devices") == 1 {
        devices::plan(&mut writes, &resources.devices)?;
    }
    for (file, value) in &resources.unified {
        unified(&mut writes, file, value, &version_of)?;
    }
    Ok(writes.0)
}

/// The number of tasks: 0 and below mean "no limit", as docker reads them.
fn task_limit(limit: i64) -> String {
    if limit <= 0 { "max".into() } else { limit.to_string() }
}

/// The specification counts reservations, where the kernel knows of them, and use.
fn hugetlb(writes: &mut Writes, limits: &[Hugepage], version: u8) {
    let limit = if version == 2 { "max" } else { "limit_in_bytes" };
    for Hugepage { page_size, limit: bytes } in limits {
        writes.add("hugetlb", format!("hugetlb.{page_size}.{limit}"), Some(bytes));
        writes.add("hugetlb", format!("hugetlb.{page_size}.rsvd.{limit}"), Some(bytes));
    }
}

fn network(writes: &mut Writes, network: &Network, version: u8) -> Result<(), Error> {
    if version == 2 && network.class_id.is_some() {
        return Err(not_on_v2("network.classID", "net_cls"));
    }
    if version == 2 && !network.priorities.is_empty() {
        return Err(not_on_v2("network.priorities", "net_prio"));
    }
    writes.add("net_cls", "net_cls.classid", network.class_id);
    for priority in &network.priorities {
        writes.add(
            "net_prio",
            "net_prio.ifpriomap",
            Some(format!("{} {}", priority.name, priority.priority)),
        );
    }
    Ok(())
}

fn rdma(device: &str, limit: &Rdma) -> String {
    let part =
        |name: &str, value: Option<u32>| value.map(|value| format!(" {name}={value}")).unwrap_or_default();
    format!("{device}{}{}", part("hca_handle", limit.hca_handles), part("hca_object", limit.hca_objects))
}

/// A control file of this very cgroup by its name: the controller stands in front, and there is no slash.
fn unified(
    writes: &mut Writes,
    file: &str,
    value: &str,
    version_of: impl Fn(&str) -> u8,
) -> Result<(), Error> {
    let controller = file.split('.').next().unwrap_or_default();
    if file.contains('/') || controller.is_empty() || controller == file {
        return Err(Error::new(format!("linux.resources.unified: {file:?} is no control file")));
    }
    if version_of(controller) != 2 {
        return Err(Error::new(format!(
            "linux.resources.unified: {file} is a cgroup v2 file, and the {controller} controller of this machine \
             is on v1"
        )));
    }
    if value.is_empty() {
        // A write of nothing does not reach the kernel.
        writes.add(controller, file, Some("\n"));
    }
    // One line a write, as io.max and rdma.max want it.
    for line in value.lines() {
        writes.add(controller, file, Some(line));
    }
    Ok(())
}

fn not_on_v2(member: &str, controller: &str) -> Error {
    Error::new(format!(
        "linux.resources.{member}: the {controller} controller of cgroup v2 has no such limit"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn resources(text: &str) -> Resources {
        serde_json::from_str(text).unwrap()
    }

    /// The plan where every controller is on `version`.
    pub fn shown(text: &str, version: u8) -> Result<Vec<String>, Error> {
        planned(text, |_| version)
    }

    fn planned(text: &str, version_of: impl Fn(&str) -> u8) -> Result<Vec<String>, Error> {
        let writes = plan(&resources(text), version_of)?;
        Ok(writes.iter().map(|write| format!("{}={}", write.file, write.value)).collect())
    }

    pub fn refused(text: &str, version: u8) -> String {
        shown(text, version).unwrap_err().to_string()
    }

    const DAILY: &str = r#"{"memory":{"limit":104857600,"swap":209715200,"reservation":-1},
        "cpu":{"shares":1024,"quota":25000,"period":100000,"cpus":"0-1"},"pids":{"limit":0}}"#;

    #[test]
    fn v1_files() {
        assert_eq!(
            shown(DAILY, 1).unwrap(),
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
            shown(DAILY, 2).unwrap(),
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
    fn each_controller_by_the_version_it_is_on() {
        let hybrid = |controller: &str| if controller == "hugetlb" { 2 } else { 1 };
        let text = r#"{"pids":{"limit":5},"memory":{"limit":4096},
            "hugepageLimits":[{"pageSize":"2MB","limit":2097152}],"unified":{"hugetlb.1GB.max":"0"}}"#;
        assert_eq!(
            planned(text, hybrid).unwrap(),
            [
                "memory.limit_in_bytes=4096",
                "pids.max=5",
                "hugetlb.2MB.max=2097152",
                "hugetlb.2MB.rsvd.max=2097152",
                "hugetlb.1GB.max=0"
            ]
        );
        let io_alone = |controller: &str| if controller == "io" { 2 } else { 1 };
        assert_eq!(planned(r#"{"blockIO":{"weight":10}}"#, io_alone).unwrap(), ["io.bfq.weight=10"]);
    }

    #[test]
    fn the_rarer_controllers() {
        let text = r#"{"hugepageLimits":[{"pageSize":"1GB","limit":0}],"rdma":{"mlx5_0":{"hcaHandles":2}},
            "network":{"classID":1048577,"priorities":[{"name":"eth0","priority":5}]}}"#;
        assert_eq!(
            shown(text, 1).unwrap(),
            [
                "hugetlb.1GB.limit_in_bytes=0",
                "hugetlb.1GB.rsvd.limit_in_bytes=0",
                "net_cls.classid=1048577",
                "net_prio.ifpriomap=eth0 5",
                "rdma.max=mlx5_0 hca_handle=2"
            ]
        );
        assert!(refused(r#"{"network":{"classID":1}}"#, 2).contains("net_cls"));
        assert!(refused(r#"{"network":{"priorities":[{"name":"a","priority":1}]}}"#, 2).contains("net_prio"));
    }

    #[test]
    fn unified_is_files_of_v2_by_their_names() {
        assert_eq!(
            shown(r#"{"unified":{"io.max":"8:0 rbps=1\n8:16 rbps=2","cpuset.cpus":""}}"#, 2).unwrap(),
            ["cpuset.cpus=\n", "io.max=8:0 rbps=1", "io.max=8:16 rbps=2"]
        );
        let error = refused(r#"{"unified":{"memory.high":"1"}}"#, 1);
        assert!(error.contains("memory.high") && error.contains("memory controller"), "{error}");
        for file in ["../x.y", "memory", ".max"] {
            assert!(shown(&format!(r#"{{"unified":{{"{file}":"1"}}}}"#), 2).is_err(), "{file}");
        }
    }
}
