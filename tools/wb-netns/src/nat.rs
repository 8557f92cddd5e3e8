//! The way out and the way in: one nft table for all networks of this place.
//!
//! The rules are fixed; what comes and goes are elements of sets (bridges, subnets) and maps (published ports), so
//! that nothing is ever searched for or rewritten in them.

use crate::legacy;
use crate::nft::{self, BaseChain};
use ipnet::IpNet;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use wb_doc::{Context, Error};
use wb_store::Place;
use wb_store::network::Plugin;
use wb_sys::netlink::{Netlink, Protocol, Request};

/// What the rule set has to know of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The table.
    pub table: String,
    /// The bridge.
    pub bridge: String,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// Whether they take the host's address outside.
    pub masquerade: bool,
    /// Whether nothing leaves it and nothing enters.
    pub internal: bool,
}

impl Rules {
    /// The rules of the network that `plugin` describes, on its bridge.
    pub fn of_network(place: &Place, bridge: &str, plugin: &Plugin) -> Self {
        let mut subnets: Vec<IpNet> =
            plugin.ipam.sets().iter().flatten().map(|range| range.subnet.trunc()).collect();
        subnets.sort_unstable();
        subnets.dedup();
        Self {
            table: place.machine_name("wb"),
            bridge: bridge.to_owned(),
            subnets,
            masquerade: plugin.ip_masq && !plugin.internal,
            internal: plugin.internal,
        }
    }
}

/// Forwarding, isolation, masquerade, published ports. nft keeps what exists, and a chain is refilled in the same
/// transaction that empties it, so that the text can be loaded at any time.
const BASE: &str = "\
add table inet T
add set inet T bridges { type ifname; }
add set inet T internal { type ifname; }
add set inet T same { type ifname . ifname; }
add set inet T masquerade4 { type ipv4_addr; flags interval; }
add set inet T masquerade6 { type ipv6_addr; flags interval; }
add set inet T hairpin4 { type ipv4_addr . ipv4_addr; flags interval; }
add set inet T hairpin6 { type ipv6_addr . ipv6_addr; flags interval; }
add map inet T any4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
add map inet T any6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
add map inet T host4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
add map inet T host6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
add chain inet T guard { type filter hook prerouting priority raw; policy accept; }
add chain inet T forward { type filter hook forward priority filter; policy accept; }
add chain inet T publish
add chain inet T prerouting { type nat hook prerouting priority dstnat; policy accept; }
add chain inet T output { type nat hook output priority -100; policy accept; }
add chain inet T postrouting { type nat hook postrouting priority srcnat; policy accept; }
flush chain inet T guard
flush chain inet T forward
flush chain inet T publish
flush chain inet T prerouting
flush chain inet T output
flush chain inet T postrouting
add rule inet T guard iifname != \"lo\" ip daddr 127.0.0.0/8 drop comment \"published on 127.0.0.1 is for the host alone\"
add rule inet T guard iifname != \"lo\" ip6 daddr ::1 drop
add rule inet T forward ct state established,related accept
add rule inet T forward iifname . oifname @same accept comment \"neighbours on one bridge\"
add rule inet T forward iifname @internal drop
add rule inet T forward oifname @internal drop
add rule inet T forward ct status dnat accept comment \"published ports\"
add rule inet T forward oifname @bridges drop comment \"nobody else's, and no other network's\"
add rule inet T publish dnat ip to ip daddr . meta l4proto . th dport map @host4
add rule inet T publish meta nfproto ipv4 dnat ip to meta l4proto . th dport map @any4
add rule inet T publish ip6 daddr ::1 return comment \"no way leads from there to another link\"
add rule inet T publish dnat ip6 to ip6 daddr . meta l4proto . th dport map @host6
add rule inet T publish meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @any6
add rule inet T prerouting fib daddr type local jump publish
add rule inet T output fib daddr type local jump publish
add rule inet T postrouting ip saddr @masquerade4 oifname != @bridges masquerade
add rule inet T postrouting ip6 saddr @masquerade6 oifname != @bridges masquerade
add rule inet T postrouting ct status dnat ip saddr . ip daddr @hairpin4 masquerade
add rule inet T postrouting ct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade
add rule inet T postrouting ip saddr 127.0.0.0/8 oifname @bridges masquerade comment \"published on 127.0.0.1\"
";

