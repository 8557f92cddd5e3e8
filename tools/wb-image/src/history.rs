//! How an image came about, the last step first.

use crate::{list, names, out};
use jiff::Timestamp;
use serde_json::json;
use wb_doc::{Error, ExitCode};
use wb_store::Place;
use wb_store::image::{Digest, History, Image, ImageStore};

/// Show the steps an image was made in
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name, id, or the first digits of an id
    image: String,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// One JSON array
    #[arg(long)]
    json: bool,
}

/// A step, and the layer it made.
struct Step<'a> {
    history: History,
    layer: Option<&'a Digest>,
    size: u64,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    let image = names::load(&ImageStore::new(&place), &args.image)?;
    let steps = steps(&place, &image);
    let id = |at: usize| match at {
        0 if args.no_trunc => image.id().to_string(),
        0 => image.id().short().to_owned(),
        // Only the last step has an image in the store.
        _ => "<missing>".to_owned(),
    };
    if args.json {
        let object = |(at, step): (usize, &Step)| {
            json!({
                "id": if at == 0 { image.id().as_str() } else { "<missing>" },
                "created": step.history.created,
                "createdBy": step.history.created_by,
                "author": step.history.author,
                "comment": step.history.comment,
                "size": step.size,
                "layer": step.layer,
            })
        };
        out::json(&steps.iter().enumerate().map(object).collect::<Vec<_>>())?;
    } else if args.quiet {
        for at in 0..steps.len() {
            out::line(&id(at))?;
        }
    } else {
        let mut table =
            vec![["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"].map(str::to_owned).to_vec()];
        let now = Timestamp::now().as_second();
        for (at, step) in steps.iter().enumerate() {
            let created = step.history.created.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
            table.push(vec![
                id(at),
                created.map_or_else(|| "N/A".into(), |created| out::ago(now - created.as_second())),
                cut(step.history.created_by.as_deref().unwrap_or_default(), args.no_trunc),
                out::size(step.size),
                step.history.comment.clone().unwrap_or_default(),
            ]);
        }
        out::table(&table)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The steps, last first. Layers go to the steps that made one, in order; what is left over are steps of their own,
/// since not every builder keeps a history.
fn steps<'a>(place: &wb_store::Place, image: &'a Image) -> Vec<Step<'a>> {
    let mut layers = image.diff_ids().iter().zip(&image.manifest.layers);
    let mut with_layer = |history: History, has_layer: bool| {
        let layer = if has_layer { layers.next() } else { None };
        let size = layer.map_or(0, |(diff_id, blob)| list::layer_size(place, diff_id).unwrap_or(blob.size));
        Step { history, layer: layer.map(|(diff_id, _)| diff_id), size }
    };
    let told = image.config.history.clone().unwrap_or_default();
    let count = told.iter().filter(|step| step.empty_layer != Some(true)).count();
    let untold = image.diff_ids().len().saturating_sub(count);
    let mut steps: Vec<Step> = (0..untold).map(|_| with_layer(History::default(), true)).collect();
    for history in told {
        let has_layer = history.empty_layer != Some(true);
        steps.push(with_layer(history, has_layer));
    }
    steps.reverse();
    steps
}

/// docker's width for commands.
fn cut(text: &str, whole: bool) -> String {
    let text = text.replace('\t', " ");
    if whole || text.chars().count() <= 45 {
        return text;
    }
    text.chars().take(44).chain(['…']).collect()
}
