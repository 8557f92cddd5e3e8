//! The form without a document: namespaces by flags, then a command.

use crate::TOOL;
use crate::birth::{self, Birth};
use crate::maps::{self, Maps};
use crate::plan::Plan;
use nix::sched::CloneFlags;
use std::ffi::OsString;
use wb_doc::oci::IdMapping;
use wb_doc::{Context, Error, ExitCode};
use wb_sys::attend::Attendant;
use wb_sys::clone;
use wb_sys::namespace::{self, CLONE_NEWTIME};

/// Namespaces by flags.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// A new pid namespace: the command is its process 1
    #[arg(short, long)]
    pid: bool,
    /// A new mount namespace, whose mounts stay inside
    #[arg(short, long)]
    mount: bool,
    /// A new uts namespace: host and domain name
    #[arg(short, long)]
    uts: bool,
    /// A new ipc namespace: System V objects and POSIX message queues
    #[arg(short, long)]
    ipc: bool,
    /// A new network namespace, with its loopback interface up
    #[arg(short, long)]
    net: bool,
    /// A new user namespace
    #[arg(short = 'U', long)]
    user: bool,
    /// A new cgroup namespace, rooted at the present cgroup
    #[arg(short = 'C', long)]
    cgroup: bool,
    /// A new time namespace
    #[arg(short = 'T', long)]
    time: bool,
    /// The caller is root inside (with --user)
    #[arg(short = 'r', long, conflicts_with = "map_current_user")]
    map_root_user: bool,
    /// The caller keeps its ids inside (with --user)
    #[arg(short = 'c', long)]
    map_current_user: bool,
    /// User ids inside and outside (with --user); more than one is possible
    #[arg(long, value_name = "INSIDE:OUTSIDE:SIZE", value_parser = maps::parse)]
    uid_map: Vec<IdMapping>,
    /// Group ids inside and outside (with --user); more than one is possible
    #[arg(long, value_name = "INSIDE:OUTSIDE:SIZE", value_parser = maps::parse)]
    gid_map: Vec<IdMapping>,
    /// The name of the host inside (implies --uts)
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Mount a fresh procfs over /proc (implies --mount)
    #[arg(long)]
    mount_proc: bool,
    /// Seconds the monotonic clock is ahead (implies --time)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    monotonic: Option<i64>,
    /// Seconds the boot time clock is ahead (implies --time)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    boottime: Option<i64>,
    /// The command and its arguments; a shell if absent
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    command: Vec<OsString>,
}

impl Args {
    fn plan(&self) -> Result<Plan, Error> {
        let wanted = [
            ("user", self.user || self.map_root_user || self.map_current_user || !self.uid_map.is_empty()),
            ("cgroup", self.cgroup),
            ("ipc", self.ipc),
            ("uts", self.uts || self.hostname.is_some()),
            ("network", self.net),
            ("time", self.time || self.monotonic.is_some() || self.boottime.is_some()),
            ("pid", self.pid),
            ("mount", self.mount || self.mount_proc),
        ];
        let chosen = wanted.iter().filter(|(_, on)| *on).filter_map(|(name, _)| namespace::kind(name));
        let new = chosen.fold(CloneFlags::empty(), |flags, kind| flags | kind.flag);
        let clocks = [("monotonic", self.monotonic), ("boottime", self.boottime)];
        let offsets =
            clocks.iter().filter_map(|(clock, seconds)| Some(format!("{clock} {} 0\n", (*seconds)?)));
        Ok(Plan {
            new,
            hostname: self.hostname.clone(),
            maps: self.maps()?,
            time_offsets: offsets.collect(),
            mount_proc: self.mount_proc,
            private: true,
            ..Plan::default()
        })
    }

