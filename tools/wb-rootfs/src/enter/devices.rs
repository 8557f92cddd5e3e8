//! `/dev`: the default devices, those of `linux.devices`, the links every program expects, and the console.

use super::plan::Plan;
use super::root::{Kind, Root};
use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use wb_doc::{Context, Error, oci};
use wb_sys::{Errno, mount_fd, node};

/// config-linux.md, "Default Devices": always there, readable and writable by all.
const DEFAULT: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// config-linux.md, "Dev symbolic links", and ptmx of the container's own devpts.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Major numbers of pseudo-terminals' slaves (devices.txt, "Unix98 PTY slaves").
const PTY_MAJORS: std::ops::RangeInclusive<u64> = 136..=143;

/// The terminal on standard input as a detached bind mount, to become `/dev/console`.
///
/// It is found on the host's devpts by its number and must be the very file that standard input is
/// (CVE-2025-52565: a path alone could have been redirected).
pub fn console() -> Result<OwnedFd, Error> {
    let name = || "the terminal on standard input";
    let input = node::status(std::io::stdin()).context(name)?;
    let (major, minor) = node::device(&input);
    if node::kind(&input) != SFlag::S_IFCHR || !PTY_MAJORS.contains(&major) {
        return Err(Error::new("standard input is no pseudo-terminal, and process.terminal is true")
            .hint("wb-monitor gives one"));
    }
    let number = (major - PTY_MAJORS.start()) * 256 + minor;
    let path = format!("/dev/pts/{number}");
    let clone = mount_fd::clone_path(Path::new(&path), false, "the terminal, to become the console")
        .context(|| path.clone())?;
    let found = node::status(&clone).context(|| path.clone())?;
    let same = (found.st_dev, found.st_ino, found.st_rdev) == (input.st_dev, input.st_ino, input.st_rdev);
    if same { Ok(clone) } else { Err(Error::new(format!("{path} is not the terminal on standard input"))) }
}

/// Makes everything below `/dev` that is no mount of the document.
pub fn make(plan: &Plan, console: Option<&OwnedFd>, root: &Root) -> Result<(), Error> {
    if plan.default_devices {
        let dev = root.make(Path::new("/dev"), Kind::Directory)?;
        for &(name, major, minor) in DEFAULT {
            let device = Node { kind: SFlag::S_IFCHR, major, minor, mode: 0o666 };
            device
                .make(&dev, Path::new(name), &Path::new("/dev").join(name))
                .context(|| format!("/dev/{name}"))?;
        }
        for &(name, target) in LINKS {
            let made = node::symlink(Path::new(target), &dev, Path::new(name), "a link programs expect");
            node::allow_existing(made).context(|| format!("/dev/{name}"))?;
        }
    }
    // The multiplexer is the one of the container's own devpts, whatever a list taken from the host's /dev says.
    let is_ptmx = |device: &&oci::Device| plan.default_devices && device.path == "/dev/ptmx";
    for device in plan.devices.iter().filter(|device| !is_ptmx(device)) {
        listed(device, root).context(|| format!("device {}", device.path))?;
    }
    if let Some(console) = console {
        let place = root.make(Path::new("/dev/console"), Kind::File)?;
        mount_fd::attach(console, &place, "the terminal as the console").context(|| "/dev/console")?;
    }
    Ok(())
}

fn listed(device: &oci::Device, root: &Root) -> Result<(), Error> {
    let kind = match device.kind.as_str() {
        "c" | "u" => SFlag::S_IFCHR,
        "b" => SFlag::S_IFBLK,
        "p" => SFlag::S_IFIFO,
        other => return Err(Error::usage(format!("type {other:?} is none of c, u, b, p"))),
    };
    let mode = device.file_mode.unwrap_or(0o666) & 0o7777;
    let node = Node { kind, major: device.major, minor: device.minor, mode };
    let (parent, name) = root.make_parent(Path::new(&device.path))?;
    let is_new = node.make(&parent, &name, Path::new(&device.path))?;
    if is_new && (device.uid.unwrap_or(0), device.gid.unwrap_or(0)) != (0, 0) {
        let opened =
            node::open(&parent, &name, OFlag::O_PATH, 0, "the device just made").context(|| "open")?;
        node::chown(&opened, device.uid, device.gid, "its owner").context(|| "chown")?;
        if mode & 0o6000 != 0 {
            node::chmod(&opened, mode, "its mode again, which chown has cut").context(|| "chmod")?;
        }
    }
    Ok(())
}

/// A device node.
struct Node {
    kind: SFlag,
    major: u32,
    minor: u32,
    mode: u32,
}

impl Node {
    /// Makes it as `name` below `parent`; whether it is new. `host` is where the host may have it. The umask is 0.
    fn make(&self, parent: &OwnedFd, name: &Path, host: &Path) -> Result<bool, Error> {
        let numbers = (self.major, self.minor);
        match node::mknod(parent, name, self.kind, self.mode, numbers, "a device") {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => {
                let there = node::status_at(parent, name).context(|| "fstatat")?;
                if self.is(&there) { Ok(false) } else { Err(Error::new("something else has its place")) }
            }
            // In a user namespace nobody makes devices: the host's node is shown instead.
            Err(Errno::EPERM) => self.bind(parent, name, host).map(|()| false),
            Err(errno) => Err(Error::errno("mknod", errno)),
        }
    }

    fn bind(&self, parent: &OwnedFd, name: &Path, host: &Path) -> Result<(), Error> {
        let tree = self.find_on_host(host)?;
        let made = node::mknod(parent, name, SFlag::S_IFREG, 0o666, (0, 0), "a place for the device");
        node::allow_existing(made).context(|| "mknod")?;
        let place = node::open(parent, name, OFlag::O_PATH, 0, "its place").context(|| "open")?;
        mount_fd::attach(&tree, place.as_fd(), "the device onto its place").context(|| "move_mount")
    }

    /// The host's own node: at the same path, or by its numbers, where udev keeps links.
    fn find_on_host(&self, host: &Path) -> Result<OwnedFd, Error> {
        let kind = if self.kind == SFlag::S_IFBLK { "block" } else { "char" };
        let by_number = format!("/dev/{kind}/{}:{}", self.major, self.minor);
        let clone =
            |path: &Path| mount_fd::clone_path(path, false, "the host's device, where mknod is refused");
        let found = clone(host).or_else(|errno| clone(Path::new(&by_number)).map_err(|_| errno));
        let tree = found.context(|| format!("{} of the host", host.display()))?;
        if !self.is(&node::status(&tree).context(|| "fstat")?) {
            return Err(Error::new(format!("{} of the host is another device", host.display())));
        }
        Ok(tree)
    }

    fn is(&self, status: &nix::sys::stat::FileStat) -> bool {
        let numbers = (u64::from(self.major), u64::from(self.minor));
        node::kind(status) == self.kind && (self.kind == SFlag::S_IFIFO || node::device(status) == numbers)
    }
}
