//! The verb create: which addresses a network is made of, given or chosen so that nothing overlaps.

use crate::host::{self, Taken};
use crate::subnet::{self, Subnet, default_gateway};
use clap::Args;
use ipnet::{IpNet, Ipv6Net};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use wb_doc::{Context, Document, Error};
use wb_store::Place;
use wb_store::network::{self, Ipam, Range};

/// The default network's subnet is the first /16 of these that is free.
const LARGE: [&str; 4] = ["10.77.0.0/16", "10.78.0.0/16", "10.79.0.0/16", "172.29.0.0/16"];
/// Every other network's is the first free /24 out of these: private (RFC 1918), and not the first one that
/// routers, hypervisors and other container engines take.
const POOLS: [&str; 4] = ["10.80.0.0/12", "172.24.0.0/13", "192.168.128.0/17", "10.128.0.0/9"];

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The network; otherwise wb.network.name
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// The subnet; a further one of the same family is used when those before it are full
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<IpNet>,
    /// The gateway of the subnet it lies in
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// Give addresses from this part of its subnet only; from these parts, if there are several
    #[arg(long, value_name = "SUBNET")]
    ip_range: Vec<IpNet>,
    /// Never give these addresses
    #[arg(long, value_name = "ADDRESS|SUBNET", value_parser = parse_net)]
    exclude: Vec<IpNet>,
    /// Give IPv6 addresses too
    #[arg(long)]
    ipv6: bool,
    /// The network, as docker spells it
    #[arg(value_name = "NETWORK", conflicts_with = "network")]
    name: Option<String>,
    #[command(flatten)]
    rest: NetworkArgs,
}

// What of a network is none of our business: put into the document for wb-netns.
#[derive(Debug, Args)]
struct NetworkArgs {
    /// For wb-netns: bridge or macvlan
    #[arg(short, long)]
    driver: Option<String>,
    /// For wb-netns: no way out and none in
    #[arg(long)]
    internal: bool,
    /// For wb-netns: a driver's option
    #[arg(short, long = "opt", value_name = "NAME=VALUE", value_parser = pair)]
    option: Vec<(String, String)>,
    /// For wb-netns: a label
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Accepted and without effect: any container may join
    #[arg(long)]
    attachable: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() { Err("NAME=VALUE is needed".into()) } else { Ok((name.to_owned(), value.to_owned())) }
}

impl NetworkArgs {
    fn fill(&self, doc: &mut Document) -> Result<(), Error> {
        if let Some(driver) = &self.driver {
            doc.set("/wb/network/driver", driver)?;
        }
        if self.internal {
            doc.set("/wb/network/internal", true)?;
        }
        for (member, pairs) in [("options", &self.option), ("labels", &self.label)] {
            let mut all: BTreeMap<String, String> =
                doc.read(&format!("/wb/network/{member}"))?.unwrap_or_default();
            all.extend(pairs.iter().cloned());
            if !all.is_empty() {
                doc.set(&format!("/wb/network/{member}"), all)?;
            }
        }
        Ok(())
    }
}

fn parse_net(text: &str) -> Result<IpNet, String> {
    let address = |_| text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(address).map_err(|error| format!("{error}"))
}

/// Fills wb.network.ipam; an existing member `ipam` is checked as if it had been asked for.
pub fn create(place: &Place, args: &CreateArgs, doc: &mut Document) -> Result<(), Error> {
    if let Some(name) = args.network.as_ref().or(args.name.as_ref()) {
        doc.set("/wb/network/name", name)?;
    }
    args.rest.fill(doc)?;
    doc.set_default("/wb/network/name", network::DEFAULT)?;
    let name = doc.str_at("/wb/network/name").unwrap_or_default().to_owned();
    network::check_name(&name)?;
    let host = host::taken()?;
    // A macvlan is on the host's own wire: the host's subnet is the very one to be named, but for its addresses.
    let shares_wire = doc.str_at("/wb/network/driver") == Some("macvlan") && !args.subnet.is_empty();
    let mut taken = if shares_wire { Vec::new() } else { host.clone() };
    for other in network::list(place)?.into_iter().filter(|other| other.name != name) {
        let by = format!("the network {}", other.name);
        let nets = other.plugin()?.ipam.sets().into_iter().flatten().map(|range| range.subnet);
        taken.extend(nets.map(|net| Taken { net, address: None, by: by.clone() }));
    }
    let given: Option<Ipam> = doc.read("/wb/network/ipam")?;
    let mut ipam = match given.filter(|_| args.subnet.is_empty()) {
        Some(ipam) => ipam,
        None => plan(args, name == network::DEFAULT, &taken)?,
    };
    if shares_wire {
        exclude_addresses(&mut ipam, &host);
    }
    for set in &ipam.sets() {
        for range in set {
            refuse_overlap(range.subnet, &taken)?;
        }
        Subnet::of_set(set)?;
    }
    doc.set("/wb/network/ipam", ipam)
}

