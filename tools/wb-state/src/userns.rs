//! `--userns`: the id maps of a container's user namespace, and for `auto` a range that no other container has.

use serde_json::{Value, json};
use std::collections::HashSet;
use wb_doc::{Document, Error};
use wb_store::{Place, lock::Lock, record};

/// How many ids a container gets.
const SIZE: u64 = 65_536;
/// The first range: in what systemd sets aside for containers (524288 to 1879048191, "Users, Groups, UIDs and GIDs
/// on systemd Systems"), above what subuid(5) hands to people by default.
const FIRST: u64 = 1 << 30;
/// One past the last.
const END: u64 = 1_879_048_192;

/// Puts the maps that `wb.userns` asks for into `linux.uidMappings` and `linux.gidMappings`, then runs `then`.
///
/// For `auto` a lock is held over both, so that the range is taken when the next one looks.
pub fn with_maps(
    place: &Place,
    document: &mut Document,
    then: impl FnOnce(&mut Document) -> Result<(), Error>,
) -> Result<(), Error> {
    match document.str_at("/wb/userns/mode") {
        // The layers could not be seen through other maps: their file system is not this user's to map.
        Some(mode @ ("auto" | "map")) if wb_store::kept::network().is_some() => {
            Err(Error::new(format!("--userns {mode}: takes root, since layers are mounted through its maps"))
                .code(125)
                .hint("an ordinary user's containers are in the user's own namespace already"))
        }
        Some("auto") if document.at("/linux/uidMappings").is_none() => {
            let _lock = Lock::exclusive(&lock_file(place)?)?;
            let host = free_range(&taken(place)?)?;
            set(document, &json!([{"containerID": 0, "hostID": host, "size": SIZE}]))?;
            then(document)
        }
        Some("map") => {
            let map = document.at("/wb/userns/map").cloned().unwrap_or_default();
            set(document, &map)?;
            then(document)
        }
        _ => then(document),
    }
}

fn lock_file(place: &Place) -> Result<std::path::PathBuf, Error> {
    use wb_doc::Context;
    let root = place.root();
    std::fs::create_dir_all(root).context(|| root.display().to_string())?;
    Ok(root.join(".userns.lock"))
}

fn set(document: &mut Document, map: &Value) -> Result<(), Error> {
    document.set("/linux/uidMappings", map)?;
    document.set("/linux/gidMappings", map)
}

/// The first host ids of the ranges in use. A record that cannot be read is no reason to give out nothing.
fn taken(place: &Place) -> Result<HashSet<u64>, Error> {
    let maps = |id: &String| record::read(place, id).ok()?.at("/linux/uidMappings")?.as_array().cloned();
    Ok(record::list(place)?
        .iter()
        .filter_map(maps)
        .flatten()
        .filter_map(|entry| entry["hostID"].as_u64())
        .map(|host| host - host % SIZE)
        .collect())
}

fn free_range(taken: &HashSet<u64>) -> Result<u64, Error> {
    (FIRST..END)
        .step_by(usize::try_from(SIZE).unwrap_or(1))
        .find(|host| !taken.contains(host))
        .ok_or_else(|| Error::new("--userns auto: every range of ids is in use").code(125))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_range_is_given() {
        assert_eq!(free_range(&HashSet::new()).unwrap(), FIRST);
        assert_eq!(free_range(&HashSet::from([FIRST, FIRST + 2 * SIZE])).unwrap(), FIRST + SIZE);
    }
}
