//! A container's root file system: its layers and a writable one on top, as one overlay.

mod mapped;
mod overlay;
mod user;
mod volumes;

use crate::idmap::Maps;
pub use overlay::{Overlay, open_path};
use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
pub use volumes::make as make_volumes;
use wb_doc::{Context, Document, Error, ExitCode, Filter, FilterArgs, at_birth, escape};
use wb_store::Place;
use wb_sys::{Errno, node};

/// Mount a container's root file system
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// The container's id; wb.id of the document where it is not given
    #[arg(long)]
    id: Option<String>,
    /// A directory to build on, the lowest first; instead of the image's layers
    #[arg(long, value_name = "DIR")]
    lower: Vec<PathBuf>,
}

/// Runs the verb.
pub fn run(args: &Args, input: &FilterArgs) -> ExitCode {
    let filter = Filter::doing("wb-rootfs", "mount");
    let place = match Place::from_env() {
        Ok(place) => place,
        Err(error) => return ExitCode::from(filter.report(&error)),
    };
    // The modes of what is made here are meant exactly.
    wb_sys::tree::clear_umask();
    filter.run(input, |document| {
        if let Some(id) = &args.id {
            document.set("/wb/id", id)?;
        }
        if !args.lower.is_empty() {
            document.set("/wb/rootfs/lower", absolute(&args.lower)?)?;
        }
        at_birth(document, |document| one(&place, document, !args.lower.is_empty()))
    })
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    paths.iter().map(|path| path.canonicalize().context(|| format!("--lower {}", path.display()))).collect()
}

/// What is going to be mounted.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// These layers, the lowest first.
    Overlay(Vec<PathBuf>),
    /// A directory that is there already is the root, as it is.
    Directory(PathBuf),
}

impl Plan {
    /// What the document says; with `flags_win` its directories go before its image's layers.
    pub fn of(place: &Place, document: &Document, flags_win: bool) -> Result<Self, Error> {
        let lower: Option<Vec<PathBuf>> = document.read("/wb/rootfs/lower")?;
        let layers: Option<Vec<String>> = document.read("/wb/image/layers")?;
        match (lower, layers, document.str_at("/root/path")) {
            (Some(lower), _, _) if flags_win => Ok(Self::Overlay(lower)),
            (_, Some(layers), _) => {
                let directory = place.layers();
                layers
                    .iter()
                    .map(|diff_id| layer(&directory, diff_id))
                    .collect::<Result<_, _>>()
                    .map(Self::Overlay)
            }
            (Some(lower), None, _) if !lower.is_empty() => Ok(Self::Overlay(lower)),
            (_, None, Some(path)) if !path.is_empty() => Ok(Self::Directory(path.into())),
            _ => Err(Error::usage("the document has no layers and no root")
                .hint("wb-pull gives layers (wb.image.layers), --lower names directories, root.path a root")),
        }
    }
}

/// The directory of a layer. The digest is checked before it becomes part of a path.
fn layer(directory: &Path, diff_id: &str) -> Result<PathBuf, Error> {
    let hex = diff_id
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    hex.map(|hex| directory.join(hex))
        .ok_or_else(|| Error::new(format!("wb.image.layers: {} is no sha256 digest", escape(diff_id))))
}

fn one(place: &Place, document: &mut Document, flags_win: bool) -> Result<(), Error> {
    let id = document.id()?.to_owned();
    let maps = Maps::of(document)?;
    match Plan::of(place, document, flags_win)? {
        Plan::Directory(path) => {
            let path = path.canonicalize().context(|| format!("root {}", path.display()))?;
            document.set("/root/path", &path)?;
            let root = wb_sys::tree::open_directory(&path).context(|| path.display().to_string())?;
            furnish(place, &root, document, maps.as_ref())
        }
        Plan::Overlay(lower) => {
            let volatile = document.read("/wb/run/remove")?.unwrap_or(false);
            let volatile_boot: Option<String> = document.read("/wb/rootfs/volatile")?;
            let overlay = Overlay::new(place, &id, lower, volatile);
            let (root, made) = overlay.mount(volatile_boot.as_deref(), maps.as_ref())?;
            let described = record(&overlay, document);
            described.and_then(|()| furnish(place, &root, document, maps.as_ref())).inspect_err(|_| {
                drop(root);
                overlay.undo(made);
            })
        }
    }
}

