//! Who is plugged into a network: the machine is asked, not the records.

use crate::{link, netns};
use ipnet::IpNet;
use std::os::fd::AsFd;
use wb_doc::{Context, Error};
use wb_store::network::Plugin;
use wb_sys::netlink::{Netlink, Protocol};

/// How many containers are plugged into the network.
pub fn count(plugin: &Plugin) -> Result<usize, Error> {
    match &plugin.bridge {
        Some(bridge) => ports_in_use(&Netlink::open(Protocol::Route).context(|| "netlink")?, bridge),
        None => holders(plugin),
    }
}

/// How often, 50 ms apart, one looks for cables of containers that have ended: a busy kernel takes its time.
const ATTEMPTS: usize = 100;

/// How many cables are plugged into a bridge. Those of containers that have ended are on their way out.
fn ports_in_use(host: &Netlink, bridge: &str) -> Result<usize, Error> {
    let what = || format!("bridge {bridge}");
    for attempt in 0.. {
        let Some(found) = link::find(host, bridge).context(what)? else { return Ok(0) };
        let mut ports = link::list(host).context(what)?;
        ports.retain(|link| link.controller == Some(found.index));
        if ports.is_empty() || attempt == ATTEMPTS || ports.iter().any(|port| leads_to_bound(host, port)) {
            return Ok(ports.len());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(0)
}

/// Whether the cable's other end is in a namespace that somebody keeps.
fn leads_to_bound(host: &Netlink, port: &link::Link) -> bool {
    let names = netns::list().unwrap_or_default();
    let id = |name: &String| link::netns_id(host, netns::open(name).ok()?.as_fd()).ok()?;
    port.peer_netns.is_some() && names.iter().any(|name| id(name) == port.peer_netns)
}

/// How many of the bound namespaces have an address of the network. Nothing on the host tells who hangs on a link by
/// a macvlan, so they are all visited.
fn holders(plugin: &Plugin) -> Result<usize, Error> {
    let sets = plugin.ipam.sets();
    let subnets: Vec<IpNet> = sets.iter().flatten().map(|range| range.subnet).collect();
    let home = netns::Home::remember()?;
    let mut holders = 0;
    for name in netns::list()? {
        // One that is gone meanwhile holds nothing.
        let Ok(namespace) = netns::open(&name) else { continue };
        netns::enter(&namespace, &name)?;
        let asked = Netlink::open(Protocol::Route)
            .and_then(|inner| Ok((link::list(&inner)?, link::addresses(&inner)?)))
            .context(|| format!("network namespace {name}"));
        home.back()?;
        let (links, addresses) = asked?;
        let is_macvlan = |index| links.iter().any(|link| link.index == index && link.kind == "macvlan");
        let ours = |(index, address): &(u32, IpNet)| {
            is_macvlan(*index) && subnets.iter().any(|net| net.contains(&address.addr()))
        };
        holders += usize::from(addresses.iter().any(ours));
    }
    Ok(holders)
}
