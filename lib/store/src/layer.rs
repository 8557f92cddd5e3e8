//! Unpacked layers: a directory each, and beside it a note, `.size-HEX`.
//!
//! A layer has its name when it is whole, but a power cut takes what the kernel has not written yet: it may leave the
//! name, and files without their content. So the note says of a new layer in which boot it was unpacked, and loses
//! that word when the file system has been synced. Of another boot, without that, a layer is as good as none, and is
//! unpacked again. One sync serves all the layers of a pull, where a sync a file would take longer than the pull.

use crate::atomic::{self, Durability};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};

/// What the note of a layer begins with.
pub const NOTE: &str = ".size-";

/// What a note says.
#[derive(Debug, PartialEq, Eq)]
struct Note {
    bytes: u64,
    /// The boot it was unpacked in; nothing when all of it is on the disk.
    boot_id: Option<String>,
}

impl Note {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let bytes = words.next()?.parse().ok()?;
        Some(Self { bytes, boot_id: words.next().map(str::to_owned) })
    }

    /// A note that cannot be read says nothing, whatever the reason.
    fn read(layers: &Path, hex: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(path(layers, hex)).ok()?)
    }

    fn is_of_this_boot(&self) -> bool {
        let same = |noted: &String| wb_sys::proc::boot_id().is_ok_and(|now| now == *noted);
        self.boot_id.as_ref().is_none_or(same)
    }
}

/// Where the note of a layer lies; `layers` is [`crate::Place::layers`].
pub fn path(layers: &Path, hex: &str) -> PathBuf {
    layers.join(format!("{NOTE}{hex}"))
}

/// How many bytes a layer's files have, as was noted when it was unpacked.
pub fn noted_bytes(layers: &Path, hex: &str) -> Option<u64> {
    Note::read(layers, hex).map(|note| note.bytes)
}

/// Notes a layer that is unpacked but not synced.
pub fn note(layers: &Path, hex: &str, bytes: u64) -> Result<(), Error> {
    let boot_id = wb_sys::proc::boot_id().context(|| "boot_id")?;
    atomic::write(&path(layers, hex), format!("{bytes} {boot_id}").as_bytes(), Durability::Visible)
}

/// Whether the layer is there, with everything that was unpacked into it.
pub fn is_whole(layers: &Path, hex: &str) -> bool {
    layers.join(hex).is_dir() && Note::read(layers, hex).is_some_and(|note| note.is_of_this_boot())
}

/// Syncs what was unpacked in this boot, and notes that. Where there is nothing of that kind nothing is done.
pub fn settle(layers: &Path) -> Result<(), Error> {
    let new = unsettled(layers);
    if new.is_empty() {
        return Ok(());
    }
    let shown = || layers.display().to_string();
    let directory = File::open(layers).context(shown)?;
    wb_sys::file::syncfs(&directory, "new layers survive a power cut").context(shown)?;
    for (hex, bytes) in new {
        // If this is lost the layer is unpacked once more.
        atomic::write(&path(layers, &hex), bytes.to_string().as_bytes(), Durability::Visible)?;
    }
    Ok(())
}

fn unsettled(layers: &Path) -> Vec<(String, u64)> {
    // No directory, no layers.
    let entries = fs::read_dir(layers).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| OsString::into_string(entry.file_name()).ok());
    let new = names.filter_map(|name| {
        let hex = name.strip_prefix(NOTE)?;
        let note = Note::read(layers, hex)?;
        let is_new = note.boot_id.is_some() && note.is_of_this_boot() && layers.join(hex).is_dir();
        is_new.then(|| (hex.to_owned(), note.bytes))
    });
    new.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_of_another_boot_counts_only_if_it_was_synced() {
        let layers = std::env::temp_dir().join(format!("wb-layers.{}", std::process::id()));
        fs::create_dir_all(&layers).unwrap();
        for (hex, text) in [("aa", "1"), ("bb", "2 another"), ("cc", ""), ("dd", "x")] {
            fs::create_dir_all(layers.join(hex)).unwrap();
            fs::write(path(&layers, hex), text).unwrap();
        }
        fs::create_dir_all(layers.join("ee")).unwrap();
        fs::create_dir_all(layers.join("ff")).unwrap();
        note(&layers, "ff", 5).unwrap();
        note(&layers, "99", 6).unwrap();
        let whole = |hex: &str| is_whole(&layers, hex);
        assert_eq!(
            ["aa", "bb", "cc", "dd", "ee", "ff", "99"].map(whole),
            [true, false, false, false, false, true, false]
        );
        assert_eq!(unsettled(&layers), [("ff".to_owned(), 5)]);
        settle(&layers).unwrap();
        assert_eq!(fs::read_to_string(path(&layers, "ff")).unwrap(), "5");
        assert_eq!(fs::read_to_string(path(&layers, "bb")).unwrap(), "2 another");
        assert_eq!((noted_bytes(&layers, "bb"), noted_bytes(&layers, "cc")), (Some(2), None));
        fs::remove_dir_all(&layers).unwrap();
        settle(&layers).unwrap();
    }
}
