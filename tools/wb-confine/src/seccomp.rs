//! Which system calls the next program may make.

mod compile;
mod profile;
mod table;

use profile::Profile;
use serde_json::Value;
use wb_doc::{Context, Error};
use wb_sys::seccomp::{self, Instruction};

/// A compiled profile.
#[derive(Debug)]
pub struct Filter {
    program: Vec<Instruction>,
    flags: u32,
}

impl Filter {
    /// Compiles `linux.seccomp`.
    pub fn of(profile: &Value) -> Result<Self, Error> {
        let profile = Profile::of(profile)?;
        Ok(Self { program: compile::compile(&profile)?, flags: profile.flags })
    }

    /// Puts it in force, for this process and all that come from it. Without `no_new_privs` this takes CAP_SYS_ADMIN.
    pub fn load(&self) -> Result<(), Error> {
        seccomp::load(&self.program, self.flags).context(|| "seccomp filter")
    }
}
