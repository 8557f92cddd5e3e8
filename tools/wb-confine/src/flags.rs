//! The command line: what it says, and how it changes a plan.

use crate::plan::{Plan, User};
use crate::seccomp::Filter;
use clap::Parser;
use std::path::{Path, PathBuf};
use wb_doc::chain::{ChainArgs, Source};
use wb_doc::{Context, Error};
use wb_sys::capability::Set;
use wb_sys::limits::{Limit, Resource};

/// Give up privileges, then become the next program
///
/// Without a document: docker's default capabilities, everything else as the caller has it.
#[derive(Debug, Parser)]
#[command(name = "wb-confine", version)]
pub struct Cli {
    #[command(flatten)]
    pub chain: ChainArgs,
    /// Wait for a byte on this inherited file descriptor before becoming the next program
    #[arg(long, value_name = "FD")]
    pub start_fd: Option<i32>,
    /// Receive the connection to the listener for SCMP_ACT_NOTIFY on this inherited socket
    #[arg(long, value_name = "FD")]
    pub seccomp_fd: Option<i32>,
    /// Add a capability, or ALL; more than one is possible
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL; more than one is possible
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    cap_drop: Vec<String>,
    /// Become this user, looked up in /etc/passwd and /etc/group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Setuid programs and file capabilities give nothing any more
    #[arg(long)]
    no_new_privs: bool,
    /// Set a resource limit; more than one is possible
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = rlimit)]
    rlimit: Vec<(Resource, Limit)>,
    /// Allow only the system calls of this profile, a linux.seccomp as JSON; "default" is docker's
    #[arg(long, value_name = "FILE")]
    seccomp: Option<PathBuf>,
    /// Start in this directory, made if it is missing
    #[arg(short = 'w', long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// The file mode creation mask, in octal
    #[arg(long, value_name = "MODE", value_parser = octal)]
    umask: Option<u32>,
    /// Who goes first when memory is short, -1000 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,
    /// Say what had to be adjusted
    #[arg(short, long)]
    verbose: bool,
}

/// The plan with the flags on top.
pub fn apply(cli: &Cli, mut plan: Plan) -> Result<Plan, Error> {
    if !cli.chain.next.is_empty() {
        plan.args.clone_from(&cli.chain.next);
    }
    if plan.args.is_empty() {
        return Err(
            Error::usage("no command").hint("give one after the flags, or in process.args of a document")
        );
    }
    if let Some(user) = &cli.user {
        plan.user = User::Named(user.clone());
    }
    if !cli.cap_add.is_empty() || !cli.cap_drop.is_empty() {
        let set = capabilities(plan.capabilities.bounding, &cli.cap_add, &cli.cap_drop)?;
        plan.capabilities.set_all(set);
    }
    plan.no_new_privs |= cli.no_new_privs;
    if let Some(path) = &cli.seccomp {
        plan.seccomp = Some(profile(path, plan.capabilities.bounding)?);
    }
    for (resource, limit) in &cli.rlimit {
        plan.rlimits.retain(|(other, _)| other != resource);
        plan.rlimits.push((*resource, *limit));
    }
    if let Some(cwd) = &cli.cwd {
        plan.cwd = Some(cwd.clone());
    }
    plan.umask = cli.umask.unwrap_or(plan.umask);
    plan.oom_score_adj = cli.oom_score_adj.or(plan.oom_score_adj);
    plan.verbose |= cli.verbose;
    Ok(plan)
}

/// The profile in a file: a `linux.seccomp`, or a whole document with one.
fn profile(path: &Path, bounding: Set) -> Result<Filter, Error> {
    if path.as_os_str() == "default" {
        let capabilities: Vec<&str> = bounding.names().collect();
        return Filter::default_for(&capabilities);
    }
    let name = || format!("seccomp profile {}", path.display());
    let source = Source::File(path.into());
    let document = source.read(|_| Err(Error::new("no file"))).context(name)?;
    let filter = match document.at("/linux/seccomp") {
        Some(profile) => Filter::of(profile, document.at("/wb/seccompFilter")),
        None => Filter::of(&document.into_value(), None),
    };
    filter.context(name)
}

