//! Published ports in the rule set: elements of maps, and what the kernel remembers of flows that they led.

use crate::conntrack;
use crate::nft::{self, Element};
use crate::ports::host_addresses;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use wb_doc::{Context, Error};
use wb_store::Place;
use wb_store::network::Port;
use wb_sys::Errno;
use wb_sys::netlink::{Netlink, Protocol, Request};

/// The maps of the rule set, by name: for one host address, and for all.
const MAPS: [&str; 4] = ["host4", "any4", "host6", "any6"];
/// How many elements fit one message comfortably.
const BATCH: usize = 400;

/// Leads the ports to the container.
pub fn lead(netfilter: &Netlink, table: &str, id: &str, ports: &[Port], ips: &[IpNet]) -> Result<(), Error> {
    let elements = elements(id, ports, ips)?;
    let what = || format!("nft table {table}: published ports");
    match add(netfilter, table, &elements) {
        // We hold the ports, so what is in the maps under their numbers belongs to nobody alive.
        Err(Errno::EEXIST | Errno::EBUSY) => {
            let taken = |element: &Element, map: &str| {
                elements.get(map).is_some_and(|ours| ours.iter().any(|our| our.key == element.key))
            };
            remove(netfilter, table, taken)?;
            add(netfilter, table, &elements).context(what)?;
        }
        other => other.context(what)?,
    }
    // Clients that sent to these ports before: nobody but the container is to answer them now.
    forget_flows(netfilter, elements.values().flatten(), |led| !led)
}

/// Makes the kernel forget the UDP flows to these published ports: those that lead to the container, or those that
/// do not.
fn forget_flows<'a>(
    netfilter: &Netlink,
    elements: impl Iterator<Item = &'a Element>,
    unwanted: impl Fn(bool) -> bool,
) -> Result<(), Error> {
    let mut udp: Vec<(u16, IpAddr)> = elements.filter_map(published_udp).collect();
    udp.sort_unstable();
    udp.dedup();
    for v4 in [true, false] {
        let ours: Vec<_> = udp.iter().filter(|(_, server)| server.is_ipv4() == v4).collect();
        if !ours.is_empty() {
            conntrack::forget(netfilter, v4, |flow| {
                let of_port: Vec<_> = ours.iter().filter(|(port, _)| *port == flow.port).collect();
                !of_port.is_empty() && unwanted(of_port.iter().any(|(_, server)| *server == flow.server))
            })?;
        }
    }
    Ok(())
}

/// The host's port and the container's address of a map's element, where it is about UDP.
fn published_udp(element: &Element) -> Option<(u16, IpAddr)> {
    let (protocol, port) = element.key[element.key.len().checked_sub(8)?..].split_at(4);
    let port = u16::from_be_bytes([port[0], port[1]]);
    let address = &element.data[..element.data.len().checked_sub(4)?];
    let v4 = <[u8; 4]>::try_from(address).map(|octets| IpAddr::V4(octets.into()));
    let v6 = <[u8; 16]>::try_from(address).map(|octets| IpAddr::V6(octets.into()));
    (protocol[0] == protocol_number("udp")).then_some((port, v4.or(v6).ok()?))
}

/// Leads the ports of a container, which go on being held, to other addresses of it.
pub fn lead_elsewhere(place: &Place, id: &str, ports: &[Port], ips: &[IpNet]) -> Result<(), Error> {
    let netfilter = Netlink::open(Protocol::Netfilter).context(|| "nfnetlink")?;
    let table = place.machine_name("wb");
    withdraw(&netfilter, &table, id)?;
    lead(&netfilter, &table, id, ports, ips)
}

fn add(netfilter: &Netlink, table: &str, elements: &BTreeMap<&str, Vec<Element>>) -> Result<(), Errno> {
    let of_map = |(map, list): (&&str, &Vec<Element>)| -> Vec<Request> {
        list.chunks(BATCH).map(|chunk| nft::add_elements(table, map, chunk)).collect()
    };
    let requests: Vec<Request> = elements.iter().flat_map(of_map).collect();
    netfilter.commit(&requests, "from here on the ports lead inside").map_err(|refused| refused.errno)
}

/// Takes a container's ports out of the maps.
pub fn withdraw(netfilter: &Netlink, table: &str, id: &str) -> Result<(), Error> {
    remove(netfilter, table, |element, _| element.comment == id)
}

