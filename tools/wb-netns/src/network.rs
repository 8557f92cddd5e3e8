//! The verbs on networks: create, rm, list, inspect.

use crate::link;
use crate::nat::{self, Rules};
use clap::Args;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use wb_doc::{Context, Document, Error};
use wb_store::Place;
use wb_store::lock::Lock;
use wb_store::network::{self, Ipam, Network, Plugin};
use wb_sys::netlink::{Netlink, Protocol};

#[derive(Args)]
pub struct CreateArgs {
    /// The network; otherwise wb.network.name
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// How containers are joined: bridge or macvlan
    #[arg(long, value_parser = ["bridge", "macvlan"])]
    driver: Option<String>,
    /// No way out and none in
    #[arg(long)]
    internal: bool,
    /// A driver's option: mtu=N, bridge=NAME, parent=LINK
    #[arg(short, long = "opt", value_name = "NAME=VALUE")]
    option: Vec<String>,
    /// A label
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
}

/// Docker's names of the options we know.
const OPTION_NAMES: [(&str, &str); 3] = [
    ("com.docker.network.driver.mtu", "mtu"),
    ("com.docker.network.bridge.name", "bridge"),
    ("com.docker.network.bridge.enable_ip_masquerade", "ip_masq"),
];

/// Writes the network's configuration list; nothing else is made until a container joins.
pub fn create(place: &Place, args: &CreateArgs, doc: &mut Document) -> Result<(), Error> {
    if let Some(name) = &args.network {
        doc.set("/wb/network/name", name)?;
    }
    if let Some(driver) = &args.driver {
        doc.set("/wb/network/driver", driver)?;
    }
    if args.internal {
        doc.set("/wb/network/internal", true)?;
    }
    let network = plan(place, args, doc)?;
    let directory = place.networks();
    fs::create_dir_all(&directory).context(|| directory.display().to_string())?;
    let _lock = Lock::exclusive(&directory.join(".lock"))?;
    if network::path(place, &network.name).exists() {
        // Two first runs may both have seen that the default network is missing.
        let is_default = network.name == network::DEFAULT;
        return if is_default { Ok(()) } else { Err(Error::new(format!("network {} exists", network.name))) };
    }
    // The subnet was free when wb-ipam looked; somebody may have been quicker.
    for other in network::list(place)? {
        refuse_overlap(&network, &other)?;
    }
    network.save(place)
}

fn plan(place: &Place, args: &CreateArgs, doc: &Document) -> Result<Network, Error> {
    let name = doc.str_at("/wb/network/name").ok_or_else(|| {
        Error::usage("the document has no wb.network.name")
            .hint("give --network, or start with `wb-ipam create`")
    })?;
    network::check_name(name)?;
    let ipam: Option<Ipam> = doc.read("/wb/network/ipam")?;
    let driver = doc.str_at("/wb/network/driver").unwrap_or("bridge").to_owned();
    let internal = doc.read("/wb/network/internal")?.unwrap_or(false);
    let mut options: BTreeMap<String, String> = doc.read("/wb/network/options")?.unwrap_or_default();
    options.extend(pairs(&args.option)?);
    let mut labels: BTreeMap<String, String> = doc.read("/wb/network/labels")?.unwrap_or_default();
    labels.extend(pairs(&args.label)?);
    let mut plugin = Plugin {
        kind: "wb-netns".into(),
        is_gateway: driver == "bridge",
        ip_masq: driver == "bridge" && !internal,
        internal,
        ipam: ipam.ok_or_else(|| {
            Error::usage("the document has no wb.network.ipam").hint("wb-ipam create comes before")
        })?,
        ..Plugin::default()
    };
    for (key, value) in options {
        let known =
            OPTION_NAMES.iter().find(|(long, _)| *long == key).map_or(key.as_str(), |(_, short)| short);
        match known {
            "mtu" => {
                let mtu =
                    value.parse().map_err(|_| Error::usage(format!("option mtu={value}: not a number")))?;
                plugin.mtu = Some(mtu);
            }
            "bridge" => plugin.bridge = Some(check_interface(&value)?),
            "parent" => plugin.master = Some(check_interface(&value)?),
            "ip_masq" => plugin.ip_masq = value == "true",
            _ => return Err(Error::usage(format!("option {key}: not known"))),
        }
    }
    match driver.as_str() {
        "bridge" if plugin.bridge.is_none() => plugin.bridge = Some(bridge_name(place, name)?),
        "macvlan" if plugin.master.is_none() => {
            return Err(Error::usage("driver macvlan: which link?").hint("-o parent=eth0"));
        }
        "bridge" | "macvlan" => {}
        other => return Err(Error::usage(format!("driver {other}: not known"))),
    }
    plugin.driver = (driver != "bridge").then_some(driver);
    let mut other = Map::new();
    if !labels.is_empty() {
        other.insert("wb.labels".into(), json!(labels));
    }
    let plugin = serde_json::to_value(plugin).context(|| format!("network {name}"))?;
    Ok(Network { cni_version: "1.0.0".into(), name: name.to_owned(), plugins: vec![plugin], other })
}

