//! `update`: other limits for a container that is there.

use crate::bundle;
use crate::cli::UpdateArgs;
use crate::record::{Place, Status};
use crate::tools;
use serde_json::{Value, json};
use std::io::Read;
use wb_doc::{Context, Document, Error, MAX_DOCUMENT_BYTES, units};

/// Runs `update`.
pub fn update(place: &Place, args: &UpdateArgs) -> Result<(), Error> {
    let container = place.container(&args.id)?;
    if !matches!(container.status(), Status::Created | Status::Running | Status::Paused) {
        return Err(Error::new("container not running"));
    }
    if args.l3_cache_schema.is_some() || args.mem_bw_schema.is_some() {
        return Err(Error::new("Intel RDT is not done here"));
    }
    let mut wanted = match &args.resources {
        Some(path) => read(path)?,
        None => by_flags(args)?,
    };
    bundle::without_zeros(&mut wanted);
    if let Some(members) = wanted.as_object_mut() {
        // Access to devices is not changed while it is used, as with runc.
        members.remove("devices");
    }
    // Only what is asked for is written, so that nothing else changes.
    let mut change = container.document.clone();
    change.set("/linux/resources", &wanted)?;
    let changed = tools::filter(&["wb-cgroup", "set"], &change)?;
    let mut document: Document = container.document;
    let mut all = document.at("/linux/resources").cloned().unwrap_or_else(|| json!({}));
    merge(&mut all, wanted);
    document.set("/linux/resources", all)?;
    if let Some(cgroup) = changed.at("/wb/cgroup") {
        document.set("/wb/cgroup", cgroup)?;
    }
    container.directory.write(&document)
}

fn read(path: &std::path::Path) -> Result<Value, Error> {
    let name = || format!("--resources {}", path.display());
    let limit = MAX_DOCUMENT_BYTES as u64;
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut text).context(name)?;
    } else {
        std::fs::File::open(path).context(name)?.take(limit).read_to_end(&mut text).context(name)?;
    }
    let value: Value = serde_json::from_slice(&text).context(name)?;
    if value.is_object() { Ok(value) } else { Err(Error::new(format!("{}: no JSON object", name()))) }
}

fn by_flags(args: &UpdateArgs) -> Result<Value, Error> {
    let bytes = |name: &str, text: &Option<String>| match text.as_deref() {
        None => Ok(Value::Null),
        Some("-1") => Ok(json!(-1)),
        Some(text) => units::bytes(text).map(|bytes| json!(bytes)).map_err(|error| error.within(name)),
    };
    Ok(json!({
        "memory": {
            "limit": bytes("--memory", &args.memory)?,
            "reservation": bytes("--memory-reservation", &args.memory_reservation)?,
            "swap": bytes("--memory-swap", &args.memory_swap)?,
            "kernelTCP": bytes("--kernel-memory-tcp", &args.kernel_memory_tcp)?,
        },
        "cpu": {
            "shares": args.cpu_share, "quota": args.cpu_quota, "period": args.cpu_period, "burst": args.cpu_burst,
            "realtimeRuntime": args.cpu_rt_runtime, "realtimePeriod": args.cpu_rt_period,
            "cpus": args.cpuset_cpus, "mems": args.cpuset_mems, "idle": args.cpu_idle,
        },
        "pids": {"limit": args.pids_limit},
        "blockIO": {"weight": args.blkio_weight},
    }))
}

/// Puts the members of `from` over those of `into`, objects member by member.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_stays() {
        let mut all = json!({"memory": {"limit": 5, "swap": 9}, "devices": [1]});
        merge(&mut all, json!({"memory": {"limit": 7}, "pids": {"limit": 3}}));
        assert_eq!(all, json!({"memory": {"limit": 7, "swap": 9}, "devices": [1], "pids": {"limit": 3}}));
    }
}
