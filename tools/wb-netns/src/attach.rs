//! The verbs add and del: a network namespace, its cables, and what the document says about them.

use crate::bridge::{Bridge, mac_of};
use crate::cable::{self, Cable, Made, Plug};
use crate::{dns, files, link, netns, ports, publish, way_out, world};
use ipnet::IpNet;
use serde_json::json;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use wb_doc::{Context, Document, Error, oci};
use wb_store::network::{self, Attachment, Interface, Outcome, Port, Route};
use wb_store::{Place, record};
use wb_sys::Errno;
use wb_sys::netlink::{Netlink, Protocol};

/// Makes the container's network namespace and everything in it, as its document asks.
pub fn add(place: &Place, doc: &mut Document, bridge: Option<&str>) -> Result<(), Error> {
    let id = doc.id()?.to_owned();
    let mut attachments = network::attachments(doc)?;
    // What an earlier run of the container had.
    for attachment in &mut attachments {
        attachment.result.interfaces.clear();
    }
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
    way_out::ensure(place)?;
    world::enter()?;
    let made = make(place, &id, &cables, !published.is_empty())?;
    let done = report(doc, &id, made)
        .and_then(|()| publish(place, doc, &cables[0], &published, sockets))
        .and_then(|()| network::attachments(doc))
        .and_then(|attachments| provide_files(doc, place, &attachments));
    done.inspect_err(|_| {
        // Why it could not be finished matters more.
        del(place, &id).ok();
    })
}

/// The ports' sockets; an error where nothing can be led over the cable.
pub fn take_ports(published: &mut [Port], cable: &Cable) -> Result<Vec<OwnedFd>, Error> {
    match published {
        [] => Ok(Vec::new()),
        _ if world::is_inside() => {
            Err(Error::new("published ports: an ordinary user's containers come one by one")
                .hint("their ports are taken outside of the user's network, and no way leads back out"))
        }
        _ if can_publish(cable) => ports::take(published, &cable.addresses),
        _ => Err(Error::new("nothing can be published from this network")
            .hint("it has no rules of ours, or is internal")),
    }
}

/// Whether the cable's network has rules of ours that can lead ports to it.
pub fn can_publish(cable: &Cable) -> bool {
    matches!(&cable.plug, Plug::Bridge(Bridge { rules: Some(rules), .. }) if !rules.internal)
}

/// Leads the ports to the container and leaves their sockets to a process of their own.
pub fn publish(
    place: &Place,
    doc: &mut Document,
    cable: &Cable,
    published: &[Port],
    sockets: Vec<OwnedFd>,
) -> Result<(), Error> {
    if published.is_empty() {
        return Ok(());
    }
    let id = doc.id()?.to_owned();
    ports::park(place, &id, sockets, ports::targets(published, &cable.addresses)?)?;
    let netfilter = Netlink::open(Protocol::Netfilter).context(|| "nfnetlink")?;
    publish::lead(&netfilter, &place.machine_name("wb"), &id, published, &cable.addresses)?;
    doc.set("/wb/network/ports", published)
}

/// `/etc/hosts` and its like, and the names on networks that have some.
pub fn provide_files(doc: &mut Document, place: &Place, attachments: &[Attachment]) -> Result<(), Error> {
    let directory = place.container(doc.id()?);
    let resolvers = dns::join(place, doc, attachments)?;
    if directory.is_dir() { files::provide(doc, &directory, attachments, &resolvers) } else { Ok(()) }
}

/// What is to be made, or was, read from the document and the networks it names; touches nothing.
pub fn plan(place: &Place, attachments: &[Attachment], bridge: Option<&str>) -> Result<Vec<Cable>, Error> {
    let mut cables: Vec<Cable> = Vec::new();
    for (attachment, name) in attachments.iter().zip(interface_names(attachments)) {
        let mut cable = cable(place, attachment, name, bridge)?;
        // One way out for each family: that of the first network that has one.
        let leads = |cable: &Cable, v4: bool| {
            cable.routes.iter().any(|route| route.dst.prefix_len() == 0 && route.dst.addr().is_ipv4() == v4)
        };
        cable.routes.retain(|route| {
            route.dst.prefix_len() > 0 || !cables.iter().any(|other| leads(other, route.dst.addr().is_ipv4()))
        });
        cables.push(cable);
    }
    Ok(cables)
}

