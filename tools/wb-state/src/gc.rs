//! `wb-state gc`: the records against the machine.
//!
//! What needs undoing is printed, a document a container, for the undoing verbs of the other tools:
//! `wb-state gc | wb-cgroup delete | wb-netns del | wb-ipam del | wb-rootfs umount | wb-state finish`.

use crate::TOOL;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Document, Error, ExitCode, Filter, names};
use wb_store::lock::Lock;
use wb_store::{Place, leftover, record, tree};

/// The verb.
pub fn gc(place: &Place) -> Result<ExitCode, Error> {
    let boot_id = wb_sys::proc::boot_id().context(|| "boot_id")?;
    let mut code = 0;
    let mut leftovers = Vec::new();
    remove_half_made(place)?;
    for id in record::list(place)? {
        match record::read(place, &id) {
            Ok(document) => leftovers.extend(undone(place, document, &boot_id)?),
            // Removed meanwhile.
            Err(_) if !place.container(&id).exists() => {}
            Err(error) => {
                let hint = format!("to forget it: wb-state -n rm --id {id}");
                code = Filter::doing(TOOL, "gc").report(&error.hint(hint)).max(1);
            }
        }
        for path in of_the_dead(&place.container(&id), ".config.json.", ".tmp") {
            // It is in nobody's way if it stays.
            fs::remove_file(path).ok();
        }
    }
    leftovers.extend(made_by_the_dead(place));
    leftovers.extend(without_record(place)?);
    let mut out = std::io::stdout().lock();
    for document in leftovers {
        let mut line = document.to_line();
        line.push(b'\n');
        if out.write_all(&line).and_then(|()| out.flush()).is_err() {
            return Ok(ExitCode::from(141));
        }
    }
    Ok(ExitCode::from(code))
}

/// The document, if the container has something on the machine that it should not have any more.
fn undone(place: &Place, mut document: Document, boot_id: &str) -> Result<Option<Document>, Error> {
    let died = record::true_status(&mut document, boot_id)?;
    let id = document.id()?.to_owned();
    let attended =
        record::is_alive(&document, "/wb/state/monitor", boot_id) || leftover::monitor_lives(place, &id);
    if attended || record::is_claimed(&document, boot_id) {
        return Ok(None);
    }
    let status = document.str_at("/wb/state/status").unwrap_or_default();
    let is_left = match status {
        // Whoever made or removed it died on the way.
        "creating" | "removing" => true,
        // The monitor died before it could give everything back.
        _ if died => true,
        "created" | "exited" | "dead" => has_traces(place, &document)?,
        _ => false,
    };
    Ok(is_left.then_some(document))
}

/// Whether anything is on the machine that only a running container has.
fn has_traces(place: &Place, document: &Document) -> Result<bool, Error> {
    let id = document.id()?;
    let cgroups =
        document.at("/wb/cgroup/paths").and_then(|paths| paths.as_object().cloned()).unwrap_or_default();
    Ok(wb_store::kept::netns_directory().join(id).exists()
        || fs::read_dir(place.container_run(id)).is_ok_and(|mut entries| entries.next().is_some())
        || cgroups.values().any(|path| path.as_str().is_some_and(|path| Path::new(path).exists())))
}

/// Directories without a record, and names without a container: their maker died between two calls.
fn remove_half_made(place: &Place) -> Result<(), Error> {
    if !place.containers().is_dir() {
        return Ok(());
    }
    // Who is making one holds this lock shared.
    let _lock = Lock::directory(&place.containers())?;
    for id in record::list(place)? {
        if !record::exists(place, &id) {
            record::remove(place, &id)?;
        }
    }
    for name in record::names(place)? {
        let path = place.names().join(&name);
        let target = fs::read_link(&path).unwrap_or_default();
        let known =
            target.to_str().is_some_and(|id| names::check("id", id).is_ok() && record::exists(place, id));
        if !known {
            fs::remove_file(&path).context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Files with a process's number between `start` and `end` that was killed before it could remove them.
fn of_the_dead(directory: &Path, start: &str, end: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_left = |name: &OsStr| {
        let pid =
            name.to_str().and_then(|name| name.strip_prefix(start)?.strip_suffix(end)?.parse::<u32>().ok());
        pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
    };
    entries.flatten().filter(|entry| is_left(&entry.file_name())).map(|entry| entry.path()).collect()
}

/// What the pipelines of killed `wb run` have made (`made/PID`), where no record knows of it any more.
fn made_by_the_dead(place: &Place) -> Vec<Document> {
    let mut found = Vec::new();
    for path in of_the_dead(&place.made(), "", "") {
        // Another gc may have taken it, or it may have been killed while it wrote.
        let made = fs::read(&path).ok().and_then(|text| Document::parse(&text).ok());
        found.extend(made.filter(|made| made.id().is_ok_and(|id| !place.container(id).exists())));
        // It is in nobody's way if it stays.
        fs::remove_file(&path).ok();
    }
    found
}

/// Directories in the place that a reboot forgets, of containers that have no record any more.
fn without_record(place: &Place) -> Result<Vec<Document>, Error> {
    let directory = place.run().join("containers");
    let Ok(entries) = fs::read_dir(&directory) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Ok(id) = entry.file_name().into_string() else { continue };
        if names::check("id", &id).is_err() || place.container(&id).exists() {
            continue;
        }
        // Something is still mounted there: the other tools undo that first, by the id alone.
        if tree::remove(&entry.path(), None).is_err() {
            let mut document = Document::default();
            document.set("/wb/id", &id)?;
            document.set("/wb/state/status", "creating")?;
            found.push(document);
        }
    }
    Ok(found)
}
