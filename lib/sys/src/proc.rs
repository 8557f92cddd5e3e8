//! What `/proc` says about processes and mounts.

use crate::{Errno, Result};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

fn raw(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// A file of `/proc`, of which nobody knows the size before it is read, in one piece of up to `usual` bytes and those after.
fn read(path: impl AsRef<Path>, usual: usize) -> Result<Vec<u8>> {
    let mut text = Vec::with_capacity(usual);
    let file = fs::File::open(path).map_err(|error| raw(&error))?;
    file.take(u64::MAX).read_to_end(&mut text).map_err(|error| raw(&error))?;
    Ok(text)
}

/// A process's state letter and start time from `/proc/PID/stat` (proc(5), fields 3 and 22, the latter in clock
/// ticks after boot).
///
/// A pid names the same process as long as its start time and the boot id are the same.
pub fn stat(pid: i32) -> Result<(u8, u64)> {
    let text = read(format!("/proc/{pid}/stat"), 1024).map_err(|errno| match errno {
        Errno::ENOENT => Errno::ESRCH,
        errno => errno,
    })?;
    parse_stat(&text).ok_or(Errno::EINVAL)
}

/// The command name may hold anything, `) S 1` too: fields count from the last closing bracket.
fn parse_stat(text: &[u8]) -> Option<(u8, u64)> {
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.as_bytes().first().copied()?;
    // Field 3 was the state; field 22 is the nineteenth after it.
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// A process's parent and its own start time.
pub fn parent(pid: i32) -> Result<(i32, u64)> {
    let text = read(format!("/proc/{pid}/stat"), 1024)?;
    let (_, start) = parse_stat(&text).ok_or(Errno::EINVAL)?;
    let end = text.iter().rposition(|&byte| byte == b')').ok_or(Errno::EINVAL)?;
    let rest = std::str::from_utf8(&text[end + 1..]).map_err(|_| Errno::EINVAL)?;
    let parent = rest.split_ascii_whitespace().nth(1).and_then(|field| field.parse().ok());
    Ok((parent.ok_or(Errno::EINVAL)?, start))
}

/// When a process started, in clock ticks after boot; `ESRCH` where there is none.
pub fn start_time(pid: i32) -> Result<u64> {
    stat(pid).map(|(_, start)| start)
}

/// As [`start_time`], by a descriptor of `/proc` opened before the caller joined another mount namespace.
pub fn start_time_at(proc: impl AsFd, pid: i32) -> Result<u64> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let fd = match nix::fcntl::openat(&proc, format!("{pid}/stat").as_str(), flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Err(Errno::ESRCH),
        other => other?,
    };
    let mut text = [0; 1024];
    let length = nix::unistd::read(fd, &mut text)?;
    parse_stat(&text[..length]).map(|(_, start)| start).ok_or(Errno::EINVAL)
}

/// This process as the procfs behind `proc` numbers it, and when it started.
pub fn own_at(proc: impl AsFd) -> Result<(i32, u64)> {
    let own = nix::fcntl::readlinkat(&proc, "self")?;
    let pid = own.to_str().and_then(|pid| pid.parse().ok()).ok_or(Errno::EINVAL)?;
    Ok((pid, start_time_at(proc, pid)?))
}

/// This boot's identity, `/proc/sys/kernel/random/boot_id`.
pub fn boot_id() -> Result<String> {
    let text = read("/proc/sys/kernel/random/boot_id", 64)?;
    let text = std::str::from_utf8(&text).map_err(|_| Errno::EINVAL)?;
    Ok(text.trim_end().to_owned())
}

/// Whether `pid` is still the process that was started at `start_time` in boot `boot_id`, and no zombie.
pub fn is_alive(pid: i32, start_time: u64, boot_id: &str) -> bool {
    let alive = stat(pid).is_ok_and(|(state, start)| start == start_time && !matches!(state, b'Z' | b'X'));
    alive && self::boot_id().is_ok_and(|now| now == boot_id)
}

/// One line of `/proc/self/mountinfo` (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// The file system's device, `major:minor`; bind mounts of one file system share it.
    pub device: String,
    /// The path of the mount's root inside its file system.
    pub root: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// Options of this mount.
    pub options: String,
    /// Optional fields: `shared:N`, `master:N` and so on.
    pub optional: Vec<String>,
    /// File system type.
    pub fstype: String,
    /// Source.
    pub source: String,
    /// Options of the file system.
    pub super_options: String,
}

/// The mounts a process sees; `who` is a pid or `self`.
pub fn mountinfo(who: &str) -> Result<Vec<MountInfo>> {
    mountinfo_of(who, |_| true)
}

/// Those of the mounts a process sees whose file system's type is wanted.
pub fn mountinfo_of(who: &str, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<MountInfo>> {
    let text = read(Path::new("/proc").join(who).join("mountinfo"), 16 << 10)?;
    let text = std::str::from_utf8(&text).map_err(|_| Errno::EILSEQ)?;
    let fstype =
        |line: &str| line.split_once(" - ").and_then(|(_, right)| Some(is_wanted(right.split(' ').next()?)));
    Ok(text.lines().filter(|line| fstype(line) == Some(true)).filter_map(parse_mountinfo).collect())
}

fn parse_mountinfo(line: &str) -> Option<MountInfo> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let (device, root) = (left.next()?, left.next()?);
    let (mount_point, options) = (left.next()?, left.next()?);
    let mut right = right.splitn(3, ' ');
    Some(MountInfo {
        device: device.to_owned(),
        root: unescape(root),
        mount_point: unescape(mount_point),
        options: options.to_owned(),
        optional: left.map(str::to_owned).collect(),
        fstype: right.next()?.to_owned(),
        source: unescape(right.next()?),
        super_options: right.next().unwrap_or_default().to_owned(),
    })
}

/// Undoes the octal escapes (`\040` for a space) of mountinfo.
fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if bytes[at] == b'\\' => {
                out.push(byte);
                at += 4;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_itself() {
        let proc = std::fs::File::open("/proc").unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(own_at(proc).unwrap(), (pid, start_time(pid).unwrap()));
    }

    #[test]
    fn a_hostile_command_name_does_not_shift_fields() {
        let tail = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        let line = format!("12 (x) S 1 (y) R {tail}");
        assert_eq!(parse_stat(line.as_bytes()), Some((b'R', 4711)));
    }

    #[test]
    fn finds_itself_alive() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let start = start_time(pid).unwrap();
        let boot = boot_id().unwrap();
        assert!(is_alive(pid, start, &boot));
        assert!(!is_alive(pid, start + 1, &boot));
        assert!(!is_alive(pid, start, "another boot"));
        assert_eq!(start_time(i32::MAX), Err(Errno::ESRCH));
    }

    #[test]
    fn reads_mountinfo_lines() {
        let line =
            "36 35 98:0 /a\\040b /mnt\\0112 rw,noatime master:1 shared:2 - ext4 /dev/root rw,errors=continue";
        let info = parse_mountinfo(line).unwrap();
        assert_eq!(info.device, "98:0");
        assert_eq!(info.root, "/a b");
        assert_eq!(info.mount_point, "/mnt\t2");
        assert_eq!(info.optional, ["master:1", "shared:2"]);
        assert_eq!(info.fstype, "ext4");
    }
}
