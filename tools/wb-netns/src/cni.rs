//! wb-netns as a CNI plugin: an interface in a namespace that somebody else keeps. The members of its configuration
//! are those of the reference plugin `bridge`.

use crate::bridge::{Bridge, mac_of};
use crate::cable::{self, Cable, Plug};
use crate::nat::Rules;
use crate::{delegate, link, netns, ports, publish};
use ipnet::IpNet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use wb_doc::{Context, Error, ExitCode};
use wb_store::Place;
use wb_store::cni::{self, Call, Command, Refusal, code};
use wb_store::network::{Outcome, Port, Route};
use wb_sys::Errno;
use wb_sys::netlink::{Netlink, Protocol};

/// The bridge where the configuration names none: the reference plugin's.
const BRIDGE: &str = "cni0";

/// Serves one call.
pub fn run() -> ExitCode {
    cni::run(serve)
}

fn serve(call: &Call) -> Result<Option<Outcome>, Refusal> {
    let place = Place::from_env().map_err(|error| Refusal::new(code::ENVIRONMENT, error))?;
    let has_ipam = !call.config.plugin.ipam.kind.is_empty();
    match call.command {
        Command::Add => add(&place, call, has_ipam).map(Some),
        Command::Del => {
            // All of it is tried, whatever fails; the first failure is told.
            let released = if has_ipam { delegate::ipam(call, "DEL").map(drop) } else { Ok(()) };
            let withdrawn = ports::withdraw(&place, &port_owner(&call.owner()));
            let removed = call.netns.as_deref().map_or(Ok(()), |path| remove(path, &call.ifname));
            released.and(withdrawn.map_err(Into::into)).and(removed.map_err(Into::into)).map(|()| None)
        }
        Command::Check => {
            if has_ipam {
                delegate::ipam(call, "CHECK")?;
            }
            check(call).map(|()| None)
        }
        Command::Gc => {
            if has_ipam {
                delegate::ipam(call, "GC")?;
            }
            let valid: Vec<String> = call.valid_owners().iter().map(|owner| port_owner(owner)).collect();
            for id in ports::owners(&place)?.iter().filter(|id| id.starts_with("cni:") && !valid.contains(id))
            {
                ports::withdraw(&place, id)?;
            }
            Ok(None)
        }
        Command::Status => {
            if has_ipam {
                delegate::ipam(call, "STATUS")?;
            }
            Ok(None)
        }
    }
}

/// The name of an attachment's ports: no id of a document has a colon in it.
fn port_owner(owner: &str) -> String {
    format!("cni:{}", owner.replace('/', ":"))
}

fn add(place: &Place, call: &Call, has_ipam: bool) -> Result<Outcome, Refusal> {
    let addresses = if has_ipam { delegate::ipam(call, "ADD")? } else { None };
    attach(place, call, addresses.unwrap_or_default()).map_err(|error| {
        if has_ipam {
            // The address goes back; why it could not be used matters more.
            delegate::ipam(call, "DEL").ok();
        }
        error.into()
    })
}

/// Makes the interface with the addresses that the IPAM plugin gave.
fn attach(place: &Place, call: &Call, mut outcome: Outcome) -> Result<Outcome, Error> {
    let path = call.netns.as_deref().ok_or_else(|| Error::new("CNI_NETNS is not set"))?;
    let cable = plan(place, call, &mut outcome)?;
    let mut published: Vec<Port> = call.ports().iter().filter(|port| port.host_port > 0).cloned().collect();
    let sockets = ports::take(&mut published, &cable.addresses)?;
    let namespace = File::open(path).context(|| path.display().to_string())?;
    let host = Netlink::open(Protocol::Route).context(|| "netlink")?;
    let plug = cable::ready(place, &host, &cable)?;
    let home = netns::Home::remember()?;
    netns::enter(&namespace, &path.display().to_string())?;
    let made = Netlink::open(Protocol::Route)
        .context(|| "netlink")
        .and_then(|inner| cable::lay(&host, &inner, &namespace, &path.display().to_string(), &cable, &plug));
    home.back()?;
    let done = made.and_then(|made| {
        if !published.is_empty() {
            cable::set_hairpin(&host, &made)?;
            let owner = port_owner(&call.owner());
            let targets = ports::targets(&published, &cable.addresses)?;
            ports::park(place, &owner, sockets, targets)?;
            let netfilter = Netlink::open(Protocol::Netfilter).context(|| "nfnetlink")?;
            publish::lead(&netfilter, &place.machine_name("wb"), &owner, &published, &cable.addresses)?;
        }
        Ok(made)
    });
    let made = done.inspect_err(|_| {
        // Why it could not be made matters more.
        ports::withdraw(place, &port_owner(&call.owner())).ok();
        remove(path, &call.ifname).ok();
    })?;
    for ip in &mut outcome.ips {
        ip.interface = u32::try_from(made.interfaces.len() - 1).ok();
    }
    outcome.interfaces = made.interfaces;
    Ok(outcome)
}

