//! wb-netns: a network namespace and its cable.
//!
//! `wb-netns add|del|check|connect|disconnect [flags] <document >document`, `wb-netns list`, `wb-netns network create|rm|prune|list|inspect`;
//! a CNI plugin where `CNI_COMMAND` is set.
#![cfg_attr(not(test), no_main)]

mod attach;
mod bridge;
mod cable;
mod cni;
mod connect;
mod conntrack;
mod delegate;
mod dns;
mod files;
mod legacy;
mod link;
mod listing;
mod nat;
mod netns;
mod network;
mod nft;
mod ports;
mod publish;
mod relay;
mod restore;
mod shown;
mod usage;
mod way_out;
mod world;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use std::net::IpAddr;
use wb_doc::{Document, Error, ExitCode, Filter, FilterArgs, names};
use wb_store::Place;
use wb_store::network::Ip;

const TOOL: &str = "wb-netns";

/// Make a container's network namespace and plug it in
#[derive(Debug, Parser)]
#[command(name = TOOL, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Verb {
    /// Make the network namespace, its cable, its addresses and routes
    Add(AddArgs),
    /// Let go of the network namespace; the kernel takes the rest down
    Del(Whose),
    /// Fail unless namespace and interfaces are what the document says
    Check(Whose),
    /// Lay cables to the networks that were added to a running container's document
    Connect(Whose),
    /// Take a container off one network
    Disconnect(connect::DisconnectArgs),
    /// Print the network namespaces, one JSON object a line
    List,
    /// Make, remove and show networks
    #[command(subcommand)]
    Network(NetworkVerb),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum NetworkVerb {
    /// Write the configuration list of the network in the document
    Create(network::CreateArgs),
    /// Remove networks that no container is plugged into
    Rm(network::Names),
    /// Remove all networks that no container is plugged into, but for the default one
    Prune(network::PruneArgs),
    /// Print all networks, one configuration list a line
    List(listing::ListArgs),
    /// Print the configuration lists of these networks
    Inspect(listing::InspectArgs),
}

#[derive(Debug, Default, Args)]
struct Whose {
    /// The container; otherwise wb.id
    #[arg(long)]
    id: Option<String>,
}

#[derive(Debug, Default, Args)]
struct AddArgs {
    #[command(flatten)]
    whose: Whose,
    /// The network; otherwise wb.network.name, and where that is absent: bridge
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Plug into this bridge, made where it is missing, instead of a network's
    #[arg(long, value_name = "NAME", requires = "address")]
    bridge: Option<String>,
    /// An address with the length of its prefix; once for each family
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    address: Vec<IpNet>,
    /// The gateway; once for each family
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
}

impl Whose {
    fn fill(&self, doc: &mut Document) -> Result<(), Error> {
        if let Some(id) = &self.id {
            doc.set("/wb/id", id)?;
        }
        names::check("id", doc.id()?)
    }
}

impl AddArgs {
    fn fill(&self, doc: &mut Document) -> Result<(), Error> {
        self.whose.fill(doc)?;
        if let Some(network) = &self.network {
            doc.set("/wb/network/name", network)?;
        }
        if let Some(bridge) = &self.bridge {
            network::check_interface(bridge)?;
        }
        if self.address.is_empty() {
            return Ok(());
        }
        let same_family = |net: &IpNet, ip: &IpAddr| net.addr().is_ipv4() == ip.is_ipv4();
        let ip = |net: &IpNet| Ip {
            address: *net,
            gateway: self.gateway.iter().copied().find(|gateway| same_family(net, gateway)),
            interface: None,
        };
        let ips: Vec<Ip> = self.address.iter().map(ip).collect();
        let everything = |gateway: &IpAddr| if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        let routes: Vec<_> =
            self.gateway.iter().map(|gateway| serde_json::json!({ "dst": everything(gateway) })).collect();
        doc.set("/wb/network/result/ips", ips)?;
        doc.set("/wb/network/result/routes", routes)
    }
}

impl Cli {
    /// What a verb of the flows means without flags.
    fn alone(verb: &str) -> Option<Self> {
        let verb = match verb {
            "add" => Verb::Add(AddArgs::default()),
            "del" => Verb::Del(Whose::default()),
            _ => return None,
        };
        Some(Self { verb, filter: FilterArgs::default() })
    }
}

wb_sys::start!(main);

fn main() -> ExitCode {
    wb_doc::main(TOOL, run)
}

fn run() -> Result<ExitCode, Error> {
    if wb_store::cni::is_called() {
        return Ok(cni::run());
    }
    let cli: Cli = wb_doc::alone(Cli::alone).unwrap_or_else(wb_doc::parse_filter);
    let place = Place::from_env()?;
    // These two have to do outside first.
    if !matches!(cli.verb, Verb::Add(_) | Verb::Connect(_)) {
        world::enter()?;
    }
    match cli.verb {
        Verb::Add(args) => Ok(Filter::doing(TOOL, "add").run(&cli.filter, |doc| {
            args.fill(doc)?;
            wb_doc::at_birth(doc, |doc| attach::add(&place, doc, args.bridge.as_deref()))
        })),
        Verb::Del(whose) => Ok(Filter::undoing(TOOL, "del").run(&cli.filter, |doc| {
            whose.fill(doc)?;
            attach::del(&place, doc.id()?)
        })),
        Verb::Check(whose) => Ok(Filter::doing(TOOL, "check").run(&cli.filter, |doc| {
            whose.fill(doc)?;
            attach::check(doc)
        })),
        Verb::Connect(whose) => Ok(Filter::doing(TOOL, "connect").run(&cli.filter, |doc| {
            whose.fill(doc)?;
            connect::connect(&place, doc)
        })),
        Verb::Disconnect(args) => {
            Ok(Filter::doing(TOOL, "disconnect")
                .run(&cli.filter, |doc| connect::disconnect(&place, &args, doc)))
        }
        Verb::List => network::list_namespaces(),
        Verb::Network(NetworkVerb::Create(args)) if args.quiet => {
            network::create_quietly(&place, &args, wb_doc::read_one(&cli.filter)?)
        }
        Verb::Network(NetworkVerb::Create(args)) => {
            let filter = Filter::doing(TOOL, "network create");
            Ok(filter.run(&cli.filter, |doc| network::create(&place, &args, doc)))
        }
        Verb::Network(NetworkVerb::Rm(names)) => network::remove(&place, &names),
        Verb::Network(NetworkVerb::Prune(args)) => network::prune(&place, &args),
        Verb::Network(NetworkVerb::List(args)) => listing::list(&place, &args),
        Verb::Network(NetworkVerb::Inspect(args)) => listing::inspect(&place, &args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_alone_means_what_clap_makes_of_it() {
        for verb in ["add", "del"] {
            let claps = Cli::try_parse_from(["tool", verb]).unwrap();
            assert_eq!(format!("{:?}", Cli::alone(verb).unwrap()), format!("{claps:?}"));
        }
        assert!(Cli::alone("list").is_none());
    }
}
