//! The geometry of a pool: which addresses of a subnet may be given. No files, no kernel.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wb_doc::Error;
use wb_store::network::Range;

/// The most addresses of one IPv6 subnet that a pool keeps books on; an IPv4 subnet up to a /8 fits whole.
pub const MAX_IPV6: u32 = 1 << 16;
const MAX_IPV4: u32 = 1 << 24;

/// A subnet's addresses, numbered from `base`, and which of them are given without being asked for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// The subnet.
    pub net: IpNet,
    /// The gateway, never given.
    pub gateway: Option<IpAddr>,
    /// The number of the first address kept books on.
    base: u128,
    /// How many addresses the books hold.
    pub size: u32,
    /// The parts to give from, both ends included.
    dynamic: Vec<(u32, u32)>,
    exclude: Vec<IpNet>,
}

impl Subnet {
    /// The ranges of one set, those of one subnet taken together, in their order.
    pub fn of_set(set: &[Range]) -> Result<Vec<Self>, Error> {
        let mut subnets: Vec<Self> = Vec::new();
        for range in set {
            let net = range.subnet.trunc();
            let fresh = Self::of_range(range)?;
            match subnets.iter_mut().find(|subnet| subnet.net == net) {
                None => subnets.push(fresh),
                Some(subnet) if subnet.base == fresh.base => {
                    subnet.dynamic.extend(fresh.dynamic);
                    subnet.exclude.extend(fresh.exclude);
                    subnet.gateway = subnet.gateway.or(fresh.gateway);
                }
                Some(_) => return Err(Error::new(format!("{net}: ranges too far apart"))),
            }
        }
        Ok(subnets)
    }

    fn of_range(range: &Range) -> Result<Self, Error> {
        let net = range.subnet.trunc();
        let inside = |address: &Option<IpAddr>, what: &str| match address {
            Some(address) if !net.contains(address) => {
                Err(Error::new(format!("{what} {address}: outside of {net}")))
            }
            other => Ok(other.map(number)),
        };
        let (start, end) =
            (inside(&range.range_start, "first address")?, inside(&range.range_end, "last address")?);
        inside(&range.gateway, "gateway")?;
        let (first, last) = usable(net);
        let (start, end) = (start.unwrap_or(first).max(first), end.unwrap_or(last).min(last));
        if start > end {
            return Err(Error::new(format!("{net}: no address between the first and the last of the range")));
        }
        let network = number(net.network());
        let whole = number(net.broadcast()) - network;
        let limit = u128::from(if net.addr().is_ipv4() { MAX_IPV4 } else { MAX_IPV6 });
        // The books of a large subnet begin where its range does.
        let base = if whole < limit || start - network < limit { network } else { start };
        let size = u32::try_from((whole - (base - network)).saturating_add(1).min(limit)).unwrap_or(MAX_IPV6);
        let offset = |number: u128| u32::try_from(number - base).unwrap_or(u32::MAX).min(size - 1);
        let gateway = range.gateway.or_else(|| default_gateway(net));
        let exclude = range.exclude.clone();
        Ok(Self { net, gateway, base, size, dynamic: vec![(offset(start), offset(end))], exclude })
    }

    /// The address with number `offset`.
    pub fn address(&self, offset: u32) -> IpAddr {
        from_number(self.base + u128::from(offset), self.net)
    }

    /// The number of `address`; an error where it may not be given to anyone.
    pub fn offset(&self, address: IpAddr) -> Result<u32, Error> {
        let refuse = |why: String| Err(Error::new(format!("address {address}: {why}")));
        if !self.net.contains(&address) {
            return refuse(format!("outside of {}", self.net));
        }
        let wanted = number(address);
        let (first, last) = usable(self.net);
        if wanted < first || wanted > last {
            return refuse(format!("the network's or broadcast address of {}", self.net));
        }
        if Some(address) == self.gateway {
            return refuse("the gateway's".into());
        }
        if let Some(net) = self.exclude.iter().find(|net| net.contains(&address)) {
            return refuse(format!("excluded by {net}"));
        }
        match wanted.checked_sub(self.base).and_then(|offset| u32::try_from(offset).ok()) {
            Some(offset) if offset < self.size => Ok(offset),
            _ => refuse(format!("beyond the first {} addresses of {}", self.size, self.net)),
        }
    }

