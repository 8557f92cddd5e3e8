//! What `linux.seccomp` means to the kernel: a profile as a compiled filter, and where that is kept.
//!
//! Compiling takes longer than loading. So the tool that reads a profile compiles it once for all containers
//! ([`kept`]), and what comes out goes with the document, to the tool that loads it behind the container's root.
#![deny(missing_docs)]

mod compile;
pub mod kept;
mod profile;
mod table;

use profile::Profile;
use serde_json::Value;
use wb_doc::Error;
use wb_sys::seccomp::Instruction;

/// A compiled profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// What the kernel runs.
    pub program: Vec<Instruction>,
    /// The flags of seccomp(2).
    pub flags: u32,
    /// Whether a process outside decides about some calls.
    pub notifies: bool,
}

impl Filter {
    /// Compiles `linux.seccomp`.
    pub fn of(profile: &Value) -> Result<Self, Error> {
        let profile = Profile::of(profile)?;
        let program = compile::compile(&profile)?;
        Ok(Self { program, flags: profile.flags, notifies: profile.notifies })
    }
}
