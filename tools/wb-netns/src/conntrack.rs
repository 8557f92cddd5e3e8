//! Flows the kernel remembers (conntrack(8)): a UDP flow that began before its port was published, or that led to a
//! container that is gone, would go on to where it went, as long as its client keeps sending.
//!
//! TCP needs no such help: a connection to nobody ends by itself. `linux/netfilter/nfnetlink_conntrack.h` has the numbers.

use crate::nft::{IPV4, IPV6, find, nest};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wb_doc::{Context, Error};
use wb_sys::Errno;
use wb_sys::netlink::{NLM_F_DUMP, Netlink, Refused, Request};

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4_SRC: u16 = 1;
const IP_V6_SRC: u16 = 3;
const PROTO_NUM: u16 = 1;
const PROTO_DST_PORT: u16 = 3;
const UDP: u8 = 17;

/// One UDP flow, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The port its client sends to.
    pub port: u16,
    /// Who answers.
    pub server: IpAddr,
}

/// Makes the kernel forget the UDP flows of one address family that `unwanted` names.
pub fn forget(netfilter: &Netlink, v4: bool, unwanted: impl Fn(Flow) -> bool) -> Result<(), Error> {
    let what = || "the kernel's UDP flows";
    let family = if v4 { IPV4 } else { IPV6 };
    let ask = Request::new(
        NFNL_SUBSYS_CTNETLINK << 8 | GET,
        NLM_F_DUMP,
        vec![family, 0, 0, 0],
        "IPCTNL_MSG_CT_GET",
    );
    let mut requests = Vec::new();
    let asked = netfilter.ask(&ask, "flows that began before", |_, payload| {
        let attributes = payload.get(4..).unwrap_or_default();
        if let Some(flow) = parse(attributes).filter(|flow| unwanted(*flow)) {
            // A flow is named by how it began, zone included.
            let tuple = find(attributes, TUPLE_ORIG).unwrap_or_default();
            let mut payload = vec![family, 0, 0, 0];
            payload.extend(nest(TUPLE_ORIG, tuple));
            let shown = format!("IPCTNL_MSG_CT_DELETE udp port {}", flow.port);
            requests.push(Request::new(NFNL_SUBSYS_CTNETLINK << 8 | DELETE, 0, payload, shown));
        }
    });
    match asked {
        Ok(()) => {}
        // A kernel that cannot tell its flows: they end by themselves, after half a minute of silence.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno).context(what),
    }
    for request in requests {
        match netfilter.change(&[request], "its next packet finds the rules of now") {
            Ok(()) | Err(Refused { errno: Errno::ENOENT, .. }) => {}
            Err(refused) => return Err(Error::errno(what(), refused.errno)),
        }
    }
    Ok(())
}

fn parse(attributes: &[u8]) -> Option<Flow> {
    let (began, reply) = (find(attributes, TUPLE_ORIG)?, find(attributes, TUPLE_REPLY)?);
    let protocol = find(began, TUPLE_PROTO)?;
    if find(protocol, PROTO_NUM)? != [UDP] {
        return None;
    }
    let port = u16::from_be_bytes(find(protocol, PROTO_DST_PORT)?.try_into().ok()?);
    let ip = find(reply, TUPLE_IP)?;
    let v4 = |bytes: &[u8]| Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)));
    let v6 = |bytes: &[u8]| Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)));
    let server = find(ip, IP_V4_SRC).and_then(v4).or_else(|| find(ip, IP_V6_SRC).and_then(v6))?;
    Some(Flow { port, server })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::put;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, kind, value);
        out
    }

    #[test]
    fn reads_where_a_flow_leads() {
        let flow = |protocol: u8| {
            let proto =
                [attribute(PROTO_NUM, &[protocol]), attribute(PROTO_DST_PORT, &[0x14, 0xe9])].concat();
            let ip = attribute(IP_V4_SRC, &[10, 0, 0, 2]);
            let tuple = [nest(TUPLE_IP, &ip), nest(TUPLE_PROTO, &proto)].concat();
            parse(&[nest(TUPLE_ORIG, &tuple), nest(TUPLE_REPLY, &tuple)].concat())
        };
        assert_eq!(flow(UDP), Some(Flow { port: 5353, server: "10.0.0.2".parse().unwrap() }));
        assert_eq!(flow(6), None);
        assert_eq!(parse(&[1, 2, 3]), None);
    }
}
