//! Leases: the verbs add, del, check, list and gc.

use crate::books::Books;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use wb_doc::{Context, Document, Error, ExitCode, names};
use wb_store::Place;
use wb_store::network::{self, Attachment, Ip, Ipam, Route};

/// Leases an address of each set of ranges to every network of the document.
pub fn add(place: &Place, doc: &mut Document) -> Result<(), Error> {
    attached(doc)?.into_iter().try_for_each(|(index, attachment)| add_one(place, doc, index, attachment))
}

/// Leases an address of each set of ranges to one network of the document.
pub fn add_to(place: &Place, doc: &mut Document, index: usize) -> Result<(), Error> {
    let wanted = attached(doc)?.into_iter().find(|(at, _)| *at == index);
    wanted.map_or(Ok(()), |(index, attachment)| add_one(place, doc, index, attachment))
}

fn add_one(place: &Place, doc: &mut Document, index: usize, attachment: Attachment) -> Result<(), Error> {
    let id = doc.id()?.to_owned();
    let network = network::load(place, &attachment.name)?;
    let ipam = network.plugin()?.ipam;
    let wanted: Vec<IpAddr> = attachment.ip.into_iter().chain(attachment.ip6).collect();
    let mut outcome = attachment.result;
    outcome.cni_version = network.cni_version;
    outcome.ips = Books::of(place, &network.name)
        .lease(&ipam, &id, &wanted)
        .context(|| format!("network {}", attachment.name))?;
    outcome.routes = routes(&ipam, &outcome.ips);
    network::set_member(doc, index, "name", &attachment.name)?;
    network::set_member(doc, index, "result", outcome)
}

/// Gives back what the container holds: on its networks, or with no network named, on every one.
pub fn del(place: &Place, doc: &mut Document) -> Result<(), Error> {
    let id = doc.id()?.to_owned();
    let named = doc.at("/wb/network").is_some() || doc.at("/wb/networks").is_some();
    let networks = if named {
        attached(doc)?.into_iter().map(|(_, attachment)| attachment.name).collect()
    } else {
        network::list(place)?.into_iter().map(|network| network.name).collect::<Vec<_>>()
    };
    for name in networks {
        // A network that is gone has taken its leases with it.
        if let Some(network) = network::find(place, &name)? {
            Books::of(place, &name).release(&network.plugin()?.ipam, &id)?;
        }
    }
    Ok(())
}

/// Fails unless the leases are those of the document.
pub fn check(place: &Place, doc: &mut Document) -> Result<(), Error> {
    let id = doc.id()?.to_owned();
    for (_, attachment) in attached(doc)? {
        let network = network::load(place, &attachment.name)?;
        let held = Books::of(place, &network.name).held(&network.plugin()?.ipam, &id)?;
        if held.is_empty() {
            return Err(Error::new(format!("network {}: {} has no lease", network.name, names::short(&id))));
        }
        for ip in &attachment.result.ips {
            if !held.contains(&ip.address.addr()) {
                let message = format!("address {}: not leased to {}", ip.address.addr(), names::short(&id));
                return Err(Error::new(message));
            }
        }
    }
    Ok(())
}

/// The routes of a container: the network's own, or the default one of each family.
pub fn routes(ipam: &Ipam, ips: &[Ip]) -> Vec<Route> {
    if !ipam.routes.is_empty() {
        return ipam.routes.clone();
    }
    let default = |ip: &Ip| {
        let everything = if ip.address.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        Some(Route { dst: everything.parse().ok()?, gw: Some(ip.gateway?) })
    };
    ips.iter().filter_map(default).collect()
}

/// The document's networks that have addresses, each with its place in the document.
fn attached(doc: &Document) -> Result<Vec<(usize, Attachment)>, Error> {
    let all = network::attachments(doc)?.into_iter().enumerate();
    Ok(all.filter(|(_, attachment)| attachment.has_addresses()).collect())
}

fn chosen(place: &Place, network: Option<&str>) -> Result<Vec<network::Network>, Error> {
    match network {
        Some(name) => Ok(vec![network::load(place, name)?]),
        None => network::list(place),
    }
}

/// One JSON object a line: network, address, owner.
pub fn list(place: &Place, network: Option<&str>) -> Result<ExitCode, Error> {
    let mut out = std::io::stdout().lock();
    for network in chosen(place, network)? {
        for (address, owner) in Books::of(place, &network.name).leases(&network.plugin()?.ipam)? {
            let line = serde_json::json!({ "network": network.name, "address": address, "id": owner });
            match writeln!(out, "{line}") {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::from(141)),
                other => other.context(|| "writing the list")?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes back leases whose owner has neither a record nor a network namespace.
///
/// A record is made before the lease, so that a container that is just being made keeps its own. Leases given to
/// CNI clients (`id/interface`) are theirs to collect.
pub fn gc(place: &Place, network: Option<&str>) -> Result<ExitCode, Error> {
    let lives = |owner: &str| {
        owner.contains('/')
            || place.container(owner).join("config.json").exists()
            || wb_store::kept::netns_directory().join(owner).exists()
    };
    for network in chosen(place, network)? {
        Books::of(place, &network.name).sweep(&network.plugin()?.ipam, lives)?;
    }
    Ok(ExitCode::SUCCESS)
}
