//! What the host already uses: addresses, routes, nameservers. A new network must overlap none of them.

use ipnet::IpNet;
use netlink_packet_core::Parseable;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;
use wb_doc::{Context, Error};
use wb_sys::netlink::{NLM_F_DUMP, Netlink, Protocol, Request};

/// A subnet that is taken, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The subnet.
    pub net: IpNet,
    /// The address in it that somebody has, where one is known.
    pub address: Option<IpAddr>,
    /// Who has it, for a message.
    pub by: String,
}

/// Everything the kernel and resolv.conf know. Default routes are left out: they overlap all.
pub fn taken() -> Result<Vec<Taken>, Error> {
    let netlink = Netlink::open(Protocol::Route).context(|| "netlink")?;
    let mut taken = Vec::new();
    let ask = Request::route(
        &RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        NLM_F_DUMP,
        "RTM_GETADDR",
    );
    netlink
        .ask(&ask, "a network must overlap no address of the host", |_, payload| {
            if let Ok(message) = AddressMessage::parse(payload) {
                taken.extend(of_address(&message));
            }
        })
        .context(|| "the host's addresses")?;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let ask = Request::route(&RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP, "RTM_GETROUTE");
        netlink
            .ask(&ask, "nor any route", |_, payload| {
                if let Ok(message) = RouteMessage::parse(payload) {
                    taken.extend(of_route(&message));
                }
            })
            .context(|| "the host's routes")?;
    }
    for file in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
        // A host without resolv.conf has no nameserver to keep clear of.
        let text = std::fs::read_to_string(file).unwrap_or_default();
        taken.extend(nameservers(&text));
    }
    Ok(taken)
}

/// Both ends of a link that has two: its own address and its peer's.
fn of_address(message: &AddressMessage) -> Vec<Taken> {
    let mut found: Vec<Taken> = Vec::new();
    for attribute in &message.attributes {
        let (AddressAttribute::Local(address) | AddressAttribute::Address(address)) = attribute else {
            continue;
        };
        let Ok(net) = IpNet::new(*address, message.header.prefix_len) else { continue };
        let taken =
            Taken { net: net.trunc(), address: Some(*address), by: format!("the host's address {address}") };
        if !found.contains(&taken) {
            found.push(taken);
        }
    }
    found
}

fn of_route(message: &RouteMessage) -> Option<Taken> {
    // A route that leads nowhere says as well that somebody means something by these addresses.
    match message.header.kind {
        RouteType::Unicast | RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => {}
        _ => return None,
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    let net = IpNet::new(address, message.header.destination_prefix_length).ok()?;
    (net.prefix_len() > 0).then(|| Taken { net, address: None, by: format!("the host's route {net}") })
}

fn nameservers(text: &str) -> Vec<Taken> {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    });
    let taken = |address: IpAddr| Taken {
        net: address.into(),
        address: Some(address),
        by: format!("the nameserver {address}"),
    };
    addresses.map(taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_tunnel_are_taken() {
        let mut message = AddressMessage::default();
        message.header.prefix_len = 32;
        let ends = ["10.80.0.1", "10.80.5.1"].map(|text| text.parse().unwrap());
        message.attributes = vec![AddressAttribute::Address(ends[1]), AddressAttribute::Local(ends[0])];
        let found: Vec<_> = of_address(&message).iter().map(|taken| taken.net.to_string()).collect();
        assert_eq!(found, ["10.80.5.1/32", "10.80.0.1/32"]);
    }

    #[test]
    fn reads_nameservers() {
        let taken =
            nameservers("# nameserver 1.1.1.1\nnameserver 9.9.9.9\nsearch x\nnameserver fe80::1%eth0\n");
        assert_eq!(taken.iter().map(|t| t.net.to_string()).collect::<Vec<_>>(), ["9.9.9.9/32"]);
    }
}
