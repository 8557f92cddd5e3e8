//! The bridge of a network: found, or made with all that belongs to it.

use crate::link::{self, Mac};
use crate::nat::{self, Rules};
use crate::restore;
use ipnet::IpNet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_store::Place;
use wb_store::lock::Lock;
use wb_store::network::{Network, Plugin};
use wb_sys::Errno;
use wb_sys::file::write_control;
use wb_sys::netlink::{Netlink, Protocol};

/// What a bridge has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// The gateway's addresses on it.
    pub gateways: Vec<IpNet>,
    /// A fixed MTU.
    pub mtu: Option<u32>,
    /// Whether IPv6 is spoken on it.
    pub ipv6: bool,
    /// The rules that go with it; none for a bridge that is only a switch.
    pub rules: Option<Rules>,
}

impl Bridge {
    /// The bridge a network describes.
    pub fn of_network(place: &Place, network: &Network, plugin: &Plugin) -> Result<Self, Error> {
        let name = plugin
            .bridge
            .clone()
            .ok_or_else(|| Error::new(format!("network {}: names no bridge", network.name)))?;
        let sets = plugin.ipam.sets();
        let ranges: Vec<_> = sets.iter().flatten().collect();
        let subnets: Vec<IpNet> = ranges.iter().map(|range| range.subnet.trunc()).collect();
        let gateway = |range: &&&wb_store::network::Range| {
            let address = range.gateway?;
            IpNet::new(address, range.subnet.prefix_len()).ok()
        };
        let mut gateways: Vec<IpNet> =
            ranges.iter().filter(|_| plugin.is_gateway).filter_map(|range| gateway(&range)).collect();
        // A subnet's ranges all name its gateway.
        gateways.dedup();
        let ipv6 = subnets.iter().any(|net| net.addr().is_ipv6());
        let rules = Rules::of_network(place, &name, plugin);
        Ok(Self { name, gateways, mtu: plugin.mtu, ipv6, rules: Some(rules) })
    }
}

/// The bridge's index. Where it is there, up, and let through, that costs three questions to the kernel.
pub fn ensure(place: &Place, host: &Netlink, bridge: &Bridge) -> Result<u32, Error> {
    if bridge.ipv6 && !Path::new(link::IPV6).exists() {
        return Err(Error::errno(format!("bridge {}: IPv6 addresses", bridge.name), Errno::EAFNOSUPPORT)
            .hint("the host was booted without IPv6"));
    }
    let netfilter = match bridge.rules {
        Some(_) => Some(Netlink::open(Protocol::Netfilter).context(|| "nfnetlink")?),
        None => None,
    };
    let what = || format!("bridge {}", bridge.name);
    let ready = || -> Result<Option<u32>, Error> {
        let Some(link) = link::find(host, &bridge.name).context(what)? else { return Ok(None) };
        if link.kind != "bridge" {
            return Err(Error::new(format!("{}: a link of this name exists and is no bridge", what())));
        }
        let rules = match (&netfilter, &bridge.rules) {
            (Some(netfilter), Some(rules)) => nat::is_ready(netfilter, rules)?,
            _ => true,
        };
        Ok((link.up && rules).then_some(link.index))
    };
    if let Some(index) = ready()? {
        return Ok(index);
    }
    fs::create_dir_all(place.run()).context(|| place.run().display().to_string())?;
    let _lock = Lock::exclusive(&place.run().join("network.lock"))?;
    // Somebody may have made it while we waited.
    if let Some(index) = ready()? {
        return Ok(index);
    }
    if let (Some(netfilter), Some(rules)) = (&netfilter, &bridge.rules) {
        nat::make_ready(netfilter, rules)?;
        forward(bridge)?;
        // Rules that are missing may be missing for all.
        restore::others(place, host, netfilter, &bridge.name)?;
    }
    make(host, bridge)
}

