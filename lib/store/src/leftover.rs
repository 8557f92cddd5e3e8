//! Whether tools that were killed, or another boot, have left something on the machine: a look that costs next to
//! nothing, for whoever has to know at each start whether `wb-state gc` is worth it.

use crate::{Place, record};
use std::fs;
use std::time::Duration;
use wb_doc::names;

/// The file in a container's run directory that its monitor holds locked, with the monitor's pid and start time in it.
pub const MONITOR_LOCK: &str = "monitor.lock";
/// Says that this boot has been looked after; `/run` forgets it.
const SWEPT: &str = "swept";
/// What has changed so lately is being made or removed right now, mostly; if it was left, a later look finds it.
const RECENT: Duration = Duration::from_secs(1);

/// Whether `wb-state gc` has something to do, as far as the run directories tell: they are few, of the containers that
/// run or are being made. The first call after a boot says yes where there are records besides the caller's own, since
/// those of another boot have to be looked at.
pub fn any(place: &Place) -> bool {
    let swept = place.run().join(SWEPT);
    let records = || fs::read_dir(place.containers()).map_or(0, Iterator::count);
    // If it cannot be made, the next one asks again.
    if !swept.exists() && fs::write(&swept, "").is_ok() && records() > 1 {
        return true;
    }
    let Ok(boot_id) = wb_sys::proc::boot_id() else { return false };
    let Ok(entries) = fs::read_dir(place.run().join("containers")) else { return false };
    let is_recent = |entry: &fs::DirEntry| {
        entry
            .metadata()
            .is_ok_and(|data| data.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age < RECENT)))
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| !is_recent(entry))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|id| names::check("id", id).is_ok())
        .any(|id| is_left(place, &id, &boot_id))
}

fn is_left(place: &Place, id: &str, boot_id: &str) -> bool {
    if monitor_lives(place, id) {
        return false;
    }
    match record::read(place, id) {
        Ok(document) => {
            let attended = record::is_alive(&document, "/wb/state/monitor", boot_id);
            let status = document.str_at("/wb/state/status");
            let rests = matches!(status, Some("created" | "exited" | "dead")) && is_empty(place, id);
            !attended && !rests && !record::is_claimed(&document, boot_id)
        }
        Err(_) => !place.container(id).exists(),
    }
}

/// Whether a container's monitor lives; of one in the making the record does not say.
pub fn monitor_lives(place: &Place, id: &str) -> bool {
    let text = fs::read_to_string(place.container_run(id).join(MONITOR_LOCK)).unwrap_or_default();
    let mut words = text.split_whitespace();
    let (Some(Ok(pid)), Some(Ok(start))) =
        (words.next().map(str::parse::<i32>), words.next().map(str::parse::<u64>))
    else {
        return false;
    };
    wb_sys::proc::stat(pid).is_ok_and(|(state, found)| found == start && !matches!(state, b'Z' | b'X'))
}

fn is_empty(place: &Place, id: &str) -> bool {
    fs::read_dir(place.container_run(id)).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wb_doc::Document;

    fn container(place: &Place, id: &str, change: impl FnOnce(&mut Document)) {
        let mut document = Document::default();
        document.set("/wb/id", id).unwrap();
        record::create(place, &mut document).unwrap();
        change(&mut document);
        fs::write(place.container(id).join(record::FILE), document.to_line()).unwrap();
    }

    /// All that is there has been there for a while.
    fn age(place: &Place) {
        for entry in fs::read_dir(place.run().join("containers")).unwrap() {
            let directory = fs::File::open(entry.unwrap().path()).unwrap();
            directory.set_modified(std::time::SystemTime::now() - 2 * RECENT).unwrap();
        }
    }

    #[test]
    fn the_dead_are_told_from_the_living_and_the_made() {
        let scratch = std::env::temp_dir().join(format!("wb-leftover-{}", std::process::id()));
        let place = Place::at(scratch.join("root"), scratch.join("run"));
        fs::create_dir_all(place.run()).unwrap();
        assert!(!any(&place), "nothing is there");
        fs::remove_file(place.run().join(SWEPT)).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        container(&place, "made", |document| document.set("/wb/state/status", "created").unwrap());
        container(&place, "making", |document| record::claim(document, &[me]).unwrap());
        container(&place, "over", |document| document.set("/wb/state/status", "exited").unwrap());
        container(&place, "attended", |_| {});
        assert!(any(&place), "the first look after a boot");
        let start = wb_sys::proc::start_time(1).unwrap();
        fs::write(place.container_run("attended").join(MONITOR_LOCK), format!("1 {start}")).unwrap();
        age(&place);
        assert!(!any(&place));
        fs::write(place.container_run("attended").join(MONITOR_LOCK), format!("1 {}", start + 1)).unwrap();
        age(&place);
        assert!(any(&place), "its monitor is another process now");
        container(&place, "attended-since", |_| {});
        fs::remove_dir_all(place.container_run("attended")).unwrap();
        assert!(!any(&place), "what is new is left alone");
        fs::remove_dir_all(&scratch).unwrap();
    }
}