/// The transaction that lets `rules` hold.
pub fn script(rules: &Rules) -> String {
    let Rules { table, bridge, .. } = rules;
    let mut text = BASE.replace("inet T", &format!("inet {table}"));
    let mut add = |set: &str, element: String| {
        // Writing to a String cannot fail.
        writeln!(text, "add element inet {table} {set} {{ {element} }}").ok();
    };
    add("bridges", format!("\"{bridge}\""));
    add("same", format!("\"{bridge}\" . \"{bridge}\""));
    if rules.internal {
        add("internal", format!("\"{bridge}\""));
    }
    for (set, element) in subnet_elements(rules) {
        add(&set, element);
    }
    text
}

/// The elements that follow from the subnets. Hairpin is told by addresses: on a bridge whose frames pass netfilter
/// (br_netfilter), the interface a packet came by is not known behind it.
fn subnet_elements(rules: &Rules) -> Vec<(String, String)> {
    let mut elements = Vec::new();
    for net in &rules.subnets {
        let version = if net.addr().is_ipv4() { 4 } else { 6 };
        elements.push((format!("hairpin{version}"), format!("{net} . {net}")));
        if rules.masquerade {
            elements.push((format!("masquerade{version}"), net.to_string()));
        }
    }
    elements
}

/// The elements [`script`] added, each deleted by a line of its own.
fn undo_lines(rules: &Rules) -> Vec<String> {
    let Rules { table, bridge, .. } = rules;
    let mut elements = vec![("bridges".to_owned(), format!("\"{bridge}\""))];
    elements.push(("same".to_owned(), format!("\"{bridge}\" . \"{bridge}\"")));
    if rules.internal {
        elements.push(("internal".to_owned(), format!("\"{bridge}\"")));
    }
    elements.extend(subnet_elements(rules));
    let line = |(set, element)| format!("delete element inet {table} {set} {{ {element} }}\n");
    elements.into_iter().map(line).collect()
}

/// Whether our rules and every other firewall let the bridge through. Costs a few questions and no process.
pub fn is_ready(netlink: &Netlink, rules: &Rules) -> Result<bool, Error> {
    let what = || format!("nft table {}", rules.table);
    let known =
        nft::has_element(netlink, &rules.table, "bridges", &nft::ifname(&rules.bridge)).context(what)?;
    Ok(known && in_the_way(netlink, rules)?.is_empty() && !legacy::is_in_the_way(rules)?)
}

/// Makes them so.
pub fn make_ready(netlink: &Netlink, rules: &Rules) -> Result<(), Error> {
    nft_command(&script(rules)).context(|| format!("nft table {}", rules.table))?;
    let mut text = String::new();
    for chain in in_the_way(netlink, rules)? {
        let family = family_name(chain.family);
        for direction in ["iifname", "oifname"] {
            let rule = format!("{direction} \"{}\" accept comment \"{}\"", rules.bridge, mark(rules));
            writeln!(text, "insert rule {family} {} {} {rule}", plain(&chain.table)?, plain(&chain.name)?)
                .ok();
        }
    }
    if !text.is_empty() {
        nft_command(&text).context(|| "the other firewall's forward chain")?;
    }
    legacy::let_through(rules)
}