    fn maps(&self) -> Result<Option<Maps>, Error> {
        if self.uid_map.is_empty() != self.gid_map.is_empty() {
            return Err(Error::usage("--uid-map and --gid-map belong together"));
        }
        if !self.uid_map.is_empty() {
            if self.map_root_user || self.map_current_user {
                return Err(Error::usage("--uid-map excludes --map-root-user and --map-current-user"));
            }
            return Ok(Some(Maps { uids: self.uid_map.clone(), gids: self.gid_map.clone() }));
        }
        if self.map_current_user {
            let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
            return Ok(Some(Maps::own(uid.as_raw(), gid.as_raw())));
        }
        if self.map_root_user {
            return Ok(Some(Maps::own(0, 0)));
        }
        // Without a map every id inside is nobody, as with unshare(1).
        Ok(None)
    }
}

/// Runs the form.
pub fn run(mut args: Args) -> ExitCode {
    wb_doc::main(TOOL, || {
        let plan = args.plan()?;
        if args.command.is_empty() {
            args.command = vec![std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())];
        }
        start(&plan, &args.command)
    })
}

/// A pid or time namespace is entered by children only; maps that take privileges are written from outside.
fn needs_child(plan: &Plan) -> bool {
    plan.new.intersects(CloneFlags::CLONE_NEWPID | CLONE_NEWTIME)
        || plan.maps.as_ref().is_some_and(|maps| !maps.is_own())
}

fn start(plan: &Plan, command: &[OsString]) -> Result<ExitCode, Error> {
    if !needs_child(plan) {
        unshare_in_place(plan)?;
        return Err(birth::become_next(plan, command));
    }
    let attendant = Attendant::prepare().context(|| "signal mask")?;
    match birth::make(plan, false)? {
        Birth::Child(child) => {
            let settled = birth::die_with_parent()
                .and_then(|()| attendant.release().context(|| "signal mask"))
                .and_then(|()| child.settle(plan))
                .and_then(|()| birth::die_with_parent());
            let error = settled.err().unwrap_or_else(|| birth::become_next(plan, command));
            let code = error.exit_code();
            wb_doc::main(TOOL, || Err(error));
            clone::exit_now(code)
        }
        Birth::Parent(parent) => {
            parent.allow(plan)?;
            Ok(ExitCode::from(parent.attend(attendant, plan.session)?))
        }
    }
}

/// Without a child: this process itself changes its namespaces.
fn unshare_in_place(plan: &Plan) -> Result<(), Error> {
    let new = plan.new.difference(CloneFlags::CLONE_NEWCGROUP);
    if !new.is_empty() {
        let names = namespace::flag_names(new);
        namespace::unshare(new, "for this process and what it becomes")
            .context(|| format!("unshare {names}"))?;
    }
    if let Some(maps) = &plan.maps {
        // The caller's privileges ended where the new user namespace began: it maps its own id like anybody.
        maps.write_to("self", true)?;
    }
    birth::settle_in_place(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        args: Args,
    }

    fn plan(words: &[&str]) -> Result<Plan, Error> {
        Tool::try_parse_from([&["t"], words].concat()).unwrap().args.plan()
    }

    #[test]
    fn flags_are_namespaces() {
        let all = plan(&["-pmuinCT", "sh", "-c", "x"]).unwrap();
        assert_eq!(
            all.new,
            namespace::KINDS.iter().fold(CloneFlags::empty(), |flags, kind| flags | kind.flag)
                - CloneFlags::CLONE_NEWUSER
        );
        assert!(plan(&["--hostname", "h"]).unwrap().has("uts"));
        assert!(plan(&["--mount-proc"]).unwrap().has("mount"));
        assert_eq!(plan(&["--boottime", "-7"]).unwrap().time_offsets, ["boottime -7 0\n"]);
    }

    #[test]
    fn a_child_only_where_the_kernel_wants_one() {
        assert!(!needs_child(&plan(&["--mount", "--net"]).unwrap()));
        assert!(!needs_child(&plan(&["--map-root-user"]).unwrap()));
        assert!(needs_child(&plan(&["--pid"]).unwrap()));
        assert!(needs_child(&plan(&["--uid-map", "0:100000:10", "--gid-map", "0:100000:10"]).unwrap()));
        assert!(plan(&["--uid-map", "0:100000:10"]).is_err());
    }
}
