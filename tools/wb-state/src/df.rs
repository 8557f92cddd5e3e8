//! `wb-state df`: what a place takes of the disk, and how much of that nobody uses.

mod each;

use crate::TOOL;
use crate::row::Row;
use crate::size::bytes_below;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;
use wb_doc::{Error, ExitCode, Filter, table, units};
use wb_store::image::{Digest, Image, ImageStore};
use wb_store::{Place, record};

/// How to say it.
#[derive(Debug, clap::Args)]
pub struct DfArgs {
    /// One JSON array
    #[arg(long)]
    json: bool,
    /// Only how many bytes all of it takes
    #[arg(long, conflicts_with_all = ["json", "verbose"])]
    total: bool,
    /// What each image, each container and each volume takes
    #[arg(short, long)]
    verbose: bool,
    /// Print what this template says of each kind: .Type, .TotalCount, .Active, .Size, .Reclaimable
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["json", "total", "verbose", "since"])]
    format: Option<String>,
    /// Only how much less it takes than these bytes, in words
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["json", "total", "verbose"])]
    since: Option<u64>,
}

/// One kind of things that lie on the disk.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Usage {
    #[serde(rename = "type")]
    kind: &'static str,
    total: usize,
    active: usize,
    size: u64,
    reclaimable: u64,
}