/// Removes the elements that `unwanted` names from the maps, and the flows that they led.
fn remove(netfilter: &Netlink, table: &str, unwanted: impl Fn(&Element, &str) -> bool) -> Result<(), Error> {
    let what = || format!("nft table {table}: published ports");
    let mut requests = Vec::new();
    let mut removed = Vec::new();
    for map in MAPS {
        let mut list = nft::list_elements(netfilter, table, map).context(what)?;
        list.retain(|element| unwanted(element, map));
        requests.extend(list.chunks(BATCH).map(|chunk| nft::delete_elements(table, map, chunk)));
        removed.extend(list);
    }
    match netfilter.commit(&requests, "the ports lead nowhere any more") {
        Ok(()) => {}
        // Somebody else was quicker.
        Err(refused) if refused.errno == Errno::ENOENT => {}
        Err(refused) => return Err(Error::errno(what(), refused.errno)),
    }
    forget_flows(netfilter, removed.iter(), |led| led)
}

fn elements(id: &str, ports: &[Port], ips: &[IpNet]) -> Result<BTreeMap<&'static str, Vec<Element>>, Error> {
    let mut maps: BTreeMap<&'static str, Vec<Element>> = BTreeMap::new();
    for port in ports {
        for host in host_addresses(port, ips)? {
            let inside = ips.iter().map(IpNet::addr).find(|ip| ip.is_ipv4() == host.is_ipv4());
            let Some(inside) = inside else { continue };
            let map = match (host.is_ipv4(), host.is_unspecified()) {
                (true, false) => "host4",
                (true, true) => "any4",
                (false, false) => "host6",
                (false, true) => "any6",
            };
            let mut key = if host.is_unspecified() { Vec::new() } else { octets(host) };
            key.extend([protocol_number(&port.protocol), 0, 0, 0]);
            key.extend(register(port.host_port));
            let mut data = octets(inside);
            data.extend(register(port.container_port));
            maps.entry(map).or_default().push(Element { key, data, comment: id.to_owned() });
        }
    }
    Ok(maps)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A port as part of a concatenation: in network byte order, padded to the register's four bytes.
fn register(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn protocol_number(name: &str) -> u8 {
    match name {
        "udp" => 17,
        "sctp" => 132,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host: Option<&str>, host_port: u16, container_port: u16) -> Port {
        Port {
            host_ip: host.map(|ip| ip.parse().unwrap()),
            host_port,
            container_port,
            protocol: "tcp".into(),
            ..Port::default()
        }
    }

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn each_family_and_kind_of_address_has_its_map() {
        let ips = nets(&["10.0.0.2/24", "fd00::2/64"]);
        let maps = elements(
            "x",
            &[port(None, 80, 8080), port(Some("192.0.2.1"), 81, 1), port(Some("2001:db8::1"), 82, 2)],
            &ips,
        );
        let maps = maps.unwrap();
        assert_eq!(maps.keys().copied().collect::<Vec<_>>(), ["any4", "any6", "host4", "host6"]);
        assert_eq!(maps["any4"][0].key, [6, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!(maps["any4"][0].data, [10, 0, 0, 2, 0x1f, 0x90, 0, 0]);
        assert_eq!(maps["host6"][0].key.len(), 24);
        let v4_only = elements("x", &[port(None, 80, 80)], &nets(&["10.0.0.2/24"])).unwrap();
        assert_eq!(v4_only.len(), 1);
        assert!(elements("x", &[port(Some("2001:db8::1"), 80, 80)], &nets(&["10.0.0.2/24"])).is_err());
        assert!(elements("x", &[port(Some("::1"), 80, 80)], &ips).is_err());
    }

    #[test]
    fn an_element_tells_what_udp_port_it_leads() {
        let ips = nets(&["10.0.0.2/24", "fd00::2/64"]);
        let udp = Port { protocol: "udp".into(), ..port(None, 53, 5353) };
        let host = Port { host_ip: "192.0.2.1".parse().ok(), ..udp.clone() };
        let maps = elements("x", &[udp, host, port(None, 80, 80)], &ips).unwrap();
        let found: Vec<_> = maps.values().flatten().filter_map(published_udp).collect();
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|(port, ip)| *port == 53 && ips.iter().any(|net| net.addr() == *ip)));
    }
}
