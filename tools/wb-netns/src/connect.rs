//! The verbs connect and disconnect: cables to a container that runs.

use crate::attach::{self, provide_files, publish, take_ports};
use crate::cable::{self, Cable, Made};
use crate::{dns, link, netns, ports, publish, way_out, world};
use clap::Args;
use wb_doc::{Context, Document, Error};
use wb_store::network::{self, Attachment};
use wb_store::{Place, membership, record};
use wb_sys::Errno;
use wb_sys::netlink::{Netlink, Protocol, Refused};

#[derive(Debug, Args)]
pub struct DisconnectArgs {
    /// The network
    #[arg(value_name = "NETWORK")]
    network: String,
    /// The container, out of the store; otherwise that of the document
    #[arg(value_name = "CONTAINER")]
    container: Option<String>,
}

/// Lays a cable to every network of the document that has none yet. Nothing to do where the container does not run:
/// `add` will when it starts.
pub fn connect(place: &Place, doc: &mut Document) -> Result<(), Error> {
    let id = doc.id()?.to_owned();
    if !netns::is_bound(&netns::path(&id)) {
        return Ok(());
    }
    let attachments = network::attachments(doc)?;
    let cables = attach::plan(place, &attachments, None)?;
    for (index, (attachment, cable)) in attachments.iter().zip(&cables).enumerate() {
        if attachment.result.interfaces.is_empty() {
            plug(place, doc, &id, index, attachment, cable)?;
        }
    }
    let attachments = network::attachments(doc)?;
    provide_files(doc, place, &attachments)
}

fn plug(
    place: &Place,
    doc: &mut Document,
    id: &str,
    index: usize,
    attachment: &Attachment,
    cable: &Cable,
) -> Result<(), Error> {
    // Ports are the first network's business; they are free if the container had no network before.
    let mut published = if index == 0 { ports::wanted(attachment)? } else { Vec::new() };
    let sockets = take_ports(&mut published, cable)?;
    way_out::ensure(place)?;
    world::enter()?;
    let host = Netlink::open(Protocol::Route).context(|| "netlink")?;
    let plug = cable::ready(place, &host, cable)?;
    let sandbox = netns::path(id).display().to_string();
    let made = within(id, |inner, namespace| {
        // What a predecessor left that was killed before the document told of it.
        remove(inner, &cable.name)?;
        cable::lay(&host, inner, namespace, &sandbox, cable, &plug)
    })
    .inspect_err(|_| {
        // Why it could not be laid matters more.
        unplug(id, &cable.name).ok();
    })?;
    if !published.is_empty() {
        cable::set_hairpin(&host, &made)?;
    }
    let Made { interfaces } = made;
    attach::report_one(doc, index, &attachment.result, interfaces)?;
    publish(place, doc, cable, &published, sockets)
}

/// Takes the container off one network, in the document and, where it runs, on the machine.
pub fn disconnect(place: &Place, args: &DisconnectArgs, doc: &mut Document) -> Result<(), Error> {
    if let Some(container) = &args.container {
        *doc = record::read(place, &record::resolve(place, container)?)?;
    }
    let id = doc.id()?.to_owned();
    let before = network::attachments(doc)?;
    let index = membership::leave(doc, &args.network)?
        .ok_or_else(|| Error::new(format!("network {}: the container is not on it", args.network)))?;
    if !netns::is_bound(&netns::path(&id)) {
        return Ok(());
    }
    dns::leave(place, &id, Some(&args.network))?;
    // Also one that the document does not tell of, since whoever laid it was killed.
    unplug(&id, &attach::interface_names(&before)[index])?;
    let attachments = network::attachments(doc)?;
    if attachments[0].has_addresses() {
        let cables = attach::plan(place, &attachments, None)?;
        restore_ways_out(&id, &cables)?;
        if index == 0 {
            republish(place, &id, &attachments[0], &cables[0])?;
        }
    } else {
        ports::withdraw(place, &id)?;
    }
    provide_files(doc, place, &attachments)
}

/// The published ports lead to the network that is the first one now.
fn republish(place: &Place, id: &str, first: &Attachment, cable: &Cable) -> Result<(), Error> {
    if first.ports.is_empty() {
        return Ok(());
    }
    if !attach::can_publish(cable) {
        return ports::withdraw(place, id);
    }
    ports::redirect(place, id, ports::targets(&first.ports, &cable.addresses)?)?;
    let host = Netlink::open(Protocol::Route).context(|| "netlink")?;
    cable::set_hairpin(&host, &Made { interfaces: first.result.interfaces.clone() })?;
    publish::lead_elsewhere(place, id, &first.ports, &cable.addresses)
}

/// The cable that is gone may have been the way out; another one's is put there.
fn restore_ways_out(id: &str, cables: &[Cable]) -> Result<(), Error> {
    within(id, |inner, _| {
        for cable in cables {
            let Some(found) = link::find(inner, &cable.name).context(|| cable.name.clone())? else {
                continue;
            };
            for route in cable.routes.iter().filter(|route| route.dst.prefix_len() == 0) {
                let request = link::add_route(found.index, &cable.name, route.dst, route.gw);
                match inner.change(&[request], "the way out") {
                    Ok(()) | Err(Refused { errno: Errno::EEXIST, .. }) => {}
                    Err(refused) => {
                        return Err(Error::errno(format!("interface {}", cable.name), refused.errno));
                    }
                }
            }
        }
        Ok(())
    })
}

/// Removes an interface of the container, and with it the other end. The kernel is waited for.
fn unplug(id: &str, interface: &str) -> Result<(), Error> {
    within(id, |inner, _| remove(inner, interface))
}

fn remove(inner: &Netlink, interface: &str) -> Result<(), Error> {
    let what = || format!("interface {interface}");
    let Some(found) = link::find(inner, interface).context(what)? else { return Ok(()) };
    match inner.change(&[link::delete(found.index, interface)], "the container stays, so its end must go") {
        Err(refused) if refused.errno != Errno::ENODEV => Err(Error::errno(what(), refused.errno)),
        _ => Ok(()),
    }
}

/// Does something inside the container's network namespace, and comes back.
fn within<T>(id: &str, act: impl FnOnce(&Netlink, &std::fs::File) -> Result<T, Error>) -> Result<T, Error> {
    let namespace = netns::open(id)?;
    let home = netns::Home::remember()?;
    netns::enter(&namespace, id)?;
    let done = Netlink::open(Protocol::Route).context(|| "netlink").and_then(|inner| act(&inner, &namespace));
    home.back()?;
    done
}
