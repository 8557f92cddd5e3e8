//! The verbs add and del: a network namespace, its cables, and what the document says about them.

use crate::bridge::{self, Bridge, mac_of};
use crate::link::{self, Veth};
use crate::{files, netns, ports};
use ipnet::IpNet;
use serde_json::json;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use wb_doc::{Context, Document, Error, oci};
use wb_store::network::{self, Attachment, Interface, Port, Route};
use wb_store::{Place, record};
use wb_sys::Errno;
use wb_sys::netlink::{Netlink, Protocol, Refused};

/// The peer's index in a new namespace, where nothing but lo has one; a wish that saves a question.
const FIRST_INDEX: u32 = 2;

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
    Macvlan(String),
}

/// What was made of a [`Cable`].
struct Made {
    /// The interfaces as a CNI result lists them; the container's is the last.
    pub interfaces: Vec<Interface>,
}

/// Makes the container's network namespace and everything in it, as its document asks.
pub fn add(place: &Place, doc: &mut Document, bridge: Option<&str>) -> Result<(), Error> {
    let id = doc.id()?.to_owned();
    let attachments = network::attachments(doc)?;
    match attachments[0].name.as_str() {
        "host" => {
            set_namespace(doc, Entry::Absent)?;
            return provide_files(doc, place, &attachments);
        }
        "none" => {
            set_namespace(doc, Entry::New)?;
            return provide_files(doc, place, &attachments);
        }
        name => {
            if let Some(other) = name.strip_prefix("container:") {
                return join(place, doc, other);
            }
        }
    }
    let cables = plan(place, &attachments, bridge)?;
    let mut published = ports::wanted(&attachments[0])?;
    // A port that somebody has is refused before anything is made.
    let sockets = take_ports(&mut published, &cables[0])?;
    let made = make(place, &id, &cables, !published.is_empty())?;
    let done = report(doc, &id, made)
        .and_then(|()| publish(place, doc, &cables[0], &published, &sockets))
        .and_then(|()| network::attachments(doc))
        .and_then(|attachments| provide_files(doc, place, &attachments));
    done.inspect_err(|_| {
        // Why it could not be finished matters more.
        del(place, &id).ok();
    })
}

fn take_ports(published: &mut [Port], cable: &Cable) -> Result<Vec<OwnedFd>, Error> {
    match &cable.plug {
        _ if published.is_empty() => Ok(Vec::new()),
        Plug::Bridge(Bridge { rules: Some(rules), .. }) if !rules.internal => {
            ports::take(published, &cable.addresses)
        }
        _ => Err(Error::new("nothing can be published from this network")
            .hint("it has no rules of ours, or is internal")),
    }
}

fn publish(
    place: &Place,
    doc: &mut Document,
    cable: &Cable,
    published: &[Port],
    sockets: &[OwnedFd],
) -> Result<(), Error> {
    if published.is_empty() {
        return Ok(());
    }
    let id = doc.id()?.to_owned();
    ports::park(place, &id, sockets)?;
    let netfilter = Netlink::open(Protocol::Netfilter).context(|| "nfnetlink")?;
    ports::publish(&netfilter, &place.machine_name("wb"), &id, published, &cable.addresses)?;
    doc.set("/wb/network/ports", published)
}

fn provide_files(doc: &mut Document, place: &Place, attachments: &[Attachment]) -> Result<(), Error> {
    let directory = place.container(doc.id()?);
    if directory.is_dir() { files::provide(doc, &directory, attachments) } else { Ok(()) }
}

/// What is to be made, read from the document and the networks it names; touches nothing.
fn plan(place: &Place, attachments: &[Attachment], bridge: Option<&str>) -> Result<Vec<Cable>, Error> {
    let mut cables = Vec::new();
    for (index, attachment) in attachments.iter().enumerate() {
        if !attachment.has_addresses() {
            return Err(Error::usage(format!("network {}: not together with others", attachment.name)));
        }
        let ips = &attachment.result.ips;
        let addresses: Vec<IpNet> = ips.iter().map(|ip| ip.address).collect();
        let Some(first) = addresses.first() else {
            let error = Error::usage(format!("network {}: no address in the document", attachment.name));
            return Err(error.hint("wb-ipam add comes before, or give --address"));
        };
        let plug = match bridge {
            Some(name) => Plug::Bridge(switch(name, ips)),
            None => plug(place, &attachment.name)?,
        };
        let mac = match &attachment.mac {
            Some(text) => link::parse_mac(text)
                .ok_or_else(|| Error::usage(format!("MAC address {text:?}: not one of a single host")))?,
            None => mac_of(first.addr()),
        };
        let internal = matches!(&plug, Plug::Bridge(Bridge { rules: Some(rules), .. }) if rules.internal);
        // One way out: that of the first network.
        let leads = |route: &&Route| route.dst.prefix_len() > 0 || (index == 0 && !internal);
        let gateway = |to: IpAddr| {
            ips.iter().find(|ip| ip.address.addr().is_ipv4() == to.is_ipv4()).and_then(|ip| ip.gateway)
        };
        let with_gateway =
            |route: &Route| Route { gw: route.gw.or_else(|| gateway(route.dst.addr())), ..*route };
        let routes = attachment.result.routes.iter().filter(leads).map(with_gateway).collect();
        let mtu = match &plug {
            Plug::Bridge(bridge) => bridge.mtu,
            Plug::Macvlan(_) => None,
        };
        cables.push(Cable { name: format!("eth{index}"), plug, addresses, routes, mac, mtu });
    }
    Ok(cables)
}

