//! `events`: what a container uses and what happens to it, in runc's form.

use crate::cli::EventsArgs;
use crate::list::print;
use crate::record::{Container, Place, Status};
use crate::tools;
use serde_json::{Value, json};
use std::time::Duration;
use wb_doc::{Error, units};

/// Runs `events`.
pub fn events(place: &Place, args: &EventsArgs) -> Result<(), Error> {
    let interval = interval(&args.interval)?;
    let mut kills = None;
    loop {
        let container = place.container(&args.id)?;
        if container.status() == Status::Stopped {
            return if kills.is_none() { Err(Error::new("container not running")) } else { Ok(()) };
        }
        let stat = accounts(&container)?;
        let killed = stat.pointer("/memory/oomKills").and_then(Value::as_u64).unwrap_or(0);
        if kills.is_some_and(|before| before < killed) {
            print(&format!("{}\n", json!({"type": "oom", "id": args.id})))?;
        }
        kills = Some(killed);
        print(&format!("{}\n", json!({"type": "stats", "id": args.id, "data": data(&stat)})))?;
        if args.stats {
            return Ok(());
        }
        std::thread::sleep(interval);
    }
}

/// `5s`, `1m30s`, or bare seconds.
fn interval(text: &str) -> Result<Duration, Error> {
    let wrong = || Error::usage(format!("--interval {text}: not a time such as 5s"));
    let bare = text.parse::<u64>().ok().map(Duration::from_secs);
    let interval =
        bare.or_else(|| units::duration_ns(text).ok().map(Duration::from_nanos)).ok_or_else(wrong)?;
    if interval.is_zero() { Err(wrong()) } else { Ok(interval) }
}

fn accounts(container: &Container) -> Result<Value, Error> {
    let document = tools::filter(&["wb-cgroup", "stat"], &container.document)?;
    Ok(document.at("/wb/cgroup/stat").cloned().unwrap_or_default())
}

/// The accounts under runc's names.
fn data(stat: &Value) -> Value {
    let at = |pointer: &str| stat.pointer(pointer).cloned().unwrap_or_default();
    json!({
        "cpu": {
            "usage": {"total": at("/cpu/usage"), "kernel": at("/cpu/system"), "user": at("/cpu/user")},
            "throttling": {
                "periods": at("/cpu/periods"), "throttledPeriods": at("/cpu/throttledPeriods"),
                "throttledTime": at("/cpu/throttledTime"),
            },
        },
        "memory": {
            "cache": at("/memory/file"),
            "usage": {
                "limit": at("/memory/limit"), "usage": at("/memory/usage"), "max": at("/memory/peak"),
                "failcnt": at("/memory/limitHits"),
            },
        },
        "pids": {"current": at("/pids/current"), "limit": at("/pids/limit")},
        "blkio": at("/io"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        assert_eq!(interval("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(interval("2").unwrap(), Duration::from_secs(2));
        assert!(interval("0").is_err() && interval("x").is_err());
    }
}
