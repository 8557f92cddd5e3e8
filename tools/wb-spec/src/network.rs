//! `wb.network`: which network, which address, which names, which ports.

use crate::flags::{Given, invalid};
use crate::run::Subject;
use crate::{key_values, namespaces, ports};
use serde_json::{Map, Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wb_doc::{Error, names};

/// What the container is connected to.
pub struct Networks {
    /// The member `wb.network`.
    pub first: Value,
    /// The member `wb.networks`: further ones.
    pub further: Vec<Value>,
}

/// The first network's name as the flags give it: `bridge` where they say nothing.
pub fn primary(given: &Given) -> &str {
    let value = given.all("network").next().unwrap_or_default();
    // The long form is `name=NET,ip=...`.
    let name = value.split(',').find_map(|field| field.strip_prefix("name=")).unwrap_or(value);
    if matches!(name, "" | "default") { "bridge" } else { name }
}

/// The members `wb.network` and `wb.networks`.
pub fn networks(given: &Given, subject: &Subject) -> Result<Networks, Error> {
    let mut all = given.all("network").map(network).collect::<Result<Vec<_>, _>>()?;
    if all.is_empty() {
        all.push(json!({"name": "bridge"}));
    }
    let special = |network: &Value| {
        let name = network["name"].as_str().unwrap_or_default();
        matches!(name, "host" | "none") || name.starts_with("container:")
    };
    if all.len() > 1 && all.iter().any(special) {
        return Err(Error::usage("host, none and container: cannot be combined with another network"));
    }
    let mut further = all.split_off(1);
    let mut first = all.swap_remove(0);
    further.retain(|network| network["name"] != first["name"]);
    if let Some(container) = first["name"].as_str().and_then(|name| name.strip_prefix("container:")) {
        for flag in ["hostname", "dns", "add-host", "mac-address", "publish", "publish-all", "expose"] {
            if given.has(flag) {
                return Err(Error::usage(format!(
                    "conflicting options: --{flag} and the network of a container"
                )));
            }
        }
        let (other, _) = namespaces::running(&subject.place, container)?;
        first["name"] = format!("container:{}", other.id()?).into();
    }
    let isolated = special(&first);
    addresses(given, &mut first, isolated)?;
    names_and_ports(given, &mut first)?;
    Ok(Networks { first, further })
}

/// One value of `--network`: a name, or `name=NET,alias=A,ip=I,ip6=I,mac-address=M`.
fn network(value: &str) -> Result<Value, Error> {
    let mut network = json!({"name": "bridge"});
    let fields = if value.contains('=') {
        key_values::parse("network", value)?
    } else {
        vec![("name".into(), Some(value.to_owned()))]
    };
    for (key, field) in fields {
        let field = field.unwrap_or_default();
        match key.as_str() {
            "name" => network["name"] = network_name(&field)?.into(),
            "alias" => push(&mut network, "aliases", field.into()),
            "ip" => network["ip"] = parsed::<Ipv4Addr>("ip", &field)?.into(),
            "ip6" => network["ip6"] = parsed::<Ipv6Addr>("ip6", &field)?.into(),
            "mac-address" => network["mac"] = mac(&field)?.into(),
            _ => return Err(invalid("network", value, "name=, alias=, ip=, ip6= or mac-address=")),
        }
    }
    Ok(network)
}

fn network_name(name: &str) -> Result<String, Error> {
    match name {
        "" | "default" => Ok("bridge".into()),
        _ if name.strip_prefix("container:").is_some_and(|container| !container.is_empty()) => {
            Ok(name.into())
        }
        _ => names::check("network", name).map(|()| name.to_owned()),
    }
}

fn addresses(given: &Given, network: &mut Value, isolated: bool) -> Result<(), Error> {
    for (flag, member) in [("ip", "ip"), ("ip6", "ip6"), ("mac-address", "mac")] {
        if let Some(value) = given.last(flag) {
            if isolated {
                return Err(Error::usage(format!(
                    "conflicting options: --{flag} and --network {}",
                    primary(given)
                )));
            }
            network[member] = match flag {
                "ip" => parsed::<Ipv4Addr>(flag, value)?,
                "ip6" => parsed::<Ipv6Addr>(flag, value)?,
                _ => mac(value)?,
            }
            .into();
        }
    }
    for alias in given.all("network-alias") {
        names::check("network alias", alias)?;
        push(network, "aliases", alias.into());
    }
    Ok(())
}

fn names_and_ports(given: &Given, network: &mut Value) -> Result<(), Error> {
    let mut dns = Map::new();
    let servers =
        given.all("dns").map(|server| parsed::<IpAddr>("dns", server)).collect::<Result<Vec<_>, _>>()?;
    let words = |flag: &'static str| -> Result<Vec<String>, Error> {
        given
            .all(flag)
            .map(|word| {
                let plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control());
                if plain { Ok(word.to_owned()) } else { Err(invalid(flag, word, "one word")) }
            })
            .collect()
    };
    for (member, list) in
        [("nameservers", servers), ("search", words("dns-search")?), ("options", words("dns-option")?)]
    {
        if !list.is_empty() {
            dns.insert(member.into(), list.into());
        }
    }
    if !dns.is_empty() {
        network["dns"] = Value::Object(dns);
    }
    for host in given.all("add-host") {
        push(network, "hosts", add_host(host)?.into());
    }
    let published = given.all("publish").map(ports::publish).collect::<Result<Vec<_>, _>>()?.concat();
    if network["name"] == "none" && (!published.is_empty() || given.on("publish-all")) {
        return Err(Error::usage("conflicting options: --publish and --network none"));
    }
    if network["name"] != "host" && !published.is_empty() {
        network["ports"] = published.into();
    } else if !published.is_empty() {
        wb_doc::warn(crate::TOOL, "published ports are not needed with the host's network and are left out");
    }
    let exposed = given.all("expose").map(ports::expose).collect::<Result<Vec<_>, _>>()?.concat();
    if !exposed.is_empty() {
        network["exposed"] = exposed.into();
    }
    if given.on("publish-all") && network["name"] != "host" {
        network["publishAll"] = true.into();
    }
    Ok(())
}

/// `NAME:ADDRESS` or `NAME=ADDRESS` as `NAME:ADDRESS`; the address may be `host-gateway`.
fn add_host(text: &str) -> Result<String, Error> {
    let wrong = || invalid("add-host", text, "NAME:ADDRESS");
    let (name, address) = text.split_once(['=', ':']).ok_or_else(wrong)?;
    let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err(wrong());
    }
    if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
        return Err(wrong());
    }
    Ok(format!("{name}:{address}"))
}

fn push(network: &mut Value, member: &str, item: Value) {
    match &mut network[member] {
        Value::Array(list) => list.push(item),
        other => *other = vec![item].into(),
    }
}

fn parsed<A: std::str::FromStr + ToString>(flag: &str, text: &str) -> Result<String, Error> {
    let address = text.parse::<A>().map_err(|_| invalid(flag, text, "an IP address"))?;
    Ok(address.to_string())
}

/// A hardware address: six bytes, not a group's.
fn mac(text: &str) -> Result<String, Error> {
    let wrong = || invalid("mac-address", text, "an address such as 02:42:ac:11:00:02");
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let byte = |part: &&str| part.len() == 2 && u8::from_str_radix(part, 16).is_ok();
    if parts.len() != 6 || !parts.iter().all(byte) {
        return Err(wrong());
    }
    if u8::from_str_radix(parts[0], 16).is_ok_and(|first| first & 1 == 1) {
        return Err(wrong());
    }
    Ok(parts.join(":").to_ascii_lowercase())
}
