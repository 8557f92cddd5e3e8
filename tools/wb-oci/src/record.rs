//! What is remembered of a container: its document in a directory of its own, and what the kernel says about it.

use crate::cli::Global;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Document, Error};
use wb_store::lock::Lock;
use wb_sys::{Errno, proc};

/// The directory of all containers' states.
#[derive(Debug)]
pub struct Place(PathBuf);

/// A container's directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

/// A container as it was written down.
#[derive(Debug)]
pub struct Container {
    /// Where.
    pub directory: Directory,
    /// Its document.
    pub document: Document,
    /// Its first process.
    pub process: Option<Identity>,
    /// Its cgroups by controller.
    pub cgroups: BTreeMap<String, PathBuf>,
}

/// `wb.state`: a process that can be told from a later one with its pid.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// As this pid namespace numbers it.
    pub pid: i32,
    /// In clock ticks after boot.
    pub start_time: u64,
    /// Which boot.
    pub boot_id: String,
}

/// runtime.md, "State", and the one that engines add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Somebody is making it.
    Creating,
    /// It waits to be started.
    Created,
    /// The user's program runs.
    Running,
    /// It is frozen.
    Paused,
    /// It has ended.
    Stopped,
}

impl Status {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Place {
    /// The directory the command line or the environment names.
    ///
    /// A place given by hand is one for the tools that are run, too: things that the machine shares, such as the
    /// parent of cgroups without a path, get names of its own.
    pub fn of(global: &Global) -> Result<Self, Error> {
        let tools = crate::tools::directory();
        let mut path = tools.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()));
        let mut set = vec![("PATH", path)];
        let root = match &global.root {
            Some(root) => {
                let root = std::path::absolute(root).context(|| format!("--root {}", root.display()))?;
                set.extend([("WB_ROOT", root.clone().into()), ("WB_RUN", root.clone().into())]);
                root
            }
            None => default_root(),
        };
        for (name, value) in set {
            wb_sys::program::set_variable(name, &value);
        }
        Ok(Self(root))
    }

    /// Makes the directory of a new container: of two who want an id one gets it.
    pub fn claim(&self, id: &str) -> Result<(Directory, Lock), Error> {
        check_id(id)?;
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o711).recursive(true);
        builder.create(&self.0).context(|| self.0.display().to_string())?;
        let path = self.0.join(id);
        let mut one = fs::DirBuilder::new();
        one.mode(0o711).create(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::new(format!("container with given ID already exists: {id}"))
            }
            _ => Error::errno(path.display(), error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
        })?;
        let lock = Lock::directory(&path)?;
        Ok((Directory { path }, lock))
    }

    /// The directory of a container that exists.
    pub fn directory(&self, id: &str) -> Result<Directory, Error> {
        let path = self.0.join(id);
        if check_id(id).is_err() || !path.is_dir() {
            return Err(Error::new(format!("container does not exist: {id}")));
        }
        Ok(Directory { path })
    }

    /// A container by its id.
    pub fn container(&self, id: &str) -> Result<Container, Error> {
        Container::read(self.directory(id)?)
    }

    /// All of them, by id.
    pub fn containers(&self) -> Result<Vec<Container>, Error> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.context(|| self.0.display().to_string())?,
        };
        let mut ids: Vec<_> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        ids.sort();
        // One that is just being made or removed has no document.
        Ok(ids.iter().filter_map(|id| self.container(id).ok()).collect())
    }
}

fn default_root() -> PathBuf {
    let runtime = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let run = runtime("WB_RUN").or_else(|| {
        let rootless = !nix::unistd::geteuid().is_root();
        rootless.then(|| runtime("XDG_RUNTIME_DIR").map(|directory| directory.join("wb"))).flatten()
    });
    run.unwrap_or_else(|| "/run/wb".into()).join("oci")
}

