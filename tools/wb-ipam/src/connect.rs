//! The verbs connect and disconnect: one network more or less for a container, also while it runs.

use crate::books::Books;
use crate::lease;
use clap::Args;
use serde_json::{Map, Value};
use std::net::{IpAddr, Ipv6Addr};
use wb_doc::{Context, Document, Error, names};
use wb_store::{Place, membership, network, record};

#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// The network
    #[arg(value_name = "NETWORK")]
    network: String,
    /// The container, out of the store; otherwise that of the document
    #[arg(value_name = "CONTAINER")]
    container: Option<String>,
    /// This address; once for each family
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    /// This IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// This MAC address
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// A further name on the network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
}

#[derive(Debug, Args)]
pub struct DisconnectArgs {
    /// The network
    #[arg(value_name = "NETWORK")]
    network: String,
}

impl ConnectArgs {
    /// The members of `wb.network` that the flags ask for.
    fn wish(&self) -> Result<Map<String, Value>, Error> {
        let mut wish = Map::new();
        wish.insert("name".into(), self.network.as_str().into());
        for ip in self.ip.iter().copied().chain(self.ip6.map(IpAddr::V6)) {
            wish.insert(if ip.is_ipv4() { "ip" } else { "ip6" }.into(), ip.to_string().into());
        }
        if let Some(mac) = &self.mac_address {
            wish.insert("mac".into(), mac.as_str().into());
        }
        for alias in &self.alias {
            names::check("network alias", alias)?;
        }
        if !self.alias.is_empty() {
            wish.insert("aliases".into(), self.alias.clone().into());
        }
        Ok(wish)
    }
}

/// Adds the network to the document. Where the container is plugged in already, an address is leased; otherwise
/// `add` will do so when it starts.
pub fn connect(place: &Place, args: &ConnectArgs, doc: &mut Document) -> Result<(), Error> {
    if let Some(container) = &args.container {
        *doc = record::read(place, &record::resolve(place, container)?)?;
    }
    let id = doc.id()?.to_owned();
    network::load(place, &args.network)?;
    let is_plugged = wb_store::kept::netns_directory().join(&id).exists();
    if !is_plugged {
        let boot_id = wb_sys::proc::boot_id().context(|| "boot id")?;
        if record::is_alive(doc, "/wb/state", &boot_id) {
            let error =
                Error::new(format!("network {}: the container was started without one", args.network));
            return Err(error.hint("its network namespace is nobody's to reach"));
        }
    }
    let index = membership::join(doc, args.wish()?)?;
    if is_plugged { lease::add_to(place, doc, index) } else { Ok(()) }
}

/// Takes the network out of the document and gives its address back.
pub fn disconnect(place: &Place, args: &DisconnectArgs, doc: &mut Document) -> Result<(), Error> {
    let id = doc.id()?.to_owned();
    // wb-netns, which comes first, may have taken it out already.
    membership::leave(doc, &args.network)?;
    match network::find(place, &args.network)? {
        Some(network) => Books::of(place, &network.name).release(&network.plugin()?.ipam, &id),
        // A network that is gone has taken its leases with it.
        None => Ok(()),
    }
}
