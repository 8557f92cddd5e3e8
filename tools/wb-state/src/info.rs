//! `wb-state info`: this place and this machine, under the names docker gives them.

use crate::row::Row;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs;
use wb_doc::{Error, ExitCode, Template, units};
use wb_store::image::ImageStore;
use wb_store::{Place, network, record};

/// How to say it.
#[derive(Debug, clap::Args)]
pub struct InfoArgs {
    /// A JSON object
    #[arg(long)]
    json: bool,
    /// Print what this template says: .Containers, .Images, .KernelVersion, ...
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// The verb.
pub fn info(place: &Place, args: &InfoArgs) -> Result<ExitCode, Error> {
    let all = gather(place)?;
    let text = match args.format.as_deref() {
        Some(format) if format != "json" => Template::parse(format)?.render(&all)? + "\n",
        Some(_) => format!("{all}\n"),
        None if args.json => format!("{all:#}\n"),
        None => for_people(&all),
    };
    crate::print(&text)
}

fn gather(place: &Place) -> Result<Value, Error> {
    let boot_id = wb_sys::proc::boot_id().map_err(|errno| Error::errno("boot_id", errno))?;
    let (mut running, mut paused, mut stopped) = (0, 0, 0);
    for id in record::list(place)? {
        // One that is gone meanwhile, or cannot be read, is in no state.
        let Some(mut row) = record::bytes(place, &id).ok().and_then(|text| Row::parse(&text).ok()) else {
            continue;
        };
        row.true_status(&boot_id);
        match row.status() {
            "running" | "restarting" => running += 1,
            "paused" => paused += 1,
            _ => stopped += 1,
        }
    }
    let manifests = ImageStore::new(place).index()?.manifests;
    let images: HashSet<&str> = manifests.iter().map(|entry| entry.digest.as_str()).collect();
    let uname = nix::sys::utsname::uname().map_err(|errno| Error::errno("uname", errno))?;
    let (version, controllers) = cgroups();
    Ok(json!({
        "Name": uname.nodename().to_string_lossy(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Containers": running + paused + stopped,
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": stopped,
        "Images": images.len(),
        "Volumes": crate::volume::existing(place)?.len(),
        "Networks": network::list(place)?.len(),
        "Driver": "overlay",
        "LoggingDriver": "k8s-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": version,
        "CgroupControllers": controllers,
        "SecurityOptions": security(),
        "KernelVersion": uname.release().to_string_lossy(),
        "OperatingSystem": system_name(),
        "OSType": "linux",
        "Architecture": uname.machine().to_string_lossy(),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": total_memory(),
        "DockerRootDir": place.root(),
        "RunDir": place.run(),
    }))
}

/// 1, 2, or 1+2 where each has some of the controllers, and all of these.
fn cgroups() -> (&'static str, Vec<String>) {
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    if let Ok(controllers) = unified {
        return ("2", controllers.split_whitespace().map(str::to_owned).collect());
    }
    let both = wb_sys::proc::mountinfo("self")
        .is_ok_and(|mounts| mounts.iter().any(|mount| mount.fstype == "cgroup2"));
    let text = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let enabled = text.lines().filter(|line| !line.starts_with('#') && line.ends_with("\t1"));
    let names = enabled.filter_map(|line| line.split('\t').next()).map(str::to_owned).collect();
    (if both { "1+2" } else { "1" }, names)
}

/// What the kernel offers to confine programs with.
fn security() -> Vec<String> {
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let modules = modules.trim().split(',').filter(|name| ["apparmor", "selinux"].contains(name));
    let seccomp = fs::metadata("/proc/sys/kernel/seccomp").map(|_| "seccomp");
    modules.chain(seccomp).map(|name| format!("name={name}")).collect()
}

fn system_name() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0_u64) * 1024
}

/// A line each, in docker's words; what belongs together is indented.
const LINES: &[(&str, &str)] = &[
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Volumes", "Volumes"),
    ("Networks", "Networks"),
    ("Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    (" Controllers", "CgroupControllers"),
    ("Security Options", "SecurityOptions"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("Root Dir", "DockerRootDir"),
    ("Run Dir", "RunDir"),
];

fn for_people(all: &Value) -> String {
    let shown = |name: &str| match &all[name] {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        Value::Number(bytes) if name == "MemTotal" => units::human_memory(bytes.as_u64().unwrap_or(0)),
        other => other.to_string(),
    };
    LINES.iter().map(|(label, name)| wb_doc::escape(&format!("{label}: {}", shown(name))) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_member() {
        let place = Place::at("/nonexistent/root", "/nonexistent/run");
        let all = gather(&place).unwrap();
        for (_, name) in LINES {
            assert!(all.get(name).is_some(), "{name}");
        }
        assert!(for_people(&all).starts_with("Containers: 0\n Running: 0\n"));
    }
}
