//! Which system calls the next program may make.

mod kept;

use serde_json::Value;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use wb_doc::{Context, Error};
use wb_sys::{Errno, seccomp, socket};

/// The connection to the listener for `SCMP_ACT_NOTIFY`, and the state it is told with the descriptor.
pub type Handover = (OwnedFd, Vec<u8>);

/// The state carries the annotations, which are nobody's to bound but the document's size.
const MAX_MESSAGE_BYTES: usize = 128 << 10;

/// A compiled profile.
#[derive(Debug)]
pub struct Filter(wb_seccomp::Filter);

impl Filter {
    /// Compiles `linux.seccomp`, unless `compiled` (`wb.seccompFilter`) is what it compiles to.
    pub fn of(profile: &Value, compiled: Option<&Value>) -> Result<Self, Error> {
        match compiled.and_then(|compiled| wb_seccomp::kept::from_document(profile, compiled)) {
            Some(filter) => Ok(Self(filter)),
            None => wb_seccomp::Filter::of(profile).map(Self),
        }
    }

    /// The default profile for a container with these capabilities (`CAP_*` names).
    ///
    /// For docker's own capabilities the compiled filter is kept in this program: compiling takes longer than
    /// loading.
    pub fn default_for<S: AsRef<str>>(capabilities: &[S]) -> Result<Self, Error> {
        if !cfg!(target_arch = "x86_64") || wb_doc::seccomp::opened_by(capabilities) != ["CAP_SYS_CHROOT"] {
            return Self::of(&wb_doc::seccomp::default_profile(capabilities), None);
        }
        Ok(Self(wb_seccomp::Filter { program: kept::filter(), flags: 0, notifies: false }))
    }

    /// Puts it in force, for this process and all that come from it. Without `no_new_privs` this takes CAP_SYS_ADMIN.
    /// Where it notifies, `handover` carries the connection to the listener and what it is told.
    pub fn load(&self, handover: Option<Handover>) -> Result<(), Error> {
        match handover.filter(|_| self.0.notifies) {
            None => seccomp::load(&self.0.program, self.0.flags),
            Some((connection, message)) => {
                seccomp::load_listened(&self.0.program, self.0.flags, connection.as_fd(), &message)
            }
        }
        .map_err(|errno| match errno {
            Errno::EOWNERDEAD => Error::new("linux.seccomp: who hands the listener over has been killed"),
            errno => Error::errno("seccomp filter", errno),
        })
    }

    /// Receives the connection from whoever prepared it; nothing where the filter does not notify.
    pub fn handover(&self, prepared: Option<&File>) -> Result<Option<Handover>, Error> {
        let name = || "linux.seccomp.listenerPath";
        match (self.0.notifies, prepared) {
            (false, _) => Ok(None),
            (true, None) => Err(Error::new("linux.seccomp: SCMP_ACT_NOTIFY needs a listener: see wb-oci(8)")),
            (true, Some(prepared)) => {
                let mut message = vec![0; MAX_MESSAGE_BYTES];
                let (length, mut fds) = socket::receive(prepared, &mut message).context(name)?;
                message.truncate(length);
                let connection = fds.pop().ok_or_else(|| Error::new(format!("{}: no connection", name())))?;
                Ok(Some((connection, message)))
            }
        }
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
        let compiled =
            Filter::of(&wb_doc::seccomp::default_profile(&DOCKER_DEFAULT), None).unwrap().0.program;
        if std::env::var_os("WB_WRITE_KEPT").is_some() {
            std::fs::write("src/seccomp/kept.rs", kept::source(&compiled)).unwrap();
            return;
        }
        assert!(kept::filter() == compiled, "run the test with WB_WRITE_KEPT=1 to write kept.rs anew");
        assert_eq!(Filter::default_for(&DOCKER_DEFAULT).unwrap().0.program, compiled);
    }

    #[test]
    fn other_capabilities_are_compiled_for() {
        let docker = Filter::default_for(&DOCKER_DEFAULT).unwrap().0.program;
        assert_ne!(Filter::default_for::<&str>(&[]).unwrap().0.program, docker);
        assert_ne!(Filter::default_for(&["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]).unwrap().0.program, docker);
        assert_eq!(Filter::default_for(&["CAP_SYS_CHROOT", "CAP_KILL"]).unwrap().0.program, docker);
    }
}
