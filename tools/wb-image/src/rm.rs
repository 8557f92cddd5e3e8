//! Names taken away; an image that loses its last one goes, with the blobs and layers nobody else has.

use crate::{gc, names, out, users};
use wb_doc::{Error, ExitCode};
use wb_store::Place;
use wb_store::image::{Descriptor, Image, ImageStore};

/// Remove names of images, and images without a name left
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names, ids, or the first digits of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Also where a container uses the image, or where an id has several names
    #[arg(short, long)]
    force: bool,
    /// Keep blobs and layers for `wb-image gc`
    #[arg(long)]
    no_prune: bool,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    let store = ImageStore::new(&place);
    let mut code = ExitCode::SUCCESS;
    let mut deleted = false;
    for text in &args.images {
        match remove(&place, &store, text, args.force) {
            Ok(done) => {
                for line in &done.lines {
                    out::line(line)?;
                }
                deleted |= done.deleted;
            }
            Err(error) => {
                out::complain("rm", &error);
                code = ExitCode::FAILURE;
            }
        }
    }
    if deleted && !args.no_prune {
        // Where somebody is just filling the store, the next gc does it.
        if let Some(alone) = store.try_alone()? {
            gc::sweep(&place, &store, &alone)?;
        }
    }
    Ok(code)
}

struct Done {
    lines: Vec<String>,
    deleted: bool,
}

fn remove(place: &Place, store: &ImageStore, text: &str, force: bool) -> Result<Done, Error> {
    let found = names::find(store, text)?;
    // An image that cannot be read can still be removed.
    let image = store.load(&found).ok();
    let by_name = found.name().filter(|name| names_it(text, name));
    let is_same = |entry: &Descriptor| entry.digest == found.digest;
    let mut all = store.index()?.manifests;
    all.retain(|entry| is_same(entry));
    let going: Vec<Option<String>> = match by_name {
        Some(name) => vec![Some(name.to_owned())],
        None if all.len() > 1 && !force => {
            let names: Vec<String> = all.iter().filter_map(|entry| entry.name()).map(names::shown).collect();
            return Err(Error::new(format!("{text}: the image has several names: {}", names.join(", ")))
                .hint("remove them by name, or all with -f"));
        }
        None => all.iter().map(|entry| entry.name().map(str::to_owned)).collect(),
    };
    let is_last = going.len() == all.len();
    if let Some(image) = image.as_ref().filter(|_| is_last && !force) {
        refuse_if_used(place, text, image, &going)?;
    }
    let digest = found.digest.clone();
    store.update_index(|index| {
        index.manifests.retain(|entry| {
            entry.digest != digest || !going.iter().any(|name| name.as_deref() == entry.name())
        });
        Ok(())
    })?;
    let mut lines: Vec<String> =
        going.iter().flatten().map(|name| format!("Untagged: {}", names::shown(name))).collect();
    if is_last {
        lines.push(format!("Deleted: {}", image.as_ref().map_or(&found.digest, Image::id)));
    }
    Ok(Done { lines, deleted: is_last })
}

/// Whether `text` is the name itself, and no id that led to the entry.
fn names_it(text: &str, name: &str) -> bool {
    use wb_store::image::Reference;
    let Ok(reference) = Reference::parse(text) else { return false };
    if reference.digest.is_some() {
        return name.starts_with(&reference.repository());
    }
    reference.normalized() == name
}

fn refuse_if_used(place: &Place, text: &str, image: &Image, names: &[Option<String>]) -> Result<(), Error> {
    let names: Vec<String> = names.iter().flatten().cloned().collect();
    let mut users = users::all(place)?;
    users.retain(|user| user.uses(Some(image.id()), &image.descriptor.digest, &names));
    let Some(first) = users.first() else { return Ok(()) };
    let more = match users.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Err(Error::new(format!("{text}: the image is used by container {}{more}", first.shown()))
        .hint("remove the container first, or use -f to take only the name away"))
}
