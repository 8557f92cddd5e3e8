//! Links, addresses and routes as rtnetlink(7) requests, and what the kernel answers. Nothing here decides.

use ipnet::IpNet;
use netlink_packet_core::Parseable;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoMacVlan,
    InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
    MacVlanMode,
};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use wb_sys::Errno;
use wb_sys::netlink::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, Netlink, Request};

/// The loopback interface's index in every network namespace.
pub const LO: u32 = 1;

/// Where IPv6 is configured; a host booted without it (`ipv6.disable=1`) has no such directory.
pub const IPV6: &str = "/proc/sys/net/ipv6";

/// An Ethernet address.
pub type Mac = [u8; 6];

/// A link as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub up: bool,
    pub mtu: u32,
    pub mac: Option<Mac>,
    pub kind: String,
    pub controller: Option<u32>,
    /// The number the kernel gives the network namespace that the other end is in.
    pub peer_netns: Option<i32>,
}

/// `aa:bb:…`.
pub fn show_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads `aa:bb:cc:dd:ee:ff`; `None` for anything else, and for group addresses.
pub fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    (parts.next().is_none() && mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac)
}

/// A bridge, made down: what guards it comes before it works.
pub fn new_bridge(name: &str, mac: Mac, mtu: Option<u32>) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        // A given address stays; a bridge without one changes its own with every port that comes and goes.
        LinkAttribute::Address(mac.to_vec()),
    ];
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        // A port forwards as soon as it is up.
        LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::ForwardDelay(0)])),
    ]));
    let shown = format!("RTM_NEWLINK {name} type bridge");
    Request::route(&RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, shown)
}

/// The host's end of a cable and the container's, the latter born in its network namespace under its final name.
pub struct Veth<'a> {
    pub host: &'a str,
    pub bridge: u32,
    pub peer: &'a str,
    pub netns: BorrowedFd<'a>,
    pub mac: Mac,
    pub mtu: Option<u32>,
}

/// One queue each way, which a veth has in any case: unless it is said, the kernel makes as many as processors, takes
/// all but one away again, and waits for whoever might have seen them (`synchronize_rcu`), once for each end.
const ONE_QUEUE: [LinkAttribute; 2] = [LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)];

/// One message makes both ends and plugs one into the bridge.
pub fn new_veth(veth: &Veth) -> Request {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(veth.peer.to_owned()),
        LinkAttribute::NetNsFd(veth.netns.as_raw_fd()),
        LinkAttribute::Address(veth.mac.to_vec()),
    ];
    peer.attributes.extend(ONE_QUEUE);
    peer.attributes.extend(veth.mtu.map(LinkAttribute::Mtu));
    let mut message = LinkMessage::default();
    message.attributes =
        vec![LinkAttribute::IfName(veth.host.to_owned()), LinkAttribute::Controller(veth.bridge)];
    message.attributes.extend(ONE_QUEUE);
    message.attributes.extend(veth.mtu.map(LinkAttribute::Mtu));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    let shown = format!(
        "RTM_NEWLINK {} master {} type veth peer {} address {} netns fd {}",
        veth.host,
        veth.bridge,
        veth.peer,
        show_mac(veth.mac),
        veth.netns.as_raw_fd()
    );
    Request::route(&RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, shown)
}

/// A macvlan on `master`, born in the network namespace.
pub fn new_macvlan(name: &str, master: u32, netns: BorrowedFd, mac: Mac, mtu: Option<u32>) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Link(master),
        LinkAttribute::NetNsFd(netns.as_raw_fd()),
        LinkAttribute::Address(mac.to_vec()),
    ];
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::MacVlan),
        LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)])),
    ]));
    let shown = format!("RTM_NEWLINK {name} type macvlan link {master} netns fd {}", netns.as_raw_fd());
    Request::route(&RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, shown)
}

/// Lets a bridge port send a frame back where it came from: a container that reaches its own published port.
pub fn set_hairpin(name: &str) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
        ]),
    ];
    Request::route(&RouteNetlinkMessage::NewLink(message), 0, format!("RTM_NEWLINK {name} hairpin on"))
}

/// Sets a link up: by its name where `index` is 0.
pub fn set_up(index: u32, name: &str) -> Request {
    let mut message = by(index, name);
    message.header.flags |= LinkFlags::Up;
    message.header.change_mask |= LinkFlags::Up;
    Request::route(&RouteNetlinkMessage::NewLink(message), 0, format!("RTM_NEWLINK {name} up"))
}

/// Keeps the kernel from making a link-local address: it would speak for a host that nobody gave an IPv6 address.
/// Nothing to ask for where the host was booted without IPv6, which refuses the question (`EAFNOSUPPORT`).
///
/// The kernel takes this for a link that exists only, and heeds it only before the link is up.
pub fn no_link_local(index: u32, name: &str) -> Option<Request> {
    if !Path::new(IPV6).exists() {
        return None;
    }
    let mut message = by(index, name);
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
    let shown = format!("RTM_NEWLINK {name} addrgenmode none");
    Some(Request::route(&RouteNetlinkMessage::NewLink(message), 0, shown))
}

fn by(index: u32, name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    if index == 0 {
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    }
    message
}

/// Removes a link. The kernel waits for it to be unused: not for the hot path.
pub fn delete(index: u32, name: &str) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    Request::route(&RouteNetlinkMessage::DelLink(message), 0, format!("RTM_DELLINK {name}"))
}

