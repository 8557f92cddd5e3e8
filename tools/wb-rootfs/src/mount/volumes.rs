//! What `mounts` will need on the host: volumes made and filled, missing sources of `-v` made.

use super::{directory, private_directory};
use crate::idmap::Maps;
use serde::Deserialize;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Document, Error, names};
use wb_store::Place;
use wb_store::lock::Lock;
use wb_sys::{Errno, tree};

/// One of `wb.volumes`, as `wb-spec` writes it.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Needed {
    /// A directory or file of the host.
    Bind {
        source: PathBuf,
        /// A missing one is made, as a directory: `-v` does, `--mount` does not.
        #[serde(default)]
        create: bool,
    },
    /// A named volume.
    #[serde(rename = "volume")]
    Named {
        name: String,
        destination: PathBuf,
        /// An empty one starts with what the image has at the destination.
        #[serde(default = "yes")]
        copy: bool,
    },
    /// Of a kind that needs nothing here.
    #[serde(other)]
    Other,
}

fn yes() -> bool {
    true
}

/// Makes everything `wb.volumes` names, in order.
pub fn make(
    place: &Place,
    root: impl AsFd,
    document: &mut Document,
    maps: Option<&Maps>,
) -> Result<(), Error> {
    let volumes: Vec<Needed> = document.read("/wb/volumes")?.unwrap_or_default();
    for volume in &volumes {
        match volume {
            Needed::Bind { source, create } => source_of_bind(source, *create)?,
            Needed::Named { name, destination, copy } => {
                names::check("volume", name)?;
                named(place, &root, name, destination, *copy, maps).context(|| format!("volume {name}"))?;
                if maps.is_some() {
                    // Its files keep their own ids on the disk, for other containers.
                    map_ids(document, destination)?;
                }
            }
            Needed::Other => {}
        }
    }
    Ok(())
}

fn source_of_bind(source: &Path, create: bool) -> Result<(), Error> {
    match std::fs::metadata(source) {
        Ok(_) => Ok(()),
        Err(error) if create && error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(source).context(|| format!("bind source {}", source.display()))?;
            // The umask is 0 here; what is made for somebody else is not for everybody to write.
            let made = tree::open_directory(source).context(|| source.display().to_string())?;
            tree::chmod_fd(&made, 0o755).context(|| source.display().to_string())
        }
        Err(error) => Err(error).context(|| format!("bind source {}", source.display())),
    }
}

/// Has the mount at `destination` show ids through the container's maps.
fn map_ids(document: &mut Document, destination: &Path) -> Result<(), Error> {
    let mut mounts: Vec<serde_json::Value> = document.read("/mounts")?.unwrap_or_default();
    for mount in &mut mounts {
        let here = mount["destination"].as_str().is_some_and(|path| Path::new(path) == destination);
        let options = mount.get_mut("options").and_then(serde_json::Value::as_array_mut);
        if let (true, Some(options)) = (here, options) {
            if !options.iter().any(|word| word == "idmap" || word == "ridmap") {
                options.push("idmap".into());
            }
        }
    }
    document.set("/mounts", mounts)
}

/// Makes a named volume where it is missing, and fills an empty one.
fn named(
    place: &Place,
    root: impl AsFd,
    name: &str,
    destination: &Path,
    copy: bool,
    maps: Option<&Maps>,
) -> Result<(), Error> {
    let volume = place.volumes().join(name);
    let data = volume.join("_data");
    if !copy && data.is_dir() {
        return Ok(());
    }
    private_directory(&volume)?;
    // Two containers may start at once; the second finds a volume that is filled.
    let _lock = Lock::exclusive(&volume.join(".lock"))?;
    directory(&data, 0o755)?;
    if !copy {
        return Ok(());
    }
    let object = || data.display().to_string();
    let opened = tree::open_directory(&data).context(object)?;
    let unfinished = volume.join(".filling");
    let interrupted = unfinished.exists();
    if !interrupted && !tree::names(&opened).context(object)?.is_empty() {
        return Ok(());
    }
    let image = match tree::directory_in_root(root, destination.as_os_str()) {
        // The image has nothing there, or a file.
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        other => other.context(|| destination.display().to_string())?,
    };
    if interrupted {
        // Whoever filled it before died on the way: what is there is half of the image's, and nobody's work.
        for (entry, _) in tree::names(&opened).context(object)? {
            tree::remove(&opened, &entry).context(object)?;
        }
    }
    std::fs::write(&unfinished, "").context(|| unfinished.display().to_string())?;
    crate::copy::tree(&image, &opened, maps)?;
    std::fs::remove_file(&unfinished).context(|| unfinished.display().to_string())
}