/// What the host itself has of a subnet is never given to a container.
fn exclude_addresses(ipam: &mut Ipam, host: &[Taken]) {
    for address in host.iter().filter_map(|taken| taken.address).map(IpNet::from) {
        for range in ipam.ranges.iter_mut().flatten().filter(|range| range.subnet.contains(&address)) {
            if !range.exclude.contains(&address) {
                range.exclude.push(address);
            }
        }
    }
}

/// The ranges the flags ask for; subnets nobody gave are chosen. Those of one family are one set.
fn plan(args: &CreateArgs, large: bool, taken: &[Taken]) -> Result<Ipam, Error> {
    let mut nets: Vec<IpNet> = args.subnet.iter().map(IpNet::trunc).collect();
    for (index, net) in nets.iter().enumerate() {
        if let Some(other) = nets[..index].iter().find(|other| other.contains(net) || net.contains(*other)) {
            return Err(Error::usage(format!("subnet {net}: overlaps {other}")));
        }
    }
    if !nets.iter().any(|net| net.addr().is_ipv4()) && (nets.is_empty() || !args.ipv6) && !only_ipv6(&nets) {
        nets.insert(0, choose_ipv4(large, taken)?);
    }
    if args.ipv6 && !nets.iter().any(|net| net.addr().is_ipv6()) {
        nets.push(IpNet::V6(unique_local()?));
    }
    for (what, address) in args
        .gateway
        .iter()
        .map(|address| ("gateway", IpNet::from(*address)))
        .chain(args.ip_range.iter().map(|net| ("range", *net)))
        .chain(args.exclude.iter().map(|net| ("excluded", *net)))
    {
        if !nets.iter().any(|net| net.contains(&address)) {
            return Err(Error::usage(format!("{what} {address}: outside of the subnet")));
        }
    }
    let mut ranges: Vec<Vec<Range>> = Vec::new();
    for net in &nets {
        let fresh = ranges_of(*net, args)?;
        let same_family = |set: &&mut Vec<Range>| {
            set.iter().any(|range| range.subnet.addr().is_ipv4() == net.addr().is_ipv4())
        };
        match ranges.iter_mut().find(same_family) {
            Some(set) => set.extend(fresh),
            None => ranges.push(fresh),
        }
    }
    Ok(Ipam { kind: "wb-ipam".into(), ranges, ..Ipam::default() })
}

fn only_ipv6(nets: &[IpNet]) -> bool {
    !nets.is_empty() && nets.iter().all(|net| net.addr().is_ipv6())
}

/// A subnet's ranges: one, or one for each part of it that was named.
fn ranges_of(net: IpNet, args: &CreateArgs) -> Result<Vec<Range>, Error> {
    let mut gateways = args.gateway.iter().copied().filter(|address| net.contains(address));
    let gateway = gateways.next().or_else(|| default_gateway(net));
    if let Some(second) = gateways.next() {
        return Err(Error::usage(format!("gateway {second}: a second one of {net}")));
    }
    let exclude: Vec<IpNet> = args.exclude.iter().copied().filter(|part| net.contains(part)).collect();
    let of_part = |part: Option<&IpNet>| Range {
        subnet: net,
        range_start: part.map(IpNet::network),
        range_end: part.map(IpNet::broadcast),
        gateway,
        exclude: exclude.clone(),
    };
    let mut ranges: Vec<Range> =
        args.ip_range.iter().filter(|part| net.contains(*part)).map(|part| of_part(Some(part))).collect();
    if ranges.is_empty() {
        ranges.push(of_part(None));
    }
    // A container needs an address too.
    let books = Subnet::of_set(&ranges)?;
    let any = books.iter().any(|subnet| subnet.reserved().iter().any(|word| *word != u64::MAX));
    if any { Ok(ranges) } else { Err(Error::new(format!("subnet {net}: no address left for a container"))) }
}

fn choose_ipv4(large: bool, taken: &[Taken]) -> Result<IpNet, Error> {
    let free = |net: &IpNet| refuse_overlap(*net, taken).is_ok();
    let whole = LARGE.iter().filter(|_| large).filter_map(|net| net.parse::<IpNet>().ok());
    let small =
        POOLS.iter().filter_map(|pool| pool.parse::<IpNet>().ok()).filter_map(|pool| pool.subnets(24).ok());
    whole
        .chain(small.flatten())
        .find(free)
        .ok_or_else(|| Error::new("no private subnet is free").hint("give --subnet"))
}

