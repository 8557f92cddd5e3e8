//! wb-state: the containers' documents on disk.
//!
//! `wb-state [-n] create|put|finish|rm < documents`, `wb-state get CONTAINER...`, `wb-state list`,
//! `wb-state rename CONTAINER NAME`, `wb-state gc`
#![cfg_attr(not(test), no_main)]

mod create;
mod df;
mod docker;
mod end;
mod events;
mod gc;
mod get;
mod info;
mod list;
mod port;
mod row;
mod select;
mod size;
mod userns;
mod volume;
mod words;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use wb_doc::{Context, Document, Error, ExitCode, Filter, FilterArgs};
use wb_store::atomic::Durability;
use wb_store::{Place, record};

const TOOL: &str = "wb-state";

/// The containers' documents on disk
#[derive(Debug, Parser)]
#[command(name = TOOL, version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Verb {
    /// Claim the document's id and name
    Create {
        /// The container's id, where the document has none (default a random one)
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// The container's name, where the document has none (default a random one)
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Store the document
    Put {
        /// Print the id instead of the document, also where an earlier stage failed
        #[arg(short, long)]
        quiet: bool,
        /// Print the name instead of the document, where everything worked
        #[arg(long, conflicts_with = "quiet")]
        names: bool,
        /// Note that the container was frozen, goes on, or is being removed
        #[arg(long, value_parser = ["paused", "running", "removing"])]
        status: Option<String>,
    },
    /// Print containers' documents with their true status
    Get(get::GetArgs),
    /// List containers: documents, a line each
    List(list::ListArgs),
    /// Print what happens to containers, as it happens
    Events(events::EventsArgs),
    /// Give a container another name
    Rename {
        /// Name, id, or the unique start of an id
        container: String,
        /// The new name
        name: String,
    },
    /// A container has ended: store its document, or with --rm remove all of it
    Finish,
    /// Remove the container's record and files
    Rm {
        /// The container's id, where the document has none
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// Remove its anonymous volumes too
        #[arg(short, long)]
        volumes: bool,
        /// Print the ids of those that are gone instead of the documents
        #[arg(short, long)]
        quiet: bool,
    },
    /// Print where a container's ports are published
    Port {
        /// Name, id, or the unique start of an id
        container: String,
        /// Only this port inside: 80, 53/udp
        port: Option<String>,
    },
    /// Make, list and remove volumes
    #[command(subcommand)]
    Volume(volume::Verb),
    /// Say how much of the disk images, containers and volumes take
    Df(df::DfArgs),
    /// Say what this place and this machine have
    Info(info::InfoArgs),
    /// Print the documents of which leftovers are on the machine; remove half-made records
    Gc,
}

impl Cli {
    /// What a verb of the flows means without flags.
    fn alone(verb: &str) -> Option<Self> {
        let verb = match verb {
            "create" => Verb::Create { id: None, name: None },
            "finish" => Verb::Finish,
            _ => return None,
        };
        Some(Self { verb, filter: FilterArgs::default() })
    }
}

wb_sys::start!(main);

fn main() -> ExitCode {
    let cli: Cli =
        wb_doc::alone(Cli::alone).unwrap_or_else(|| wb_doc::parse_filter_from(words(std::env::args_os())));
    wb_doc::main(TOOL, || run(&cli))
}

/// `list -n 3` as docker has it: a list reads no document, and so needs no `-n` of the other kind.
fn words(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut is_list = false;
    args.map(move |word| {
        is_list |= word == "list";
        match word.to_str().and_then(|text| text.strip_prefix("-n")) {
            Some("") if is_list => "--last".into(),
            Some(count) if is_list => format!("--last={}", count.trim_start_matches('=')).into(),
            _ => word,
        }
    })
}

fn run(cli: &Cli) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    Ok(match &cli.verb {
        Verb::Create { id, name } => Filter::doing(TOOL, "create")
            .run(&cli.filter, |document| create::create(&place, document, id.as_deref(), name.as_deref())),
        Verb::Put { quiet, names, status } => Filter::doing(TOOL, "put")
            .printing_ids(*quiet)
            .printing_names(*names)
            .run(&cli.filter, |document| put(&place, document, status.as_deref())),
        Verb::Get(args) => get::get(&place, args, &cli.filter),
        Verb::List(args) => list::list(&place, args)?,
        Verb::Events(args) => events::events(&place, args)?,
        Verb::Rename { container, name } => rename(&place, container, name),
        Verb::Finish => {
            Filter::undoing(TOOL, "finish").run(&cli.filter, |document| end::finish(&place, document))
        }
        Verb::Rm { id, volumes, quiet } => {
            Filter::undoing(TOOL, "rm").printing_done_ids(*quiet).run(&cli.filter, |document| {
                if let (Some(id), None) = (id, document.str_at("/wb/id")) {
                    document.set("/wb/id", id)?;
                }
                end::rm(&place, document, *volumes)
            })
        }
        Verb::Port { container, port } => port::port(&place, container, port.as_deref())?,
        Verb::Volume(verb) => volume::run(&place, verb)?,
        Verb::Df(args) => df::df(&place, args)?,
        Verb::Info(args) => info::info(&place, args)?,
        Verb::Gc => gc::gc(&place)?,
    })
}

fn put(place: &Place, document: &mut Document, status: Option<&str>) -> Result<(), Error> {
    if status == Some("removing") {
        return end::begin_removal(place, document);
    }
    if let Some(status) = status {
        document.set("/wb/state/status", status)?;
    }
    // Whether a process is frozen is forgotten at a reboot, with the process.
    let durability = if status.is_some() { Durability::Visible } else { record::durability(document) };
    *document = record::put(place, document, durability, &record::callers())?;
    Ok(())
}

/// Writes what was asked for; nobody reads any more is no failure of ours.
fn print(text: &str) -> Result<ExitCode, Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::from(141)),
        other => other.context(|| "standard output").map(|()| ExitCode::SUCCESS),
    }
}

fn rename(place: &Place, container: &str, name: &str) -> ExitCode {
    let renamed = record::resolve(place, container)
        .and_then(|id| record::rename(place, &id, name.strip_prefix('/').unwrap_or(name)));
    match renamed {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(Filter::doing(TOOL, "rename").report(&error).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_alone_means_what_clap_makes_of_it() {
        for verb in ["create", "finish"] {
            let claps = Cli::try_parse_from(["tool", verb]).unwrap();
            assert_eq!(format!("{:?}", Cli::alone(verb).unwrap()), format!("{claps:?}"));
        }
        assert!(Cli::alone("list").is_none());
    }
}