/// What runc takes for an id.
fn check_id(id: &str) -> Result<(), Error> {
    let proper = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if id.is_empty() || id == "." || id == ".." || id.len() > 1024 || !id.bytes().all(proper) {
        return Err(Error::new(format!("invalid container ID format: {id:?}")));
    }
    Ok(())
}

impl Directory {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same directory once more.
    pub fn again(&self) -> Self {
        Self { path: self.path.clone() }
    }

    /// The document.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.json")
    }

    /// What a created container waits on; it is there as long as nobody has started the container.
    pub fn start(&self) -> PathBuf {
        self.path.join("exec.fifo")
    }

    /// The other end of what a created container waits on, while it waits: it closes its own when it is let go.
    pub fn waited_on(&self) -> Result<Option<OwnedFd>, Error> {
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match nix::fcntl::open(&self.start(), flags, Mode::empty()) {
            Err(Errno::ENOENT | Errno::ENXIO) => Ok(None),
            other => other.map(Some).context(|| self.start().display().to_string()),
        }
    }

    /// What it says after its creation.
    pub fn status(&self) -> PathBuf {
        self.path.join("status.fifo")
    }

    /// Writes the document, whole or not at all.
    pub fn write(&self, document: &Document) -> Result<(), Error> {
        let (path, temporary) = (self.config(), self.path.join("config.json.tmp"));
        let name = || path.display().to_string();
        fs::write(&temporary, document.to_line()).context(name)?;
        fs::rename(&temporary, &path).context(name)
    }

    /// Removes it, and with it the claim on the id.
    pub fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context(|| self.path.display().to_string())
            }
            _ => Ok(()),
        }
    }
}

/// `wb.cgroup`.
#[derive(Debug, Default, Deserialize)]
struct Cgroup {
    #[serde(default)]
    paths: BTreeMap<String, PathBuf>,
}

impl Container {
    /// Reads what was written down.
    pub fn read(directory: Directory) -> Result<Self, Error> {
        let path = directory.config();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::new(format!("container is not complete: {} is missing", path.display())));
            }
            other => other.context(|| path.display().to_string())?,
        };
        let document = Document::parse(&bytes).context(|| path.display().to_string())?;
        let process = document.read("/wb/state")?;
        let cgroups = document.read::<Cgroup>("/wb/cgroup")?.unwrap_or_default().paths;
        Ok(Self { directory, document, process, cgroups })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.document.str_at("/wb/id").unwrap_or_default()
    }

    /// The first process, while it lives.
    pub fn alive(&self) -> Option<&Identity> {
        self.process
            .as_ref()
            .filter(|process| proc::is_alive(process.pid, process.start_time, &process.boot_id))
    }

    /// What the machine says: nothing of it is remembered.
    pub fn status(&self) -> Status {
        if self.alive().is_none() {
            return if self.process.is_none() && self.is_locked() {
                Status::Creating
            } else {
                Status::Stopped
            };
        }
        // What cannot be opened is there.
        if !matches!(self.directory.waited_on(), Ok(None)) {
            return Status::Created;
        }
        if self.is_frozen() { Status::Paused } else { Status::Running }
    }

    /// Whether its maker is at work.
    fn is_locked(&self) -> bool {
        let opened = fs::File::open(self.directory.path());
        let how = nix::fcntl::FlockArg::LockSharedNonblock;
        opened.is_ok_and(|file| matches!(nix::fcntl::Flock::lock(file, how), Err((_, Errno::EWOULDBLOCK))))
    }

    /// Whether its cgroup is frozen, or on the way there.
    pub fn is_frozen(&self) -> bool {
        let says = |controller: &str, file: &str, word: &str| {
            let path = self.cgroups.get(controller).map(|directory| directory.join(file));
            path.is_some_and(|path| {
                fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line == word))
            })
        };
        says("freezer", "freezer.state", "FROZEN")
            || says("freezer", "freezer.state", "FREEZING")
            || says("unified", "cgroup.events", "frozen 1")
    }
}
