//! wb-ipam as a CNI IPAM plugin: the same books, a lease for each container and interface.

use crate::books::Books;
use wb_doc::{Error, ExitCode};
use wb_store::Place;
use wb_store::cni::{self, Call, Command, Refusal, code};
use wb_store::network::{Ipam, Outcome};

/// Serves one call.
pub fn run() -> ExitCode {
    cni::run(serve)
}

fn serve(call: &Call) -> Result<Option<Outcome>, Refusal> {
    let place = Place::from_env().map_err(|error| Refusal::new(code::ENVIRONMENT, error))?;
    let ipam = &call.config.plugin.ipam;
    let books = Books::of(&place, &call.config.name);
    if ipam.sets().iter().all(Vec::is_empty) {
        return Err(Refusal::new(code::CONFIG, Error::new("ipam: neither ranges nor a subnet")));
    }
    match call.command {
        Command::Add => {
            let ips = books.lease(ipam, &call.owner(), &call.addresses()?)?;
            Ok(Some(Outcome { ips, routes: ipam.routes.clone(), ..Outcome::default() }))
        }
        Command::Del => books.release(ipam, &call.owner()).map_err(Into::into).map(|()| None),
        Command::Check => check(call, ipam, &books).map(|()| None),
        Command::Gc => {
            let valid = call.valid_owners();
            // Leases of documents have no interface in their name; they are not the runtime's to collect.
            let stays = |owner: &str| !owner.contains('/') || valid.iter().any(|valid| valid == owner);
            books.sweep(ipam, stays)?;
            Ok(None)
        }
        Command::Status => {
            books.has_room(ipam).map(|()| None).map_err(|error| Refusal::new(code::UNAVAILABLE, error))
        }
    }
}

fn check(call: &Call, ipam: &Ipam, books: &Books) -> Result<(), Refusal> {
    let held = books.held(ipam, &call.owner())?;
    if held.is_empty() {
        return Err(Error::new(format!("{}: no lease", call.owner())).into());
    }
    let ips = call.config.prev_result.iter().flat_map(|result| &result.ips);
    for ip in ips.map(|ip| ip.address.addr()) {
        // A result may hold addresses of other plugins.
        let ours = ipam.sets().iter().flatten().any(|range| range.subnet.contains(&ip));
        if ours && !held.contains(&ip) {
            return Err(Error::new(format!("address {ip}: not leased to {}", call.owner())).into());
        }
    }
    Ok(())
}