/// A subnet of a random unique local prefix (RFC 4193).
fn unique_local() -> Result<Ipv6Net, Error> {
    let mut random = [0; 16];
    wb_sys::random::fill(&mut random[1..6]).context(|| "random bytes")?;
    random[0] = 0xfd;
    Ipv6Net::new(Ipv6Addr::from(random), 64).map_err(|error| Error::new(error.to_string()))
}

fn refuse_overlap(net: IpNet, taken: &[Taken]) -> Result<(), Error> {
    let (first, last) = (subnet::number(net.network()), subnet::number(net.broadcast()));
    let overlaps = |other: &&Taken| {
        other.net.addr().is_ipv4() == net.addr().is_ipv4()
            && subnet::number(other.net.network()) <= last
            && first <= subnet::number(other.net.broadcast())
    };
    match taken.iter().find(overlaps) {
        Some(other) => Err(Error::new(format!("subnet {net}: overlaps {}", other.by))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> CreateArgs {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: CreateArgs,
        }
        let words = std::iter::once("x").chain(words.iter().copied());
        <Cli as clap::Parser>::try_parse_from(words).unwrap().args
    }

    fn taken(net: &str) -> Taken {
        Taken { net: net.parse().unwrap(), address: None, by: "a test".into() }
    }

    #[test]
    fn chooses_around_what_is_taken() {
        let ipam = plan(&args(&[]), true, &[taken("10.77.3.4/32"), taken("10.78.0.0/15")]).unwrap();
        assert_eq!(ipam.ranges[0][0].subnet.to_string(), "172.29.0.0/16");
        let ipam = plan(&args(&[]), false, &[taken("10.80.0.0/23")]).unwrap();
        assert_eq!(ipam.ranges[0][0].subnet.to_string(), "10.80.2.0/24");
        assert_eq!(ipam.ranges[0][0].gateway.unwrap().to_string(), "10.80.2.1");
    }

    #[test]
    fn refuses_overlapping_subnets() {
        let taken = [taken("192.0.2.0/24"), taken("10.0.0.0/8")];
        for net in ["192.0.2.0/25", "192.0.0.0/16", "10.4.0.0/16"] {
            assert!(refuse_overlap(net.parse().unwrap(), &taken).is_err(), "{net}");
        }
        assert!(refuse_overlap("192.0.3.0/24".parse().unwrap(), &taken).is_ok());
        assert!(refuse_overlap("fd00::/8".parse().unwrap(), &taken).is_ok());
    }

    #[test]
    fn takes_flags_as_they_are_given() {
        let words =
            ["--subnet", "10.5.0.0/16", "--gateway", "10.5.9.9", "--ip-range", "10.5.8.0/24", "--ipv6"];
        let ipam = plan(&args(&words), false, &[]).unwrap();
        let range = &ipam.ranges[0][0];
        assert_eq!(range.gateway.unwrap().to_string(), "10.5.9.9");
        assert_eq!(range.range_start.unwrap().to_string(), "10.5.8.0");
        assert!(ipam.ranges[1][0].subnet.to_string().starts_with("fd"));
        let only = plan(&args(&["--subnet", "fd01::/64"]), false, &[]).unwrap();
        assert_eq!(only.ranges.len(), 1);
    }

    #[test]
    fn several_subnets_and_parts_of_a_family_are_one_set() {
        let words = [
            ["--subnet", "10.5.0.0/24"],
            ["--subnet", "fd01::/64"],
            ["--subnet", "10.6.0.0/24"],
            ["--ip-range", "10.6.0.16/30"],
            ["--ip-range", "10.6.0.64/30"],
        ];
        let ipam = plan(&args(&words.concat()), false, &[]).unwrap();
        let shown = |range: &Range| match range.range_start {
            Some(start) => format!("{} from {start}", range.subnet),
            None => range.subnet.to_string(),
        };
        let sets: Vec<Vec<_>> = ipam.ranges.iter().map(|set| set.iter().map(shown).collect()).collect();
        assert_eq!(
            sets,
            [
                vec!["10.5.0.0/24", "10.6.0.0/24 from 10.6.0.16", "10.6.0.0/24 from 10.6.0.64"],
                vec!["fd01::/64"]
            ]
        );
    }

    #[test]
    fn refuses_what_cannot_be() {
        for words in [
            &["--subnet", "10.0.0.0/24", "--subnet", "10.0.0.128/25"][..],
            &["--subnet", "10.0.0.0/24", "--gateway", "10.1.0.1"],
            &["--subnet", "10.0.0.0/24", "--gateway", "10.0.0.1", "--gateway", "10.0.0.2"],
            &["--subnet", "10.0.0.0/24", "--ip-range", "10.0.0.0/16"],
            &["--subnet", "10.0.0.0/31", "--exclude", "10.0.0.1"],
        ] {
            assert!(plan(&args(words), false, &[]).is_err(), "{words:?}");
        }
    }
}
