//! Everything the store knows of an image.

use crate::{list, names, out};
use serde_json::{Value, json};
use wb_doc::{Error, ExitCode, table};
use wb_store::Place;
use wb_store::image::{Image, ImageStore, Reference, SOURCE_DIGEST};

/// Show all about images, as one JSON array
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names, ids, or the first digits of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Print what this template says of each, with the names of the array's members
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    let store = ImageStore::new(&place);
    let mut code = ExitCode::SUCCESS;
    let mut found = Vec::new();
    for text in &args.images {
        match names::load(&store, text) {
            Ok(image) => found.push(describe(&place, &store, &image)?),
            Err(error) => {
                out::complain("inspect", &error);
                code = ExitCode::FAILURE;
            }
        }
    }
    match &args.format {
        Some(format) => out::text(&table::formatted(format, "IMAGE", &found)?)?,
        None => out::json(&found)?,
    }
    Ok(code)
}

/// docker's members, and the manifest's descriptor.
fn describe(place: &Place, store: &ImageStore, image: &Image) -> Result<Value, Error> {
    let names = names::of_image(store, image)?;
    // The digest a registry knows the image by, in each of its repositories.
    let source = image.descriptor.annotation(SOURCE_DIGEST).unwrap_or(image.descriptor.digest.as_str());
    let mut digests: Vec<String> = names
        .iter()
        .filter_map(|name| Reference::parse(name).ok())
        .map(|reference| match reference.familiar_repository() {
            "" => format!("{}@{source}", reference.repository()),
            short => format!("{short}@{source}"),
        })
        .collect();
    digests.sort();
    digests.dedup();
    let config = &image.config;
    let layers = image.diff_ids();
    Ok(json!({
        "Id": image.id(),
        "RepoTags": names.iter().filter(|name| !name.contains('@')).map(|name| names::shown(name)).collect::<Vec<_>>(),
        "RepoDigests": digests,
        "Created": config.created,
        "Author": config.author.clone().unwrap_or_default(),
        "Comment": config.history.iter().flatten().last().and_then(|step| step.comment.clone()).unwrap_or_default(),
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": list::size(place, image),
        "Config": config.config.clone().unwrap_or_default(),
        "RootFS": { "Type": config.rootfs.kind, "Layers": layers },
        "LayerDirectories": layers.iter().map(|layer| place.layers().join(layer.hex())).collect::<Vec<_>>(),
        "Descriptor": image.descriptor,
        "Manifest": image.manifest,
        "History": config.history.clone().unwrap_or_default(),
    }))
}
