//! `process.scheduler` and `process.ioPriority` (config.md, "Linux Process").

use crate::plan::wrong;
use serde::Deserialize;
use wb_doc::Error;
use wb_sys::limits::Scheduling;

/// `process.scheduler`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Scheduler {
    policy: String,
    nice: i32,
    priority: i32,
    flags: Vec<String>,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// `process.ioPriority`.
#[derive(Debug, Deserialize)]
pub struct IoPriority {
    class: String,
    #[serde(default)]
    priority: i64,
}

/// sched.h, by position.
const POLICIES: [&str; 8] = [
    "SCHED_OTHER",
    "SCHED_FIFO",
    "SCHED_RR",
    "SCHED_BATCH",
    "SCHED_ISO",
    "SCHED_IDLE",
    "SCHED_DEADLINE",
    "SCHED_EXT",
];

/// linux/sched.h, by bit.
const FLAGS: [&str; 7] = [
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
];

/// linux/ioprio.h, by number.
const CLASSES: [&str; 4] = ["IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];

fn position(table: &[&str], name: &str) -> Option<u32> {
    table.iter().position(|known| *known == name).and_then(|at| u32::try_from(at).ok())
}

impl Scheduler {
    /// What sched_setattr(2) is to be called with.
    pub fn plan(&self) -> Result<Scheduling, Error> {
        let policy = position(&POLICIES, &self.policy)
            .ok_or_else(|| wrong(format!("process.scheduler.policy: {:?} is unknown", self.policy)))?;
        let flags = self.flags.iter().try_fold(0, |flags, name| {
            let bit = position(&FLAGS, name)
                .ok_or_else(|| wrong(format!("process.scheduler.flags: {name:?} is unknown")))?;
            Ok::<u64, Error>(flags | 1 << bit)
        })?;
        let priority = u32::try_from(self.priority)
            .map_err(|_| wrong(format!("process.scheduler.priority: {}", self.priority)))?;
        Ok(Scheduling {
            policy,
            flags,
            nice: self.nice,
            priority,
            runtime_ns: self.runtime,
            deadline_ns: self.deadline,
            period_ns: self.period,
        })
    }
}

impl IoPriority {
    /// Class and priority as ioprio_set(2) takes them.
    pub fn plan(&self) -> Result<(u32, u32), Error> {
        let class = position(&CLASSES, &self.class).filter(|class| *class > 0);
        let class =
            class.ok_or_else(|| wrong(format!("process.ioPriority.class: {:?} is unknown", self.class)))?;
        let priority = u32::try_from(self.priority).ok().filter(|priority| *priority <= 7);
        let priority =
            priority.ok_or_else(|| wrong(format!("process.ioPriority.priority: {}", self.priority)))?;
        Ok((class, priority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers() {
        let scheduler: Scheduler = serde_json::from_str(
            r#"{"policy":"SCHED_FIFO","priority":3,"flags":["SCHED_FLAG_RESET_ON_FORK"]}"#,
        )
        .unwrap();
        let plan = scheduler.plan().unwrap();
        assert_eq!((plan.policy, plan.priority, plan.flags), (1, 3, 1));
        let io: IoPriority = serde_json::from_str(r#"{"class":"IOPRIO_CLASS_BE","priority":4}"#).unwrap();
        assert_eq!(io.plan().unwrap(), (2, 4));
    }

    #[test]
    fn unknown_names_are_refused() {
        let scheduler: Scheduler = serde_json::from_str(r#"{"policy":"SCHED_NONE"}"#).unwrap();
        assert!(scheduler.plan().is_err());
        let io: IoPriority = serde_json::from_str(r#"{"class":"IOPRIO_CLASS_BE","priority":9}"#).unwrap();
        assert!(io.plan().is_err());
    }
}
