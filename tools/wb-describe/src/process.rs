//! `process` and the cgroup, from `/proc/PID/{status,cmdline,environ,cwd,limits,stat,cgroup}` (proc(5)).

use nix::errno::Errno;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use wb_doc::{Context, Document, Error};
use wb_sys::capability;

/// Fills `process`, `linux.cgroupsPath`, `linux.uidMappings` and what OCI has no member for (`wb.described`).
pub fn describe(pid: i32, document: &mut Document) -> Result<(), Error> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read(&path).context(|| path).map_err(explained)
    };
    let text = read("status")?;
    let text = String::from_utf8_lossy(&text);
    let status = status(&text);
    if let Some(why) = nothing_to_describe(&status, &read("stat")?) {
        return Err(Error::new(why));
    }
    let numbers = |key: &str| -> Vec<u32> {
        status
            .get(key)
            .map(|text| text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
            .unwrap_or_default()
    };
    let uids = Ids::new(&String::from_utf8_lossy(&read("uid_map")?));
    let gids = Ids::new(&String::from_utf8_lossy(&read("gid_map")?));
    let mut user = Map::new();
    // The second number is the effective id.
    user.insert("uid".into(), json!(uids.inside(numbers("Uid").get(1).copied().unwrap_or_default())));
    user.insert("gid".into(), json!(gids.inside(numbers("Gid").get(1).copied().unwrap_or_default())));
    if let Some(umask) = status.get("Umask").and_then(|text| u32::from_str_radix(text, 8).ok()) {
        user.insert("umask".into(), json!(umask));
    }
    let groups: Vec<u32> = numbers("Groups").into_iter().map(|gid| gids.inside(gid)).collect();
    if !groups.is_empty() {
        user.insert("additionalGids".into(), json!(groups));
    }
    let set =
        |key: &str| -> Vec<&'static str> { status.get(key).map(|hex| capabilities(hex)).unwrap_or_default() };
    let score = read("oom_score_adj")?;
    document.set(
        "/process",
        json!({
            "terminal": has_terminal(&read("stat")?),
            "user": user,
            "args": strings(&read("cmdline")?),
            "env": strings(&read("environ")?),
            "cwd": link(pid, "cwd")?,
            "capabilities": {
                "bounding": set("CapBnd"), "effective": set("CapEff"), "inheritable": set("CapInh"),
                "permitted": set("CapPrm"), "ambient": set("CapAmb"),
            },
            "rlimits": rlimits(&String::from_utf8_lossy(&read("limits")?)),
            "noNewPrivileges": status.get("NoNewPrivs").is_some_and(|text| text == "1"),
            "oomScoreAdj": String::from_utf8_lossy(&score).trim_end().parse::<i32>().unwrap_or_default(),
        }),
    )?;
    if let Some(path) = cgroup(&String::from_utf8_lossy(&read("cgroup")?)) {
        document.set("/linux/cgroupsPath", path)?;
    }
    document.set("/wb/described/executable", link(pid, "exe")?)?;
    let mode = status.get("Seccomp").and_then(|text| text.parse::<u8>().ok()).unwrap_or_default();
    let mode = ["disabled", "strict", "filter"].get(usize::from(mode)).copied().unwrap_or("unknown");
    document.set("/wb/described/seccomp", mode)
}

/// A refusal says nothing of what would be allowed.
fn explained(error: Error) -> Error {
    match error.raw_errno() {
        Some(Errno::EACCES | Errno::EPERM) => error.hint(
            "only its owner, or somebody with all of its capabilities, may look (ptrace(2), access mode)",
        ),
        _ => error,
    }
}

/// Why a process has nothing that could be described, though it is there: the kernel says ESRCH of its memory.
fn nothing_to_describe(status: &BTreeMap<&str, String>, stat: &[u8]) -> Option<&'static str> {
    const PF_KTHREAD: u32 = 0x0020_0000;
    if status.get("State").is_some_and(|state| state.starts_with(['Z', 'X'])) {
        return Some("a zombie: it has ended, and its parent has not asked for its status yet");
    }
    let flags = stat_field(stat, 6).and_then(|flags| flags.parse::<u32>().ok()).unwrap_or_default();
    (flags & PF_KTHREAD != 0).then_some("a thread of the kernel, which has no program and no environment")
}

/// A map of ids (user_namespaces(7)): what this side calls them, and what the process does.
#[derive(Debug, Default)]
pub struct Ids(Vec<[u32; 3]>);

impl Ids {
    /// Lines of `inside outside size`.
    pub fn new(map: &str) -> Self {
        let line = |line: &str| {
            let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
            Some([numbers.next()?, numbers.next()?, numbers.next()?])
        };
        Self(map.lines().filter_map(line).collect())
    }

