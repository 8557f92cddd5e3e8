//! How much of the disk a container's files take.

use crate::row::Row;
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use wb_doc::units;

/// Sizes of directories; layers that several containers share are counted once.
#[derive(Default)]
pub struct Sizes(HashMap<PathBuf, u64>);

impl Sizes {
    /// The column SIZE: what was written in the container, and the whole that it sees.
    pub fn of(&mut self, row: &Row) -> String {
        let own = bytes_below(&row.wb.rootfs.upper);
        let lower: u64 = row
            .wb
            .rootfs
            .lower
            .iter()
            .map(|layer| *self.0.entry(layer.clone()).or_insert_with(|| bytes_below(layer)))
            .sum();
        format!("{} (virtual {})", units::human_size(own), units::human_size(own + lower))
    }
}

/// The sizes of all regular files below a directory, each counted once whatever its names; not those of other file
/// systems mounted there. What cannot be read has gone meanwhile.
pub fn bytes_below(top: &Path) -> u64 {
    let Ok(metadata) = top.symlink_metadata() else { return 0 };
    let device = metadata.dev();
    let mut total = 0;
    let mut linked = HashSet::new();
    let mut directories = vec![top.to_owned()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() && metadata.dev() == device {
                directories.push(entry.path());
            } else if metadata.is_file() && (metadata.nlink() == 1 || linked.insert(metadata.ino())) {
                total += metadata.len();
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_count_once_and_are_not_followed() {
        let top = std::env::temp_dir().join(format!("wb-state-size-{}", std::process::id()));
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::write(top.join("a/b/file"), [0; 1000]).unwrap();
        std::fs::hard_link(top.join("a/b/file"), top.join("a/link")).unwrap();
        std::os::unix::fs::symlink("/etc", top.join("etc")).unwrap();
        assert_eq!(bytes_below(&top), 1000);
        assert_eq!(bytes_below(&top.join("nothing")), 0);
        std::fs::remove_dir_all(top).unwrap();
    }
}
