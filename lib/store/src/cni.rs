//! The Container Network Interface (CNI specification 1.1) from a plugin's side: the call, the answer, the errors.

use crate::network::{Ip, Outcome, Plugin, Port};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::env;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use wb_doc::{Context, Error, ExitCode, MAX_DOCUMENT_BYTES, escape, names};

/// The versions a plugin of ours speaks, the newest last.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Error codes of the specification, "Error".
pub mod code {
    /// The version of the configuration is not spoken.
    pub const VERSION: u32 = 1;
    /// A variable of the environment is missing or makes no sense.
    pub const ENVIRONMENT: u32 = 4;
    /// Standard input could not be read.
    pub const IO: u32 = 5;
    /// The configuration is no JSON of the right shape.
    pub const DECODE: u32 = 6;
    /// The configuration makes no sense.
    pub const CONFIG: u32 = 7;
    /// STATUS: no network can be given now.
    pub const UNAVAILABLE: u32 = 50;
    /// Everything of a plugin's own.
    pub const OWN: u32 = 100;
}

/// A failure with its code.
#[derive(Debug)]
pub struct Refusal {
    code: u32,
    error: Error,
}

impl Refusal {
    /// A failure with a code of the specification.
    pub fn new(code: u32, error: Error) -> Self {
        Self { code, error }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(code::OWN, error)
    }
}

/// What a plugin is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Make an attachment.
    Add,
    /// Undo it; nothing to undo is fine.
    Del,
    /// Fail unless it is still there.
    Check,
    /// Undo all attachments that are not in the configuration's list.
    Gc,
    /// Fail unless an ADD could succeed.
    Status,
}

/// A call: its environment and configuration.
#[derive(Debug)]
pub struct Call {
    /// What to do.
    pub command: Command,
    /// `CNI_CONTAINERID`; empty for GC and STATUS.
    pub container_id: String,
    /// `CNI_NETNS`.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// The configuration.
    pub config: Config,
    /// The configuration as it came, for a plugin that hands it on.
    pub raw: Vec<u8>,
    args: BTreeMap<String, String>,
}

/// The configuration of one plugin.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// The version asked for.
    pub cni_version: String,
    /// The network's name.
    pub name: String,
    /// The members of our own.
    #[serde(flatten)]
    pub plugin: Plugin,
    /// What the plugins before this one, or the ADD of this attachment, made.
    pub prev_result: Option<Outcome>,
    #[serde(rename = "runtimeConfig")]
    runtime: RuntimeConfig,
    args: ConfigArgs,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<Attachment>>,
    #[serde(rename = "cni.dev/attachments")]
    attachments: Option<Vec<Attachment>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuntimeConfig {
    port_mappings: Vec<Port>,
    ips: Vec<String>,
    mac: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigArgs {
    cni: ConfigArgsCni,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigArgsCni {
    ips: Vec<String>,
}

/// One attachment of a network, as GC lists them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Attachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface in it.
    pub ifname: String,
}

impl Call {
    /// The name under which leases and ports of this attachment are kept.
    pub fn owner(&self) -> String {
        owner(&self.container_id, &self.ifname)
    }

    /// The addresses asked for: `CNI_ARGS` `IP`, `runtimeConfig.ips`, `args.cni.ips`.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, Refusal> {
        let of_args = self.args.get("IP").into_iter().flat_map(|list| list.split(','));
        let of_config = self.config.runtime.ips.iter().chain(&self.config.args.cni.ips);
        of_args
            .chain(of_config.map(String::as_str))
            .map(|text| {
                let address = text.split('/').next().unwrap_or_default();
                address.parse().map_err(|_| {
                    Refusal::new(code::CONFIG, Error::new(format!("{:?}: no IP address", escape(text))))
                })
            })
            .collect()
    }

    /// The MAC address asked for.
    pub fn mac(&self) -> Option<&str> {
        self.config.runtime.mac.as_deref().or_else(|| self.args.get("MAC").map(String::as_str))
    }

    /// The ports to be published.
    pub fn ports(&self) -> &[Port] {
        &self.config.runtime.port_mappings
    }

    /// GC: the owners that stay.
    pub fn valid_owners(&self) -> Vec<String> {
        let list = self.config.valid_attachments.as_ref().or(self.config.attachments.as_ref());
        list.into_iter().flatten().map(|one| owner(&one.container_id, &one.ifname)).collect()
    }
}

fn owner(container_id: &str, ifname: &str) -> String {
    format!("{container_id}/{ifname}")
}

/// Whether this program was called as a CNI plugin.
pub fn is_called() -> bool {
    env::var_os("CNI_COMMAND").is_some_and(|command| !command.is_empty())
}

/// Serves the call: reads it, lets `serve` act, prints the result or the error as the specification asks.
pub fn run(serve: impl FnOnce(&Call) -> Result<Option<Outcome>, Refusal>) -> ExitCode {
    let mut version = "1.0.0".to_owned();
    let answer = answer(&mut version, serve);
    let (text, status) = match answer {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(value)) => (value, ExitCode::SUCCESS),
        Err(refusal) => {
            let details = refusal.error.advice().unwrap_or_default().to_owned();
            let msg = refusal.error.to_string();
            let value =
                json!({ "cniVersion": version, "code": refusal.code, "msg": msg, "details": details });
            (value, ExitCode::FAILURE)
        }
    };
    // Nobody is left to tell if the runtime is gone.
    writeln!(io::stdout().lock(), "{text}").ok();
    status
}

