//! `linux.seccomp` (config-linux.md, "Seccomp"): read, checked, and brought into numbers.

use serde::Deserialize;
use wb_doc::Error;

/// What becomes of a system call, as the kernel's filter returns it (linux/seccomp.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action(pub u32);

impl Action {
    /// Nothing of an unknown architecture runs.
    pub const KILL_PROCESS: Self = Self(0x8000_0000);
    /// The call is made.
    pub const ALLOW: Self = Self(0x7fff_0000);
    /// What a kernel without the call says.
    pub const ENOSYS: Self = Self(0x0005_0000 | nix::libc::ENOSYS.unsigned_abs());
    /// A process outside decides.
    pub const NOTIFY: Self = Self(0x7fc0_0000);

    fn of(name: &str, errno: Option<u32>) -> Result<Self, Error> {
        let low = errno.unwrap_or(nix::libc::EPERM.unsigned_abs());
        let takes_errno = matches!(name, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
        if errno.is_some() && !takes_errno {
            return Err(wrong(format!("{name} has no errnoRet")));
        }
        if takes_errno && low > 0xfff {
            return Err(wrong(format!("errnoRet {low} is no errno")));
        }
        Ok(match name {
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self(0),
            "SCMP_ACT_KILL_PROCESS" => Self::KILL_PROCESS,
            "SCMP_ACT_TRAP" => Self(0x0003_0000),
            "SCMP_ACT_ERRNO" => Self(0x0005_0000 | low),
            "SCMP_ACT_TRACE" => Self(0x7ff0_0000 | low),
            "SCMP_ACT_ALLOW" => Self::ALLOW,
            "SCMP_ACT_LOG" => Self(0x7ffc_0000),
            "SCMP_ACT_NOTIFY" => Self::NOTIFY,
            _ => return Err(wrong(format!("unknown action {name:?}"))),
        })
    }

    /// Whether calls that nobody thought of yet are made under this default.
    fn lets_pass(self) -> bool {
        matches!(self.0 & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000)
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Different.
    Ne,
    /// Less.
    Lt,
    /// Less or the same.
    Le,
    /// The same.
    Eq,
    /// More or the same.
    Ge,
    /// More.
    Gt,
    /// The same in the bits of the mask.
    Masked {
        /// The bits that count.
        mask: u64,
    },
}

/// One condition on one argument, all 64 bits of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u32,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub value: u64,
}

/// An action under conditions, all of which must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The system calls.
    pub names: Vec<String>,
    /// What becomes of them.
    pub action: Action,
    /// None: always.
    pub conditions: Vec<Condition>,
}

/// A whole profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What becomes of a call that no rule names.
    pub default: Action,
    /// What becomes of a call that the profile cannot know, since it is newer than all it names: programs try new
    /// calls first, and take `ENOSYS` for an old kernel, where `EPERM` would make them give up.
    pub unknown: Action,
    /// `SCMP_ARCH_*`, the native one included or not.
    pub architectures: Vec<String>,
    /// The flags of seccomp(2).
    pub flags: u32,
    /// Whether a process outside decides about some calls.
    pub notifies: bool,
    /// In the order of the document.
    pub rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    listener_path: String,
    #[serde(default)]
    syscalls: Vec<WrittenRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<WrittenArgument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenArgument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// linux/seccomp.h, by bit.
const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", 1 << 0),
    ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 1 << 2),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1 << 5),
];