fn plan(place: &Place, call: &Call, outcome: &mut Outcome) -> Result<Cable, Error> {
    let plugin = &call.config.plugin;
    let addresses: Vec<IpNet> = outcome.ips.iter().map(|ip| ip.address).collect();
    let gateways: Vec<IpNet> =
        outcome.ips.iter().filter_map(|ip| IpNet::new(ip.gateway?, ip.address.prefix_len()).ok()).collect();
    let gateway = |v4: bool| gateways.iter().map(IpNet::addr).find(|gateway| gateway.is_ipv4() == v4);
    if plugin.is_default_gateway {
        for everything in ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse::<IpNet>().ok()) {
            let gw = gateway(everything.addr().is_ipv4());
            if gw.is_some() && !outcome.routes.iter().any(|route| route.dst == everything) {
                outcome.routes.push(Route { dst: everything, gw });
            }
        }
    }
    let with_gateway =
        |route: &Route| Route { gw: route.gw.or_else(|| gateway(route.dst.addr().is_ipv4())), ..*route };
    let routes = outcome.routes.iter().map(with_gateway).collect();
    let mac = match call.mac() {
        Some(text) => link::parse_mac(text)
            .ok_or_else(|| Error::new(format!("MAC address {text:?}: not one of a single host")))?,
        None => mac_of(addresses.first().map_or_else(random_address, |net| Ok(net.addr()))?),
    };
    let mut rules = Rules::of_network(place, plugin.bridge.as_deref().unwrap_or(BRIDGE), plugin);
    rules.subnets.extend(addresses.iter().map(IpNet::trunc));
    rules.subnets.sort_unstable();
    rules.subnets.dedup();
    let bridge = Bridge {
        name: rules.bridge.clone(),
        gateways: if plugin.is_gateway || plugin.is_default_gateway { gateways.clone() } else { Vec::new() },
        mtu: plugin.mtu,
        ipv6: addresses.iter().any(|net| net.addr().is_ipv6()),
        rules: Some(rules),
    };
    let plug = match (plugin.driver.as_deref(), &plugin.master) {
        (Some("macvlan"), Some(master)) => Plug::Macvlan { master: master.clone(), mtu: plugin.mtu },
        (Some("macvlan"), None) => return Err(Error::new("driver macvlan: no master")),
        _ => Plug::Bridge(bridge),
    };
    Ok(Cable { name: call.ifname.clone(), plug, addresses, routes, mac, mtu: plugin.mtu })
}

fn random_address() -> Result<IpAddr, Error> {
    let mut bytes = [0; 4];
    wb_sys::random::fill(&mut bytes).context(|| "random bytes")?;
    Ok(Ipv4Addr::from(bytes).into())
}

/// Removes the interface; a namespace or an interface that is gone is fine.
fn remove(path: &Path, ifname: &str) -> Result<(), Error> {
    let namespace = match File::open(path) {
        Ok(namespace) if netns::is_bound(path) => namespace,
        _ => return Ok(()),
    };
    let home = netns::Home::remember()?;
    netns::enter(&namespace, &path.display().to_string())?;
    let what = || format!("interface {ifname}");
    let removed = Netlink::open(Protocol::Route).context(|| "netlink").and_then(|inner| {
        let Some(found) = link::find(&inner, ifname).context(what)? else { return Ok(()) };
        match inner.change(&[link::delete(found.index, ifname)], "the namespace stays, so its end must go") {
            Err(refused) if refused.errno != Errno::ENODEV => Err(Error::errno(what(), refused.errno)),
            _ => Ok(()),
        }
    });
    home.back()?;
    removed
}

/// Fails unless the interface is there, up, and has the addresses of the previous result.
fn check(call: &Call) -> Result<(), Refusal> {
    let result = call
        .config
        .prev_result
        .as_ref()
        .ok_or_else(|| Refusal::new(code::CONFIG, Error::new("CHECK needs prevResult")))?;
    let path = call.netns.as_deref().unwrap_or(Path::new(""));
    let sandbox = path.to_str();
    let ours = |index: Option<u32>| {
        let interface = index.and_then(|index| result.interfaces.get(index as usize));
        interface.is_some_and(|one| {
            one.name == call.ifname && (one.sandbox.as_deref() == sandbox || sandbox.is_none())
        })
    };
    let wanted: Vec<IpNet> = result.ips.iter().filter(|ip| ours(ip.interface)).map(|ip| ip.address).collect();
    let namespace = File::open(path).context(|| path.display().to_string())?;
    let home = netns::Home::remember()?;
    netns::enter(&namespace, &path.display().to_string())?;
    let checked = netns::check_interface(&call.ifname, &wanted);
    home.back()?;
    checked.map_err(Into::into)
}
