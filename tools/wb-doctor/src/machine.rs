//! What can be known of this machine by looking: nothing here changes anything.

use flate2::read::GzDecoder;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_store::Place;
use wb_sys::capability::{self, Set};
use wb_sys::proc::MountInfo;

/// Whether the kernel has a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It has, or will load it when it is asked for.
    Present,
    /// It has not; why, and what mends it.
    Absent {
        /// Why.
        cause: String,
        /// What to do.
        mend: String,
    },
    /// It cannot be known without trying.
    Unknown,
}

/// This machine.
#[derive(Debug)]
pub struct Machine {
    /// `/`, or in tests a directory that stands for it.
    pub root: PathBuf,
    /// Where containers and images lie.
    pub place: Place,
    /// What is mounted.
    pub mounts: Vec<MountInfo>,
    /// What this process may do.
    pub permitted: Set,
    /// Who this process is.
    pub uid: u32,
    /// Where programs are.
    path: Vec<PathBuf>,
}

impl Machine {
    /// The one this runs on.
    pub fn here() -> Result<Self, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Ok(Self {
            root: "/".into(),
            place: Place::from_env()?,
            mounts: wb_sys::proc::mountinfo("self").context(|| "/proc/self/mountinfo")?,
            permitted: capability::permitted().context(|| "capabilities")?,
            uid: nix::unistd::geteuid().as_raw(),
            path: std::env::split_paths(&path).collect(),
        })
    }

    /// One that consists of files, as long as it lives: `name` and content each.
    #[cfg(test)]
    pub fn of_files(name: &str, files: &[(&str, &str)]) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("wb-doctor-{name}-{}-{number}", std::process::id()));
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self {
            place: Place::at(root.join("wb"), root.join("run")),
            mounts: Vec::new(),
            permitted: Set::ALL,
            uid: 0,
            path: vec![root.join("bin")],
            root,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's text; `None` where there is none, or it may not be read.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read(self.at(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file's number.
    pub fn number(&self, path: &str) -> Option<i64> {
        self.read(path)?.trim().parse().ok()
    }

    /// Whether something is there.
    pub fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// A program, as the shell finds it.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().map(|directory| directory.join(name)).find(|path| is_executable(path))
    }

    /// The kernel's version.
    pub fn release(&self) -> String {
        self.read("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
    }

    /// Whether the kernel is of at least this version; yes where it does not say.
    pub fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let release = self.release();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(have_major)), Some(Ok(have_minor))) => (have_major, have_minor) >= (major, minor),
            _ => true,
        }
    }

    /// Whether the kernel has a module, or was built with it (`config` without its `CONFIG_`).
    pub fn feature(&self, module: &str, config: &str) -> Presence {
        let under = module.replace('-', "_");
        // Without a module's name it is about a part of the kernel itself.
        if !module.is_empty() && self.exists(&format!("/sys/module/{under}")) {
            return Presence::Present;
        }
        let directory = format!("/lib/modules/{}", self.release());
        let lists = |file: &str| {
            let text = self.read(&format!("{directory}/{file}")).unwrap_or_default();
            text.lines().any(|line| {
                let path = line.split(':').next().unwrap_or_default();
                let name = path.rsplit('/').next().unwrap_or_default();
                name.split(".ko").next().is_some_and(|name| name.replace('-', "_") == under)
                    && name.contains(".ko")
            })
        };
        if lists("modules.builtin") || lists("modules.dep") {
            return Presence::Present;
        }
        match self.configured(config).as_deref() {
            Some("y") => Presence::Present,
            Some("m") => Presence::Absent {
                cause: format!(
                    "the kernel has it as a module, {module}, which is neither loaded nor in {directory}"
                ),
                mend: format!("apt-get install linux-image-{}, then modprobe {module}", self.release()),
            },
            Some(_) => Presence::Absent {
                cause: format!("the kernel was built without it: CONFIG_{config} is not set"),
                mend: format!("another kernel: Debian's has CONFIG_{config}"),
            },
            None => Presence::Unknown,
        }
    }

    /// The value of an option of the kernel's configuration, `n` where it is not set; `None` where no configuration
    /// is to be found.
    fn configured(&self, option: &str) -> Option<String> {
        let text = self.read(&format!("/boot/config-{}", self.release())).or_else(|| {
            let mut text = String::new();
            let file = fs::File::open(self.at("/proc/config.gz")).ok()?;
            GzDecoder::new(file).read_to_string(&mut text).ok()?;
            Some(text)
        })?;
        let prefix = format!("CONFIG_{option}=");
        let value = text.lines().find_map(|line| line.strip_prefix(prefix.as_str()));
        Some(value.unwrap_or("n").to_owned())
    }

    /// Whether a file system can be mounted.
    pub fn has_filesystem(&self, kind: &str) -> bool {
        let known = self.read("/proc/filesystems").unwrap_or_default();
        known.lines().any(|line| line.split_whitespace().last() == Some(kind))
            || self.feature(kind, "") == Presence::Present
    }
}

/// Whether a file is there that can be executed.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
impl Drop for Machine {
    fn drop(&mut self) {
        if self.root.starts_with(std::env::temp_dir()) {
            // One of no files has no directory.
            fs::remove_dir_all(&self.root).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_loaded_built_in_installed_or_absent() {
        let machine = Machine::of_files(
            "modules",
            &[
                ("proc/sys/kernel/osrelease", "6.1.0-9-amd64\n"),
                ("sys/module/nf_tables/refcnt", "0"),
                ("lib/modules/6.1.0-9-amd64/modules.builtin", "kernel/drivers/net/veth.ko\n"),
                (
                    "lib/modules/6.1.0-9-amd64/modules.dep",
                    "kernel/net/bridge/bridge.ko.xz: kernel/net/llc.ko\n",
                ),
                (
                    "boot/config-6.1.0-9-amd64",
                    "CONFIG_MACVLAN=m\n# CONFIG_OVERLAY_FS is not set\nCONFIG_VETH=y\n",
                ),
            ],
        );
        for module in ["nf_tables", "veth", "bridge"] {
            assert_eq!(machine.feature(module, "NONE"), Presence::Present, "{module}");
        }
        assert!(
            matches!(machine.feature("macvlan", "MACVLAN"), Presence::Absent { mend, .. } if mend.contains("modprobe macvlan"))
        );
        assert!(
            matches!(machine.feature("overlay", "OVERLAY_FS"), Presence::Absent { cause, .. } if cause.contains("not set"))
        );
        assert!(matches!(machine.feature("", "CGROUP_BPF"), Presence::Absent { .. }));
        assert!(machine.is_at_least(5, 12) && machine.is_at_least(6, 1) && !machine.is_at_least(6, 2));
    }

    #[test]
    fn a_machine_that_tells_nothing_is_not_blamed() {
        let machine = Machine::of_files("nothing", &[]);
        assert_eq!(machine.feature("veth", "VETH"), Presence::Unknown);
        assert!(machine.is_at_least(5, 12));
    }
}