/// What of the document needs the root to be there.
fn furnish(place: &Place, root: &OwnedFd, document: &mut Document, maps: Option<&Maps>) -> Result<(), Error> {
    user::resolve(root, document)?;
    make_volumes(place, root, document, maps)
}

/// Writes into the document what has been mounted.
fn record(overlay: &Overlay, document: &mut Document) -> Result<(), Error> {
    document.set("/root/path", &overlay.merged)?;
    document.set_default("/root/readonly", false)?;
    document.set("/wb/rootfs/lower", &overlay.lower)?;
    document.set("/wb/rootfs/upper", &overlay.upper)?;
    document.set("/wb/rootfs/work", &overlay.work)?;
    document.set("/wb/rootfs/merged", &overlay.merged)?;
    if overlay.volatile {
        document.set("/wb/rootfs/volatile", wb_sys::proc::boot_id().context(|| "boot id")?)?;
    } else {
        document.remove("/wb/rootfs/volatile");
    }
    Ok(())
}

/// Makes a directory with its parents, all for root alone.
fn private_directory(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).context(|| path.display().to_string())
}

/// Makes a directory with this mode; whether it is new.
fn directory(path: &Path, mode: u32) -> Result<bool, Error> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => Ok(false),
        Err(error) => Err(error).context(|| path.display().to_string()),
    }
}

/// Gives a new `upper` the owner and mode of the directory it covers: it becomes the container's `/`.
fn like(upper: &Path, lower: &Path) -> Result<(), Error> {
    let status = std::fs::metadata(lower).context(|| format!("layer {}", lower.display()))?;
    let name = || upper.display().to_string();
    if (status.uid(), status.gid()) != (0, 0) {
        std::os::unix::fs::chown(upper, Some(status.uid()), Some(status.gid())).context(name)?;
    }
    if status.mode() & 0o7777 != 0o755 {
        let upper: OwnedFd = wb_sys::tree::open_directory(upper).context(name)?;
        node::chmod(&upper, status.mode() & 0o7777, "as the image's root directory").context(name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, Error> {
        Plan::of(&Place::from_env().unwrap(), &Document::parse(text.as_bytes()).unwrap(), false)
    }

    #[test]
    fn layers_come_first_then_directories_then_a_root() {
        let hex = "0123456789abcdef".repeat(4);
        let Plan::Overlay(layers) = plan(&format!(
            r#"{{"wb":{{"image":{{"layers":["sha256:{hex}"]}},"rootfs":{{"lower":["/old"]}}}},"root":{{"path":"/m"}}}}"#
        ))
        .unwrap() else {
            panic!("no overlay")
        };
        assert!(layers[0].ends_with(format!("layers/sha256/{hex}")));
        assert_eq!(plan(r#"{"wb":{"rootfs":{"lower":["/a"]}}}"#).unwrap(), Plan::Overlay(vec!["/a".into()]));
        assert_eq!(plan(r#"{"root":{"path":"/r"}}"#).unwrap(), Plan::Directory("/r".into()));
        assert!(plan("{}").is_err());
    }

    #[test]
    fn a_digest_cannot_be_a_path() {
        for digest in ["sha256:../../x", "md5:abc", "sha256:", &format!("sha256:{}", "A".repeat(64))] {
            let text = format!(r#"{{"wb":{{"image":{{"layers":["{digest}"]}}}}}}"#);
            assert!(plan(&text).is_err(), "{digest}");
        }
    }
}
