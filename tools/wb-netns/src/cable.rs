//! Cables: one interface in a network namespace, and what it is plugged into.

use crate::bridge::{self, Bridge};
use crate::link::{self, Veth};
use ipnet::IpNet;
use std::fs::File;
use std::os::fd::AsFd;
use wb_doc::{Context, Error};
use wb_store::Place;
use wb_store::network::{Interface, Route};
use wb_sys::Errno;
use wb_sys::netlink::{Netlink, Refused};

/// One interface to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cable {
    /// Its name in the container.
    pub name: String,
    /// What it is plugged into.
    pub plug: Plug,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// The routes that lead over it.
    pub routes: Vec<Route>,
    /// Its Ethernet address.
    pub mac: link::Mac,
    /// Its MTU, if not the usual one.
    pub mtu: Option<u32>,
}

/// The other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plug {
    /// A port of this bridge.
    Bridge(Bridge),
    /// A macvlan on this link of the host.
    Macvlan {
        /// The link.
        master: String,
        /// A fixed MTU; that of the link if none.
        mtu: Option<u32>,
    },
}

/// What was made of a [`Cable`].
pub struct Made {
    /// The interfaces as a CNI result lists them; the container's is the last.
    pub interfaces: Vec<Interface>,
}

/// A cable's other end, ready: its index, its name and the cable's MTU.
pub struct Ready {
    index: u32,
    name: String,
    mtu: Option<u32>,
    ipv6: bool,
}

/// Sees to the other end: a bridge is made where it is missing.
pub fn ready(place: &Place, host: &Netlink, cable: &Cable) -> Result<Ready, Error> {
    let ipv6 = cable.addresses.iter().any(|net| net.addr().is_ipv6());
    match &cable.plug {
        Plug::Bridge(bridge) => {
            let index = bridge::ensure(place, host, bridge)?;
            let mtu = match cable.mtu {
                Some(mtu) => Some(mtu),
                None => bridge::uplink_mtu(host)?,
            };
            Ok(Ready { index, name: bridge.name.clone(), mtu, ipv6 })
        }
        Plug::Macvlan { master, .. } => {
            let found = link::find(host, master).context(|| format!("link {master}"))?;
            let found = found.ok_or_else(|| Error::errno(format!("link {master}"), Errno::ENODEV))?;
            Ok(Ready { index: found.index, name: found.name, mtu: cable.mtu, ipv6 })
        }
    }
}

/// Makes one interface in the namespace and gives it what it needs to speak.
pub fn lay(
    host: &Netlink,
    inner: &Netlink,
    namespace: &File,
    sandbox: &str,
    cable: &Cable,
    plug: &Ready,
) -> Result<Made, Error> {
    let mut interfaces = vec![Interface { name: plug.name.clone(), ..Interface::default() }];
    let index = match &cable.plug {
        Plug::Bridge(_) => {
            let (name, index) = new_cable(host, inner, namespace, cable, plug)?;
            interfaces.push(Interface { name, ..Interface::default() });
            index
        }
        Plug::Macvlan { .. } => {
            let request = link::new_macvlan(&cable.name, plug.index, namespace.as_fd(), cable.mac, plug.mtu);
            let what = || format!("macvlan {} on {}", cable.name, plug.name);
            host.change(&[request], "a second Ethernet address on the host's link")
                .map_err(|refused| Error::errno(what(), refused.errno))?;
            index_of(inner, &cable.name)?
        }
    };
    let mut requests = vec![link::set_up(link::LO, "lo")];
    requests.extend(cable.addresses.iter().map(|net| link::add_address(index, &cable.name, *net)));
    if !plug.ipv6 {
        requests.extend(link::no_link_local(index, &cable.name));
    }
    requests.push(link::set_up(index, &cable.name));
    requests
        .extend(cable.routes.iter().map(|route| link::add_route(index, &cable.name, route.dst, route.gw)));
    inner.change(&requests, "inside: addresses, links up, the way out").map_err(|refused| {
        let step = requests.get(refused.index).map_or("", |request| request.shown());
        Error::errno(format!("interface {}: {step}", cable.name), refused.errno)
    })?;
    let mac = Some(link::show_mac(cable.mac));
    interfaces.push(Interface { name: cable.name.clone(), mac, sandbox: Some(sandbox.to_owned()) });
    Ok(Made { interfaces })
}

/// Makes the veth pair: the name of the host's end and the index of the other one.
///
/// The name is random: the cable of a container that has just ended may live on for some milliseconds, and the id
/// may come back before that. The index is asked for: the kernel heeds no wish for a peer's, and it is not always
/// the first one, since kernels with tunnel modules put links into every namespace.
fn new_cable(
    host: &Netlink,
    inner: &Netlink,
    namespace: &File,
    cable: &Cable,
    plug: &Ready,
) -> Result<(String, u32), Error> {
    for attempt in 0.. {
        let name = random_name()?;
        let veth = Veth {
            host: &name,
            bridge: plug.index,
            peer: &cable.name,
            netns: namespace.as_fd(),
            mac: cable.mac,
            mtu: plug.mtu,
        };
        let why = "both ends in one message: one in the container, the other plugged in; then that one up";
        let mut requests = vec![link::new_veth(&veth)];
        requests.extend(link::no_link_local(0, &name));
        requests.push(link::set_up(0, &name));
        match host.change(&requests, why) {
            Ok(()) => return Ok((name, index_of(inner, &cable.name)?)),
            // The name is taken (1 in 2⁴⁸).
            Err(Refused { index: 0, errno: Errno::EEXIST }) if attempt == 0 => {}
            Err(refused) => return Err(Error::errno(format!("veth {name} on {}", plug.name), refused.errno)),
        }
    }
    Err(Error::errno(format!("veth on {}", plug.name), Errno::EEXIST))
}

fn random_name() -> Result<String, Error> {
    let mut bytes = [0; 6];
    wb_sys::random::fill(&mut bytes).context(|| "random bytes")?;
    Ok(bytes.iter().fold("wb".to_owned(), |name, byte| format!("{name}{byte:02x}")))
}

fn index_of(inner: &Netlink, name: &str) -> Result<u32, Error> {
    let what = || format!("interface {name}");
    let found = link::find(inner, name).context(what)?;
    Ok(found.ok_or_else(|| Error::errno(what(), Errno::ENODEV))?.index)
}

/// The container may use its own published ports: the bridge sends frames back where they came from.
pub fn set_hairpin(host: &Netlink, made: &Made) -> Result<(), Error> {
    let Some(interface) = made.interfaces.get(1) else { return Ok(()) };
    host.change(&[link::set_hairpin(&interface.name)], "the container may use its own published ports")
        .map_err(|refused| Error::errno(format!("hairpin on {}", interface.name), refused.errno))
}
