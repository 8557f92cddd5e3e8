//! wb-ipam: which address. A bitmap under a lock.
//!
//! `wb-ipam create|add|del|check|connect|disconnect|list|gc [flags] <document >document`; a CNI plugin where `CNI_COMMAND` is set.
#![cfg_attr(not(test), no_main)]

mod books;
mod choose;
mod cni;
mod connect;
mod host;
mod lease;
mod pool;
mod subnet;
mod survivors;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use std::net::IpAddr;
use wb_doc::{Document, Error, ExitCode, Filter, FilterArgs, names};
use wb_store::Place;

const TOOL: &str = "wb-ipam";

/// Give each container an address of its own
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
    /// Choose or check the addresses of a network
    Create(choose::CreateArgs),
    /// Lease an address
    Add(Whose),
    /// Give the addresses back
    Del(Whose),
    /// Fail unless the container has the addresses its document says
    Check(Whose),
    /// Add a network to the document; lease an address if the container is plugged in
    Connect(connect::ConnectArgs),
    /// Take a network out of the document and give its address back
    Disconnect(connect::DisconnectArgs),
    /// Print the leases, one JSON object a line
    List(Which),
    /// Take back the leases of containers that have neither a record nor a network namespace
    Gc(Which),
}

#[derive(Debug, Default, Args)]
struct Whose {
    /// The container; otherwise wb.id
    #[arg(long)]
    id: Option<String>,
    /// The network; otherwise wb.network.name, and where that is absent: bridge
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// This address; once for each family
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
}

#[derive(Debug, Args)]
struct Which {
    /// Only this network
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
}

impl Whose {
    /// Puts the flags into the document.
    fn fill(&self, doc: &mut Document) -> Result<(), Error> {
        if let Some(id) = &self.id {
            doc.set("/wb/id", id)?;
        }
        if let Some(network) = &self.network {
            doc.set("/wb/network/name", network)?;
        }
        for ip in &self.ip {
            doc.set(if ip.is_ipv4() { "/wb/network/ip" } else { "/wb/network/ip6" }, ip)?;
        }
        names::check("id", doc.id()?)
    }
}

impl Cli {
    /// What a verb of the flows means without flags.
    fn alone(verb: &str) -> Option<Self> {
        let verb = match verb {
            "add" => Verb::Add(Whose::default()),
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
    Ok(match cli.verb {
        Verb::Create(args) => {
            Filter::doing(TOOL, "create").run(&cli.filter, |doc| choose::create(&place, &args, doc))
        }
        Verb::Add(whose) => Filter::doing(TOOL, "add").run(&cli.filter, |doc| {
            whose.fill(doc)?;
            wb_doc::at_birth(doc, |doc| lease::add(&place, doc))
        }),
        Verb::Del(whose) => Filter::undoing(TOOL, "del").run(&cli.filter, |doc| {
            whose.fill(doc)?;
            lease::del(&place, doc)
        }),
        Verb::Check(whose) => Filter::doing(TOOL, "check").run(&cli.filter, |doc| {
            whose.fill(doc)?;
            lease::check(&place, doc)
        }),
        Verb::Connect(args) => {
            Filter::doing(TOOL, "connect").run(&cli.filter, |doc| connect::connect(&place, &args, doc))
        }
        Verb::Disconnect(args) => {
            Filter::doing(TOOL, "disconnect").run(&cli.filter, |doc| connect::disconnect(&place, &args, doc))
        }
        Verb::List(which) => lease::list(&place, which.network.as_deref())?,
        Verb::Gc(which) => lease::gc(&place, which.network.as_deref())?,
    })
}

/// A network's subnets, in sets: a container gets one address of each set.
fn subnets(ranges: &[Vec<wb_store::network::Range>]) -> Result<Vec<Vec<subnet::Subnet>>, Error> {
    ranges.iter().map(|set| subnet::Subnet::of_set(set)).collect()
}

/// An address with the length of its subnet's prefix.
fn with_prefix(address: IpAddr, net: IpNet) -> Result<IpNet, Error> {
    IpNet::new(address, net.prefix_len()).map_err(|error| Error::new(format!("{address}: {error}")))
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
