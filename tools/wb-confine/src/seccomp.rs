//! Which system calls the next program may make.

mod compile;
mod kept;
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

    /// The default profile for a container with these capabilities (`CAP_*` names).
    ///
    /// For docker's own capabilities the compiled filter is kept in this program: compiling takes longer than
    /// loading.
    pub fn default_for<S: AsRef<str>>(capabilities: &[S]) -> Result<Self, Error> {
        if !cfg!(target_arch = "x86_64") || wb_doc::seccomp::opened_by(capabilities) != ["CAP_SYS_CHROOT"] {
            return Self::of(&wb_doc::seccomp::default_profile(capabilities));
        }
        Ok(Self { program: kept::filter(), flags: 0 })
    }

    /// Puts it in force, for this process and all that come from it. Without `no_new_privs` this takes CAP_SYS_ADMIN.
    pub fn load(&self) -> Result<(), Error> {
        seccomp::load(&self.program, self.flags).context(|| "seccomp filter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wb_sys::capability::DOCKER_DEFAULT;

    /// With `WB_WRITE_KEPT=1` it writes the file anew.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_kept_filter_is_what_compiling_gives() {
        let compiled = Filter::of(&wb_doc::seccomp::default_profile(&DOCKER_DEFAULT)).unwrap().program;
        if std::env::var_os("WB_WRITE_KEPT").is_some() {
            std::fs::write("src/seccomp/kept.rs", kept::source(&compiled)).unwrap();
            return;
        }
        assert!(kept::filter() == compiled, "run the test with WB_WRITE_KEPT=1 to write kept.rs anew");
        assert_eq!(Filter::default_for(&DOCKER_DEFAULT).unwrap().program, compiled);
    }

    #[test]
    fn other_capabilities_are_compiled_for() {
        let docker = Filter::default_for(&DOCKER_DEFAULT).unwrap().program;
        assert_ne!(Filter::default_for::<&str>(&[]).unwrap().program, docker);
        assert_ne!(Filter::default_for(&["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]).unwrap().program, docker);
        assert_eq!(Filter::default_for(&["CAP_SYS_CHROOT", "CAP_KILL"]).unwrap().program, docker);
    }
}