/// docker's rule: ALL first, then each name; what is both added and dropped is dropped.
fn capabilities(base: Set, add: &[String], drop: &[String]) -> Result<Set, Error> {
    let is_all = |name: &String| name.eq_ignore_ascii_case("all");
    let named = |names: &[String]| {
        names.iter().filter(|name| !is_all(name)).try_fold(Set::default(), |set, name| {
            let one = Set::of(name).ok_or_else(|| Error::usage(format!("unknown capability {name:?}")))?;
            Ok::<_, Error>(set.with(one))
        })
    };
    let (added, dropped) = (named(add)?, named(drop)?);
    let start = match (add.iter().any(is_all), drop.iter().any(is_all)) {
        (true, false) => Set::ALL,
        (_, true) => Set::default(),
        (false, false) => base,
    };
    Ok(start.with(added).without(dropped))
}

/// `NAME=SOFT[:HARD]`; `unlimited` or -1 is no limit.
fn rlimit(text: &str) -> Result<(Resource, Limit), String> {
    let (name, values) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=SOFT[:HARD]"))?;
    let resource = Resource::of(name).ok_or_else(|| format!("unknown resource {name:?}"))?;
    let number = |text: &str| match text {
        "unlimited" | "-1" => Ok(u64::MAX),
        _ => text.parse::<u64>().map_err(|_| format!("{text:?} is no limit")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let limit = Limit { soft: number(soft)?, hard: number(hard)? };
    if limit.soft > limit.hard {
        return Err(format!("the soft limit {soft} is above the hard limit {hard}"));
    }
    Ok((resource, limit))
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("{text:?} is no file mode creation mask"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(set: Set) -> Vec<&'static str> {
        set.names().collect()
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn capabilities_by_dockers_rule() {
        let base = Set::of("CHOWN").unwrap().with(Set::of("KILL").unwrap());
        let of = |add: &[&str], drop: &[&str]| capabilities(base, &list(add), &list(drop)).unwrap();
        assert_eq!(names(of(&["net_admin"], &["ALL"])), ["CAP_NET_ADMIN"]);
        assert_eq!(names(of(&[], &["CAP_KILL"])), ["CAP_CHOWN"]);
        assert!(!of(&["ALL"], &["SYS_ADMIN"]).contains(Set::of("SYS_ADMIN").unwrap()));
        assert_eq!(of(&["ALL"], &["SYS_ADMIN"]).names().count(), 40);
        assert!(capabilities(base, &list(&["nosuch"]), &[]).is_err());
    }

    #[test]
    fn limits_by_name() {
        let (resource, limit) = rlimit("nofile=1024:2048").unwrap();
        assert_eq!((resource.name(), limit), ("RLIMIT_NOFILE", Limit { soft: 1024, hard: 2048 }));
        assert_eq!(rlimit("CORE=unlimited").unwrap().1, Limit { soft: u64::MAX, hard: u64::MAX });
        for text in ["", "nofile", "nosuch=1", "nofile=2:1", "nofile=x"] {
            assert!(rlimit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_stand_above_the_document() {
        let cli = Cli::try_parse_from(["t", "--user", "5", "--no-new-privs", "id", "-u"]).unwrap();
        let plan = apply(&cli, Plan::by_hand()).unwrap();
        assert_eq!(plan.args, ["id", "-u"]);
        assert!(plan.no_new_privs);
        assert!(matches!(plan.user, User::Named(name) if name == "5"));
        let none = Cli::try_parse_from(["t"]).unwrap();
        assert_eq!(apply(&none, Plan::by_hand()).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn the_umask_is_octal() {
        assert_eq!(octal("027").unwrap(), 0o27);
        assert!(octal("8").is_err() && octal("1000").is_err());
    }
}
