//! Events as they happen: OOM kills and limits reached, a JSON line each, until the cgroup is gone.

use crate::group::{Group, UNIFIED};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use wb_doc::{Context, Document, Error, FilterArgs};

/// A file of counters the kernel announces changes of, and the word its events go by.
const WATCHED: [(&str, &str, &str); 3] = [
    ("memory", "memory.events", "memory"),
    ("pids", "pids.events", "pids"),
    (UNIFIED, "cgroup.events", "cgroup"),
];

/// Follows one container's cgroup.
pub fn run(
    args: &FilterArgs,
    group: impl Fn(&mut Document) -> Result<Group, Error>,
) -> Result<ExitCode, Error> {
    let mut document = wb_doc::read_one(args)?;
    let group = group(&mut document)?;
    let files = watched(&group);
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).context(|| "inotify")?;
    let mut watches = Vec::new();
    for (kind, path) in &files {
        let watch = inotify
            .add_watch(path, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DELETE_SELF)
            .context(|| path.display().to_string())?;
        watches.push((watch, *kind, path.clone(), counters(path)));
    }
    if watches.is_empty() {
        return Err(Error::new("this cgroup has no event files").hint(
            "cgroup v1 counts OOM kills (wb-cgroup stat) and announces only those of the pids controller",
        ));
    }
    loop {
        let happened = match inotify.read_events() {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other.context(|| "inotify")?,
        };
        for event in happened {
            let Some(watch) = watches.iter_mut().find(|(watch, ..)| *watch == event.wd) else { continue };
            if event.mask.intersects(AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_IGNORED) {
                return Ok(ExitCode::SUCCESS);
            }
            let now = counters(&watch.2);
            if !report(document.str_at("/wb/id"), watch.1, &watch.3, &now)? {
                return Ok(ExitCode::SUCCESS);
            }
            watch.3 = now;
        }
    }
}

fn watched(group: &Group) -> Vec<(&'static str, PathBuf)> {
    WATCHED
        .iter()
        .filter_map(|(controller, file, kind)| Some((*kind, group.directory(controller)?.join(file))))
        .filter(|(_, path)| path.exists())
        .collect()
}

fn counters(path: &PathBuf) -> BTreeMap<String, u64> {
    // A cgroup that has just gone counts nothing any more.
    let text = fs::read_to_string(path).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))).collect()
}

/// Prints what changed; false once nobody reads.
fn report(
    id: Option<&str>,
    kind: &str,
    before: &BTreeMap<String, u64>,
    now: &BTreeMap<String, u64>,
) -> Result<bool, Error> {
    for (key, value) in now.iter().filter(|(key, value)| before.get(*key) != Some(value)) {
        let mut line = Map::new();
        line.insert("id".into(), json!(id));
        line.insert("event".into(), json!(format!("{kind}.{key}")));
        line.insert("count".into(), json!(value));
        let text = format!("{}\n", Value::Object(line));
        match std::io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
            other => other.context(|| "writing the events")?,
        }
    }
    Ok(true)
}
