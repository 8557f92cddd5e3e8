//! What went with the rule set when another program emptied it (`nft flush ruleset`, a firewall loaded anew): the
//! rules of the networks in use, and the way to the ports that are held.

use crate::nat::{self, Rules};
use crate::{link, ports, publish};
use ipnet::IpNet;
use wb_doc::{Context, Error};
use wb_store::network::{self, Port};
use wb_store::{Place, record};
use wb_sys::netlink::Netlink;

/// Puts back what belongs to containers that run, but for the network on `bridge`, whose rules were seen to. What
/// cannot be put back is told, and is in nobody's way.
pub fn others(place: &Place, host: &Netlink, netfilter: &Netlink, bridge: &str) -> Result<(), Error> {
    for network in network::list(place)? {
        let restored = network.plugin().and_then(|plugin| {
            let Some(name) = plugin.bridge.as_deref().filter(|name| *name != bridge) else { return Ok(()) };
            if link::find(host, name).context(|| format!("bridge {name}"))?.is_none() {
                return Ok(());
            }
            let rules = Rules::of_network(place, name, &plugin);
            if nat::is_ready(netfilter, &rules)? { Ok(()) } else { nat::make_ready(netfilter, &rules) }
        });
        warn(restored);
    }
    for id in ports::held(place)? {
        warn(lead_again(place, netfilter, &id));
    }
    Ok(())
}

/// What a record says of its container's ports; those of CNI attachments are not on record.
fn lead_again(place: &Place, netfilter: &Netlink, id: &str) -> Result<(), Error> {
    if !record::exists(place, id) {
        return Ok(());
    }
    let attachments = network::attachments(&record::read(place, id)?)?;
    let Some(first) = attachments.first() else { return Ok(()) };
    // A container that is just being made has neither numbers nor addresses on record, and leads its ports itself.
    let chosen: Vec<Port> = first.ports.iter().filter(|port| port.host_port > 0).cloned().collect();
    let addresses: Vec<IpNet> = first.result.ips.iter().map(|ip| ip.address).collect();
    if chosen.is_empty() || addresses.is_empty() {
        return Ok(());
    }
    publish::lead(netfilter, &place.machine_name("wb"), id, &chosen, &addresses)
}

fn warn(done: Result<(), Error>) {
    if let Err(error) = done {
        wb_doc::warn(crate::TOOL, &error.to_string());
    }
}
