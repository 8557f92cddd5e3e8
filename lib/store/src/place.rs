//! The two directories, and the path of everything below them.

use crate::user;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use wb_doc::Error;

const DEFAULT_ROOT: &str = "/var/lib/wb";
const DEFAULT_RUN: &str = "/run/wb";

/// A pair of `WB_ROOT` and `WB_RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    root: PathBuf,
    run: PathBuf,
}

impl Place {
    /// The place the environment names. Fails where a name is relative.
    pub fn from_env() -> Result<Self, Error> {
        let variable = |name: &str| std::env::var_os(name);
        if nix::unistd::geteuid().is_root() {
            let of_root = |path: &str| Ok(PathBuf::from(path));
            return Ok(Self {
                root: directory("WB_ROOT", || of_root(DEFAULT_ROOT))?,
                run: directory("WB_RUN", || of_root(DEFAULT_RUN))?,
            });
        }
        Ok(Self {
            root: directory("WB_ROOT", || user::root(variable))?,
            run: directory("WB_RUN", || user::run(variable))?,
        })
    }

    /// The place of two given directories.
    pub fn at(root: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), run: run.into() }
    }

    /// What a reboot keeps.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What a reboot forgets.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The image store, an OCI image layout.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Unpacked layers: `layers/sha256/<hex of the diff id>`.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers/sha256")
    }

    /// All containers' records.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// A container's directory: `config.json` (its document), `upper`, `work`, `log`. `id` must have been checked.
    pub fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// A container's directory for what a reboot forgets: `merged`, sockets, locks.
    pub fn container_run(&self, id: &str) -> PathBuf {
        self.run.join("containers").join(id)
    }

    /// What pipelines have made before a record knows of it: `made/PID`, a document of the flow with that process.
    pub fn made(&self) -> PathBuf {
        self.run.join("made")
    }

    /// Names of containers: one symlink each, to the id.
    pub fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// Networks: one CNI configuration list each.
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// Address leases.
    pub fn ipam(&self) -> PathBuf {
        self.root.join("ipam")
    }

    /// Named volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// `base` for the default place, `base-<6 hex digits>` for any other: a name for things that the whole machine
    /// shares, such as bridges, nft tables and cgroups. `base` must leave room for the 7 bytes.
    pub fn machine_name(&self, base: &str) -> String {
        if self.root == Path::new(DEFAULT_ROOT) && self.run == Path::new(DEFAULT_RUN) {
            return base.to_owned();
        }
        let mut hash = Sha256::new();
        hash.update(self.root.as_os_str().as_bytes());
        hash.update([0]);
        hash.update(self.run.as_os_str().as_bytes());
        hash.finalize()[..3].iter().fold(format!("{base}-"), |mut name, byte| {
            // Writing to a String cannot fail.
            write!(name, "{byte:02x}").ok();
            name
        })
    }
}

fn directory(variable: &str, default: impl FnOnce() -> Result<PathBuf, Error>) -> Result<PathBuf, Error> {
    let path = match std::env::var_os(variable) {
        Some(value) if !value.is_empty() => PathBuf::from(value),
        _ => default()?,
    };
    if path.is_absolute() {
        // `//a/./b/` and `/a/b` are one place.
        Ok(path.components().collect())
    } else {
        Err(Error::usage(format!("{variable} is {}: an absolute path is needed", path.display())))
    }
}
