//! Whether the kernel killed for want of memory: the `oom_kill` count of the container's memory cgroup.

use std::path::{Path, PathBuf};
use wb_doc::Document;

/// The file that counts, if the container has a memory cgroup.
pub fn counter(document: &Document) -> Option<PathBuf> {
    let file = |controller: &str, name: &str| {
        let directory = document.str_at(&format!("/wb/cgroup/paths/{controller}"))?;
        Some(Path::new(directory).join(name))
    };
    // cgroup v1: "Memory Resource Controller", 10 (OOM control); v2: `memory.events`.
    file("memory", "memory.oom_control").or_else(|| file("unified", "memory.events"))
}

/// How often so far; 0 where nobody counts.
pub fn count(counter: Option<&PathBuf>) -> u64 {
    let text = counter.and_then(|path| std::fs::read_to_string(path).ok());
    text.as_deref().and_then(parse).unwrap_or(0)
}

fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_versions() {
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(parse("low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(parse("under_oom 0\n"), None);
    }

    #[test]
    fn finds_the_file() {
        let document =
            Document::parse(br#"{"wb":{"cgroup":{"paths":{"unified":"/a","memory":"/b"}}}}"#).unwrap();
        assert_eq!(counter(&document), Some("/b/memory.oom_control".into()));
        assert_eq!(counter(&Document::default()), None);
    }
}
