//! The verbs on networks that only look: list, inspect.

use crate::network::{Names, lines};
use crate::usage;
use clap::Args;
use serde_json::{Value, json};
use wb_doc::{Context, Error, ExitCode, clock, has_label, table};
use wb_store::Place;
use wb_store::network::{self, Network};

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print a table
    #[arg(long)]
    table: bool,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    /// Print the names only
    #[arg(short, long)]
    quiet: bool,
    /// Print what this template says of each: .ID, .Name, .Driver, .Scope, .Internal, .Labels, .CreatedAt; a leading
    /// "table" gives headings
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["json", "quiet"])]
    format: Option<String>,
    /// Accepted for docker's sake: a network's name is all of its id
    #[arg(long)]
    no_trunc: bool,
    /// Only those that match: name=PART, driver=NAME, label=KEY[=VALUE], dangling=true|false
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    names: Names,
    /// Print what this template says of each, with docker's names
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// All networks: one configuration list a line, or as the flags say.
pub fn list(place: &Place, args: &ListArgs) -> Result<ExitCode, Error> {
    let mut networks = network::list(place)?;
    for filter in &args.filters {
        networks = choose(networks, filter)?;
    }
    if args.quiet {
        return lines(networks.into_iter().map(|network| network.name));
    }
    if let Some(format) = &args.format {
        return formatted(place, format, &networks);
    }
    if args.json {
        return lines(json_lines(&[&networks], serde_json::to_string_pretty)?.into_iter());
    }
    if args.table {
        return lines(people(&networks)?.into_iter());
    }
    lines(json_lines(&networks, serde_json::to_string)?.into_iter())
}

/// Those of the networks that a filter lets through.
fn choose(networks: Vec<Network>, filter: &str) -> Result<Vec<Network>, Error> {
    let wrong =
        || Error::usage(format!("invalid filter {filter:?}")).hint("name=, driver=, label= or dangling=");
    let (key, value) = filter.split_once('=').ok_or_else(wrong)?;
    let dangling = match (key, value) {
        ("dangling", "true" | "1") => true,
        ("dangling", "false" | "0") | ("name" | "driver" | "label", _) => false,
        _ => return Err(wrong()),
    };
    let mut chosen = Vec::new();
    for network in networks {
        let labels = network.other.get("wb.labels");
        let matches = match key {
            "name" => network.name.contains(value),
            "driver" => driver_of(&network)? == value,
            "label" => has_label(value, |key| labels?.get(key)?.as_str()),
            _ => (usage::count(&network.plugin()?)? == 0) == dangling,
        };
        if matches {
            chosen.push(network);
        }
    }
    Ok(chosen)
}

fn driver_of(network: &Network) -> Result<String, Error> {
    Ok(network.plugin()?.driver.unwrap_or_else(|| "bridge".into()))
}

/// What a template says of each.
fn formatted(place: &Place, format: &str, networks: &[Network]) -> Result<ExitCode, Error> {
    let named = networks.iter().map(|network| named(place, network)).collect::<Result<Vec<_>, _>>()?;
    lines(table::formatted(format, "NETWORK", &named)?.lines().map(str::to_owned))
}

/// A network under docker's names; its name is its id.
fn named(place: &Place, network: &Network) -> Result<Value, Error> {
    let plugin = network.plugin()?;
    let sets = plugin.ipam.sets();
    let ranges = sets.iter().flatten();
    let pools: Vec<Value> =
        ranges.map(|range| json!({"Subnet": range.subnet, "Gateway": range.gateway})).collect();
    let created = clock::modified(&network::path(place, &network.name));
    Ok(json!({
        "ID": network.name, "Id": network.name, "Name": network.name, "Driver": driver_of(network)?,
        "Scope": "local", "Internal": plugin.internal, "Created": created, "CreatedAt": created,
        "Labels": network.other.get("wb.labels").cloned().unwrap_or_else(|| json!({})),
        "IPAM": {"Driver": "default", "Config": pools},
        "Options": {},
    }))
}

fn people(networks: &[Network]) -> Result<Vec<String>, Error> {
    let mut rows = Vec::new();
    for network in networks {
        let plugin = network.plugin()?;
        let subnets = plugin.ipam.sets().into_iter().flatten().map(|range| range.subnet.to_string());
        let driver = driver_of(network)?;
        let driver = if plugin.internal { format!("{driver} (internal)") } else { driver };
        let link = plugin.bridge.or(plugin.master).unwrap_or_default();
        rows.push(vec![network.name.clone(), driver, link, subnets.collect::<Vec<_>>().join(", ")]);
    }
    let table = table::layout(&["NETWORK", "DRIVER", "BRIDGE", "SUBNETS"], &rows);
    Ok(table.lines().map(str::to_owned).collect())
}

/// The configuration lists of the networks named, as one JSON array, or as a template says.
pub fn inspect(place: &Place, args: &InspectArgs) -> Result<ExitCode, Error> {
    let networks = args.names.all().map(|name| network::load(place, name)).collect::<Result<Vec<_>, _>>()?;
    if let Some(format) = &args.format {
        return formatted(place, format, &networks);
    }
    lines(json_lines(&[&networks], serde_json::to_string_pretty)?.into_iter())
}

fn json_lines<T>(items: &[T], to_string: fn(&T) -> serde_json::Result<String>) -> Result<Vec<String>, Error> {
    items.iter().map(|item| to_string(item).context(|| "writing the list")).collect()
}
