//! One container's cgroup: its directories in every hierarchy, made and removed.

use crate::hierarchy::{Hierarchies, Hierarchy};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use wb_doc::{Context, Document, Error};
use wb_store::Place;
use wb_sys::{Errno, file};

/// The v1 controllers every container is put under: what limits, counts, freezes and guards it. The others cost a
/// directory each and are used only where a limit asks for them.
const ALWAYS_V1: [&str; 6] = ["cpu", "cpuacct", "devices", "freezer", "memory", "pids"];
/// The v2 controllers every container is put under, where the machine has them.
const ALWAYS_V2: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// The key of the v2 directory in `wb.cgroup.paths`.
pub const UNIFIED: &str = "unified";

/// A cgroup: its path in the hierarchies, and its directory for each controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// 1 (hybrid too) or 2.
    pub version: u8,
    /// Absolute directories by controller; the v2 tree as [`UNIFIED`].
    pub paths: BTreeMap<String, PathBuf>,
}

/// The cgroup's path counted from the root of every hierarchy: `linux.cgroupsPath`, by default `/wb/<id>`.
///
/// A relative path is below our own parent, as the runtime-spec leaves it to the runtime. `..` is refused.
pub fn path_of(document: &Document, place: &Place) -> Result<PathBuf, Error> {
    let parent = Path::new("/").join(place.machine_name("wb"));
    let path = match document.str_at("/linux/cgroupsPath") {
        Some(given) => parent.join(given),
        None => parent.join(document.id()?),
    };
    let proper = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !proper || path.parent().is_none() {
        return Err(Error::usage(format!(
            "linux.cgroupsPath {}: not a path below a hierarchy's root",
            path.display()
        )));
    }
    Ok(path)
}

/// The path below the root of what is delegated: our own parent, or what was asked for, whatever was delegated when
/// the container ran before.
pub fn below(document: &Document, place: &Place, delegated: &Hierarchies) -> Result<String, Error> {
    let path = path_of(document, place)?;
    let parent = place.machine_name("wb");
    let parts: Vec<_> = path.components().filter(|part| *part != Component::RootDir).collect();
    let own = parts.iter().position(|part| part.as_os_str() == parent.as_str()).unwrap_or(0);
    let root = delegated.unified.as_ref().map_or(Path::new("/"), Hierarchy::root);
    let path = parts[own..].iter().fold(root.to_owned(), |path, part| path.join(part));
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::new(format!("cgroup {}: not UTF-8", path.display())))
}

impl Group {
    /// The directories the cgroup `path` has or would have, for the usual controllers and those in `asked`.
    pub fn plan(hierarchies: &Hierarchies, path: &Path, asked: &BTreeSet<String>) -> Result<Self, Error> {
        let mut paths = BTreeMap::new();
        for controller in ALWAYS_V1.iter().copied().chain(asked.iter().map(String::as_str)) {
            if let Some(hierarchy) = hierarchies.v1.get(controller) {
                paths.insert(controller.to_owned(), hierarchy.directory(path));
            } else if asked.contains(controller) && !hierarchies.has_unified(controller) {
                return Err(Error::new(format!(
                    "the {controller} controller is not available on this machine"
                ))
                .hint("grep . /proc/cgroups; the kernel's command line may disable it"));
            }
        }
        let wants_unified = hierarchies.version() == 2
            || asked.iter().any(|controller| !hierarchies.v1.contains_key(controller.as_str()));
        if let (Some(unified), true) = (&hierarchies.unified, wants_unified) {
            paths.insert(UNIFIED.to_owned(), unified.directory(path));
        }
        Ok(Self { version: hierarchies.version(), paths })
    }

    /// Every directory that `path` may have, whichever controllers it was made for.
    pub fn possible(hierarchies: &Hierarchies, path: &Path) -> Self {
        let v1 = hierarchies
            .v1
            .iter()
            .map(|(controller, hierarchy)| (controller.clone(), hierarchy.directory(path)));
        let unified = hierarchies.unified.iter().map(|unified| (UNIFIED.to_owned(), unified.directory(path)));
        Self { version: hierarchies.version(), paths: v1.chain(unified).collect() }
    }

    /// Every directory of `path` that exists.
    pub fn existing(hierarchies: &Hierarchies, path: &Path) -> Self {
        Self::possible(hierarchies, path).now()
    }

    /// Those of its directories that exist now.
    pub fn now(&self) -> Self {
        let exists = |(_, directory): &(&String, &PathBuf)| directory.is_dir();
        let paths = self.paths.iter().filter(exists).map(|(name, path)| (name.clone(), path.clone()));
        Self { version: self.version, paths: paths.collect() }
    }

    /// The directory that holds `controller`'s files.
    pub fn directory(&self, controller: &str) -> Option<&Path> {
        self.paths.get(controller).or_else(|| self.paths.get(UNIFIED)).map(PathBuf::as_path)
    }

    /// The distinct directories: co-mounted controllers share one.
    pub fn directories(&self) -> BTreeSet<&Path> {
        self.paths.values().map(PathBuf::as_path).collect()
    }

