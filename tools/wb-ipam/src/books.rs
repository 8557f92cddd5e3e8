//! The books of a network: a pool for each of its subnets, and an address of each set of them for a container.

use crate::pool::Pool;
use crate::subnet::Subnet;
use crate::{subnets, survivors, with_prefix};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;
use wb_doc::{Error, names};
use wb_store::Place;
use wb_store::network::{Ip, Ipam};

/// The books of one network.
pub struct Books<'a> {
    place: &'a Place,
    network: &'a str,
}

impl<'a> Books<'a> {
    /// Those of the network `network`, whose name must have been checked.
    pub fn of(place: &'a Place, network: &'a str) -> Self {
        Self { place, network }
    }

    fn directory(&self) -> PathBuf {
        self.place.ipam().join(self.network)
    }

    fn open<'s>(&self, subnet: &'s Subnet) -> Result<Pool<'s>, Error> {
        Pool::open(&self.directory(), subnet, &|| survivors::of(self.place, self.network, subnet))
    }

    /// The subnets that have books; asking never makes any.
    fn kept(&self, ipam: &Ipam) -> Result<Vec<Subnet>, Error> {
        let directory = self.directory();
        let all = subnets(&ipam.sets())?.into_iter().flatten();
        Ok(all.filter(|subnet| directory.join(subnet.file_name()).exists()).collect())
    }

    /// One address of each set for `owner`: those it has already, those in `wanted`, the next free ones.
    ///
    /// On failure nothing that was not there before stays.
    pub fn lease(&self, ipam: &Ipam, owner: &str, wanted: &[IpAddr]) -> Result<Vec<Ip>, Error> {
        let sets = subnets(&ipam.sets())?;
        if let Some(address) = wanted.iter().find(|a| !sets.iter().flatten().any(|s| s.contains(**a))) {
            let nets: Vec<_> = sets.iter().flatten().map(|subnet| subnet.net.to_string()).collect();
            return Err(Error::new(format!("address {address}: outside of {}", nets.join(", "))));
        }
        let mut ips = Vec::new();
        let mut fresh = Vec::new();
        for set in &sets {
            match self.lease_of_set(set, owner, wanted) {
                Ok((subnet, address, new)) => {
                    fresh.extend(new.then_some(subnet));
                    let (address, gateway) = (with_prefix(address, subnet.net)?, subnet.gateway);
                    ips.push(Ip { address, gateway, interface: None });
                }
                Err(error) => {
                    for subnet in fresh {
                        self.open(subnet)?.release(owner)?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(ips)
    }

    fn lease_of_set<'s>(
        &self,
        set: &'s [Subnet],
        owner: &str,
        wanted: &[IpAddr],
    ) -> Result<(&'s Subnet, IpAddr, bool), Error> {
        // All of them at once, in an order that is everybody's: what the owner has in one says no to the others.
        let mut order: Vec<&Subnet> = set.iter().collect();
        order.sort_unstable_by_key(|subnet| subnet.net);
        let pools = order.into_iter().map(|subnet| Ok((subnet, self.open(subnet)?)));
        let pools = pools.collect::<Result<Vec<_>, Error>>()?;
        let asked = wanted.iter().copied().find(|address| set.iter().any(|one| one.contains(*address)));
        for (subnet, pool) in &pools {
            match (pool.find(owner)?, asked) {
                (Some(address), Some(asked)) if asked != address => {
                    let message = format!("address {asked}: {} has {address} already", names::short(owner));
                    return Err(Error::new(message));
                }
                (Some(address), _) => return Ok((subnet, address, false)),
                (None, _) => {}
            }
        }
        for subnet in set.iter().filter(|subnet| asked.is_none_or(|asked| subnet.contains(asked))) {
            let Some((subnet, pool)) = pools.iter().find(|(other, _)| *other == subnet) else { continue };
            let Some(address) = asked else {
                match pool.take_next(owner)? {
                    Some(address) => return Ok((subnet, address, true)),
                    None => continue,
                }
            };
            let offset = subnet.offset(address)?;
            if let Some(other) = pool.owner(offset)? {
                return Err(Error::new(format!("address {address}: in use by {}", names::short(&other))));
            }
            pool.take_this(owner, offset)?;
            return Ok((subnet, address, true));
        }
        Err(no_room(set))
    }

    /// The addresses `owner` holds.
    pub fn held(&self, ipam: &Ipam, owner: &str) -> Result<Vec<IpAddr>, Error> {
        let mut held = Vec::new();
        for subnet in self.kept(ipam)? {
            held.extend(self.open(&subnet)?.find(owner)?);
        }
        Ok(held)
    }

    /// Gives back whatever `owner` holds.
    pub fn release(&self, ipam: &Ipam, owner: &str) -> Result<(), Error> {
        for subnet in self.kept(ipam)? {
            self.open(&subnet)?.release(owner)?;
        }
        Ok(())
    }

    /// Every lease: address and owner.
    pub fn leases(&self, ipam: &Ipam) -> Result<Vec<(IpNet, String)>, Error> {
        let mut leases = Vec::new();
        for subnet in self.kept(ipam)? {
            for (owner, address) in self.open(&subnet)?.leases()? {
                leases.push((with_prefix(address, subnet.net)?, owner));
            }
        }
        Ok(leases)
    }

    /// Takes back every lease of an owner that `stays` does not name.
    pub fn sweep(&self, ipam: &Ipam, stays: impl Fn(&str) -> bool) -> Result<(), Error> {
        for subnet in self.kept(ipam)? {
            let pool = self.open(&subnet)?;
            for (owner, _) in pool.leases()?.into_iter().filter(|(owner, _)| !stays(owner)) {
                pool.release(&owner)?;
            }
        }
        Ok(())
    }

    /// Fails where a set of ranges has no address left.
    pub fn has_room(&self, ipam: &Ipam) -> Result<(), Error> {
        for set in subnets(&ipam.sets())? {
            let mut any = false;
            for subnet in &set {
                any |= self.open(subnet)?.has_room()?;
            }
            if !any {
                return Err(no_room(&set));
            }
        }
        Ok(())
    }
}

fn no_room(set: &[Subnet]) -> Error {
    let nets: Vec<_> = set.iter().map(|subnet| subnet.net.to_string()).collect();
    Error::new(format!("no free address in {}", nets.join(", ")))
}