    /// Whether the books hold `address`, may it be given or not.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.net.contains(&address)
    }

    /// Whether the address with number `offset` is given without being asked for.
    pub fn is_dynamic(&self, offset: u32) -> bool {
        let address = self.address(offset);
        self.dynamic.iter().any(|&(low, high)| (low..=high).contains(&offset))
            && Some(address) != self.gateway
            && !self.exclude.iter().any(|net| net.contains(&address))
    }

    /// One bit an address, set where it is not to be given.
    pub fn reserved(&self) -> Vec<u64> {
        let mut words = vec![u64::MAX; self.size.div_ceil(64) as usize];
        for &(low, high) in &self.dynamic {
            for (index, word) in
                words.iter_mut().enumerate().take(high as usize / 64 + 1).skip(low as usize / 64)
            {
                let first = u32::try_from(index * 64).unwrap_or(u32::MAX);
                let from = low.saturating_sub(first);
                let to = (high - first).min(63);
                *word &= !(u64::MAX >> (63 - (to - from)) << from);
            }
        }
        let mut reserve = |number: u128| {
            let offset = number.checked_sub(self.base).and_then(|offset| usize::try_from(offset).ok());
            if let Some(offset) = offset.filter(|&offset| offset < self.size as usize) {
                words[offset / 64] |= 1 << (offset % 64);
            }
        };
        self.gateway.map(number).into_iter().for_each(&mut reserve);
        for net in &self.exclude {
            let first = number(net.network()).max(self.base);
            let last = number(net.broadcast()).min(self.base + u128::from(self.size));
            (first..=last).for_each(&mut reserve);
        }
        words
    }

    /// What the numbers of the addresses depend on.
    pub fn geometry(&self) -> String {
        format!("{} {} {}", self.net, self.base, self.size)
    }

    /// What else the books depend on: they are written anew when it changes.
    pub fn fingerprint(&self) -> String {
        format!("{:?} {:?} {:?}", self.gateway, self.dynamic, self.exclude)
    }

    /// The name of the file the books are in.
    pub fn file_name(&self) -> String {
        self.net.to_string().replace('/', "_")
    }
}

/// The first and last address that a host can have (RFC 3021 for /31; RFC 4291, 2.6.1 for the anycast address).
fn usable(net: IpNet) -> (u128, u128) {
    let (network, broadcast) = (number(net.network()), number(net.broadcast()));
    match net.max_prefix_len() - net.prefix_len() {
        0 | 1 => (network, broadcast),
        _ if net.addr().is_ipv4() => (network + 1, broadcast - 1),
        _ => (network + 1, broadcast),
    }
}

/// The first usable address; none where that would leave no other.
pub fn default_gateway(net: IpNet) -> Option<IpAddr> {
    let (first, last) = usable(net);
    (first < last).then(|| from_number(first, net))
}

/// An address as a number.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn from_number(number: u128, like: IpNet) -> IpAddr {
    match like {
        // The number was made from an address of this family.
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX))),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        let range = Range {
            subnet: text.parse().unwrap(),
            range_start: None,
            range_end: None,
            gateway: None,
            exclude: vec![],
        };
        Subnet::of_set(&[range]).unwrap().remove(0)
    }

    fn given(subnet: &Subnet) -> Vec<String> {
        let reserved = subnet.reserved();
        let free = |&offset: &u32| reserved[offset as usize / 64] >> (offset % 64) & 1 == 0;
        (0..subnet.size).filter(free).map(|offset| subnet.address(offset).to_string()).collect()
    }

    #[test]
    fn skips_network_gateway_and_broadcast() {
        assert_eq!(
            given(&subnet("10.0.0.0/29")),
            ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
        );
        assert_eq!(given(&subnet("10.0.0.4/30")), ["10.0.0.6"]);
        assert_eq!(given(&subnet("10.0.0.4/31")), ["10.0.0.5"]);
        assert_eq!(given(&subnet("10.0.0.4/32")), ["10.0.0.4"]);
        assert_eq!(given(&subnet("fd00::/126")), ["fd00::2", "fd00::3"]);
    }

    #[test]
    fn a_half_subnet_gives_its_own_half() {
        let all = given(&subnet("10.0.0.128/25"));
        assert_eq!((all.len(), all[0].as_str(), all[124].as_str()), (125, "10.0.0.130", "10.0.0.254"));
        assert_eq!(given(&subnet("10.1.0.0/16")).len(), 65533);
    }

    #[test]
    fn bits_and_predicate_agree_over_odd_ranges() {
        let range = Range {
            subnet: "10.0.0.0/22".parse().unwrap(),
            range_start: Some("10.0.0.61".parse().unwrap()),
            range_end: Some("10.0.2.130".parse().unwrap()),
            gateway: Some("10.0.1.1".parse().unwrap()),
            exclude: vec!["10.0.1.64/30".parse().unwrap()],
        };
        let subnet = Subnet::of_set(&[range]).unwrap().remove(0);
        let reserved = subnet.reserved();
        for offset in 0..subnet.size {
            let free = reserved[offset as usize / 64] >> (offset % 64) & 1 == 0;
            assert_eq!(free, subnet.is_dynamic(offset), "{offset}");
        }
        assert_eq!(given(&subnet).len(), 582 - 1 - 4);
    }

    #[test]
    fn a_large_ipv6_subnet_has_a_window() {
        let subnet = subnet("fd00:1::/64");
        assert_eq!(subnet.size, MAX_IPV6);
        assert_eq!(subnet.gateway.unwrap().to_string(), "fd00:1::1");
        assert!(subnet.is_dynamic(2) && !subnet.is_dynamic(0) && !subnet.is_dynamic(1));
        assert_eq!(subnet.offset("fd00:1::ffff".parse().unwrap()).unwrap(), 65535);
        assert!(subnet.offset("fd00:1::1:0".parse().unwrap()).is_err());
    }

    #[test]
    fn refuses_addresses_nobody_may_have() {
        let subnet = subnet("10.0.0.0/24");
        for address in ["10.0.0.0", "10.0.0.255", "10.0.0.1", "10.0.1.4", "fd00::1"] {
            assert!(subnet.offset(address.parse().unwrap()).is_err(), "{address}");
        }
        assert_eq!(subnet.offset("10.0.0.7".parse().unwrap()).unwrap(), 7);
    }
}
