//! Networks: one CNI configuration list (CNI 1.0, "Network configuration") each, `networks/<name>.conflist`.

use crate::atomic::{self, Durability};
use crate::{Place, near};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;
use wb_doc::{Context, Document, Error, names};

/// The network a container joins if nothing else is said.
pub const DEFAULT: &str = "bridge";
/// Words of `--network` that name no network of the store.
const RESERVED: [&str; 4] = ["none", "host", "container", "default"];

/// A configuration list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// The version of the CNI specification it follows.
    pub cni_version: String,
    /// Its name, also the file's.
    pub name: String,
    /// What it is made of; ours has one entry, [`Plugin`], the first that names `wb-netns`.
    pub plugins: Vec<Value>,
    /// Labels and other members people put there.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The entry of a list that `wb-netns` (or CNI's `bridge`, whose members these are) reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Plugin {
    /// The program: `wb-netns`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `bridge` or `macvlan`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The bridge's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The host interface a macvlan hangs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Whether the bridge has the gateway's address.
    pub is_gateway: bool,
    /// Whether it is also the container's way out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_default_gateway: bool,
    /// Whether what leaves the subnet takes the host's address.
    pub ip_masq: bool,
    /// No way out and none in.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// The MTU; that of the uplink where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The addresses.
    #[serde(skip_serializing_if = "Ipam::is_empty")]
    pub ipam: Ipam,
}

/// The member `ipam`, in the words of CNI's `host-local`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ipam {
    /// The program: `wb-ipam`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The subnet, where there is one range alone and the list has no `ranges`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<IpNet>,
    /// Its gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Its first address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_start: Option<IpAddr>,
    /// Its last address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_end: Option<IpAddr>,
    /// Sets of ranges: a container gets one address of each set, from the first range that has one free.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Vec<Range>>,
    /// Routes a container gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

impl Ipam {
    /// The sets of ranges, the short form included.
    pub fn sets(&self) -> Vec<Vec<Range>> {
        let short = self.subnet.map(|subnet| {
            let (range_start, range_end) = (self.range_start, self.range_end);
            vec![Range { subnet, range_start, range_end, gateway: self.gateway, exclude: Vec::new() }]
        });
        short.into_iter().chain(self.ranges.iter().cloned()).collect()
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Part of a subnet to give addresses from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Range {
    /// The subnet.
    pub subnet: IpNet,
    /// The first address given; the subnet's first one where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_start: Option<IpAddr>,
    /// The last address given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_end: Option<IpAddr>,
    /// The gateway, never given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Addresses never given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<IpNet>,
}

/// One route, as in a CNI result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub dst: IpNet,
    /// By way of; the gateway of the range where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
}

/// The member `wb.network` of a document, and each entry of `wb.networks`: what was asked for and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attachment {
    /// `bridge`, `none`, `host`, `container:ID`, or the name of a network.
    pub name: String,
    /// The IPv4 address asked for.
    pub ip: Option<IpAddr>,
    /// The IPv6 address asked for.
    pub ip6: Option<IpAddr>,
    /// The MAC address asked for.
    pub mac: Option<String>,
    /// Further names on the network.
    pub aliases: Vec<String>,
    /// What `/etc/resolv.conf` is to say; the host's where it is absent.
    pub dns: Dns,
    /// `NAME:IP` lines for `/etc/hosts`.
    pub hosts: Vec<String>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// `PORT/PROTOCOL` that the image exposes.
    pub exposed: Vec<String>,
    /// Whether all exposed ports are published.
    pub publish_all: bool,
    /// What the tools did.
    pub result: Outcome,
}

/// A published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Port {
    /// The host's address; all of them where it is absent.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none", deserialize_with = "empty_is_none")]
    pub host_ip: Option<IpAddr>,
    /// The host's port; 0 for any free one.
    #[serde(rename = "hostPort")]
    pub host_port: u16,
    /// The first and the last port of the host to choose from; `host_port` is the one chosen.
    #[serde(rename = "hostPortRange", skip_serializing_if = "Option::is_none")]
    pub host_port_range: Option<(u16, u16)>,
    /// The container's port.
    #[serde(rename = "containerPort")]
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// CNI runtimes write an absent address as an empty string.
fn empty_is_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

/// A CNI 1.0 result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outcome {
    /// The version of the specification.
    pub cni_version: String,
    /// The interfaces made, the host's first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// The addresses.
    pub ips: Vec<Ip>,
    /// The routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// The network's resolver.
    #[serde(skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
    /// Members of other programs.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One of `interfaces` of a result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The network namespace it is in; the host's where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
}

/// One of `ips` of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ip {
    /// The address with the length of its prefix.
    pub address: IpNet,
    /// The way out of the subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Which of `interfaces` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<u32>,
}

