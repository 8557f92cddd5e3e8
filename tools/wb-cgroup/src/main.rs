//! wb-cgroup: limits and accounts of a container.
//!
//! `wb-cgroup [-n] create|set|stat|limits|drift|procs|events|freeze|thaw|kill|delete [--id ID] [limits] < documents`
//! `wb-cgroup freeze [--id ID] -- COMMAND… < document`
//! `wb-cgroup stats [CONTAINER...]`
//! `wb-cgroup enter ID -- COMMAND…`
#![cfg_attr(not(test), no_main)]

mod apply;
mod delegation;
mod devices;
mod drift;
mod during;
mod end;
mod events;
mod group;
mod hierarchy;
mod limits;
mod plan;
mod resources;
mod stat;
mod stats;

use clap::{Parser, Subcommand};
use group::Group;
use hierarchy::Hierarchies;
use resources::{LimitFlags, Resources};
use std::ffi::OsString;
use std::io::Write;
use wb_doc::{Context as _, Document, Error, ExitCode, Filter, FilterArgs};
use wb_store::{Place, record};
use wb_sys::{Errno, file, process};

const TOOL: &str = "wb-cgroup";

/// Limits and accounts of a container: cgroup v1, v2 and hybrid
#[derive(Debug, Parser)]
#[command(name = TOOL, version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    filter: FilterArgs,
    /// The container's id, where the document has none
    #[arg(long, global = true, value_name = "ID")]
    id: Option<String>,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Verb {
    /// Make the cgroup and apply linux.resources
    Create {
        /// Refuse a cgroup that is there with processes in it, or frozen
        #[arg(long)]
        vacant: bool,
        /// Use these controllers too, where the machine has them
        #[arg(long, value_name = "LIST", value_delimiter = ',')]
        also: Vec<String>,
        #[command(flatten)]
        limits: LimitFlags,
    },
    /// Change the limits of a living cgroup
    Set(LimitFlags),
    /// Become COMMAND inside the cgroup
    Enter {
        /// The container's id
        name: String,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Put the accounts into wb.cgroup.stat
    Stat,
    /// Print a table of what running containers use, once a second
    Stats(stats::StatsArgs),
    /// Print the processes' numbers, a line each
    Procs,
    /// Read linux.resources back from the control files
    Limits,
    /// Add to wb.drift the limits that are others than linux.resources asks for
    Drift,
    /// Print a line for each event: OOM kills, limits reached
    Events,
    /// Stop every process; with a COMMAND, become that, and let them go on when it has ended
    Freeze {
        /// Where an ordinary user's container has no cgroup, say so, and run the command all the same
        #[arg(long)]
        where_possible: bool,
        /// The command and its arguments
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Let frozen processes go on
    Thaw,
    /// Kill every process
    Kill,
    /// Remove the cgroup; what still runs in it is killed
    Delete {
        /// Leave a cgroup alone that has processes in it, or is frozen
        #[arg(long)]
        vacant: bool,
    },
}

impl Cli {
    /// What a verb of the flows means without flags.
    fn alone(verb: &str) -> Option<Self> {
        let verb = match verb {
            "create" => Verb::Create { vacant: false, also: Vec::new(), limits: LimitFlags::default() },
            "delete" => Verb::Delete { vacant: false },
            _ => return None,
        };
        Some(Self { verb, filter: FilterArgs::default(), id: None })
    }
}

wb_sys::start!(main);

fn main() -> ExitCode {
    let cli: Cli = wb_doc::alone(Cli::alone).unwrap_or_else(wb_doc::parse_filter);
    wb_doc::main(TOOL, || run(&cli))
}

fn run(cli: &Cli) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    let hierarchies = Hierarchies::find()?;
    let context = Context { place, hierarchies, id: cli.id.clone() };
    let filter = |filter: Filter, each: &mut dyn FnMut(&mut Document) -> Result<(), Error>| {
        Ok(filter.run(&cli.filter, |document| context.identify(document).and_then(|()| each(document))))
    };
    match &cli.verb {
        Verb::Create { vacant, also, limits } => filter(Filter::doing(TOOL, "create"), &mut |document| {
            wb_doc::at_birth(document, |document| context.create(document, limits, *vacant, also))
        }),
        Verb::Set(flags) => filter(Filter::doing(TOOL, "set"), &mut |document| context.set(document, flags)),
        Verb::Enter { name, command } => context.enter(name, command),
        Verb::Stat => filter(Filter::doing(TOOL, "stat"), &mut |document| {
            document.set("/wb/cgroup/stat", stat::stat(&context.existing(document)?))
        }),
        Verb::Stats(args) => stats::stats(&context.place, &context.hierarchies, args),
        Verb::Procs => context.procs(&wb_doc::read_one(&cli.filter)?),
        Verb::Limits => filter(Filter::doing(TOOL, "limits"), &mut |document| {
            // The root cgroup has no limits.
            if document.str_at("/linux/cgroupsPath") == Some("/") {
                return Ok(());
            }
            limits::read(&context.existing(document)?, document)
        }),
        Verb::Drift => filter(Filter::doing(TOOL, "drift"), &mut |document| {
            let mut found = document.read::<Vec<serde_json::Value>>("/wb/drift")?.unwrap_or_default();
            let group = Group::existing(&context.hierarchies, &context.path(document)?);
            found.extend(drift::compare(&group, document)?);
            document.set("/wb/drift", found)
        }),
        Verb::Events => events::run(&cli.filter, |document| {
            context.identify(document)?;
            context.existing(document)
        }),
        Verb::Freeze { command, where_possible } if !command.is_empty() => {
            context.freeze_during(&cli.filter, command, *where_possible)
        }
        Verb::Freeze { .. } => filter(Filter::doing(TOOL, "freeze"), &mut |document| {
            end::freeze(&context.existing(document)?, true)
        }),
        Verb::Thaw => filter(Filter::doing(TOOL, "thaw"), &mut |document| {
            end::freeze(&context.existing(document)?, false)
        }),
        Verb::Kill => filter(Filter::undoing(TOOL, "kill"), &mut |document| {
            end::kill(&Group::existing(&context.hierarchies, &context.path(document)?))
        }),
        Verb::Delete { vacant } => filter(Filter::undoing(TOOL, "delete"), &mut |document| {
            let group = Group::possible(&context.hierarchies, &context.path(document)?);
            if !vacant || end::is_vacant(&group.now()).is_ok() {
                end::delete(&group, &context.parent())?;
            }
            document.remove("/wb/cgroup");
            Ok(())
        }),
    }
}

/// What every verb needs: where things are, and the id from the command line.
struct Context {
    place: Place,
    hierarchies: Hierarchies,
    id: Option<String>,
}

impl Context {
    /// `--id` fills or overrides `wb.id`.
    fn identify(&self, document: &mut Document) -> Result<(), Error> {
        self.id.as_ref().map_or(Ok(()), |id| {
            wb_doc::names::check("id", id)?;
            document.set("/wb/id", id)
        })
    }

    /// The name of the cgroup that all containers of this place share.
    fn parent(&self) -> String {
        self.place.machine_name("wb")
    }

    fn path(&self, document: &Document) -> Result<std::path::PathBuf, Error> {
        group::path_of(document, &self.place)
    }

    fn existing(&self, document: &Document) -> Result<Group, Error> {
        let group = Group::existing(&self.hierarchies, &self.path(document)?);
        if group.paths.is_empty() { Err(end::no_group()) } else { Ok(group) }
    }

    fn create(
        &self,
        document: &mut Document,
        flags: &LimitFlags,
        vacant: bool,
        also: &[String],
    ) -> Result<(), Error> {
        flags.apply(document)?;
        let mut resources = document.read::<Resources>("/linux/resources")?.unwrap_or_default();
        let narrowed = if delegation::is_needed() && !delegation::is_given(document) {
            let narrowed = delegation::narrow(&self.hierarchies);
            delegation::reduce(&mut resources, narrowed.as_ref());
            Some(narrowed)
        } else {
            None
        };
        let hierarchies = match &narrowed {
            None => &self.hierarchies,
            Some(Some(narrowed)) => narrowed,
            Some(None) => return nothing_to_make(&resources, document),
        };
        if narrowed.is_some() {
            document.set("/linux/cgroupsPath", group::below(document, &self.place, hierarchies)?)?;
        }
        let path = self.path(document)?;
        if vacant {
            end::is_vacant(&Group::existing(hierarchies, &path))?;
        }
        let writes = plan::plan(&resources, |controller| hierarchies.version_of(controller))?;
        let mut asked = apply::controllers(&writes, &resources);
        asked.extend(also.iter().filter(|name| hierarchies.v1.contains_key(*name)).cloned());
        let group = Group::plan(hierarchies, &path, &asked)?;
        let made = group
            .make(hierarchies, &asked)
            .and_then(|()| apply::apply(&group, hierarchies, &writes, &resources))
            .and_then(|()| group.record(document));
        made.map_err(|error| match end::delete(&group, &self.parent()) {
            Ok(()) => error,
            Err(undo) => error.hint(format!("and the half-made cgroup stays: {undo}")),
        })
    }

    fn set(&self, document: &mut Document, flags: &LimitFlags) -> Result<(), Error> {
        flags.apply(document)?;
        if document.str_at("/wb/state/status").is_some_and(|status| !matches!(status, "running" | "paused")) {
            // A container that does not run has no cgroup; its limits are applied when it is started.
            return Ok(());
        }
        let path = self.path(document)?;
        let mut resources = document.read::<Resources>("/linux/resources")?.unwrap_or_default();
        if delegation::is_needed() && !delegation::is_given(document) {
            delegation::reduce(&mut resources, Some(&self.hierarchies));
        }
        let mut writes = plan::plan(&resources, |controller| self.hierarchies.version_of(controller))?;
        let before = self.existing(document)?;
        if let Some(directory) = before.paths.get("devices") {
            let file = directory.join("devices.list");
            let list = std::fs::read_to_string(&file).context(|| file.display().to_string())?;
            writes.retain(|write| write.controller != "devices");
            writes.extend(plan::devices::change(&resources.devices, &list)?);
        }
        let asked = apply::controllers(&writes, &resources);
        let group = Group::plan(&self.hierarchies, &path, &asked)?;
        group.make(&self.hierarchies, &asked)?;
        apply::apply(&group, &self.hierarchies, &writes, &resources)?;
        join_new(&before, &group)?;
        let mut all = before;
        all.paths.extend(group.paths);
        all.record(document)
    }

    fn procs(&self, document: &Document) -> Result<ExitCode, Error> {
        if let Some(failure) = document.failure() {
            // It was reported where it happened.
            return Ok(ExitCode::from(failure.code.max(1)));
        }
        if document.str_at("/wb/state/status").is_some_and(|status| !matches!(status, "running" | "paused")) {
            let name = document.str_at("/wb/name").unwrap_or_default();
            return Err(Error::new(format!("container {name} is not running")));
        }
        let pids = end::members(&self.existing(document)?)?;
        let lines: Vec<String> = pids.iter().map(|pid| format!("{pid}\n")).collect();
        std::io::stdout().lock().write_all(lines.concat().as_bytes()).context(|| "writing the list")?;
        Ok(ExitCode::SUCCESS)
    }

    fn freeze_during(
        &self,
        filter: &FilterArgs,
        command: &[OsString],
        where_possible: bool,
    ) -> Result<ExitCode, Error> {
        let mut document = wb_doc::read_one(filter)?;
        if let Some(failure) = document.failure() {
            // It was reported where it happened.
            return Ok(ExitCode::from(failure.code.max(1)));
        }
        let freeze = |error: Error| error.within("freeze");
        self.identify(&mut document)?;
        let group = match self.existing(&document) {
            Err(error) if where_possible && delegation::is_needed() => {
                let line = format!("{TOOL}: freeze: warning: the container runs on meanwhile: {error}\n");
                // Advice nobody can read must not stop the work.
                std::io::stderr().write_all(line.as_bytes()).ok();
                return Err(freeze(during::run(command)));
            }
            group => group.map_err(freeze)?,
        };
        let id = document.str_at("/wb/id").unwrap_or_default();
        // A container without a record can be paused by nobody.
        let is_paused = || {
            record::read(&self.place, id).is_ok_and(|now| now.str_at("/wb/state/status") == Some("paused"))
        };
        during::freeze(&group, &is_paused, command).map_err(freeze)?;
        Ok(ExitCode::SUCCESS)
    }

    fn enter(&self, name: &str, command: &[OsString]) -> Result<ExitCode, Error> {
        wb_doc::names::check("id", name)?;
        let mut document = Document::default();
        document.set("/wb/id", name)?;
        let group = Group::existing(&self.hierarchies, &self.path(&document)?);
        if group.paths.is_empty() {
            return Err(Error::new(format!("enter: {name}: no such cgroup"))
                .code(125)
                .hint(format!("wb-cgroup -n create --id {name} makes it")));
        }
        for directory in group.directories() {
            let unified = group.paths.get(group::UNIFIED).is_some_and(|path| path == directory);
            wb_sys::cgroup::join(directory, unified)
                .map_err(|errno| Error::errno(format!("enter: {}", directory.display()), errno).code(125))?;
        }
        let errno = process::exec(command, "the command runs inside the cgroup");
        let code = if errno == Errno::ENOENT { 127 } else { 126 };
        Err(Error::errno(format!("enter: {}", command[0].to_string_lossy()), errno).code(code))
    }
}

/// Without a delegated cgroup a container has none; it runs all the same, unless a limit was asked for.
fn nothing_to_make(resources: &Resources, document: &mut Document) -> Result<(), Error> {
    let writes = plan::plan(resources, |_| 2)?;
    if let Some(controller) = apply::controllers(&writes, resources).first() {
        return Err(delegation::nothing_delegated(controller));
    }
    document.remove("/wb/cgroup");
    Ok(())
}

/// A controller that was not used before has an empty cgroup now: the container's processes join it.
fn join_new(before: &Group, after: &Group) -> Result<(), Error> {
    let Some(old) = before.paths.values().next() else { return Ok(()) };
    for (controller, directory) in &after.paths {
        if before.paths.contains_key(controller) {
            continue;
        }
        let procs = directory.join("cgroup.procs");
        for pid in group::processes(old)? {
            match file::write_control(&procs, &pid.to_string(), "a limit holds for what is inside") {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(Error::errno(format!("{pid} > {}", procs.display()), errno)),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_alone_means_what_clap_makes_of_it() {
        for verb in ["create", "delete"] {
            let claps = Cli::try_parse_from(["tool", verb]).unwrap();
            assert_eq!(format!("{:?}", Cli::alone(verb).unwrap()), format!("{claps:?}"));
        }
        assert!(Cli::alone("list").is_none());
    }
}
