//! Who has an address though the books were lost: the records of living containers tell.

use crate::subnet::Subnet;
use std::net::IpAddr;
use wb_doc::{Context, Error};
use wb_store::{Place, network, record};

/// The addresses of one subnet of a network that living containers have, by their records: owner and address.
pub fn of(place: &Place, name: &str, subnet: &Subnet) -> Result<Vec<(String, IpAddr)>, Error> {
    let boot_id = wb_sys::proc::boot_id().context(|| "boot id")?;
    let mut found = Vec::new();
    for id in record::list(place)? {
        // One that nobody can read, or that was removed meanwhile, tells of no address.
        let Ok(document) = record::read(place, &id) else { continue };
        let lives = wb_store::kept::netns_directory().join(&id).exists()
            || record::is_alive(&document, "/wb/state", &boot_id);
        if !lives {
            continue;
        }
        let Ok(attachments) = network::attachments(&document) else { continue };
        let of_network = attachments.iter().filter(|attachment| attachment.name == name);
        let addresses = of_network.flat_map(|attachment| &attachment.result.ips).map(|ip| ip.address.addr());
        found.extend(
            addresses.filter(|address| subnet.contains(*address)).map(|address| (id.clone(), address)),
        );
    }
    Ok(found)
}