impl Profile {
    /// Reads `linux.seccomp`; refuses what makes no sense.
    pub fn of(value: &serde_json::Value) -> Result<Self, Error> {
        let written = Written::deserialize(value).map_err(wrong)?;
        let default = Action::of(&written.default_action, written.default_errno_ret)?;
        let flag = |name: &String| {
            let found = FLAGS.iter().find(|(known, _)| known == name);
            found.map(|(_, bit)| *bit).ok_or_else(|| wrong(format!("unknown flag {name:?}")))
        };
        let flags = written.flags.iter().try_fold(0, |bits, name| flag(name).map(|bit| bits | bit))?;
        let mut rules = Vec::new();
        for rule in &written.syscalls {
            rules.extend(read_rule(rule)?);
        }
        let notifies = default == Action::NOTIFY || rules.iter().any(|rule| rule.action == Action::NOTIFY);
        if default == Action::NOTIFY {
            return Err(wrong("SCMP_ACT_NOTIFY for every call would stop this program itself"));
        }
        if notifies && written.listener_path.is_empty() {
            return Err(wrong("SCMP_ACT_NOTIFY needs listenerPath"));
        }
        let unknown = if default.lets_pass() { default } else { Action::ENOSYS };
        Ok(Self { default, unknown, architectures: written.architectures, flags, notifies, rules })
    }
}

/// One rule, or one for each condition: two conditions on one argument are alternatives, as runc has them.
fn read_rule(written: &WrittenRule) -> Result<Vec<Rule>, Error> {
    if written.names.is_empty() {
        return Err(wrong("a rule without names"));
    }
    let action = Action::of(&written.action, written.errno_ret)?;
    let conditions = written.args.iter().map(condition).collect::<Result<Vec<_>, Error>>()?;
    let rule = |conditions| Rule { names: written.names.clone(), action, conditions };
    let twice = |at: usize| conditions[..at].iter().any(|earlier| earlier.index == conditions[at].index);
    if (0..conditions.len()).any(twice) {
        return Ok(conditions.into_iter().map(|condition| rule(vec![condition])).collect());
    }
    Ok(vec![rule(conditions)])
}

fn condition(written: &WrittenArgument) -> Result<Condition, Error> {
    if written.index > 5 {
        return Err(wrong(format!("a system call has no argument {}", written.index)));
    }
    let (operator, value) = match written.op.as_str() {
        "SCMP_CMP_NE" => (Operator::Ne, written.value),
        "SCMP_CMP_LT" => (Operator::Lt, written.value),
        "SCMP_CMP_LE" => (Operator::Le, written.value),
        "SCMP_CMP_EQ" => (Operator::Eq, written.value),
        "SCMP_CMP_GE" => (Operator::Ge, written.value),
        "SCMP_CMP_GT" => (Operator::Gt, written.value),
        "SCMP_CMP_MASKED_EQ" => (Operator::Masked { mask: written.value }, written.value_two & written.value),
        other => return Err(wrong(format!("unknown operator {other:?}"))),
    };
    Ok(Condition { index: written.index, operator, value })
}

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(format!("document: linux.seccomp: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn actions_are_the_kernels_numbers() {
        assert_eq!(Action::of("SCMP_ACT_ERRNO", None).unwrap(), Action(0x0005_0001));
        assert_eq!(Action::of("SCMP_ACT_ERRNO", Some(38)).unwrap(), Action::ENOSYS);
        assert!(Action::of("SCMP_ACT_ALLOW", Some(1)).is_err());
        assert!(Action::of("SCMP_ACT_ERRNO", Some(1 << 16)).is_err());
        assert!(Action::of("SCMP_ACT_NOSUCH", None).is_err());
    }

    #[test]
    fn refuses_nonsense() {
        for syscalls in [
            json!([{"names": [], "action": "SCMP_ACT_ALLOW"}]),
            json!([{"names": ["read"], "action": "x"}]),
            json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]),
            json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "=="}]}]),
            json!([{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]),
        ] {
            let value = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls});
            assert!(Profile::of(&value).is_err(), "{value}");
        }
        assert!(Profile::of(&json!({})).is_err());
        assert!(Profile::of(&json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["x"]})).is_err());
    }

    #[test]
    fn two_conditions_on_one_argument_are_alternatives() {
        let value = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"],
            "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
            {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]});
        assert_eq!(Profile::of(&value).unwrap().rules.len(), 2);
    }
}
