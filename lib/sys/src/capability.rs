//! Capabilities (capabilities(7)): the table of names, and the calls that set the five sets of a process.

use crate::trace::call;
use crate::{Errno, Result};

/// Every capability by its number.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What docker gives a container: the bounding set, from which root takes its permitted and effective sets.
pub const DOCKER_DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A set of capabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// Every capability this program knows.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The set of one capability, spelled `CAP_CHOWN`, `CHOWN` or `cap_chown`.
    pub fn of(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        NAMES.iter().position(|known| &known[4..] == bare).map(|number| Self(1 << number))
    }

    /// Whether every capability of `other` is in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without what is in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The names, by number.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(number, _)| self.0 & (1 << number) != 0).map(|(_, name)| *name)
    }

    fn numbers(self) -> impl Iterator<Item = u64> {
        (0..64).filter(move |number| self.0 & (1 << number) != 0)
    }

    fn shown(self) -> String {
        crate::trace::flags(self.names().map(|name| format!("1<<{name}")))
    }
}

fn prctl(operation: i32, name: &str, arguments: [u64; 4], shown: &str, why: &str) -> Result<i32> {
    call(
        why,
        || if shown.is_empty() { format!("prctl({name})") } else { format!("prctl({name}, {shown})") },
        || {
            let [a, b, c, d] = arguments;
            // SAFETY: the operations used here take numbers only.
            Errno::result(unsafe { nix::libc::prctl(operation, a, b, c, d) })
        },
    )
}

/// Takes every capability that is not in `keep` out of the bounding set, those without a name here too: nothing
/// this process or its descendants execute can get them back.
pub fn limit_bounding(keep: Set) -> Result<()> {
    for number in Set(!0).without(keep).numbers() {
        let index = usize::try_from(number).map_err(|_| Errno::EINVAL)?;
        let name = NAMES.get(index).map_or_else(|| number.to_string(), |name| (*name).to_owned());
        let why = "no executed file can give it back";
        match prctl(nix::libc::PR_CAPBSET_DROP, "PR_CAPBSET_DROP", [number, 0, 0, 0], &name, why) {
            Ok(_) => {}
            // Past the kernel's last capability.
            Err(Errno::EINVAL) => break,
            // Without CAP_SETPCAP; which matters only if there is something to take away.
            Err(Errno::EPERM) if !has_in_bounding(number, &name)? => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The bounding set of this process: what any descendant of it can have at most (`PR_CAPBSET_READ`).
pub fn bounding() -> Result<Set> {
    let mut set = Set::default();
    for (number, name) in (0..).zip(NAMES) {
        if has_in_bounding(number, name)? {
            set = set.with(Set(1 << number));
        }
    }
    Ok(set)
}

fn has_in_bounding(number: u64, name: &str) -> Result<bool> {
    let why = "is it there to be taken away";
    match prctl(nix::libc::PR_CAPBSET_READ, "PR_CAPBSET_READ", [number, 0, 0, 0], name, why) {
        Ok(has) => Ok(has == 1),
        Err(Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Lets the permitted set survive the change from uid 0 to another (`PR_SET_KEEPCAPS`).
pub fn keep_over_setuid(on: bool) -> Result<()> {
    let value = u64::from(on);
    let why = "capabilities are set explicitly, after the change of uid";
    prctl(nix::libc::PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS", [value, 0, 0, 0], &value.to_string(), why).map(drop)
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// The permitted set of this process (capget(2)).
pub fn permitted() -> Result<Set> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    let (head, body) = (std::ptr::from_mut(&mut header), data.as_mut_ptr());
    // SAFETY: version 3 takes one header and two data elements, which live through the call.
    Errno::result(unsafe { nix::libc::syscall(nix::libc::SYS_capget, head, body) })?;
    Ok(Set(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32))
}

/// Sets the effective, permitted and inheritable sets (capset(2)).
pub fn set(effective: Set, permitted: Set, inheritable: Set) -> Result<()> {
    let show = || {
        format!(
            "capset({{version=_LINUX_CAPABILITY_VERSION_3, pid=0}}, {{effective={}, permitted={}, inheritable={}}})",
            effective.shown(),
            permitted.shown(),
            inheritable.shown()
        )
    };
    call("what the next program may do", show, || {
        let half = |set: Set, shift: u32| u32::try_from(set.0 >> shift & 0xffff_ffff).unwrap_or(0);
        let part = |shift: u32| Data {
            effective: half(effective, shift),
            permitted: half(permitted, shift),
            inheritable: half(inheritable, shift),
        };
        let mut header = Header { version: VERSION_3, pid: 0 };
        let data = [part(0), part(32)];
        let (head, body) = (std::ptr::from_mut(&mut header), data.as_ptr());
        // SAFETY: version 3 takes one header and two data elements, which live through the call.
        Errno::result(unsafe { nix::libc::syscall(nix::libc::SYS_capset, head, body) }).map(drop)
    })
}

/// Makes `set` the ambient set: what a program without file capabilities has after execve(2).
///
/// The capabilities must be permitted and inheritable. A kernel before 4.3 has no ambient set: an empty one is
/// then what it has.
pub fn set_ambient(set: Set) -> Result<()> {
    let operation = |action: i32, number: u64, shown: &str| {
        let action = u64::try_from(action).map_err(|_| Errno::EINVAL)?;
        let arguments = [action, number, 0, 0];
        prctl(nix::libc::PR_CAP_AMBIENT, "PR_CAP_AMBIENT", arguments, shown, "what survives execve(2)")
    };
    match operation(nix::libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, "PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0") {
        Err(Errno::EINVAL) if set == Set::default() => return Ok(()),
        result => result?,
    };
    for number in set.numbers() {
        let name = usize::try_from(number).ok().and_then(|index| NAMES.get(index)).unwrap_or(&"?");
        let shown = format!("PR_CAP_AMBIENT_RAISE, {name}, 0, 0");
        operation(nix::libc::PR_CAP_AMBIENT_RAISE, number, &shown)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_spelling() {
        assert_eq!(Set::of("cap_net_raw"), Set::of("NET_RAW"));
        assert_eq!(Set::of("CAP_CHOWN"), Some(Set(1)));
        assert_eq!(Set::of("CAP_CHECKPOINT_RESTORE"), Some(Set(1 << 40)));
        assert_eq!(Set::of("CAP_NOSUCH"), None);
        assert_eq!(Set::of("ALL"), None);
    }

    #[test]
    fn sets_are_sets() {
        let chown = Set::of("CHOWN").unwrap();
        assert!(Set::ALL.contains(chown));
        assert!(!Set::ALL.without(chown).contains(chown));
        assert_eq!(chown.names().collect::<Vec<_>>(), ["CAP_CHOWN"]);
        assert_eq!(Set::ALL.names().count(), 41);
    }

    #[test]
    fn reads_what_proc_says() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        assert_eq!(has_in_bounding(0, "CAP_CHOWN").unwrap(), line("CapBnd:") & 1 == 1);
        assert_eq!(permitted().unwrap(), Set(line("CapPrm:")));
        assert_eq!(bounding().unwrap(), Set(line("CapBnd:")).and(Set::ALL));
    }
}
