//! Who the next program is, found inside the root.

use crate::plan::{Plan, User};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use wb_doc::{Context, Error};
use wb_store::passwd;

/// Numbers, and the home directory where it was looked up.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// Uid, gid and groups; `None` leaves all three as they are.
    pub ids: Option<Ids>,
    /// For `HOME`, if the environment has none.
    pub home: Option<String>,
}

/// The numbers.
#[derive(Debug, PartialEq, Eq)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Supplementary groups, all of them.
    pub groups: Vec<u32>,
}

/// Finds the numbers of `plan.user`, and its home if the environment is the document's and lacks one.
pub fn find(plan: &Plan) -> Result<Identity, Error> {
    let needs_home = plan.env.as_ref().is_some_and(|env| !env.iter().any(|pair| pair.starts_with("HOME=")));
    let looked_up = |user: &str| {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        passwd::resolve(open("/", flags, Mode::empty()).context(|| "/")?, user)
    };
    Ok(match &plan.user {
        User::Unchanged => Identity { ids: None, home: None },
        User::Named(user) => {
            let found = looked_up(user)?;
            let groups = with(found.additional_gids, &plan.additional_gids);
            let ids = Ids { uid: found.uid, gid: found.gid, groups };
            Identity { ids: Some(ids), home: needs_home.then_some(found.home) }
        }
        User::Ids { uid, gid } => {
            // A root file system without a readable passwd has no homes.
            let home =
                if needs_home { looked_up(&uid.to_string()).ok().map(|found| found.home) } else { None };
            let ids = Ids { uid: *uid, gid: *gid, groups: plan.additional_gids.clone() };
            Identity { ids: Some(ids), home: home.or_else(|| needs_home.then(|| "/".to_owned())) }
        }
    })
}

fn with(mut groups: Vec<u32>, more: &[u32]) -> Vec<u32> {
    for gid in more {
        if !groups.contains(gid) {
            groups.push(*gid);
        }
    }
    groups
}
