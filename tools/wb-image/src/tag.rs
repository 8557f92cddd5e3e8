//! Another name for an image.

use crate::names;
use wb_doc::{Error, ExitCode};
use wb_store::Place;
use wb_store::image::ImageStore;

/// Give an image a further name; an image that had it loses it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name, id, or the first digits of an id
    image: String,
    /// The new name
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let store = ImageStore::new(&Place::from_env()?);
    let target = names::target(&args.name)?;
    let descriptor = names::find(&store, &args.image)?;
    store.set_name(&target.normalized(), &descriptor)?;
    Ok(ExitCode::SUCCESS)
}
