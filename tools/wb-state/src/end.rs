//! `wb-state rm` and `wb-state finish`: what remains of a container on disk, at its end.

use serde_json::Value;
use std::path::Path;
use wb_doc::{Context, Document, Error, names};
use wb_store::atomic::Durability;
use wb_store::{Place, record, tree};

/// Writes down that the container is being removed, before anything of it is undone: whoever is starting it at this
/// moment gives up, or has made everything that the removal then undoes. Refused where the container runs.
pub fn begin_removal(place: &Place, document: &mut Document) -> Result<(), Error> {
    let boot_id = wb_sys::proc::boot_id().context(|| "boot_id")?;
    *document = record::update(place, document.id()?, Durability::Visible, |stored| {
        record::true_status(stored, &boot_id)?;
        refuse_if_running(stored)?;
        stored.set("/wb/state/status", "removing")?;
        record::claim(stored, &record::callers())
    })?;
    Ok(())
}

fn refuse_if_running(stored: &Document) -> Result<(), Error> {
    let Some(status @ ("running" | "paused")) = stored.str_at("/wb/state/status") else { return Ok(()) };
    let name = stored.str_at("/wb/name").or(stored.id().ok().map(names::short)).unwrap_or_default();
    Err(Error::new(format!("container {name} is {status}"))
        .hint(format!("wb stop {name}, or wb rm --force {name}")))
}

/// Removes the record and everything of the container on disk.
///
/// Refused where an undoing stage before this one failed: something is still there, and without its record nobody
/// could try again. Refused, too, where the container runs.
pub fn rm(place: &Place, document: &mut Document, volumes: bool) -> Result<(), Error> {
    check_undone(document)?;
    let id = document.id()?.to_owned();
    let stored = match record::read(place, &id) {
        Ok(mut stored) => {
            let boot_id = wb_sys::proc::boot_id().context(|| "boot_id")?;
            record::true_status(&mut stored, &boot_id)?;
            refuse_if_running(&stored)?;
            Some(stored)
        }
        // Nothing, or nothing readable: what there is goes.
        Err(_) => None,
    };
    if let (true, Some(stored)) = (volumes, &stored) {
        remove_anonymous_volumes(place, stored)?;
    }
    remove_pidfile(stored.as_ref());
    record::remove(place, &id)?;
    document.set("/wb/state/status", "removed")
}

/// A container has ended and gave everything back: with `--rm`, or if it never came to stand, nothing remains.
pub fn finish(place: &Place, document: &mut Document) -> Result<(), Error> {
    match document.str_at("/wb/state/status") {
        _ if record::removes_itself(document) => return rm(place, document, true),
        Some("creating") => return rm(place, document, true),
        // Its removal was interrupted.
        Some("removing") => return rm(place, document, false),
        _ => {}
    }
    remove_pidfile(Some(document));
    if document.at("/wb/error/undo").is_some() {
        // The record stays as it is and knows what is left.
        return Ok(());
    }
    let mut stored = document.clone();
    stored.remove("/wb/error");
    record::put(place, &stored, record::durability(document), &record::callers()).map(drop)
}

fn check_undone(document: &Document) -> Result<(), Error> {
    match (document.at("/wb/error/undo"), document.failure()) {
        (Some(_), Some(failure)) => {
            Err(Error::new(format!("the record stays, since {} failed", failure.tool)).code(failure.code))
        }
        _ => Ok(()),
    }
}

fn remove_pidfile(document: Option<&Document>) {
    if let Some(path) = document.and_then(|document| document.str_at("/wb/run/pidfile")) {
        // It may never have been written.
        std::fs::remove_file(path).ok();
    }
}

/// Volumes that got a random name go with their container, unless another one uses them (`--volumes-from`).
fn remove_anonymous_volumes(place: &Place, document: &Document) -> Result<(), Error> {
    let id = document.id()?;
    let volumes = document.read::<Vec<Value>>("/wb/volumes")?.unwrap_or_default();
    let mut anonymous = volumes
        .iter()
        .filter(|volume| volume["anonymous"] == true)
        .filter_map(|volume| volume["name"].as_str())
        .filter(|name| names::check("volume", name).is_ok())
        .peekable();
    if anonymous.peek().is_none() {
        return Ok(());
    }
    let mut in_use = Vec::new();
    for other in record::list(place)?.into_iter().filter(|other| other != id) {
        // A record that cannot be read uses what it may.
        if let Ok(other) = record::bytes(place, &other) {
            in_use.push(String::from_utf8_lossy(&other).into_owned());
        }
    }
    for name in anonymous.filter(|name| in_use.iter().all(|other| !other.contains(*name))) {
        let path: &Path = &place.volumes().join(name);
        tree::remove(path, None)?;
    }
    Ok(())
}
