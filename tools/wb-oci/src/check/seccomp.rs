//! `linux.seccomp` (config-linux.md, "Seccomp").

use super::wrong;
use serde::Deserialize;
use wb_doc::{Document, Error};

/// `linux.seccomp`, as far as it can be wrong in itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    default_action: String,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    listener_path: String,
    #[serde(default)]
    listener_metadata: String,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    names: Vec<String>,
    action: String,
}

/// `SCMP_ARCH_*` of the specification. Those of other machines make no difference on this one.
const ARCHITECTURES: [&str; 20] = [
    "X86",
    "X86_64",
    "X32",
    "ARM",
    "AARCH64",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PPC",
    "PPC64",
    "PPC64LE",
    "S390",
    "S390X",
    "PARISC",
    "PARISC64",
    "RISCV64",
    "LOONGARCH64",
];

/// Refuses what the kernel would not take, or would take otherwise than meant.
pub fn check(document: &Document) -> Result<(), Error> {
    let Some(seccomp) = document.read::<Seccomp>("/linux/seccomp")? else { return Ok(()) };
    let actions = seccomp.syscalls.iter().map(|rule| &rule.action).chain([&seccomp.default_action]);
    let notify = "SCMP_ACT_NOTIFY";
    let mut notifies = false;
    for action in actions {
        if !crate::features::ACTIONS.contains(&action.as_str()) {
            return Err(wrong(format!("linux.seccomp: action {action:?} is unknown")));
        }
        notifies |= action == notify;
    }
    let unknown =
        |name: &&String| name.strip_prefix("SCMP_ARCH_").is_none_or(|name| !ARCHITECTURES.contains(&name));
    if let Some(name) = seccomp.architectures.iter().find(unknown) {
        return Err(wrong(format!("linux.seccomp: architecture {name:?} is unknown")));
    }
    if seccomp.syscalls.iter().any(|rule| rule.names.is_empty()) {
        return Err(wrong("linux.seccomp: a rule without names"));
    }
    if seccomp.default_action == notify {
        return Err(wrong("linux.seccomp: SCMP_ACT_NOTIFY for every call would stop the runtime itself"));
    }
    match (notifies, seccomp.listener_path.is_empty()) {
        (true, true) => Err(wrong("linux.seccomp: SCMP_ACT_NOTIFY needs listenerPath")),
        (false, true) if !seccomp.listener_metadata.is_empty() => {
            Err(wrong("linux.seccomp: listenerMetadata needs listenerPath"))
        }
        _ => Ok(()),
    }
}
