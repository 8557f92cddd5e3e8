//! `df -v`: what each image, each container and each volume takes.

use super::{layer, users_of};
use crate::docker;
use crate::row::Row;
use crate::size::bytes_below;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::ffi::OsStr;
use wb_doc::{Context, Error, table, units};
use wb_store::Place;
use wb_store::image::{Image, ImageStore, familiar};

/// The three tables, or one JSON object of three lists.
pub fn told(place: &Place, containers: &[(Row, bool)], as_json: bool) -> Result<String, Error> {
    let all = [
        ("Images", images(place, containers)?),
        ("Containers", own_files(place, containers)),
        ("Volumes", volumes(place, containers)?),
    ];
    if as_json {
        let object: serde_json::Map<String, Value> =
            all.into_iter().map(|(kind, list)| (kind.to_owned(), list.into())).collect();
        return serde_json::to_string_pretty(&object).context(|| "sizes").map(|text| text + "\n");
    }
    Ok(all.map(|(kind, list)| shown(kind, &list)).join("\n"))
}

/// One table under its title.
fn shown(kind: &str, list: &[Value]) -> String {
    let (title, columns) = match kind {
        "Images" => ("Images", &IMAGES[..]),
        "Containers" => ("Containers", &CONTAINERS[..]),
        _ => ("Local Volumes", &VOLUMES[..]),
    };
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let row = |thing: &Value| columns.iter().map(|(_, member)| cell(&thing[*member])).collect();
    let cells: Vec<Vec<String>> = list.iter().map(row).collect();
    format!("{title} space usage:\n\n{}", table::layout(&headings, &cells))
}

const IMAGES: [(&str, &str); 8] = [
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
    ("SHARED SIZE", "SharedSize"),
    ("UNIQUE SIZE", "UniqueSize"),
    ("CONTAINERS", "Containers"),
];
const CONTAINERS: [(&str, &str); 8] = [
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("LOCAL VOLUMES", "LocalVolumes"),
    ("SIZE", "Size"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("NAMES", "Names"),
];
const VOLUMES: [(&str, &str); 3] = [("VOLUME NAME", "Name"), ("LINKS", "Links"), ("SIZE", "Size")];

/// Words as they are; the numbers are sizes.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(bytes) => units::human_size(bytes.as_u64().unwrap_or(0)),
        other => other.to_string(),
    }
}

/// Each name of each image; a layer that two images have is shared by both.
fn images(place: &Place, containers: &[(Row, bool)]) -> Result<Vec<Value>, Error> {
    let store = ImageStore::new(place);
    let entries = store.index()?.manifests;
    // One that cannot be read has no size that could be told.
    let read: Vec<Image> = entries.iter().filter_map(|entry| store.load(entry).ok()).collect();
    let mut users: HashMap<&str, usize> = HashMap::new();
    for (at, image) in read.iter().enumerate() {
        let is_first = read[..at].iter().all(|other| other.id() != image.id());
        for diff_id in image.diff_ids().iter().filter(|_| is_first) {
            *users.entry(diff_id.as_str()).or_default() += 1;
        }
    }
    let now = Timestamp::now();
    let about = |image: &Image| {
        let (mut shared, mut unique) = (0, 0);
        for (diff_id, blob) in image.diff_ids().iter().zip(&image.manifest.layers) {
            let unpacked = place.layers().join(diff_id.hex()).is_dir();
            let bytes = if unpacked { layer(&place.layers(), diff_id.hex()) } else { blob.size };
            let is_shared = users.get(diff_id.as_str()).is_some_and(|users| *users > 1);
            *(if is_shared { &mut shared } else { &mut unique }) += bytes;
        }
        let (repository, tag) = familiar(image.name.as_deref());
        let created = image.config.created.as_deref().and_then(|time| crate::words::since(time, now));
        json!({
            "Repository": repository, "Tag": tag, "ID": image.id().short(),
            "CreatedSince": created.map_or_else(|| "N/A".to_owned(), |time| format!("{time} ago")),
            "Size": shared + unique, "SharedSize": shared, "UniqueSize": unique,
            "Containers": users_of(image, containers).to_string(),
        })
    };
    Ok(read.iter().map(about).collect())
}

/// Containers under docker's names, with what their files take.
fn own_files(place: &Place, containers: &[(Row, bool)]) -> Vec<Value> {
    let now = Timestamp::now();
    let about = |(row, _): &(Row, bool)| {
        let mut about = docker::listed(row, false, now);
        about["Size"] = bytes_below(&place.container(&row.wb.id)).into();
        about
    };
    containers.iter().map(about).collect()
}

/// Volumes, and how many containers use each.
fn volumes(place: &Place, containers: &[(Row, bool)]) -> Result<Vec<Value>, Error> {
    let links = |name: &str| {
        let uses = |(row, _): &&(Row, bool)| row.wb.volumes.iter().any(|volume| volume.name == name);
        containers.iter().filter(uses).count().to_string()
    };
    let about = |name: String| {
        let bytes = bytes_below(&place.volumes().join(OsStr::new(&name)).join("_data"));
        json!({"Name": name, "Links": links(&name), "Size": bytes})
    };
    Ok(crate::volume::existing(place)?.into_iter().map(about).collect())
}
