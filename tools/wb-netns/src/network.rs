//! The verbs on networks that change something: create, rm, prune.

use crate::nat::{self, Rules};
use crate::{link, netns, usage};
use clap::Args;
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use wb_doc::{Context, Document, Error, ExitCode, PruneFilters, clock};
use wb_store::Place;
use wb_store::lock::Lock;
use wb_store::network::{self, Ipam, Network, Plugin};
use wb_sys::netlink::{Netlink, Protocol};

#[derive(Debug, Args)]
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
    /// A driver's option: mtu=N, bridge=NAME, ip_masq=BOOL, parent=LINK
    #[arg(short, long = "opt", value_name = "NAME=VALUE")]
    option: Vec<String>,
    /// A label
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Print the network's name instead of the document
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct Names {
    /// Networks
    #[arg(value_name = "NETWORK", required_unless_present = "network")]
    names: Vec<String>,
    /// A network
    #[arg(long, value_name = "NETWORK")]
    network: Vec<String>,
}

impl Names {
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.names.iter().chain(&self.network)
    }
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Only these: label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
}

/// What IPv4 needs at least (RFC 791), and the most that a link of the kernel takes.
const MIN_MTU: u32 = 68;
const MAX_MTU: u32 = 65535;
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
        is_default_gateway: driver == "bridge" && !internal,
        ip_masq: driver == "bridge" && !internal,
        internal,
        ipam: ipam.ok_or_else(|| {
            Error::usage("the document has no wb.network.ipam").hint("wb-ipam create comes before")
        })?,
        ..Plugin::default()
    };
    for (key, value) in options {
        set_option(&mut plugin, &driver, &key, &value)?;
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

/// One of the driver's options, by our name or docker's.
fn set_option(plugin: &mut Plugin, driver: &str, key: &str, value: &str) -> Result<(), Error> {
    let wrong = |what: &str| Err(Error::usage(format!("option {key}={value}: {what}")));
    let short = OPTION_NAMES.iter().find(|(long, _)| *long == key).map_or(key, |(_, short)| short);
    match (short, driver) {
        ("mtu", _) => match value.parse() {
            Ok(mtu) if (MIN_MTU..=MAX_MTU).contains(&mtu) => plugin.mtu = Some(mtu),
            _ => return wrong("no MTU"),
        },
        ("bridge", "bridge") => plugin.bridge = Some(check_interface(value)?),
        ("ip_masq", "bridge") => match value {
            // Nothing of an internal network leaves the host in any case.
            "true" | "1" => plugin.ip_masq = !plugin.internal,
            "false" | "0" => plugin.ip_masq = false,
            _ => return wrong("neither true nor false"),
        },
        ("parent", "macvlan") => plugin.master = Some(check_interface(value)?),
        ("bridge" | "ip_masq" | "parent", _) => return wrong(&format!("not of the driver {driver}")),
        _ => return Err(Error::usage(format!("option {key}: not known"))),
    }
    Ok(())
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
        Ok(network.plugin()?.ipam.sets().into_iter().flatten().map(|range| range.subnet).collect())
    };
    let theirs = subnets(other)?;
    for net in subnets(network)? {
        if theirs.iter().any(|their| their.contains(&net) || net.contains(their)) {
            return Err(Error::new(format!("subnet {net}: overlaps the network {}", other.name)));
        }
    }
    Ok(())
}

/// The verb create with `--quiet`: the name, for a shell.
pub fn create_quietly(place: &Place, args: &CreateArgs, mut doc: Document) -> Result<ExitCode, Error> {
    if let Some(failure) = doc.failure() {
        // Whoever failed has said so.
        return Ok(ExitCode::from(failure.code.max(1)));
    }
    create(place, args, &mut doc).map_err(|error| error.within("network create"))?;
    lines(std::iter::once(doc.str_at("/wb/network/name").unwrap_or_default().to_owned()))
}

/// Removes networks: refused while a container is plugged in. The bridge, the rules and the leases go too.
///
/// All are tried; the first failure is told.
pub fn remove(place: &Place, names: &Names) -> Result<ExitCode, Error> {
    let mut first = Ok(());
    let mut removed = Vec::new();
    for name in names.all() {
        match remove_one(place, name) {
            Ok(()) => removed.push(name.clone()),
            Err(error) => first = first.and(Err(error)),
        }
    }
    let printed = lines(removed.into_iter())?;
    first.map(|()| printed).map_err(|error| error.within("network rm"))
}

/// Removes every network that no container is plugged into, but for the default one.
pub fn prune(place: &Place, args: &PruneArgs) -> Result<ExitCode, Error> {
    let filters = PruneFilters::parse(&args.filters, true)?;
    let mut removed = Vec::new();
    for network in network::list(place)?.into_iter().filter(|network| network.name != network::DEFAULT) {
        let labels = network.other.get("wb.labels");
        // Its list is written once.
        let created = clock::modified(&network::path(place, &network.name));
        let may_go = filters.allow(created.as_deref(), |key| labels?.get(key)?.as_str());
        if may_go && usage::count(&network.plugin()?)? == 0 {
            remove_one(place, &network.name)?;
            removed.push(network.name);
        }
    }
    lines(removed.into_iter())
}

fn remove_one(place: &Place, name: &str) -> Result<(), Error> {
    let network = network::load(place, name)?;
    let plugin = network.plugin()?;
    let _lock = Lock::exclusive(&place.networks().join(".lock"))?;
    match usage::count(&plugin)? {
        0 => {}
        1 => return Err(Error::new(format!("network {name}: in use by a container"))),
        users => return Err(Error::new(format!("network {name}: in use by {users} containers"))),
    }
    if let Some(bridge) = &plugin.bridge {
        remove_bridge(bridge)?;
        nat::remove(&Rules::of_network(place, bridge, &plugin))?;
    }
    // Before the list, so that whoever is killed in between can do it again; and after it, for somebody who joined.
    remove_leases(place, name)?;
    let path = network::path(place, name);
    fs::remove_file(&path).context(|| path.display().to_string())?;
    remove_leases(place, name)
}

fn remove_leases(place: &Place, name: &str) -> Result<(), Error> {
    let leases = place.ipam().join(name);
    match fs::remove_dir_all(&leases) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context(|| leases.display().to_string())
        }
        _ => Ok(()),
    }
}

fn remove_bridge(bridge: &str) -> Result<(), Error> {
    let what = || format!("bridge {bridge}");
    let host = Netlink::open(Protocol::Route).context(|| "netlink")?;
    let Some(found) = link::find(&host, bridge).context(what)? else { return Ok(()) };
    host.change(&[link::delete(found.index, bridge)], "the network goes, its bridge with it")
        .map_err(|refused| Error::errno(what(), refused.errno))
}

/// The network namespaces, one JSON object a line.
pub fn list_namespaces() -> Result<ExitCode, Error> {
    let shown = |id: &String| json!({ "id": id, "path": netns::path(id) }).to_string();
    lines(netns::list()?.iter().map(shown))
}

/// Prints lines; a reader who has gone away is no failure.
pub fn lines(lines: impl Iterator<Item = String>) -> Result<ExitCode, Error> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        match writeln!(out, "{line}") {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::from(141)),
            other => other.context(|| "writing the list")?,
        }
    }
    Ok(ExitCode::SUCCESS)
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
