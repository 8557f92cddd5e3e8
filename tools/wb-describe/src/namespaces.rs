//! `linux.namespaces`: which are the process's own, and who else is in them.

use serde_json::{Value, json};
use std::fs;
use wb_doc::{Context, Document, Error};
use wb_sys::namespace::KINDS;

/// How many of those who share a namespace are named.
const NAMED: usize = 16;

/// Fills `linux.namespaces` with those that are not this tool's own, and `wb.described.namespaces` with every one:
/// its inode and who shares it.
pub fn describe(pid: i32, document: &mut Document) -> Result<(), Error> {
    let mut own = Vec::new();
    for kind in KINDS {
        let path = format!("/proc/{pid}/ns/{}", kind.proc);
        // A kernel may lack a kind.
        let Ok(link) = fs::read_link(&path) else { continue };
        let here = fs::read_link(format!("/proc/self/ns/{}", kind.proc)).context(|| "/proc/self/ns")?;
        if link != here {
            own.push(json!({ "type": kind.oci }));
        }
        let members = members(kind.proc, &link)?;
        document.set(
            &format!("/wb/described/namespaces/{}", kind.oci),
            json!({
                "inode": inode(&link.to_string_lossy()),
                "ours": link == here,
                "processes": members.len(),
                "sharedWith": members.into_iter().filter(|&other| other != pid).take(NAMED).collect::<Vec<_>>(),
            }),
        )?;
        if kind.oci == "user" && link != here {
            for (member, file) in [("uidMappings", "uid_map"), ("gidMappings", "gid_map")] {
                let path = format!("/proc/{pid}/{file}");
                let map = fs::read_to_string(&path).context(|| path)?;
                document.set(&format!("/linux/{member}"), mappings(&map))?;
            }
        }
    }
    document.set("/linux/namespaces", own)
}

/// `uts:[4026531838]`
fn inode(link: &str) -> Option<u64> {
    link.split_once('[')?.1.trim_end_matches(']').parse().ok()
}

/// The processes in a namespace, as far as this one may see them.
fn members(kind: &str, link: &std::path::Path) -> Result<Vec<i32>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context(|| "/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process may end, or be out of bounds, at any moment.
        if fs::read_link(format!("/proc/{pid}/ns/{kind}")).is_ok_and(|theirs| theirs == link) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn mappings(text: &str) -> Vec<Value> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
        Some(json!({ "containerID": numbers.next()?, "hostID": numbers.next()?, "size": numbers.next()? }))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_name_inodes() {
        assert_eq!(inode("uts:[4026531838]"), Some(4_026_531_838));
        assert_eq!(inode("uts"), None);
    }

    #[test]
    fn maps_have_three_numbers_a_line() {
        let maps = mappings("         0     100000      65536\n");
        assert_eq!(maps, [json!({"containerID": 0, "hostID": 100_000, "size": 65536})]);
    }
}
