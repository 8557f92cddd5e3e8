//! Events as they happen: OOM kills and limits reached, a JSON line each, until the cgroup is gone.
//!
//! v2 has files of counters and inotify(7) says when they change. On v1 the memory controller announces to an eventfd;
//! the pids controller counts but announces nothing on kernels since 6.11, and is looked at once a second.

use crate::group::{Group, UNIFIED};
use crate::stat;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wb_doc::{Context, Document, Error, ExitCode, FilterArgs};
use wb_sys::inotify::Watch;
use wb_sys::{cgroup, poll};

/// A file of counters the kernel announces changes of, and the word its events go by.
const WATCHED: [(&str, &str, &str); 3] = [
    ("memory", "memory.events", "memory"),
    ("pids", "pids.events", "pids"),
    (UNIFIED, "cgroup.events", "cgroup"),
];

/// v1 announces that memory is out before it kills: so long is the kill waited for, and so often is it looked for.
const KILL_PATIENCE: Duration = Duration::from_secs(1);
const KILL_LOOK: Duration = Duration::from_millis(10);

/// The time between two looks at what v1 does not announce.
const V1_LOOK: Duration = Duration::from_secs(1);

/// Events by their names, and how often they have happened.
type Counters = BTreeMap<String, u64>;

/// Follows one container's cgroup.
pub fn run(
    args: &FilterArgs,
    group: impl Fn(&mut Document) -> Result<Group, Error>,
) -> Result<ExitCode, Error> {
    let mut document = wb_doc::read_one(args)?;
    let mut sources = Sources::open(&group(&mut document)?)?;
    let mut before = sources.look();
    let mut looking_until = None;
    while sources.are_there() {
        if sources.wait(looking_until.is_some())? {
            looking_until = Some(Instant::now() + KILL_PATIENCE);
        }
        let now = sources.look();
        if now.get(V1_KILLS) != before.get(V1_KILLS) || looking_until < Some(Instant::now()) {
            looking_until = None;
        }
        if !report(document.str_at("/wb/id"), &before, &now)? {
            break;
        }
        before = now;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the kernel announces something about a cgroup.
struct Sources {
    watch: Watch,
    files: Vec<(&'static str, PathBuf)>,
    v1: Option<V1Memory>,
    /// Whether there is a counter that nobody announces.
    has_silent: bool,
}

const V1_KILLS: &str = "memory.oom_kill";

/// The v1 memory controller.
struct V1Memory {
    directory: PathBuf,
    /// Memory is out.
    oom: OwnedFd,
    /// Memory is taken back from the group because of its limit.
    pressure: OwnedFd,
    ooms: u64,
}

impl Sources {
    fn open(group: &Group) -> Result<Self, Error> {
        let watch = Watch::new().context(|| "inotify")?;
        let files: Vec<_> = WATCHED
            .iter()
            .filter_map(|(controller, file, kind)| Some((*kind, group.directory(controller)?.join(file))))
            .filter(|(_, path)| path.exists())
            .collect();
        for (_, path) in &files {
            watch.add(path).context(|| path.display().to_string())?;
        }
        // That a cgroup is removed is certain to be told by its parent only.
        for parent in group.directories().iter().filter_map(|directory| directory.parent()) {
            watch.add(parent).context(|| parent.display().to_string())?;
        }
        let v1 = group.paths.get("memory").map(|directory| V1Memory::open(directory)).transpose()?;
        Ok(Self { watch, files, v1, has_silent: group.paths.contains_key("pids") })
    }

    fn are_there(&self) -> bool {
        let v1 = self.v1.iter().map(|memory| &memory.directory);
        self.files.iter().map(|(_, path)| path).chain(v1).all(|path| path.exists())
    }

    /// Waits for an announcement, or the time of the next look; true for one that memory is out, on v1.
    fn wait(&mut self, is_kill_due: bool) -> Result<bool, Error> {
        let look = if is_kill_due { Some(KILL_LOOK) } else { self.has_silent.then_some(V1_LOOK) };
        let deadline = look.map(|look| Instant::now() + look);
        let mut set = poll::Set::default();
        set.add(&self.watch, poll::IN, ());
        if let Some(memory) = &self.v1 {
            set.add(&memory.oom, poll::IN, ());
            set.add(&memory.pressure, poll::IN, ());
        }
        set.wait(deadline).context(|| "poll")?;
        self.watch.clear();
        let Some(memory) = &mut self.v1 else { return Ok(false) };
        cgroup::announcements(&memory.pressure);
        let ooms = cgroup::announcements(&memory.oom);
        // The last announcement is the removal's.
        if memory.directory.exists() {
            memory.ooms += ooms;
        }
        Ok(ooms > 0)
    }

    fn look(&self) -> Counters {
        let mut all = Counters::new();
        for (kind, path) in &self.files {
            all.extend(keyed(path).into_iter().map(|(key, value)| (format!("{kind}.{key}"), value)));
        }
        if let Some(memory) = &self.v1 {
            all.insert("memory.oom".into(), memory.ooms);
            let control = keyed(&memory.directory.join("memory.oom_control"));
            all.extend(control.get("oom_kill").map(|&kills| (V1_KILLS.into(), kills)));
            let hits = stat::limit_hits_v1(&memory.directory);
            all.extend(hits.map(|hits| ("memory.max".into(), hits)));
        }
        all
    }
}

impl V1Memory {
    fn open(directory: &Path) -> Result<Self, Error> {
        let ask = |file: &str, argument: &str| {
            cgroup::announced(directory, file, argument)
                .context(|| format!("announcements of {}", directory.join(file).display()))
        };
        Ok(Self {
            oom: ask("memory.oom_control", "")?,
            // Any taking back, in this group itself.
            pressure: ask("memory.pressure_level", "low,local")?,
            directory: directory.to_owned(),
            ooms: 0,
        })
    }
}

/// A file of `key value` lines. A cgroup that has just gone counts nothing any more.
fn keyed(path: &Path) -> Counters {
    let text = fs::read_to_string(path).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))).collect()
}

/// Prints what changed; false once nobody reads.
fn report(id: Option<&str>, before: &Counters, now: &Counters) -> Result<bool, Error> {
    for (event, count) in now.iter().filter(|(event, count)| before.get(*event) != Some(count)) {
        let text = format!("{}\n", json!({"id": id, "event": event, "count": count}));
        match std::io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
            other => other.context(|| "writing the events")?,
        }
    }
    Ok(true)
}
