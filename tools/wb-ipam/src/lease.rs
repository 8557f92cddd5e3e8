//! Leases: the verbs add, del, check, list and gc.

use crate::pool::Pool;
use crate::subnet::Subnet;
use crate::{subnets, with_prefix};
use ipnet::IpNet;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wb_doc::{Context, Document, Error, names};
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
    outcome.ips = lease(&place.ipam().join(&network.name), &ipam, &id, &wanted)
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
            release(&place.ipam().join(&name), &network.plugin()?.ipam, &id)?;
        }
    }
    Ok(())
}

/// Fails unless the leases are those of the document.
pub fn check(place: &Place, doc: &mut Document) -> Result<(), Error> {
    let id = doc.id()?.to_owned();
    for (_, attachment) in attached(doc)? {
        let network = network::load(place, &attachment.name)?;
        let held = held(&place.ipam().join(&network.name), &network.plugin()?.ipam, &id)?;
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

/// One address of each set for `owner`: those it has already, those in `wanted`, the next free ones.
///
/// On failure nothing that was not there before stays.
pub fn lease(directory: &Path, ipam: &Ipam, owner: &str, wanted: &[IpAddr]) -> Result<Vec<Ip>, Error> {
    let sets = subnets(&ipam.sets())?;
    if let Some(address) = wanted.iter().find(|a| !sets.iter().flatten().any(|s| s.contains(**a))) {
        let nets: Vec<_> = sets.iter().flatten().map(|subnet| subnet.net.to_string()).collect();
        return Err(Error::new(format!("address {address}: outside of {}", nets.join(", "))));
    }
    let mut ips = Vec::new();
    let mut fresh = Vec::new();
    for set in &sets {
        match lease_of_set(directory, set, owner, wanted) {
            Ok((subnet, address, new)) => {
                fresh.extend(new.then_some(subnet));
                let (address, gateway) = (with_prefix(address, subnet.net)?, subnet.gateway);
                ips.push(Ip { address, gateway, interface: None });
            }
            Err(error) => {
                for subnet in fresh {
                    Pool::open(directory, subnet)?.release(owner)?;
                }
                return Err(error);
            }
        }
    }
    Ok(ips)
}

fn lease_of_set<'a>(
    directory: &Path,
    set: &'a [Subnet],
    owner: &str,
    wanted: &[IpAddr],
) -> Result<(&'a Subnet, IpAddr, bool), Error> {
    for subnet in set {
        let pool = Pool::open(directory, subnet)?;
        let asked = wanted.iter().find(|address| subnet.contains(**address));
        if let Some(address) = pool.find(owner)? {
            return match asked {
                Some(asked) if *asked != address => {
                    Err(Error::new(format!("address {asked}: {} has {address} already", names::short(owner))))
                }
                _ => Ok((subnet, address, false)),
            };
        }
        if let Some(&address) = asked {
            let offset = subnet.offset(address)?;
            if let Some(other) = pool.owner(offset)? {
                return Err(Error::new(format!("address {address}: in use by {}", names::short(&other))));
            }
            pool.take_this(owner, offset)?;
            return Ok((subnet, address, true));
        }
        let elsewhere = |other: &Subnet| wanted.iter().any(|address| other.contains(*address));
        if set.iter().any(elsewhere) {
            continue;
        }
        if let Some(address) = pool.take_next(owner)? {
            return Ok((subnet, address, true));
        }
    }
    let nets: Vec<_> = set.iter().map(|subnet| subnet.net.to_string()).collect();
    Err(Error::new(format!("no free address in {}", nets.join(", "))))
}

/// The addresses `owner` holds.
pub fn held(directory: &Path, ipam: &Ipam, owner: &str) -> Result<Vec<IpAddr>, Error> {
    let mut held = Vec::new();
    for (subnet, _) in books(directory, ipam)? {
        held.extend(Pool::open(directory, &subnet)?.find(owner)?);
    }
    Ok(held)
}

/// Gives back whatever `owner` holds.
pub fn release(directory: &Path, ipam: &Ipam, owner: &str) -> Result<(), Error> {
    for (subnet, _) in books(directory, ipam)? {
        Pool::open(directory, &subnet)?.release(owner)?;
    }
    Ok(())
}

/// Takes back every lease of an owner that `stays` does not name.
pub fn sweep(directory: &Path, ipam: &Ipam, stays: impl Fn(&str) -> bool) -> Result<(), Error> {
    for (subnet, _) in books(directory, ipam)? {
        let pool = Pool::open(directory, &subnet)?;
        for (owner, _) in pool.leases()?.into_iter().filter(|(owner, _)| !stays(owner)) {
            pool.release(&owner)?;
        }
    }
    Ok(())
}

/// Fails where a set of ranges has no address left.
pub fn has_room(directory: &Path, ipam: &Ipam) -> Result<(), Error> {
    for set in subnets(&ipam.sets())? {
        let mut any = false;
        for subnet in &set {
            any |= Pool::open(directory, subnet)?.has_room()?;
        }
        if !any {
            let nets: Vec<_> = set.iter().map(|subnet| subnet.net.to_string()).collect();
            return Err(Error::new(format!("no free address in {}", nets.join(", "))));
        }
    }
    Ok(())
}

/// The subnets that have books, and where; asking never makes any.
fn books(directory: &Path, ipam: &Ipam) -> Result<Vec<(Subnet, PathBuf)>, Error> {
    let all = subnets(&ipam.sets())?.into_iter().flatten();
    let books = all.map(|subnet| {
        let path = directory.join(subnet.file_name());
        (subnet, path)
    });
    Ok(books.filter(|(_, path)| path.exists()).collect())
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
        let directory = place.ipam().join(&network.name);
        for (subnet, _) in books(&directory, &network.plugin()?.ipam)? {
            for (owner, address) in Pool::open(&directory, &subnet)?.leases()? {
                let address: IpNet = with_prefix(address, subnet.net)?;
                let line = serde_json::json!({ "network": network.name, "address": address, "id": owner });
                match writeln!(out, "{line}") {
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::from(141)),
                    other => other.context(|| "writing the list")?,
                }
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
            || Path::new("/run/netns").join(owner).exists()
    };
    for network in chosen(place, network)? {
        sweep(&place.ipam().join(&network.name), &network.plugin()?.ipam, lives)?;
    }
    Ok(ExitCode::SUCCESS)
}