/// Gives a link an address. No duplicate address detection: the pool has seen to that.
pub fn add_address(index: u32, name: &str, address: IpNet) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    if address.addr().is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes =
        vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    if let IpNet::V4(v4) = address {
        message
            .attributes
            .extend((v4.prefix_len() < 31).then(|| AddressAttribute::Broadcast(v4.broadcast())));
    }
    let shown = format!("RTM_NEWADDR {address} dev {name}");
    Request::route(&RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE, shown)
}

/// A route by way of `gateway`, or to what is on the link itself.
pub fn add_route(index: u32, name: &str, destination: IpNet, gateway: Option<IpAddr>) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination.addr());
    message.header.destination_prefix_length = destination.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = if gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
    message.header.kind = RouteType::Unicast;
    if destination.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route_address(destination.addr())));
    }
    message.attributes.extend(gateway.map(|gateway| RouteAttribute::Gateway(route_address(gateway))));
    message.attributes.push(RouteAttribute::Oif(index));
    let via = gateway.map_or(String::new(), |gateway| format!(" via {gateway}"));
    let shown = format!("RTM_NEWROUTE {destination}{via} dev {name}");
    Request::route(&RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL, shown)
}

/// The link `name`; `None` where there is none.
pub fn find(netlink: &Netlink, name: &str) -> Result<Option<Link>, Errno> {
    let mut message = LinkMessage::default();
    message.attributes =
        vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    one(netlink, message, &format!("RTM_GETLINK {name}"))
}

/// The link with number `index`.
pub fn find_index(netlink: &Netlink, index: u32) -> Result<Option<Link>, Errno> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    one(netlink, message, &format!("RTM_GETLINK {index}"))
}

fn one(netlink: &Netlink, message: LinkMessage, shown: &str) -> Result<Option<Link>, Errno> {
    let mut link = None;
    let request = Request::route(&RouteNetlinkMessage::GetLink(message), 0, shown);
    let asked = netlink.ask(&request, "is it there, and up", |_, payload| link = parse(payload));
    match asked {
        Ok(()) => Ok(link),
        Err(Errno::ENODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// All links.
pub fn list(netlink: &Netlink) -> Result<Vec<Link>, Errno> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    let mut links = Vec::new();
    let request = Request::route(&RouteNetlinkMessage::GetLink(message), NLM_F_DUMP, "RTM_GETLINK");
    netlink.ask(&request, "all links", |_, payload| links.extend(parse(payload)))?;
    Ok(links)
}

fn parse(payload: &[u8]) -> Option<Link> {
    let message = LinkMessage::parse(payload).ok()?;
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        ..Link::default()
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(address) => link.mac = address.try_into().ok(),
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::LinkNetNsId(id) => link.peer_netns = Some(id),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = kind.to_string();
                    }
                }
            }
            _ => {}
        }
    }
    Some(link)
}

/// The number of an open network namespace, as links name it; `None` where no link leads there.
pub fn netns_id(netlink: &Netlink, namespace: BorrowedFd) -> Result<Option<i32>, Errno> {
    let mut message = NsidMessage::default();
    message.attributes = vec![NsidAttribute::Fd(namespace.as_raw_fd().unsigned_abs())];
    let mut id = None;
    let shown = format!("RTM_GETNSID fd {}", namespace.as_raw_fd());
    let request = Request::route(&RouteNetlinkMessage::GetNsId(message), 0, shown);
    netlink.ask(&request, "which links lead there", |_, payload| {
        if let Ok(message) = NsidMessage::parse(payload) {
            id = message.attributes.iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                _ => None,
            });
        }
    })?;
    Ok(id)
}

/// All addresses, each with the number of its link.
pub fn addresses(netlink: &Netlink) -> Result<Vec<(u32, IpNet)>, Errno> {
    let mut found = Vec::new();
    let request = Request::route(
        &RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        NLM_F_DUMP,
        "RTM_GETADDR",
    );
    netlink.ask(&request, "the addresses of the links", |_, payload| {
        if let Ok(message) = AddressMessage::parse(payload) {
            let address = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            });
            let net = address.and_then(|address| IpNet::new(address, message.header.prefix_len).ok());
            found.extend(net.map(|net| (message.header.index, net)));
        }
    })?;
    Ok(found)
}

/// The link that leads to `address`; `None` where nothing does.
pub fn way_to(netlink: &Netlink, address: IpAddr) -> Result<Option<u32>, Errno> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(address);
    message.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
    message.attributes = vec![RouteAttribute::Destination(route_address(address))];
    let mut found = None;
    let request =
        Request::route(&RouteNetlinkMessage::GetRoute(message), 0, format!("RTM_GETROUTE {address}"));
    let asked = netlink.ask(&request, "which link leads outside: its MTU is ours", |_, payload| {
        if let Ok(message) = RouteMessage::parse(payload) {
            found = message.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            });
        }
    });
    match asked {
        Ok(()) => Ok(found),
        // The last two: a host without IPv6.
        Err(
            Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::EACCES
            | Errno::EINVAL
            | Errno::EOPNOTSUPP
            | Errno::EAFNOSUPPORT,
        ) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows_mac_addresses() {
        let mac = parse_mac("02:42:AC-11:00:02").unwrap();
        assert_eq!(show_mac(mac), "02:42:ac:11:00:02");
        for text in [
            "",
            "02:42:ac:11:00",
            "01:42:ac:11:00:02",
            "02:42:ac:11:00:02:03",
            "0:1:2:3:4:5",
            "00:00:00:00:00:00",
        ] {
            assert_eq!(parse_mac(text), None, "{text}");
        }
    }
}