fn pairs(list: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::usage(format!("{text:?}: NAME=VALUE is needed"))),
    };
    list.iter().map(pair).collect()
}

/// Checks what is to be the name of a link: the kernel's 15 bytes.
pub fn check_interface(name: &str) -> Result<String, Error> {
    let fits = (1..=15).contains(&name.len());
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if fits && plain && !name.starts_with(['.', '-']) {
        return Ok(name.to_owned());
    }
    Err(Error::usage(format!("{name:?}: no name for a link (15 bytes, [a-zA-Z0-9_.-])")))
}

/// The default network's bridge has a name people know; the others' are random, so that they never collide.
fn bridge_name(place: &Place, network: &str) -> Result<String, Error> {
    if network == network::DEFAULT {
        return Ok(place.machine_name("wb0"));
    }
    let mut bytes = [0; 5];
    wb_sys::random::fill(&mut bytes).context(|| "random bytes")?;
    Ok(bytes.iter().fold("wb-".to_owned(), |name, byte| format!("{name}{byte:02x}")))
}

fn refuse_overlap(network: &Network, other: &Network) -> Result<(), Error> {
    let subnets = |network: &Network| -> Result<Vec<_>, Error> {
        Ok(network.plugin()?.ipam.ranges.into_iter().flatten().map(|range| range.subnet).collect())
    };
    let theirs = subnets(other)?;
    for net in subnets(network)? {
        if theirs.iter().any(|their| their.contains(&net) || net.contains(their)) {
            return Err(Error::new(format!("subnet {net}: overlaps the network {}", other.name)));
        }
    }
    Ok(())
}

/// Removes networks: refused while a container is plugged in. The bridge, the rules and the leases go too.
pub fn remove(place: &Place, names: &[String]) -> Result<(), Error> {
    for name in names {
        let network = network::load(place, name)?;
        let plugin = network.plugin()?;
        let _lock = Lock::exclusive(&place.networks().join(".lock"))?;
        if let Some(bridge) = &plugin.bridge {
            remove_bridge(name, bridge)?;
            let subnets = plugin.ipam.ranges.iter().flatten().map(|range| range.subnet.trunc());
            nat::remove(&Rules {
                table: place.machine_name("wb"),
                bridge: bridge.clone(),
                masquerade: if plugin.ip_masq && !plugin.internal { subnets.collect() } else { Vec::new() },
                internal: plugin.internal,
            })?;
        }
        let path = network::path(place, name);
        fs::remove_file(&path).context(|| path.display().to_string())?;
        let leases = place.ipam().join(name);
        match fs::remove_dir_all(&leases) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).context(|| leases.display().to_string());
            }
            _ => {}
        }
    }
    Ok(())
}

fn remove_bridge(network: &str, bridge: &str) -> Result<(), Error> {
    let what = || format!("bridge {bridge}");
    let host = Netlink::open(Protocol::Route).context(|| "netlink")?;
    let Some(found) = link::find(&host, bridge).context(what)? else { return Ok(()) };
    let ports = link::list(&host).context(what)?;
    let ports = ports.iter().filter(|link| link.controller == Some(found.index)).count();
    if ports > 0 {
        return Err(Error::new(format!("network {network}: in use by {ports} containers")));
    }
    host.change(&[link::delete(found.index, bridge)], "the network goes, its bridge with it")
        .map_err(|refused| Error::errno(what(), refused.errno))
}

/// One configuration list a line.
pub fn list(place: &Place) -> Result<ExitCode, Error> {
    print(network::list(place)?.iter().map(serde_json::to_string))
}

/// The configuration lists of the networks named, indented.
pub fn inspect(place: &Place, names: &[String]) -> Result<ExitCode, Error> {
    let networks = names.iter().map(|name| network::load(place, name)).collect::<Result<Vec<_>, _>>()?;
    print(networks.iter().map(serde_json::to_string_pretty))
}

/// Prints lines; a reader who has gone away is no failure.
pub fn print(lines: impl Iterator<Item = Result<String, serde_json::Error>>) -> Result<ExitCode, Error> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        let line = line.context(|| "writing the list")?;
        match writeln!(out, "{line}") {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::from(141)),
            other => other.context(|| "writing the list")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A namespace as `wb-netns list` shows it.
pub fn shown(id: &str, path: &str) -> Value {
    json!({ "id": id, "path": path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_links_fit_the_kernel() {
        assert!(check_interface("br0").is_ok() && check_interface("wb-0123456789").is_ok());
        for name in ["", "a/b", "..", "-x", "sixteen-letters-", "a b"] {
            assert!(check_interface(name).is_err(), "{name}");
        }
    }
}
