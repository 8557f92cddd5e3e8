//! The images there are, newest first.

use crate::{names, out};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use wb_doc::{Error, ExitCode, has_label, table};
use wb_store::Place;
use wb_store::image::{Digest, Image, ImageStore};

/// List images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only images of this repository, or with this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
    /// A table (the default)
    #[arg(long)]
    table: bool,
    /// One JSON array
    #[arg(long, overrides_with = "table")]
    json: bool,
    /// Print what this template says of each name: .Repository, .Tag, .ID, .Digest, .CreatedSince, .CreatedAt, .Size; a
    /// leading "table" gives headings
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["json", "quiet"])]
    format: Option<String>,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Show digests of manifests
    #[arg(long)]
    digests: bool,
    /// Accepted for docker's sake: there are no intermediate images
    #[arg(short, long)]
    all: bool,
    /// Only images that pass: dangling=true|false, label=KEY[=VALUE], reference=NAME
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

/// One line of the table.
struct Row {
    image: Image,
    size: u64,
    created: Option<Timestamp>,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    let store = ImageStore::new(&place);
    let mut code = ExitCode::SUCCESS;
    let mut rows = Vec::new();
    for entry in &store.index()?.manifests {
        match store.load(entry) {
            Ok(image) => {
                let size = size(&place, &image);
                let created = image.config.created.as_deref().and_then(|text| text.parse().ok());
                rows.push(Row { image, size, created });
            }
            Err(error) => {
                let name = entry.name().map_or_else(|| entry.digest.to_string(), names::shown);
                out::complain("list", &error.within(name));
                code = ExitCode::FAILURE;
            }
        }
    }
    for filter in &args.filter {
        let passes = filter_of(filter)?;
        rows.retain(|row| passes(&row.image));
    }
    if let Some(wanted) = &args.name {
        rows.retain(|row| is_named(&row.image, wanted));
    }
    rows.sort_by(|a, b| (b.created, &a.image.name).cmp(&(a.created, &b.image.name)));
    if let Some(format) = &args.format {
        let named: Vec<Value> = rows.iter().map(|row| named(row, args.no_trunc)).collect();
        out::text(&table::formatted(format, "IMAGE", &named)?)?;
    } else if args.json {
        out::json(&as_json(&rows))?;
    } else if args.quiet {
        let mut seen: Vec<&Digest> = Vec::new();
        for row in &rows {
            if !seen.contains(&row.image.id()) {
                seen.push(row.image.id());
                out::line(&id(row.image.id(), args.no_trunc))?;
            }
        }
    } else {
        out::table(&as_table(&rows, args))?;
    }
    Ok(code)
}

fn id(digest: &Digest, whole: bool) -> String {
    if whole { digest.to_string() } else { digest.short().to_owned() }
}

/// What the layers' files take unpacked, each layer once; of a layer not unpacked, what its blob takes.
pub fn size(place: &Place, image: &Image) -> u64 {
    let layers = image.diff_ids().iter().zip(&image.manifest.layers);
    layers.map(|(diff_id, blob)| layer_size(place, diff_id).unwrap_or(blob.size)).sum()
}

/// What a layer's files take, as written down when it was unpacked.
pub fn layer_size(place: &Place, diff_id: &Digest) -> Option<u64> {
    wb_store::layer::noted_bytes(&place.layers(), diff_id.hex())
}

fn is_named(image: &Image, wanted: &str) -> bool {
    let (repository, tag) = names::familiar(image.name.as_deref());
    repository == wanted
        || format!("{repository}:{tag}") == wanted
        || image.name.as_deref().is_some_and(|name| {
            name == wanted || name.rsplit_once(':').is_some_and(|(repository, _)| repository == wanted)
        })
}

type Condition = Box<dyn Fn(&Image) -> bool>;

/// One condition of --filter.
fn filter_of(text: &str) -> Result<Condition, Error> {
    let wrong = || Error::usage(format!("invalid filter {text:?}: dangling=, label= or reference="));
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let value = value.to_owned();
    Ok(match key {
        "dangling" => {
            let wanted = match value.as_str() {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(wrong()),
            };
            Box::new(move |image| image.name.is_none() == wanted)
        }
        "label" => Box::new(move |image| {
            let labels = image.config.config.as_ref().and_then(|config| config.labels.as_ref());
            has_label(&value, |key| labels?.get(key).map(String::as_str))
        }),
        "reference" => Box::new(move |image| is_named(image, &value)),
        _ => return Err(wrong()),
    })
}

fn as_table(rows: &[Row], args: &Args) -> Vec<Vec<String>> {
    let mut head = vec!["REPOSITORY", "TAG"];
    if args.digests {
        head.push("DIGEST");
    }
    head.extend(["IMAGE ID", "CREATED", "SIZE"]);
    let mut table = vec![head.into_iter().map(str::to_owned).collect()];
    let now = Timestamp::now().as_second();
    for row in rows {
        let (repository, tag) = names::familiar(row.image.name.as_deref());
        let mut line = vec![repository, tag];
        if args.digests {
            line.push(row.image.descriptor.digest.to_string());
        }
        line.push(id(row.image.id(), args.no_trunc));
        line.push(row.created.map_or_else(|| "N/A".into(), |created| out::ago(now - created.as_second())));
        line.push(out::size(row.size));
        table.push(line);
    }
    table
}

/// What `--format` sees, under docker's names.
fn named(row: &Row, whole: bool) -> Value {
    let (repository, tag) = names::familiar(row.image.name.as_deref());
    let now = Timestamp::now().as_second();
    json!({
        "Repository": repository,
        "Tag": tag,
        "ID": id(row.image.id(), whole),
        "Digest": row.image.descriptor.digest,
        "CreatedAt": row.image.config.created,
        "CreatedSince": row.created.map_or_else(|| "N/A".into(), |created| out::ago(now - created.as_second())),
        "Size": out::size(row.size),
    })
}

/// One object an image, with all its names.
fn as_json(rows: &[Row]) -> Vec<Value> {
    let mut images: BTreeMap<usize, (&Row, Vec<String>)> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        let digest = &row.image.descriptor.digest;
        let first = rows.iter().position(|other| other.image.descriptor.digest == *digest).unwrap_or(at);
        let names = &mut images.entry(first).or_insert((row, Vec::new())).1;
        names.extend(row.image.name.as_deref().map(names::shown));
    }
    let object = |(row, names): (&Row, Vec<String>)| {
        let config = row.image.config.config.as_ref();
        json!({
            "id": row.image.id(),
            "names": names,
            "digest": row.image.descriptor.digest,
            "created": row.image.config.created,
            "size": row.size,
            "platform": row.image.config.platform().to_string(),
            "labels": config.and_then(|config| config.labels.clone()).unwrap_or_default(),
            "layers": row.image.diff_ids(),
        })
    };
    images.into_values().map(object).collect()
}