fn answer(
    version: &mut String,
    serve: impl FnOnce(&Call) -> Result<Option<Outcome>, Refusal>,
) -> Result<Option<Value>, Refusal> {
    let command = env::var("CNI_COMMAND").unwrap_or_default();
    let mut raw = Vec::new();
    let limit = MAX_DOCUMENT_BYTES as u64;
    let read = io::stdin().lock().take(limit).read_to_end(&mut raw);
    read.context(|| "reading the configuration").map_err(|error| Refusal::new(code::IO, error))?;
    let decode = |error| Refusal::new(code::DECODE, error);
    let members: Map<String, Value> = match serde_json::from_slice(&raw) {
        Err(_) if command == "VERSION" && raw.trim_ascii().is_empty() => Map::new(),
        other => other.context(|| "the configuration").map_err(decode)?,
    };
    if let Some(asked) = members.get("cniVersion").and_then(Value::as_str) {
        asked.clone_into(version);
    }
    if command == "VERSION" {
        return Ok(Some(json!({ "cniVersion": version, "supportedVersions": VERSIONS })));
    }
    if !VERSIONS.contains(&version.as_str()) {
        let text = escape(version);
        *version = "1.0.0".into();
        return Err(Refusal::new(code::VERSION, Error::new(format!("CNI version {text:?} is not spoken"))));
    }
    let config: Config =
        serde_json::from_value(Value::Object(members)).context(|| "the configuration").map_err(decode)?;
    names::check("network name", &config.name).map_err(|error| Refusal::new(code::CONFIG, error))?;
    let call = call(&command, config, raw)?;
    Ok(serve(&call)?.map(|outcome| shown(&outcome, version)))
}

fn call(command: &str, config: Config, raw: Vec<u8>) -> Result<Call, Refusal> {
    let environment = |error| Refusal::new(code::ENVIRONMENT, error);
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let needed =
        |name: &str| variable(name).ok_or_else(|| environment(Error::new(format!("{name} is not set"))));
    let command = match command {
        "ADD" => Command::Add,
        "DEL" => Command::Del,
        "CHECK" => Command::Check,
        "GC" => Command::Gc,
        "STATUS" => Command::Status,
        other => {
            return Err(environment(Error::new(format!("CNI_COMMAND {:?} is not known", escape(other)))));
        }
    };
    let one = matches!(command, Command::Add | Command::Del | Command::Check);
    let (container_id, ifname) = if one {
        (needed("CNI_CONTAINERID")?, needed("CNI_IFNAME")?)
    } else {
        (String::new(), String::new())
    };
    if one {
        names::check("CNI_CONTAINERID", &container_id).map_err(environment)?;
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
        if ifname.len() > 15 || !ifname.bytes().all(plain) || matches!(ifname.as_str(), "." | "..") {
            let message = format!("CNI_IFNAME {:?}: no name for a link", escape(&ifname));
            return Err(environment(Error::new(message)));
        }
    }
    let netns = match command {
        Command::Add | Command::Check => Some(PathBuf::from(needed("CNI_NETNS")?)),
        // The namespace may be gone by then, and its name with it.
        _ => variable("CNI_NETNS").map(PathBuf::from),
    };
    let pairs = variable("CNI_ARGS").unwrap_or_default();
    let args = pairs.split(';').filter_map(|pair| pair.split_once('='));
    let args = args.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Ok(Call { command, container_id, netns, ifname, config, raw, args })
}

/// A result in the form of `version`: before 1.0 each address said which family it is of.
pub fn shown(outcome: &Outcome, version: &str) -> Value {
    let mut outcome = outcome.clone();
    version.clone_into(&mut outcome.cni_version);
    let families: Vec<&str> =
        outcome.ips.iter().map(|ip: &Ip| if ip.address.addr().is_ipv4() { "4" } else { "6" }).collect();
    let mut value = json!(outcome);
    if version.starts_with("0.") {
        for (index, family) in families.into_iter().enumerate() {
            value["ips"][index]["version"] = family.into();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_follows_the_version_asked_for() {
        let ip = Ip { address: "10.0.0.2/24".parse().unwrap(), gateway: None, interface: None };
        let outcome = Outcome { ips: vec![ip], ..Outcome::default() };
        assert_eq!(shown(&outcome, "0.4.0")["ips"][0]["version"], "4");
        assert_eq!(shown(&outcome, "1.0.0")["ips"][0].get("version"), None);
    }

    #[test]
    fn reads_what_a_runtime_adds() {
        let config: Config = serde_json::from_value(json!({
            "cniVersion": "1.0.0", "name": "x", "type": "wb-netns", "bridge": "br0", "isGateway": true,
            "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"},
            "runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]},
            "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]
        }))
        .unwrap();
        assert_eq!(config.plugin.bridge.as_deref(), Some("br0"));
        assert_eq!(config.plugin.ipam.kind, "host-local");
        assert_eq!(config.runtime.port_mappings[0].container_port, 8080);
        assert_eq!(config.valid_attachments.unwrap()[0].ifname, "eth0");
    }
}