    /// The id as the process sees it; one that is not mapped stays.
    pub fn inside(&self, id: u32) -> u32 {
        let found = self.0.iter().find_map(|[inside, outside, size]| {
            let offset = id.checked_sub(*outside).filter(|offset| offset < size)?;
            inside.checked_add(offset)
        });
        found.unwrap_or(id)
    }
}

fn link(pid: i32, file: &str) -> Result<String, Error> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_link(&path).map(|target| target.to_string_lossy().into_owned()).context(|| path)
}

fn status(text: &str) -> BTreeMap<&str, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim().to_owned()))
        .collect()
}

/// The strings of a file that ends each with a NUL byte.
fn strings(bytes: &[u8]) -> Vec<String> {
    let text = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// A set in hexadecimal, bit n being capability n.
fn capabilities(hex: &str) -> Vec<&'static str> {
    let bits = u64::from_str_radix(hex, 16).unwrap_or_default();
    capability::NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits >> bit & 1 == 1)
        .map(|(_, name)| *name)
        .collect()
}

/// Field 7 of stat, the controlling terminal.
fn has_terminal(stat: &[u8]) -> bool {
    stat_field(stat, 4).is_some_and(|number| number != "0")
}

/// A field of stat; they count from behind the last bracket of the command name, the state being 0.
fn stat_field(stat: &[u8], number: usize) -> Option<String> {
    let end = stat.iter().rposition(|&byte| byte == b')').map_or(0, |at| at + 1);
    String::from_utf8_lossy(&stat[end..]).split_whitespace().nth(number).map(str::to_owned)
}

/// The names in `/proc/PID/limits` and those of setrlimit(2).
const RLIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "RLIMIT_CPU"),
    ("Max file size", "RLIMIT_FSIZE"),
    ("Max data size", "RLIMIT_DATA"),
    ("Max stack size", "RLIMIT_STACK"),
    ("Max core file size", "RLIMIT_CORE"),
    ("Max resident set", "RLIMIT_RSS"),
    ("Max processes", "RLIMIT_NPROC"),
    ("Max open files", "RLIMIT_NOFILE"),
    ("Max locked memory", "RLIMIT_MEMLOCK"),
    ("Max address space", "RLIMIT_AS"),
    ("Max file locks", "RLIMIT_LOCKS"),
    ("Max pending signals", "RLIMIT_SIGPENDING"),
    ("Max msgqueue size", "RLIMIT_MSGQUEUE"),
    ("Max nice priority", "RLIMIT_NICE"),
    ("Max realtime priority", "RLIMIT_RTPRIO"),
    ("Max realtime timeout", "RLIMIT_RTTIME"),
];

fn rlimits(text: &str) -> Vec<Value> {
    let number = |word: &str| if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() };
    let limit = |(name, kind): &(&str, &str)| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        let mut words = rest.split_whitespace();
        let (soft, hard) = (number(words.next()?)?, number(words.next()?)?);
        Some(json!({ "type": kind, "soft": soft, "hard": hard }))
    };
    RLIMITS.iter().filter_map(limit).collect()
}

/// The path in the hierarchy that counts memory, or in the v2 one.
fn cgroup(text: &str) -> Option<String> {
    let of = |wanted: &dyn Fn(&str) -> bool| {
        text.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            wanted(controllers).then(|| path.to_owned())
        })
    };
    of(&|controllers| controllers.split(',').any(|name| name == "memory")).or_else(|| of(&str::is_empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_may_be_empty() {
        assert_eq!(strings(b"a\0\0b c\0"), ["a", "", "b c"]);
        assert!(strings(b"").is_empty());
    }

    #[test]
    fn the_memory_hierarchy_counts_on_v1() {
        assert_eq!(cgroup("5:cpu:/x\n4:memory:/docker/a\n0::/\n").unwrap(), "/docker/a");
        assert_eq!(cgroup("0::/user.slice\n").unwrap(), "/user.slice");
    }

    #[test]
    fn ids_are_those_of_inside() {
        let ids = Ids::new("         0     100000      65536\n");
        assert_eq!((ids.inside(100_005), ids.inside(7)), (5, 7));
        assert_eq!(Ids::new("0 0 4294967295\n").inside(1000), 1000);
    }

    #[test]
    fn sets_are_bits() {
        assert_eq!(capabilities("0000000000000021"), ["CAP_CHOWN", "CAP_KILL"]);
    }

    #[test]
    fn limits_have_names_of_several_words() {
        let limits = rlimits(
            "Limit  Soft  Hard  Units\nMax open files            1024                 524288               files\n",
        );
        assert_eq!(limits, [json!({"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 524_288})]);
    }

    #[test]
    fn a_terminal_is_field_seven() {
        assert!(has_terminal(b"1 (a) b) S 0 1 1 34816 1"));
        assert!(!has_terminal(b"1 (sh) S 0 1 1 0 -1"));
    }
}