/// `dns` of a result or of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of resolvers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The search list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of resolv.conf(5).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Network {
    /// The entry that `wb-netns` serves.
    pub fn plugin(&self) -> Result<Plugin, Error> {
        let ours = self.plugins.iter().find(|plugin| plugin["type"] == "wb-netns");
        let value = ours.ok_or_else(|| Error::new(format!("network {}: no wb-netns in it", self.name)))?;
        Plugin::deserialize(value).context(|| format!("network {}", self.name))
    }

    /// Puts the list into the store, for good.
    pub fn save(&self, place: &Place) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).context(|| format!("network {}", self.name))?;
        atomic::write(&path(place, &self.name), &text, Durability::Durable)
    }
}

impl Attachment {
    /// Whether it is a network with addresses of its own, and not `none`, `host` or another container's.
    pub fn has_addresses(&self) -> bool {
        !(matches!(self.name.as_str(), "none" | "host") || self.name.starts_with("container:"))
    }

    /// The name of the container's interface, once it is made.
    pub fn interface_name(&self) -> Option<&str> {
        self.result.interfaces.last().map(|interface| interface.name.as_str())
    }
}

/// The document's networks: `wb.network`, then those of `wb.networks`. One without a name is the default network.
pub fn attachments(doc: &Document) -> Result<Vec<Attachment>, Error> {
    let first: Attachment = doc.read("/wb/network")?.unwrap_or_default();
    let mut all = vec![first];
    all.extend(doc.read::<Vec<Attachment>>("/wb/networks")?.unwrap_or_default());
    for attachment in all.iter_mut().filter(|attachment| attachment.name.is_empty()) {
        DEFAULT.clone_into(&mut attachment.name);
    }
    Ok(all)
}

/// Sets one member of the document's `index`-th network, counted as [`attachments`] does.
pub fn set_member(
    doc: &mut Document,
    index: usize,
    member: &str,
    value: impl Serialize,
) -> Result<(), Error> {
    let Some(index) = index.checked_sub(1) else { return doc.set(&format!("/wb/network/{member}"), value) };
    let mut more: Vec<Map<String, Value>> = doc.read("/wb/networks")?.unwrap_or_default();
    let value = serde_json::to_value(value).context(|| format!("wb.networks: {member}"))?;
    if let Some(one) = more.get_mut(index) {
        one.insert(member.to_owned(), value);
    }
    doc.set("/wb/networks", more)
}

/// Checks that `name` can name a network.
pub fn check_name(name: &str) -> Result<(), Error> {
    names::check("network name", name)?;
    if RESERVED.contains(&name) {
        return Err(Error::usage(format!("network name {name}: reserved")));
    }
    Ok(())
}

/// Where a network's list lies. The name must have been checked.
pub fn path(place: &Place, name: &str) -> PathBuf {
    place.networks().join(format!("{name}.conflist"))
}

/// The network `name`; `None` where there is none.
pub fn find(place: &Place, name: &str) -> Result<Option<Network>, Error> {
    names::check("network name", name)?;
    let path = path(place, name);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).context(|| path.display().to_string()).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(|| path.display().to_string()),
    }
}

/// The network `name`; a missing one is an error.
pub fn load(place: &Place, name: &str) -> Result<Network, Error> {
    find(place, name)?.ok_or_else(|| {
        let error = Error::new(format!("no such network: {name}"));
        let others = list(place).unwrap_or_default();
        if let Some(other) = near::nearest(name, others.iter().map(|network| network.name.as_str())) {
            return error.hint(format!("did you mean {other}?"));
        }
        error.hint(format!("wb-ipam -n create --network {name} | wb-netns network create"))
    })
}

/// All networks, by name.
pub fn list(place: &Place) -> Result<Vec<Network>, Error> {
    let directory = place.networks();
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| directory.display().to_string()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let file = entry.context(|| directory.display().to_string())?.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".conflist"));
        if let Some(name) = name.filter(|name| names::check("network name", name).is_ok()) {
            // One that was removed meanwhile is no network any more.
            found.extend(find(place, name)?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_what_others_put_there() {
        let text = r#"{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"wb-netns","bridge":"wb0","isGateway":true,
            "ipam":{"type":"wb-ipam","ranges":[[{"subnet":"10.9.0.0/24"}]]}},{"type":"portmap"}],"wb.labels":{"a":"b"}}"#;
        let network: Network = serde_json::from_str(text).unwrap();
        let plugin = network.plugin().unwrap();
        assert_eq!(plugin.bridge.as_deref(), Some("wb0"));
        assert_eq!(plugin.ipam.ranges[0][0].subnet.to_string(), "10.9.0.0/24");
        let again: Network = serde_json::from_value(serde_json::to_value(&network).unwrap()).unwrap();
        assert_eq!(again, network);
        assert_eq!(again.other["wb.labels"]["a"], "b");
    }

    #[test]
    fn reserved_words_name_no_network() {
        for name in ["host", "none", "container", "a/b", ""] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("bridge").is_ok());
    }
}