fn plug(place: &Place, name: &str) -> Result<Plug, Error> {
    let network = network::load(place, name)?;
    let plugin = network.plugin()?;
    match plugin.driver.as_deref() {
        None | Some("bridge") => Bridge::of_network(place, &network, &plugin).map(Plug::Bridge),
        Some("macvlan") => plugin
            .master
            .map(Plug::Macvlan)
            .ok_or_else(|| Error::new(format!("network {name}: no parent link"))),
        Some(other) => Err(Error::new(format!("network {name}: driver {other} is not known"))),
    }
}

/// A bridge named on the command line: a switch with the gateway's address, and no rules.
fn switch(name: &str, ips: &[network::Ip]) -> Bridge {
    let gateway = |ip: &network::Ip| IpNet::new(ip.gateway?, ip.address.prefix_len()).ok();
    Bridge {
        name: name.to_owned(),
        gateways: ips.iter().filter_map(gateway).collect(),
        mtu: None,
        ipv6: ips.iter().any(|ip| ip.address.addr().is_ipv6()),
        rules: None,
    }
}

/// Makes the namespace with its cables; on failure it is gone again.
fn make(place: &Place, id: &str, cables: &[Cable], published: bool) -> Result<Vec<Made>, Error> {
    let host = Netlink::open(Protocol::Route).context(|| "netlink")?;
    let plugs = cables.iter().map(|cable| plugged(place, &host, cable)).collect::<Result<Vec<_>, _>>()?;
    let home = netns::Home::remember()?;
    let namespace = netns::create(id)?;
    // This program is inside now: a socket opened here speaks to the new network stack, `host` to the old one.
    let made = (|| {
        let inner = Netlink::open(Protocol::Route).context(|| "netlink")?;
        let sandbox = netns::path(id).display().to_string();
        let mut made = Vec::new();
        for (cable, plug) in cables.iter().zip(&plugs) {
            made.push(lay(&host, &inner, &namespace, &sandbox, cable, plug)?);
        }
        if let Some(interface) = made.first().filter(|_| published).and_then(|made| made.interfaces.get(1)) {
            let why = "the container may use its own published ports";
            host.change(&[link::set_hairpin(&interface.name)], why)
                .map_err(|refused| Error::errno(format!("hairpin on {}", interface.name), refused.errno))?;
        }
        Ok(made)
    })();
    home.back()?;
    made.inspect_err(|_| {
        // Removing it takes every cable with it; why it could not be made matters more.
        netns::remove(id).ok();
    })
}

/// A cable's other end, ready: its index, its name and the cable's MTU.
struct Ready {
    index: u32,
    name: String,
    mtu: Option<u32>,
    ipv6: bool,
}

fn plugged(place: &Place, host: &Netlink, cable: &Cable) -> Result<Ready, Error> {
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
        Plug::Macvlan(master) => {
            let found = link::find(host, master).context(|| format!("link {master}"))?;
            let found = found.ok_or_else(|| Error::errno(format!("link {master}"), Errno::ENODEV))?;
            Ok(Ready { index: found.index, name: found.name, mtu: cable.mtu, ipv6 })
        }
    }
}

