//! `wb-state create`: an id and a name that nobody else has.

use crate::userns;
use std::fs::{self, OpenOptions};
use std::io::Write;
use wb_doc::{Context, Document, Error};
use wb_store::{Place, record};

/// Claims id and name, and stores the document with the status `creating`.
///
/// Where it fails, `wb.id` is taken out of the document: what it names may be another container, which the undoing
/// verbs further down the pipe must not touch.
pub fn create(
    place: &Place,
    document: &mut Document,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<(), Error> {
    if document.at("/wb/id").is_none() {
        match id {
            Some(id) => document.set("/wb/id", id)?,
            None => document.set("/wb/id", record::random_id()?)?,
        }
    }
    if let Some(name) = name {
        document.set_default("/wb/name", name)?;
    }
    claim(place, document).inspect_err(|_| drop(document.remove("/wb/id")))
}

fn claim(place: &Place, document: &mut Document) -> Result<(), Error> {
    document.set("/wb/created", format!("{:.9}", jiff::Timestamp::now()))?;
    document.set("/wb/state/status", "creating")?;
    record::claim(document, &record::callers())?;
    let cidfile = write_cidfile(document)?;
    let created = userns::with_maps(place, document, |document| record::create(place, document));
    created.inspect_err(|_| {
        if let Some(path) = cidfile {
            // Made above; the failure to claim matters more.
            fs::remove_file(path).ok();
        }
    })
}

/// `--cidfile`: never over a file that is there, which may be another container's.
fn write_cidfile(document: &Document) -> Result<Option<String>, Error> {
    let Some(path) = document.str_at("/wb/run/cidfile") else { return Ok(None) };
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::new(format!("container id file {path} exists"))
                .code(125)
                .hint("make sure that the other container is not running, or remove the file"));
        }
        other => other.context(|| format!("container id file {path}")).map_err(|error| error.code(125))?,
    };
    file.write_all(document.id()?.as_bytes()).context(|| format!("container id file {path}"))?;
    Ok(Some(path.to_owned()))
}