/// Makes the bridge where it is missing. It comes up last: a bridge that is up is complete.
fn make(host: &Netlink, bridge: &Bridge) -> Result<u32, Error> {
    let what = || format!("bridge {}", bridge.name);
    if link::find(host, &bridge.name).context(what)?.is_none() {
        let mac = mac_of(bridge.gateways.first().map_or(Ipv4Addr::UNSPECIFIED.into(), IpNet::addr));
        let request = link::new_bridge(&bridge.name, mac, bridge.mtu);
        host.change(&[request], "a switch inside the kernel")
            .map_err(|refused| Error::errno(what(), refused.errno))?;
    }
    let made = link::find(host, &bridge.name).context(what)?;
    let index = made.ok_or_else(|| Error::new(format!("{}: gone again", what())))?.index;
    if bridge.rules.as_ref().is_some_and(|rules| !rules.internal) {
        let path = format!("/proc/sys/net/ipv4/conf/{}/route_localnet", bridge.name);
        write_control(
            Path::new(&path),
            "1",
            "ports published on 127.0.0.1; the guard chain keeps others out",
        )
        .context(|| path.clone())?;
    }
    if bridge.ipv6 {
        let path = format!("/proc/sys/net/ipv6/conf/{}/accept_dad", bridge.name);
        // Until the kernel had made sure of its link-local address, for some two seconds, it would look for no
        // container on behalf of others. The address follows from the gateway's: nobody else has it.
        write_control(Path::new(&path), "0", "the gateway speaks at once").context(|| path.clone())?;
    }
    let mut requests: Vec<_> =
        bridge.gateways.iter().map(|net| link::add_address(index, &bridge.name, *net)).collect();
    if !bridge.ipv6 {
        requests.extend(link::no_link_local(index, &bridge.name));
    }
    requests.push(link::set_up(index, &bridge.name));
    host.change(&requests, "the containers' gateway").map_err(|refused| {
        let step = bridge.gateways.get(refused.index).map_or(what(), |net| format!("{}: {net}", what()));
        Error::errno(step, refused.errno)
    })?;
    Ok(index)
}

/// Lets the kernel forward packets; it is asked first, since the change makes it flush and wait.
fn forward(bridge: &Bridge) -> Result<(), Error> {
    if bridge.rules.as_ref().is_some_and(|rules| rules.internal) {
        return Ok(());
    }
    if bridge.gateways.iter().any(|net| net.addr().is_ipv4()) {
        switch_on(Path::new("/proc/sys/net/ipv4/ip_forward"))?;
    }
    if bridge.ipv6 && is_off(Path::new("/proc/sys/net/ipv6/conf/all/forwarding"))? {
        keep_router_advertisements()?;
        switch_on(Path::new("/proc/sys/net/ipv6/conf/all/forwarding"))?;
    }
    Ok(())
}

fn is_off(path: &Path) -> Result<bool, Error> {
    let value = fs::read_to_string(path).context(|| path.display().to_string())?;
    Ok(value.trim() == "0")
}

fn switch_on(path: &Path) -> Result<(), Error> {
    if !is_off(path)? {
        return Ok(());
    }
    write_control(path, "1", "the host becomes the containers' router").context(|| path.display().to_string())
}

/// A host that forwards ignores router advertisements unless accept_ra is 2: it would lose its own way out.
fn keep_router_advertisements() -> Result<(), Error> {
    let directory = "/proc/sys/net/ipv6/conf";
    for entry in fs::read_dir(directory).context(|| directory)? {
        let path: PathBuf = entry.context(|| directory)?.path().join("accept_ra");
        if fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
            write_control(&path, "2", "keep listening to routers").context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// The MTU of the link that leads outside; `None` where nothing does, or where it is Ethernet's own.
pub fn uplink_mtu(host: &Netlink) -> Result<Option<u32>, Error> {
    let anywhere: [IpAddr; 2] =
        [Ipv4Addr::new(192, 0, 2, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()];
    for address in anywhere {
        if let Some(index) = link::way_to(host, address).context(|| "the way out")? {
            let link = link::find_index(host, index).context(|| "the uplink")?;
            return Ok(link.map(|link| link.mtu).filter(|mtu| index != link::LO && *mtu != 1500));
        }
    }
    Ok(None)
}

/// A locally administered Ethernet address made of an IP address: the same address has the same one again, so that
/// no neighbour keeps a stale entry.
pub fn mac_of(address: IpAddr) -> Mac {
    let [a, b, c, d] = match address {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            [octets[12], octets[13], octets[14], octets[15]]
        }
    };
    [0x02, 0x77, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_local_and_follows_the_address() {
        let mac = mac_of("10.77.1.2".parse().unwrap());
        assert_eq!(link::show_mac(mac), "02:77:0a:4d:01:02");
        assert_eq!(mac[0] & 3, 2);
    }
}
