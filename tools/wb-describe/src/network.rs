//! `wb.network.result`: interfaces, addresses and routes of the process's network namespace, as CNI has them.
//!
//! Routes are in `/proc/PID/net`, which shows the namespace of the process; addresses only a member may ask for.

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sched::CloneFlags;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wb_doc::{Context, Document, Error};

/// What a route has of interest.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    destination: IpAddr,
    prefix: u8,
    gateway: Option<IpAddr>,
    interface: String,
}

/// Fills `wb.network.result`.
pub fn describe(pid: i32, document: &mut Document) -> Result<(), Error> {
    let path = format!("/proc/{pid}/ns/net");
    let own = File::open("/proc/self/ns/net").context(|| "/proc/self/ns/net")?;
    let theirs = File::open(&path).context(|| path.clone())?;
    let enter = |namespace: &File, why: &str| {
        wb_sys::namespace::setns(namespace, CloneFlags::CLONE_NEWNET, why).context(|| path.clone())
    };
    enter(&theirs, "only a member can ask for addresses")?;
    let mut found = Vec::new();
    let asked = wb_sys::trace::call(
        "what the interfaces are called, and their addresses",
        || "sendto(NETLINK_ROUTE, [RTM_GETLINK; RTM_GETADDR])".into(),
        || getifaddrs().map(|all| found.extend(all)),
    );
    enter(&own, "and back")?;
    asked.context(|| "interfaces")?;
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap_or_default();
    let mut routes = routes_v4(&read("route"));
    routes.extend(routes_v6(&read("ipv6_route")));
    document.set("/wb/network/result", result(&found, &routes, &path))
}

fn result(found: &[InterfaceAddress], routes: &[Route], sandbox: &str) -> Value {
    let mut names: Vec<&str> = Vec::new();
    for one in found {
        if !names.contains(&one.interface_name.as_str()) {
            names.push(&one.interface_name);
        }
    }
    let interfaces: Vec<Value> = names
        .iter()
        .map(|name| {
            let mut of_name = found.iter().filter(|one| one.interface_name == *name);
            let mac = of_name.find_map(|one| one.address?.as_link_addr()?.addr());
            let mac = mac.map(|bytes| bytes.map(|byte| format!("{byte:02x}")).join(":"));
            json!({ "name": name, "mac": mac, "sandbox": sandbox })
        })
        .collect();
    let mut ips = Vec::new();
    for one in found {
        let (Some(address), Some(mask)) = (address_of(one.address), address_of(one.netmask)) else {
            continue;
        };
        let number = names.iter().position(|name| *name == one.interface_name);
        let mut ip = json!({ "address": format!("{address}/{}", length(mask)), "interface": number });
        let way_out = routes.iter().find(|route| {
            route.prefix == 0
                && route.interface == one.interface_name
                && route.destination.is_ipv4() == address.is_ipv4()
        });
        if let Some(gateway) = way_out.and_then(|route| route.gateway) {
            ip["gateway"] = json!(gateway);
        }
        ips.push(ip);
    }
    let routes: Vec<Value> = routes
        .iter()
        .map(|route| {
            let mut shown = json!({ "dst": format!("{}/{}", route.destination, route.prefix) });
            if let Some(gateway) = route.gateway {
                shown["gw"] = json!(gateway);
            }
            shown
        })
        .collect();
    json!({ "cniVersion": "1.0.0", "interfaces": interfaces, "ips": ips, "routes": routes })
}

fn address_of(storage: Option<nix::sys::socket::SockaddrStorage>) -> Option<IpAddr> {
    let storage = storage?;
    let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

fn length(mask: IpAddr) -> u32 {
    match mask {
        IpAddr::V4(mask) => u32::from(mask).count_ones(),
        IpAddr::V6(mask) => u128::from(mask).count_ones(),
    }
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`: numbers as the machine has them in memory.
fn routes_v4(text: &str) -> Vec<Route> {
    let address = |hex: &str| Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()));
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let gateway = address(fields.get(2)?)?;
        Some(Route {
            destination: IpAddr::V4(address(fields.get(1)?)?),
            prefix: u8::try_from(u32::from(address(fields.get(7)?)?).count_ones()).ok()?,
            gateway: (!gateway.is_unspecified()).then_some(IpAddr::V4(gateway)),
            interface: (*fields.first()?).to_owned(),
        })
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// `destination prefix source prefix next-hop metric refcnt use flags Iface`; the kernel's own routes are left out:
/// those of addresses (flag 0x80000000), of multicast and of what is refused (0x200).
fn routes_v6(text: &str) -> Vec<Route> {
    let address = |hex: &str| Some(Ipv6Addr::from(u128::from_str_radix(hex, 16).ok()?));
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let destination = address(fields.first()?)?;
        let next = address(fields.get(4)?)?;
        let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
        let of_kernel = flags & 0x8000_0200 != 0 || destination.is_multicast() || *fields.get(9)? == "lo";
        (!of_kernel).then_some(Route {
            destination: IpAddr::V6(destination),
            prefix: u8::from_str_radix(fields.get(1)?, 16).ok()?,
            gateway: (!next.is_unspecified()).then_some(IpAddr::V6(next)),
            interface: (*fields.get(9)?).to_owned(),
        })
    };
    text.lines().filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_as_the_kernel_shows_them() {
        let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t01004D0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t00004D0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let routes = routes_v4(text);
        assert_eq!(routes[0].gateway, Some("10.77.0.1".parse().unwrap()));
        assert_eq!((routes[0].prefix, routes[1].prefix), (0, 16));
        assert_eq!(routes[1].destination, "10.77.0.0".parse::<IpAddr>().unwrap());
        let text = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 \
            00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n\
            ff000000000000000000000000000000 08 00000000000000000000000000000000 00 \
            00000000000000000000000000000000 00000100 00000003 00000000 00000001     eth0\n\
            00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
            00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
        let routes = routes_v6(text);
        assert_eq!(routes.len(), 1);
        assert_eq!((routes[0].destination, routes[0].prefix), ("fd00::".parse().unwrap(), 64));
    }

    #[test]
    fn masks_have_lengths() {
        assert_eq!(length("255.255.0.0".parse().unwrap()), 16);
        assert_eq!(length("ffff:ffff:ffff:ffff::".parse().unwrap()), 64);
    }
}