/// Takes the network's elements out, and its rules out of other firewalls' chains; with the last bridge the table.
pub fn remove(rules: &Rules) -> Result<(), Error> {
    let netlink = Netlink::open(Protocol::Netfilter).context(|| "nfnetlink")?;
    let what = || format!("nft table {}", rules.table);
    if nft::has_element(&netlink, &rules.table, "bridges", &nft::ifname(&rules.bridge)).context(what)? {
        let lines = undo_lines(rules);
        if nft_command(&lines.concat()).is_err() {
            // A table that somebody has changed: what is there goes, what is not is no loss.
            for line in lines {
                nft_command(&line).ok();
            }
        }
    }
    let table = &rules.table;
    let left = nft::list_elements(&netlink, table, "bridges").context(|| format!("nft table {table}"))?;
    if left.is_empty() {
        // Adding it first makes the deletion succeed whether it exists or not.
        nft_command(&format!("add table inet {table}\ndelete table inet {table}\n"))
            .context(|| format!("nft table {table}"))?;
    }
    let mut requests: Vec<Request> = Vec::new();
    for chain in foreign_forward_chains(&netlink, table)? {
        let found = nft::rules(&netlink, &chain).context(|| format!("nft chain {}", chain.name))?;
        let ours = found.iter().filter(|rule| rule.comment == mark(rules));
        requests.extend(ours.map(|rule| nft::delete_rule(&chain, rule.handle)));
    }
    netlink
        .commit(&requests, "the other firewall is left as it was")
        .map_err(|refused| Error::errno("the other firewall's forward chain", refused.errno))?;
    legacy::remove(rules)
}

/// A name as nft's language takes it, which has no quotes for them.
fn plain(name: &str) -> Result<&str, Error> {
    let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte));
    if fits {
        Ok(name)
    } else {
        Err(Error::new(format!("nft chain {name:?}: drops what is forwarded, and nft cannot name it")))
    }
}

/// The comment by which our rules in others' chains are found again.
pub fn mark(rules: &Rules) -> String {
    format!("{}: bridge {}", rules.table, rules.bridge)
}

/// Forward chains of others that drop what no rule of theirs accepts, and that we are not let through yet.
///
/// An accept in our table does not help there: every chain of a hook is asked, and one drop is final.
fn in_the_way(netlink: &Netlink, rules: &Rules) -> Result<Vec<BaseChain>, Error> {
    let mut found = Vec::new();
    for chain in foreign_forward_chains(netlink, &rules.table)? {
        let list = nft::rules(netlink, &chain).context(|| format!("nft chain {}", chain.name))?;
        let drops = chain.drops || list.last().is_some_and(|rule| rule.drops_all);
        if drops && !list.iter().any(|rule| rule.comment == mark(rules)) {
            found.push(chain);
        }
    }
    Ok(found)
}

/// Tables of other places of ours let through what is not theirs; they are no firewall to be opened.
fn foreign_forward_chains(netlink: &Netlink, table: &str) -> Result<Vec<BaseChain>, Error> {
    let mut chains = nft::base_chains(netlink).context(|| "nft chains")?;
    let ours =
        |chain: &BaseChain| chain.table == table || chain.table == "wb" || chain.table.starts_with("wb-");
    chains.retain(|chain| {
        chain.hook == nft::HOOK_FORWARD
            && matches!(chain.family, nft::INET | nft::IPV4 | nft::IPV6)
            && !(chain.family == nft::INET && ours(chain))
    });
    Ok(chains)
}

fn family_name(family: u8) -> &'static str {
    match family {
        nft::IPV4 => "ip",
        nft::IPV6 => "ip6",
        _ => "inet",
    }
}

/// Hands `text` to nft(8) as one transaction.
fn nft_command(text: &str) -> Result<(), Error> {
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = wb_sys::child::spawn(&mut nft, "rules for netfilter, by its own program")
        .context(|| "run nft")
        .map_err(|error| error.hint("nft is in the package nftables"))?;
    let told = wb_sys::child::tell(&mut child, text, "one transaction, and only when a bridge is made");
    // One that ends before it has read everything says why by itself.
    if let Err(error) = told.as_ref() {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            told.context(|| "writing to nft")?;
        }
    }
    let output = child.wait_with_output().context(|| "wait for nft")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("nft: {}", said.lines().next().unwrap_or("failed without a word"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_the_table_and_the_bridge_everywhere() {
        let rules = Rules {
            table: "wb-abc".into(),
            bridge: "wb0-abc".into(),
            subnets: vec!["10.9.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()],
            masquerade: true,
            internal: false,
        };
        let text = script(&rules);
        assert!(!text.contains("inet T"));
        assert!(text.contains("add element inet wb-abc same { \"wb0-abc\" . \"wb0-abc\" }"));
        assert!(text.contains("add element inet wb-abc masquerade6 { fd00::/64 }"));
        assert!(!text.contains("wb-abc internal {\n"));
    }
}
