//! Undoes what mount did: on whatever of it is there.

use nix::mount::MntFlags;
use std::ffi::OsStr;
use std::path::Path;
use wb_doc::{Context, Document, Error, ExitCode, Filter, FilterArgs};
use wb_store::Place;
use wb_sys::{Errno, mount, tree};

/// Unmount a container's root file system
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// The container's id; wb.id of the document where it is not given
    #[arg(long)]
    id: Option<String>,
    /// Also delete what the container has written
    #[arg(long)]
    purge: bool,
}

/// Runs the verb.
pub fn run(args: &Args, input: &FilterArgs) -> ExitCode {
    let filter = Filter::undoing("wb-rootfs", "umount");
    let place = match Place::from_env() {
        Ok(place) => place,
        Err(error) => return ExitCode::from(filter.report(&error)),
    };
    filter.run(input, |document| {
        if let Some(id) = &args.id {
            document.set("/wb/id", id)?;
        }
        one(&place, document, args.purge)
    })
}

fn one(place: &Place, document: &mut Document, purge: bool) -> Result<(), Error> {
    let id = document.id()?.to_owned();
    let run = place.container_run(&id);
    detach(&run.join("merged"))?;
    if !purge {
        return Ok(());
    }
    remove(&place.container(&id), &["upper", "work", "empty"])?;
    for directory in [run, place.container(&id)] {
        // Only what is empty by now: the record and the log are not ours.
        match std::fs::remove_dir(&directory) {
            Err(error) if !is_kept(&error) => Err(error).context(|| directory.display().to_string())?,
            _ => {}
        }
    }
    document.remove("/wb/rootfs");
    Ok(())
}

fn is_kept(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST))
}

/// Takes off every mount at `merged`, however often it was mounted over, and removes the directory.
///
/// Detached at once and cleaned up when the last user lets go: nobody waits, and a process that is still inside
/// keeps what it has.
fn detach(merged: &Path) -> Result<(), Error> {
    let name = || merged.display().to_string();
    loop {
        // Mostly it is there once and then a plain empty directory, which rmdir(2) settles without another look.
        let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
        match mount::umount(merged, flags, "the root file system goes") {
            Err(Errno::EINVAL) => break,
            Err(Errno::ENOENT) => return Ok(()),
            other => other.context(name)?,
        }
        match std::fs::remove_dir(merged) {
            Ok(()) => return Ok(()),
            // Somebody else undoes the same: the monitor of a container that ends at this moment.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {}
            Err(error) => return Err(error).context(name),
        }
    }
    match std::fs::remove_dir(merged) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.context(name),
    }
}

/// Deletes these directories below `container`, never across a mount: one that is still in the way is an error.
fn remove(container: &Path, names: &[&str]) -> Result<(), Error> {
    let opened = match tree::open_directory(container) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other.context(|| container.display().to_string())?,
    };
    let mut first = Ok(());
    for name in names {
        let removed = tree::remove(&opened, OsStr::new(name));
        let removed = removed.context(|| container.join(name).display().to_string());
        first = first.and(removed);
    }
    first
}
