//! How much a process may use and how it is scheduled: rlimits, the OOM score, scheduler, I/O priority, personality.

use crate::trace::call;
use crate::{Errno, Result};
use nix::libc;

/// The resources of setrlimit(2) by their names.
const RESOURCES: [(&str, libc::__rlimit_resource_t); 16] = [
    ("RLIMIT_AS", libc::RLIMIT_AS),
    ("RLIMIT_CORE", libc::RLIMIT_CORE),
    ("RLIMIT_CPU", libc::RLIMIT_CPU),
    ("RLIMIT_DATA", libc::RLIMIT_DATA),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", libc::RLIMIT_NICE),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
    ("RLIMIT_RSS", libc::RLIMIT_RSS),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("RLIMIT_STACK", libc::RLIMIT_STACK),
];

/// One resource of setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    name: &'static str,
    number: libc::__rlimit_resource_t,
}

impl Resource {
    /// The resource spelled `RLIMIT_NOFILE`, `NOFILE` or `nofile`.
    pub fn of(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("RLIMIT_").unwrap_or(&upper);
        let found = RESOURCES.into_iter().find(|(known, _)| &known["RLIMIT_".len()..] == bare)?;
        Some(Self { name: found.0, number: found.1 })
    }

    /// `RLIMIT_NOFILE` and so on.
    pub fn name(self) -> &'static str {
        self.name
    }
}

/// A soft and a hard limit; `u64::MAX` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// In force.
    pub soft: u64,
    /// The ceiling.
    pub hard: u64,
}

impl Limit {
    /// The nearest limit that is no higher than `ceiling` allows.
    #[must_use]
    pub fn within(self, ceiling: Self) -> Self {
        let hard = self.hard.min(ceiling.hard);
        Self { soft: self.soft.min(hard), hard }
    }
}

/// The limit of this process (prlimit64(2)).
pub fn rlimit(resource: Resource) -> Result<Limit> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let new = std::ptr::null::<libc::rlimit64>();
    let old = std::ptr::from_mut(&mut limit);
    // SAFETY: `old` lives through the call; a null new limit changes nothing.
    Errno::result(unsafe { libc::prlimit64(0, resource.number, new, old) })?;
    Ok(Limit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Sets a limit of this process; `EPERM` above the hard limit without CAP_SYS_RESOURCE.
pub fn set_rlimit(resource: Resource, limit: Limit) -> Result<()> {
    call(
        "a limit of the process itself",
        || {
            let (name, Limit { soft, hard }) = (resource.name, limit);
            format!("prlimit64(0, {name}, {{rlim_cur={soft}, rlim_max={hard}}}, NULL)")
        },
        || {
            let new = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
            let (new, old) = (std::ptr::from_ref(&new), std::ptr::null_mut::<libc::rlimit64>());
            // SAFETY: `new` lives through the call; nothing is written to the null old limit.
            Errno::result(unsafe { libc::prlimit64(0, resource.number, new, old) }).map(drop)
        },
    )
}

/// personality(2).
pub fn personality(persona: u64) -> Result<()> {
    call(
        "the execution domain",
        || format!("personality({persona:#x})"),
        || {
            // SAFETY: no memory is passed.
            Errno::result(unsafe { libc::personality(persona) }).map(drop)
        },
    )
}

/// ioprio_set(2) on this process: a class (1 real time, 2 best effort, 3 idle) and a priority in it.
pub fn set_io_priority(class: u32, priority: u32) -> Result<()> {
    const WHO_PROCESS: u32 = 1;
    call(
        "the priority of its input and output",
        || format!("ioprio_set(IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE({class}, {priority}))"),
        || {
            let value = class << 13 | priority;
            // SAFETY: no memory is passed.
            Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) }).map(drop)
        },
    )
}

/// A scheduling policy and its parameters, as sched_setattr(2) takes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// `SCHED_OTHER` and so on.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For the ordinary policies.
    pub nice: i32,
    /// For the real-time ones.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, in nanoseconds.
    pub runtime_ns: u64,
    /// For `SCHED_DEADLINE`, in nanoseconds.
    pub deadline_ns: u64,
    /// For `SCHED_DEADLINE`, in nanoseconds.
    pub period_ns: u64,
}

/// `struct sched_attr` of linux/sched/types.h, first version.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// sched_setattr(2) on this process.
pub fn set_scheduling(scheduling: Scheduling) -> Result<()> {
    let attributes = SchedAttr {
        size: u32::try_from(size_of::<SchedAttr>()).map_err(|_| Errno::EINVAL)?,
        policy: scheduling.policy,
        flags: scheduling.flags,
        nice: scheduling.nice,
        priority: scheduling.priority,
        runtime: scheduling.runtime_ns,
        deadline: scheduling.deadline_ns,
        period: scheduling.period_ns,
    };
    call(
        "the scheduling policy",
        || {
            let SchedAttr { policy, nice, priority, .. } = attributes;
            format!(
                "sched_setattr(0, {{sched_policy={policy}, sched_nice={nice}, sched_priority={priority}}}, 0)"
            )
        },
        || {
            let pointer = std::ptr::from_ref(&attributes);
            // SAFETY: the structure carries its own size and lives through the call.
            Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, pointer, 0) }).map(drop)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_in_any_spelling() {
        assert_eq!(Resource::of("nofile"), Resource::of("RLIMIT_NOFILE"));
        assert_eq!(Resource::of("core").unwrap().name(), "RLIMIT_CORE");
        assert_eq!(Resource::of("nosuch"), None);
    }

    #[test]
    fn clamps_to_the_ceiling() {
        let wanted = Limit { soft: 2000, hard: 4000 };
        assert_eq!(wanted.within(Limit { soft: 10, hard: 1000 }), Limit { soft: 1000, hard: 1000 });
        assert_eq!(wanted.within(Limit { soft: 10, hard: 3000 }), Limit { soft: 2000, hard: 3000 });
        assert_eq!(wanted.within(Limit { soft: 0, hard: u64::MAX }), wanted);
    }

    #[test]
    fn reads_and_sets_a_limit() {
        let core = Resource::of("CORE").unwrap();
        let now = rlimit(core).unwrap();
        set_rlimit(core, now).unwrap();
        assert_eq!(rlimit(core).unwrap(), now);
    }
}