/// Makes one interface in the namespace and gives it what it needs to speak.
fn lay(
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
        Plug::Macvlan(_) => {
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
        requests.push(link::no_link_local(index, &cable.name));
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
/// may come back before that.
fn new_cable(
    host: &Netlink,
    inner: &Netlink,
    namespace: &File,
    cable: &Cable,
    plug: &Ready,
) -> Result<(String, u32), Error> {
    let mut wish = (cable.name == "eth0").then_some(FIRST_INDEX);
    let mut attempts = 0;
    loop {
        let name = random_name()?;
        let veth = Veth {
            host: &name,
            bridge: plug.index,
            peer: &cable.name,
            peer_index: wish,
            netns: namespace.as_fd(),
            mac: cable.mac,
            mtu: plug.mtu,
        };
        let why = "both ends in one message: one in the container, the other plugged in; then that one up";
        match host
            .change(&[link::new_veth(&veth), link::no_link_local(0, &name), link::set_up(0, &name)], why)
        {
            Ok(()) => {
                let index = match wish {
                    Some(index) => index,
                    None => index_of(inner, &cable.name)?,
                };
                return Ok((name, index));
            }
            // The name is taken (1 in 2⁴⁸), or the index is: kernels with tunnel modules put links into every
            // namespace.
            Err(Refused { errno: Errno::EEXIST | Errno::EBUSY, .. }) if attempts < 4 => {
                wish = None;
                attempts += 1;
            }
            Err(refused) => return Err(Error::errno(format!("veth {name} on {}", plug.name), refused.errno)),
        }
    }
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

/// Writes into the document what was made.
fn report(doc: &mut Document, id: &str, made: Vec<Made>) -> Result<(), Error> {
    let attachments = network::attachments(doc)?;
    for (index, (attachment, made)) in attachments.into_iter().zip(made).enumerate() {
        let mut outcome = attachment.result;
        let last = u32::try_from(made.interfaces.len().saturating_sub(1)).unwrap_or_default();
        for ip in &mut outcome.ips {
            ip.interface = Some(last);
        }
        outcome.interfaces = made.interfaces;
        if outcome.cni_version.is_empty() {
            outcome.cni_version = "1.0.0".into();
        }
        network::set_member(doc, index, "result", outcome)?;
    }
    set_namespace(doc, Entry::Path(&netns::path(id).display().to_string()))
}

/// The network of another container: its namespace, and its files.
fn join(place: &Place, doc: &mut Document, other: &str) -> Result<(), Error> {
    let other = record::resolve(place, other)?;
    let bound = netns::path(&other);
    let path = if netns::is_bound(&bound) {
        bound
    } else {
        let record = record::read(place, &other)?;
        let boot_id = wb_sys::proc::boot_id().context(|| "boot id")?;
        let pid = record.at("/wb/state/pid").and_then(serde_json::Value::as_i64);
        match pid.filter(|_| record::is_alive(&record, "/wb/state", &boot_id)) {
            Some(pid) => format!("/proc/{pid}/ns/net").into(),
            None => return Err(Error::new(format!("container {other}: not running, so it has no network"))),
        }
    };
    set_namespace(doc, Entry::Path(&path.display().to_string()))?;
    files::share(doc, &place.container(&other))
}

/// What `linux.namespaces` says of the network.
#[derive(Debug, Clone, Copy)]
enum Entry<'a> {
    /// The host's.
    Absent,
    /// A new one, made at the container's birth.
    New,
    /// This one.
    Path(&'a str),
}

/// Sets the network entry of `linux.namespaces`.
fn set_namespace(doc: &mut Document, entry: Entry) -> Result<(), Error> {
    let mut namespaces: Vec<serde_json::Value> = doc.read("/linux/namespaces")?.unwrap_or_default();
    // The others are checked so that a document that is no configuration is refused here.
    let _: Vec<oci::Namespace> = doc.read("/linux/namespaces")?.unwrap_or_default();
    let at = namespaces.iter().position(|namespace| namespace["type"] == "network");
    let value = match entry {
        Entry::Absent => None,
        Entry::New => Some(json!({ "type": "network" })),
        Entry::Path(path) => Some(json!({ "type": "network", "path": path })),
    };
    match (at, value) {
        (Some(at), Some(value)) => namespaces[at] = value,
        (Some(at), None) => drop(namespaces.remove(at)),
        (None, Some(value)) => namespaces.push(value),
        (None, None) => return Ok(()),
    }
    doc.set("/linux/namespaces", namespaces)
}

/// Lets go of everything `add` made for the id; what is gone is fine.
pub fn del(place: &Place, id: &str) -> Result<(), Error> {
    // All of it is tried, whatever fails; the first failure is told.
    let withdrawn = ports::withdraw(place, id);
    netns::remove(id).and(withdrawn)
}

/// Fails unless the namespace and its interfaces are what the document says.
pub fn check(doc: &Document) -> Result<(), Error> {
    let id = doc.id()?;
    let attachments: Vec<_> =
        network::attachments(doc)?.into_iter().filter(Attachment::has_addresses).collect();
    if attachments.is_empty() {
        return Ok(());
    }
    if !netns::is_bound(&netns::path(id)) {
        return Err(Error::errno(format!("network namespace {id}"), Errno::ENOENT));
    }
    let home = netns::Home::remember()?;
    netns::enter(&netns::open(id)?, id)?;
    let checked = attachments.iter().enumerate().try_for_each(|(index, attachment)| {
        let name = format!("eth{index}");
        let inner = Netlink::open(Protocol::Route).context(|| "netlink")?;
        let found = link::find(&inner, &name).context(|| format!("interface {name}"))?;
        let found = found.ok_or_else(|| Error::errno(format!("interface {name}"), Errno::ENODEV))?;
        if !found.up {
            return Err(Error::errno(format!("interface {name}"), Errno::ENETDOWN));
        }
        let has = link::addresses(&inner, found.index).context(|| format!("addresses of {name}"))?;
        match attachment.result.ips.iter().find(|ip| !has.contains(&ip.address)) {
            Some(ip) => Err(Error::new(format!("interface {name}: no address {}", ip.address))),
            None => Ok(()),
        }
    });
    home.back()?;
    checked
}