    /// Makes the directories. Parents are made where they are missing, and on v2 their controllers are enabled for
    /// their children.
    pub fn make(&self, hierarchies: &Hierarchies, asked: &BTreeSet<String>) -> Result<(), Error> {
        for directory in self.directories() {
            // The last container's end removes the parent, perhaps at this very moment.
            let mut tries = 0..100;
            while let Err(error) = self.make_one(hierarchies, directory, asked) {
                if error.raw_errno() != Some(Errno::ENOENT) || tries.next().is_none() {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn make_one(
        &self,
        hierarchies: &Hierarchies,
        directory: &Path,
        asked: &BTreeSet<String>,
    ) -> Result<(), Error> {
        let unified = self.paths.get(UNIFIED).is_some_and(|path| path == directory);
        let cpusets = hierarchies.v1.get("cpuset").map(Hierarchy::top);
        let make_v1 = |path: &Path| make_v1(path, cpusets.is_some_and(|top| path.starts_with(top)));
        if !unified {
            // The parent is there unless this is the first container; only v2 has something to do in parents.
            match make_v1(directory) {
                Err(error) if error.raw_errno() == Some(Errno::ENOENT) => {}
                done => return done,
            }
        }
        let top = Self::top_of(hierarchies, directory);
        if unified {
            enable_controllers(hierarchies, &top, asked)?;
        }
        let mut path = top.clone();
        for part in directory.strip_prefix(&top).unwrap_or(directory) {
            path.push(part);
            if !unified {
                make_v1(&path)?;
                continue;
            }
            make_directory(&path)?;
            if path != directory {
                enable_controllers(hierarchies, &path, asked)?;
            }
        }
        Ok(())
    }

    fn top_of(hierarchies: &Hierarchies, directory: &Path) -> PathBuf {
        hierarchies
            .v1
            .values()
            .chain(&hierarchies.unified)
            .map(Hierarchy::top)
            .find(|top| directory.starts_with(top))
            .unwrap_or(Path::new("/"))
            .to_owned()
    }

    /// Writes the group into `wb.cgroup`.
    pub fn record(&self, document: &mut Document) -> Result<(), Error> {
        let paths: BTreeMap<_, _> =
            self.paths.iter().map(|(key, path)| (key, path.to_string_lossy())).collect();
        document.set("/wb/cgroup/version", self.version)?;
        document.set("/wb/cgroup/paths", paths)
    }
}

/// Makes one cgroup; false where it was there.
fn make_directory(path: &Path) -> Result<bool, Error> {
    match file::mkdir(path, 0o755, "a cgroup is a directory") {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(Error::errno(path.display(), errno)).map_err(|error| match errno {
            Errno::EACCES | Errno::EPERM | Errno::EROFS => {
                error.hint("cgroups are made by root, or in a subtree that was delegated to you")
            }
            _ => error,
        }),
    }
}

/// Makes one v1 cgroup, ready for tasks.
fn make_v1(directory: &Path, is_cpuset: bool) -> Result<(), Error> {
    let made = make_directory(directory)?;
    if made && is_cpuset { inherit_cpuset(directory) } else { Ok(()) }
}

/// Enables for the children of `directory` what containers use, as far as the machine has it.
///
/// What somebody asked for must be there; the rest is taken where it can be had (a controller may be in use by a
/// v1 hierarchy, or not delegated).
fn enable_controllers(
    hierarchies: &Hierarchies,
    directory: &Path,
    asked: &BTreeSet<String>,
) -> Result<(), Error> {
    let file = directory.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file).context(|| file.display().to_string())?;
    let is_on = |controller: &str| enabled.split_whitespace().any(|word| word == controller);
    // One with processes can give its children threaded controllers alone, and would be the root of a threaded tree
    // from then on, where no container can be (cgroup-v2.rst, "Threads"). The hierarchy's root, without a type, may.
    let is_full = directory.join("cgroup.type").exists() && !processes(directory)?.is_empty();
    let wanted = ALWAYS_V2.iter().copied().chain(asked.iter().map(String::as_str));
    for controller in wanted.collect::<BTreeSet<_>>() {
        let there = hierarchies.unified_controllers.iter().any(|word| word == controller);
        if is_on(controller) || !there {
            continue;
        }
        let result = if is_full {
            Err(Errno::EBUSY)
        } else {
            file::write_control(&file, &format!("+{controller}"), "children may use the controller")
        };
        if let (Err(errno), true) = (result, asked.contains(controller)) {
            let error = Error::errno(format!("+{controller} > {}", file.display()), errno);
            return Err(match errno {
                Errno::EBUSY => {
                    error.hint("a cgroup with processes of its own gives its children no controllers")
                }
                Errno::EACCES | Errno::EPERM => error.hint("the controller was not delegated to you"),
                _ => error,
            });
        }
    }
    Ok(())
}

/// A new v1 cpuset is empty, and no task can join it until it has CPUs and memory nodes: it takes its parent's.
fn inherit_cpuset(directory: &Path) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = directory.join(file);
        let Some(parent) = directory.parent().map(|parent| parent.join(file)) else { continue };
        let value = fs::read_to_string(&parent).context(|| parent.display().to_string())?;
        file::write_control(&own, value.trim_end(), "a v1 cpuset starts empty")
            .context(|| own.display().to_string())?;
    }
    Ok(())
}

/// The processes in a cgroup's own directory (not its children's).
pub fn processes(directory: &Path) -> Result<Vec<i32>, Error> {
    let file = directory.join("cgroup.procs");
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        // ENODEV: the cgroup was removed while it was read.
        Err(error)
            if matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOENT | Errno::ENODEV)) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error).context(|| file.display().to_string()),
    }
}

/// A cgroup and its descendants, children before parents.
pub fn subtree(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // A cgroup that vanishes meanwhile is as good as removed.
    if let Ok(entries) = fs::read_dir(directory) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.extend(subtree(&entry.path()));
            }
        }
        found.push(directory.to_owned());
    }
    found
}
