//! Ports to publish that somebody else holds, from `/proc/net` (proc(5)), and who that is.

use crate::finding::Findings;
use crate::machine::Machine;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wb_doc::{Document, Error};
use wb_store::network::{self, Port};

/// A local address that a socket is bound to.
#[derive(Debug, PartialEq, Eq)]
struct Bound {
    address: IpAddr,
    port: u16,
    inode: u64,
}

/// Every port of the document.
pub fn examine(machine: &Machine, document: &Document, found: &mut Findings) -> Result<(), Error> {
    if document.at("/wb/network").is_none() {
        return Ok(());
    }
    // Those of a container that runs are its own.
    let boot = wb_sys::proc::boot_id().unwrap_or_default();
    if wb_store::record::is_alive(document, "/wb/state", &boot) {
        return Ok(());
    }
    for port in network::attachments(document)?.into_iter().flat_map(|attachment| attachment.ports) {
        // Of a range one that is free is enough; wb-netns looks for it.
        if port.host_port_range.is_some_and(|(first, last)| first < last) {
            continue;
        }
        if let Some(holder) =
            bound(machine, &port.protocol).into_iter().find(|bound| bound.clashes_with(&port))
        {
            let what = format!("port {}/{}", port.host_port, port.protocol);
            let who = process_of(holder.inode);
            let cause = format!(
                "{} holds {}:{}",
                who.as_ref().map_or("somebody", |(_, name)| name),
                holder.address,
                holder.port
            );
            let mend = who
                .map_or_else(|| "another port".to_owned(), |(pid, _)| format!("another port, or kill {pid}"));
            found.lacks(&what, "wb.network.ports", cause, mend);
        }
    }
    Ok(())
}

impl Bound {
    fn clashes_with(&self, port: &Port) -> bool {
        let wanted = port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let any = self.address.is_unspecified() || wanted.is_unspecified();
        // A socket on :: takes IPv4 as well.
        let same_family = self.address.is_ipv4() == wanted.is_ipv4()
            || self.address == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            || port.host_ip.is_none();
        self.port == port.host_port && port.host_port != 0 && same_family && (any || self.address == wanted)
    }
}

/// What is bound: of TCP what listens (state 0A), of UDP everything.
fn bound(machine: &Machine, protocol: &str) -> Vec<Bound> {
    let read = |file: String| machine.read(&format!("/proc/net/{file}")).unwrap_or_default();
    let text = [read(protocol.to_owned()), read(format!("{protocol}6"))].concat();
    let state = (protocol == "tcp").then_some("0A");
    text.lines().filter_map(|line| parse(line, state)).collect()
}

/// `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode`
fn parse(line: &str, state: Option<&str>) -> Option<Bound> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    if state.is_some_and(|state| fields.get(3) != Some(&state)) {
        return None;
    }
    Some(Bound {
        address: address_of(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// Words of 32 bits in the machine's order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::V4(word(0)?.into())),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            Some(IpAddr::V6(bytes.into()))
        }
        _ => None,
    }
}

/// The pid and name of a process that has the socket open, as far as this one may see it.
fn process_of(inode: u64) -> Option<(i32, String)> {
    let link = format!("socket:[{inode}]");
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process may end, or be out of bounds, at any moment.
        let Ok(fds) = fs::read_dir(entry.path().join("fd")) else { continue };
        if fds
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == link.as_str()))
        {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some((pid, format!("{} (pid {pid})", name.trim())));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, number: u16) -> Port {
        serde_json::from_value(serde_json::json!({
            "hostIP": ip, "hostPort": number, "containerPort": 80, "protocol": "tcp",
        }))
        .unwrap()
    }

    #[test]
    fn listening_sockets_are_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        let bound = parse(line, Some("0A")).unwrap();
        assert_eq!(bound, Bound { address: "127.0.0.1".parse().unwrap(), port: 8080, inode: 4711 });
        assert!(parse(&line.replace(" 0A ", " 01 "), Some("0A")).is_none());
        assert!(parse("  sl  local_address rem_address   st", None).is_none());
        let six = address_of("00000000000000000000000001000000").unwrap();
        assert_eq!(six, "::1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn addresses_clash_where_they_overlap() {
        let bound = |address: &str| Bound { address: address.parse().unwrap(), port: 8080, inode: 1 };
        assert!(bound("127.0.0.1").clashes_with(&port("", 8080)));
        assert!(bound("0.0.0.0").clashes_with(&port("10.0.0.1", 8080)));
        assert!(bound("::").clashes_with(&port("127.0.0.1", 8080)));
        assert!(!bound("127.0.0.1").clashes_with(&port("10.0.0.1", 8080)));
        assert!(!bound("127.0.0.1").clashes_with(&port("", 8081)));
        assert!(!bound("::1").clashes_with(&port("127.0.0.1", 8080)));
    }
}