/// The container's interfaces: those that are made have their names, the others get the next free ones.
pub fn interface_names(attachments: &[Attachment]) -> Vec<String> {
    let mut names: Vec<String> =
        attachments.iter().map(|one| one.interface_name().unwrap_or_default().to_owned()).collect();
    let mut number = 0;
    for index in 0..names.len() {
        while names[index].is_empty() {
            let name = format!("eth{number}");
            if !names.contains(&name) {
                names[index] = name;
            }
            number += 1;
        }
    }
    names
}

fn cable(place: &Place, attachment: &Attachment, name: String, bridge: Option<&str>) -> Result<Cable, Error> {
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
    let leads = |route: &&Route| route.dst.prefix_len() > 0 || !internal;
    let gateway = |to: IpAddr| {
        ips.iter().find(|ip| ip.address.addr().is_ipv4() == to.is_ipv4()).and_then(|ip| ip.gateway)
    };
    let with_gateway = |route: &Route| Route { gw: route.gw.or_else(|| gateway(route.dst.addr())), ..*route };
    let routes = attachment.result.routes.iter().filter(leads).map(with_gateway).collect();
    let mtu = match &plug {
        Plug::Bridge(bridge) => bridge.mtu,
        Plug::Macvlan { mtu, .. } => *mtu,
    };
    Ok(Cable { name, plug, addresses, routes, mac, mtu })
}

fn plug(place: &Place, name: &str) -> Result<Plug, Error> {
    let network = network::load(place, name)?;
    let plugin = network.plugin()?;
    match plugin.driver.as_deref() {
        None | Some("bridge") => Bridge::of_network(place, &network, &plugin).map(Plug::Bridge),
        Some("macvlan") => plugin
            .master
            .map(|master| Plug::Macvlan { master, mtu: plugin.mtu })
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
    let plugs =
        cables.iter().map(|cable| cable::ready(place, &host, cable)).collect::<Result<Vec<_>, _>>()?;
    let home = netns::Home::remember()?;
    let namespace = netns::create(id)?;
    // This program is inside now: a socket opened here speaks to the new network stack, `host` to the old one.
    let made = (|| {
        let inner = Netlink::open(Protocol::Route).context(|| "netlink")?;
        let sandbox = netns::path(id).display().to_string();
        let lay = |(cable, plug)| cable::lay(&host, &inner, &namespace, &sandbox, cable, plug);
        let made = cables.iter().zip(&plugs).map(lay).collect::<Result<Vec<_>, _>>()?;
        if let Some(first) = made.first().filter(|_| published) {
            cable::set_hairpin(&host, first)?;
        }
        Ok(made)
    })();
    home.back()?;
    made.inspect_err(|_| {
        // Removing it takes every cable with it; why it could not be made matters more.
        netns::remove(id).ok();
    })
}

/// Writes into the document what was made.
fn report(doc: &mut Document, id: &str, made: Vec<Made>) -> Result<(), Error> {
    let attachments = network::attachments(doc)?;
    for (index, (attachment, made)) in attachments.iter().zip(made).enumerate() {
        report_one(doc, index, &attachment.result, made.interfaces)?;
    }
    set_namespace(doc, Entry::Path(&netns::path(id).display().to_string()))
}

/// Writes the interfaces of one network into the document; the last one is the container's.
pub fn report_one(
    doc: &mut Document,
    index: usize,
    result: &Outcome,
    interfaces: Vec<Interface>,
) -> Result<(), Error> {
    let last = u32::try_from(interfaces.len().saturating_sub(1)).unwrap_or_default();
    let mut outcome = Outcome { interfaces, ..result.clone() };
    for ip in &mut outcome.ips {
        ip.interface = Some(last);
    }
    if outcome.cni_version.is_empty() {
        outcome.cni_version = "1.0.0".into();
    }
    network::set_member(doc, index, "result", outcome)
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
    let forgotten = dns::leave(place, id, None);
    netns::remove(id).and(withdrawn).and(forgotten).and(files::remove(&place.container(id)))
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
    let checked = attachments.iter().zip(interface_names(&attachments)).try_for_each(|(attachment, name)| {
        let wanted: Vec<IpNet> = attachment.result.ips.iter().map(|ip| ip.address).collect();
        netns::check_interface(&name, &wanted)
    });
    home.back()?;
    checked
}