/// The verb.
pub fn df(place: &Place, args: &DfArgs) -> Result<ExitCode, Error> {
    let containers = rows(place)?;
    if args.verbose {
        return crate::print(&each::told(place, &containers, args.json)?);
    }
    let all = [images(place, &containers)?, own_files(place, &containers), volumes(place, &containers)?];
    let total: u64 = all.iter().map(|usage| usage.size).sum();
    let text = if let Some(format) = &args.format {
        table::formatted(format, "", &all.each_ref().map(Usage::named))?
    } else if let Some(before) = args.since {
        format!("Total reclaimed space: {}\n", units::human_size(before.saturating_sub(total)))
    } else if args.total {
        format!("{total}\n")
    } else if args.json {
        serde_json::to_string_pretty(&all).map_err(|error| Error::new(error.to_string()))? + "\n"
    } else {
        let cells: Vec<Vec<String>> = all.iter().map(Usage::cells).collect();
        table::layout(&["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], &cells)
    };
    crate::print(&text)
}

/// The containers there are. One that cannot be read is named: what it uses is not known.
fn rows(place: &Place) -> Result<Vec<(Row, bool)>, Error> {
    let boot_id = wb_sys::proc::boot_id().map_err(|errno| Error::errno("boot_id", errno))?;
    let mut rows = Vec::new();
    for id in record::list(place)? {
        let parse = |text: Vec<u8>| Row::parse(&text).map_err(|error| Error::new(error.to_string()));
        match record::bytes(place, &id).and_then(parse) {
            Ok(mut row) => {
                row.true_status(&boot_id);
                let runs = matches!(row.status(), "running" | "paused" | "restarting");
                rows.push((row, runs));
            }
            Err(_) if !record::exists(place, &id) => {}
            Err(error) => drop(Filter::doing(TOOL, "df").report(&error)),
        }
    }
    Ok(rows)
}

/// Images: their blobs, and their layers unpacked.
fn images(place: &Place, containers: &[(Row, bool)]) -> Result<Usage, Error> {
    let store = ImageStore::new(place);
    let mut usage = Usage { kind: "Images", ..Usage::default() };
    let mut seen = HashSet::new();
    // What images that containers use need of blobs and layers, by the names of the files.
    let mut needed: HashSet<String> = HashSet::new();
    for (row, _) in containers {
        let names = row.wb.rootfs.lower.iter().filter_map(|lower| lower.file_name()?.to_str());
        needed.extend(names.map(str::to_owned));
    }
    for entry in &store.index()?.manifests {
        if !seen.insert(entry.digest.clone()) {
            continue;
        }
        usage.total += 1;
        // One that cannot be read is used by nobody.
        let Ok(image) = store.load(entry) else { continue };
        if users_of(&image, containers) > 0 {
            usage.active += 1;
            needed.insert(entry.digest.hex().to_owned());
            needed.extend(parts(&image).map(|digest| digest.hex().to_owned()));
        }
    }
    for (directory, is_layers) in [(store.directory().join("blobs/sha256"), false), (place.layers(), true)] {
        for name in names_in(&directory).iter().filter(|name| Digest::from_hex(name).is_ok()) {
            let bytes = if is_layers { layer(&directory, name) } else { bytes_of(&directory.join(name)) };
            usage.size += bytes;
            usage.reclaimable += if needed.contains(name) { 0 } else { bytes };
        }
    }
    Ok(usage)
}

/// How many containers were made from an image.
fn users_of(image: &Image, containers: &[(Row, bool)]) -> usize {
    let (id, digest) = (image.id().as_str(), image.descriptor.digest.as_str());
    containers.iter().filter(|(row, _)| row.wb.image.id == id || row.wb.image.digest == digest).count()
}

fn parts(image: &Image) -> impl Iterator<Item = &Digest> {
    let layers = image.manifest.layers.iter().map(|layer| &layer.digest);
    [&image.descriptor.digest, image.id()].into_iter().chain(layers).chain(image.diff_ids())
}

/// What a layer takes, as was noted when it was unpacked.
fn layer(directory: &Path, name: &str) -> u64 {
    wb_store::layer::noted_bytes(directory, name).unwrap_or_else(|| bytes_below(&directory.join(name)))
}

fn bytes_of(path: &Path) -> u64 {
    path.symlink_metadata().map_or(0, |metadata| metadata.len())
}

/// The names of what is there; nothing where the directory is missing.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Containers: what they have written, their logs and records.
fn own_files(place: &Place, containers: &[(Row, bool)]) -> Usage {
    let mut usage = Usage { kind: "Containers", total: containers.len(), ..Usage::default() };
    for (row, runs) in containers {
        let bytes = bytes_below(&place.container(&row.wb.id));
        usage.active += usize::from(*runs);
        usage.size += bytes;
        usage.reclaimable += if *runs { 0 } else { bytes };
    }
    usage
}

fn volumes(place: &Place, containers: &[(Row, bool)]) -> Result<Usage, Error> {
    let used: HashSet<&str> =
        containers.iter().flat_map(|(row, _)| &row.wb.volumes).map(|volume| volume.name.as_str()).collect();
    let mut usage = Usage { kind: "Local Volumes", ..Usage::default() };
    for name in crate::volume::existing(place)? {
        let bytes = bytes_below(&place.volumes().join(OsStr::new(&name)).join("_data"));
        let active = used.contains(name.as_str());
        usage.total += 1;
        usage.active += usize::from(active);
        usage.size += bytes;
        usage.reclaimable += if active { 0 } else { bytes };
    }
    Ok(usage)
}

impl Usage {
    /// What `--format` sees, under docker's names.
    fn named(&self) -> Value {
        let cells = self.cells();
        let names = ["Type", "TotalCount", "Active", "Size", "Reclaimable"];
        names.into_iter().map(str::to_owned).zip(cells.into_iter().map(Value::from)).collect()
    }

    fn cells(&self) -> Vec<String> {
        let percent =
            if self.size == 0 { 0 } else { u128::from(self.reclaimable) * 100 / u128::from(self.size) };
        vec![
            self.kind.to_owned(),
            self.total.to_string(),
            self.active.to_string(),
            units::human_size(self.size),
            format!("{} ({percent}%)", units::human_size(self.reclaimable)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_nothing_is_nothing() {
        let usage = Usage { kind: "Images", total: 2, active: 1, size: 4000, reclaimable: 1000 };
        assert_eq!(usage.cells(), ["Images", "2", "1", "4kB", "1kB (25%)"]);
        assert_eq!(Usage::default().cells()[4], "0B (0%)");
    }
}
