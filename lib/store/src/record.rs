//! Containers' records: the document in `containers/<id>/config.json`, and the name that points to it.
//!
//! An id is claimed by mkdir(2) and a name by symlink(2): both fail where somebody else was first, so two
//! containers can never share one. A record is changed under flock(2) on its directory and replaced whole.

use crate::atomic::{self, Durability};
use crate::lock::Lock;
use crate::{Place, near, tree, words};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use serde_json::Value;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::PathBuf;
use wb_doc::names::{self, short};
use wb_doc::{Context, Document, Error, MAX_DOCUMENT_BYTES};

/// The document's file in a container's directory.
pub const FILE: &str = "config.json";
/// Statuses in which a process is expected to exist.
const WITH_PROCESS: [&str; 3] = ["running", "paused", "restarting"];

/// Claims the document's id and its name (a random one where it has none) and stores the document.
///
/// A taken name is refused with docker's exit status, 125; nothing is left behind then.
pub fn create(place: &Place, document: &mut Document) -> Result<(), Error> {
    let id = document.id()?.to_owned();
    let name = document.read::<String>("/wb/name")?.filter(|name| !name.is_empty());
    if let Some(name) = &name {
        names::check("name", name)?;
    }
    let directory = place.container(&id);
    make_parents(place)?;
    // Against `wb-state gc`, which takes a directory without a record for a leftover.
    let _claiming = Lock::directory_shared(&place.containers())?;
    if let Err(error) = DirBuilder::new().mode(0o700).create(&directory) {
        if error.raw_os_error() == Some(Errno::EEXIST as i32) {
            return Err(Error::new(format!("the id {id:?} is in use")).code(125));
        }
        return Err(error).context(|| format!("mkdir {}", directory.display()));
    }
    let stored = make_run_directory(place, &id).and_then(|()| claim_name(place, &id, name.as_deref()));
    let stored = stored.and_then(|name| {
        document.set("/wb/name", &name)?;
        write(place, document, Durability::Visible).inspect_err(|_| drop_name(place, &id, &name))
    });
    stored.inspect_err(|_| {
        // The directories were made above and hold nothing yet; what failed before matters more.
        tree::remove(&place.container_run(&id), None).ok();
        tree::remove(&directory, None).ok();
    })
}

/// 32 random bytes as 64 hexadecimal digits: an id nobody else has.
pub fn random_id() -> Result<String, Error> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context(|| "read /dev/urandom")?;
    let digits = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Ok(nibbles.map(|nibble| char::from(digits[usize::from(nibble)])).collect())
}

/// Makes the directories of records and names, open to nobody else.
pub fn make_parents(place: &Place) -> Result<(), Error> {
    for parent in [place.containers(), place.names()] {
        if !parent.is_dir() {
            tree::make_for_trees(&parent)?;
        }
    }
    Ok(())
}

/// Where what a reboot forgets will be. It is made first, so that what is being made can be found without a look at all
/// records ([`crate::leftover`]).
fn make_run_directory(place: &Place, id: &str) -> Result<(), Error> {
    let path = place.container_run(id);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    made.context(|| format!("mkdir {}", path.display()))
}

fn claim_name(place: &Place, id: &str, wanted: Option<&str>) -> Result<String, Error> {
    let mut attempt = 0;
    loop {
        let name = match wanted {
            Some(name) => name.to_owned(),
            None => words::name(attempt).context(|| "read /dev/urandom")?,
        };
        match link_name(place, id, &name) {
            Ok(()) => return Ok(name),
            Err(Errno::EEXIST) if wanted.is_none() && attempt < 32 => attempt += 1,
            Err(Errno::EEXIST) => return Err(taken(place, &name)),
            Err(errno) => {
                return Err(errno).context(|| format!("symlink {}", place.names().join(&name).display()));
            }
        }
    }
}

fn link_name(place: &Place, id: &str, name: &str) -> nix::Result<()> {
    let path = place.names().join(name);
    let link =
        || symlink(id, &path).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
    match link() {
        Err(Errno::EEXIST) if id_of_name(place, name).is_some_and(|holder| is_emptied(place, &holder)) => {
            // Of several who find that, one gets it.
            fs::remove_file(&path).ok();
            link()
        }
        done => done,
    }
}

/// Whether there is a record of a container. A power cut may empty that of one that would have gone with its end
/// ([`Durability::Passing`]): it counts as gone.
pub fn exists(place: &Place, id: &str) -> bool {
    place.container(id).join(FILE).exists() && !is_emptied(place, id)
}

fn is_emptied(place: &Place, id: &str) -> bool {
    let found = fs::symlink_metadata(place.container(id).join(FILE));
    found.is_ok_and(|found| found.is_file() && found.len() == 0)
}

fn taken(place: &Place, name: &str) -> Error {
    let holder = id_of_name(place, name);
    let holder = holder.as_deref().map_or("of an unknown id", short);
    Error::new(format!("the name {name:?} is in use by container {holder}"))
        .code(125)
        .hint(format!("remove or rename that container first: wb rm {name}"))
}

/// The id a name points to, whatever the link's target may be; only what has the form of an id comes back.
fn id_of_name(place: &Place, name: &str) -> Option<String> {
    let target = fs::read_link(place.names().join(name)).ok()?;
    let id = target.to_str()?;
    names::check("id", id).ok()?;
    Some(id.to_owned())
}

/// Removes a name if it points to `id`.
fn drop_name(place: &Place, id: &str, name: &str) {
    if names::check("name", name).is_ok() && id_of_name(place, name).as_deref() == Some(id) {
        // A name that stays is found and removed by `wb-state gc`.
        fs::remove_file(place.names().join(name)).ok();
    }
}

/// Gives a container another name; the old one is free afterwards.
pub fn rename(place: &Place, id: &str, name: &str) -> Result<Document, Error> {
    names::check("name", name)?;
    update(place, id, Durability::Durable, |document| {
        let old = document.str_at("/wb/name").unwrap_or_default().to_owned();
        if old == name {
            return Err(Error::new(format!("the container has the name {name:?} already")));
        }
        match link_name(place, id, name) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Err(taken(place, name).code(1)),
            Err(errno) => return Err(errno).context(|| format!("symlink {name}")),
        }
        drop_name(place, id, &old);
        document.set("/wb/name", name)
    })
}

/// Reads a record. Exit status 1 and `no such container` where there is none.
pub fn read(place: &Place, id: &str) -> Result<Document, Error> {
    names::check("id", id)?;
    let mut document = Document::parse(&bytes(place, id)?).context(|| format!("record of {}", short(id)))?;
    if document.str_at("/wb/id") != Some(id) {
        return Err(Error::new(format!("record of {id}: it is not about this container")));
    }
    document.remove("/wb/error");
    Ok(document)
}

/// A record's text, for a reader that wants only a part of it. It must be a regular file of ours, no larger than a
/// document may be; links are not followed and a FIFO does not block.
pub fn bytes(place: &Place, id: &str) -> Result<Vec<u8>, Error> {
    let path = place.container(id).join(FILE);
    let what = || format!("record of {}", short(id));
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(&path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(unknown(place, id)),
        Err(error) => return Err(error).context(what),
    };
    let metadata = file.metadata().context(what)?;
    if !metadata.is_file() || metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Error::new(format!("{}: not a file of ours", what())));
    }
    // A record is replaced whole, never written to: its size is that of its text.
    if metadata.len() == 0 {
        return Err(unknown(place, id));
    }
    let size = usize::try_from(metadata.len()).ok().filter(|size| *size <= MAX_DOCUMENT_BYTES);
    let mut bytes = vec![0; size.ok_or_else(|| Error::new(format!("{}: larger than 4 MiB", what())))?];
    file.read_exact(&mut bytes).context(what)?;
    Ok(bytes)
}

fn unknown(place: &Place, word: &str) -> Error {
    let names = names(place).unwrap_or_default();
    let error = Error::new(format!("no such container: {word}"));
    near::hinted(error, word, names.iter().map(String::as_str))
}

/// Changes a record: reads it under its lock, applies `change`, replaces the file. Returns the new record.
///
/// `wb.error` is never stored: it belongs to the pipeline that failed. Where `change` fails nothing is written.
pub fn update(
    place: &Place,
    id: &str,
    durability: Durability,
    change: impl FnOnce(&mut Document) -> Result<(), Error>,
) -> Result<Document, Error> {
    names::check("id", id)?;
    let _lock = lock(place, id)?;
    let mut document = read(place, id)?;
    change(&mut document)?;
    document.remove("/wb/error");
    write(place, &document, durability)?;
    Ok(document)
}

/// Whether the container was started with `--rm`.
pub fn removes_itself(document: &Document) -> bool {
    document.at("/wb/run/remove") == Some(&Value::Bool(true))
}

/// The record of a container that goes with its end need not survive a power cut.
pub fn durability(document: &Document) -> Durability {
    if removes_itself(document) { Durability::Visible } else { Durability::Durable }
}

/// Stores a document as it comes down the pipe and returns what was stored. As long as the container does not run, the
/// processes `claimants` work on it ([`claim`]).
///
/// The record's own `wb.state` outlives a document that was read before it changed: once a container has run, the
/// monitor knows its state, and a document may only say more about the same process (`paused`, say).
pub fn put(
    place: &Place,
    document: &Document,
    durability: Durability,
    claimants: &[i32],
) -> Result<Document, Error> {
    put_changed(place, document, durability, |record| {
        let runs = record.str_at("/wb/state/status").is_some_and(|status| WITH_PROCESS.contains(&status));
        if runs { Ok(()) } else { claim(record, claimants) }
    })
}

/// As [`put`], with `change` applied to what is stored.
pub fn put_changed(
    place: &Place,
    document: &Document,
    durability: Durability,
    change: impl FnOnce(&mut Document) -> Result<(), Error>,
) -> Result<Document, Error> {
    let id = document.id()?.to_owned();
    update(place, &id, durability, |record| {
        refuse_if_removing(record)?;
        let state = newer_state(record.at("/wb/state"), document.at("/wb/state")).cloned();
        let name = record.at("/wb/name").cloned();
        *record = document.clone();
        for (pointer, value) in [("/wb/state", state), ("/wb/name", name)] {
            if let Some(value) = value {
                record.set(pointer, value)?;
            }
        }
        record.set_default("/wb/state/status", "created")?;
        if record.str_at("/wb/state/status") == Some("creating") {
            record.set("/wb/state/status", "created")?;
        }
        change(record)
    })
}

/// Whoever removes a container has said so first, and then undoes everything it has: nobody makes anything for it any
/// more.
pub fn refuse_if_removing(record: &Document) -> Result<(), Error> {
    match record.str_at("/wb/state/status") {
        Some("removing") => {
            let name = record.str_at("/wb/name").or(record.id().ok()).unwrap_or_default();
            Err(Error::new(format!("container {name} is being removed")).hint(format!("wb rm {name}")))
        }
        _ => Ok(()),
    }
}

/// The environment variable in which a flow tells its tools its own process.
pub const CLAIM: &str = "WB_CLAIM";
/// As many processes can work on a container: a flow's, and the subshells between that and a tool.
const MAX_CLAIMANTS: usize = 4;

/// Who is working on a container: the caller's ancestors up to the flow ([`CLAIM`]); subshells may outlive it. By hand it
/// is the caller's parent (a shell), that one's parent (in `id=$(... | wb-state put)` the first is only a subshell) and,
/// outside of flows, the leader of the session.
pub fn callers() -> Vec<i32> {
    let flow = std::env::var(CLAIM).ok().and_then(|pid| pid.parse::<i32>().ok());
    let mut pids = vec![nix::unistd::getppid().as_raw()];
    while pids.last() != flow.as_ref() && pids.len() < if flow.is_some() { MAX_CLAIMANTS } else { 2 } {
        match pids.last().map(|&pid| wb_sys::proc::parent(pid)) {
            Some(Ok((parent, _))) if parent > 1 => pids.push(parent),
            _ => break,
        }
    }
    if flow.is_some() && pids.last() != flow.as_ref() {
        // It is another's: of a shell that was opened within a flow, say.
        pids.truncate(2);
    }
    if std::env::var_os("WB_FLOWS").is_none() {
        pids.extend(nix::unistd::getsid(None).ok().map(nix::unistd::Pid::as_raw));
    }
    pids
}

/// Notes in `wb.state.claim` that the processes `pids` work on the container: as long as one of them lives, what it has
/// on the machine is no leftover, though its process does not run yet.
pub fn claim(document: &mut Document, pids: &[i32]) -> Result<(), Error> {
    let boot_id = wb_sys::proc::boot_id().context(|| "boot_id")?;
    let mut claim = Vec::new();
    for &pid in pids.iter().filter(|&&pid| pid > 1) {
        // One that is gone meanwhile claims nothing.
        if let Ok((_, start)) = wb_sys::proc::parent(pid) {
            claim.push(serde_json::json!({"pid": pid, "startTime": start, "bootId": boot_id}));
        }
    }
    document.set("/wb/state/claim", claim)
}

/// Whether somebody who works on the container still lives.
pub fn is_claimed(document: &Document, boot_id: &str) -> bool {
    (0..MAX_CLAIMANTS).any(|at| is_alive(document, &format!("/wb/state/claim/{at}"), boot_id))
}

fn newer_state<'a>(stored: Option<&'a Value>, given: Option<&'a Value>) -> Option<&'a Value> {
    let (Some(old), Some(new)) = (stored, given) else { return stored.or(given) };
    let status = |state: &'a Value| state.get("status").and_then(Value::as_str).unwrap_or_default();
    let same_process = ["pid", "startTime", "bootId"].iter().all(|member| old.get(member) == new.get(member));
    match status(old) {
        "creating" | "created" | "" => Some(new),
        old_status if same_process && WITH_PROCESS.contains(&old_status) => Some(new),
        _ => Some(old),
    }
}

fn write(place: &Place, document: &Document, durability: Durability) -> Result<(), Error> {
    let durability = match durability {
        Durability::Visible if removes_itself(document) => Durability::Passing,
        other => other,
    };
    let mut bytes = document.to_line();
    bytes.push(b'\n');
    atomic::write(&place.container(document.id()?).join(FILE), &bytes, durability)
}

fn lock(place: &Place, id: &str) -> Result<Lock, Error> {
    Lock::directory(&place.container(id)).map_err(|error| match error.raw_errno() {
        Some(Errno::ENOENT) => unknown(place, id),
        _ => error,
    })
}

/// The id of the container that `word` means: its full id, its name, or a prefix of one id only.
pub fn resolve(place: &Place, word: &str) -> Result<String, Error> {
    if names::check("container", word).is_err() {
        return Err(unknown(place, word));
    }
    let exists = |id: &str| fs::symlink_metadata(place.container(id)).is_ok_and(|found| found.is_dir());
    if exists(word) {
        return Ok(word.to_owned());
    }
    if let Some(id) = id_of_name(place, word).filter(|id| exists(id)) {
        return Ok(id);
    }
    let mut matching: Vec<String> = list(place)?.into_iter().filter(|id| id.starts_with(word)).collect();
    matching.sort_unstable();
    match matching.len() {
        0 => Err(unknown(place, word)),
        1 => Ok(matching.swap_remove(0)),
        _ => {
            let shown: Vec<&str> = matching.iter().take(4).map(|id| short(id)).collect();
            Err(Error::new(format!("{word:?} is the start of more than one id: {}", shown.join(", "))))
        }
    }
}

/// The ids of all containers, in no order. What is no directory with an id's name is not ours and is left out.
pub fn list(place: &Place) -> Result<Vec<String>, Error> {
    let directory = place.containers();
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| directory.display().to_string()),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry.context(|| directory.display().to_string())?;
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Some(id) =
            entry.file_name().to_str().filter(|id| is_directory && names::check("id", id).is_ok())
        {
            ids.push(id.to_owned());
        }
    }
    Ok(ids)
}

/// Removes a container's name and directories. What is gone already is no error, so it can be repeated.
///
/// A mount below them is an error, and nothing behind it is touched. The record itself goes last.
pub fn remove(place: &Place, id: &str) -> Result<(), Error> {
    names::check("id", id)?;
    // First what may still be mounted: where that fails, the container's files must still be there.
    tree::remove(&place.container_run(id), None)?;
    let directory: PathBuf = place.container(id);
    let _lock = match lock(place, id) {
        Ok(lock) => lock,
        Err(_) if !directory.exists() => return Ok(()),
        Err(error) => return Err(error),
    };
    tree::clear(&directory, Some(FILE))?;
    match read(place, id) {
        Ok(document) => drop_name(place, id, document.str_at("/wb/name").unwrap_or_default()),
        // Half-made or garbled: the name has to be searched for.
        Err(_) => names_of(place, id)?.iter().for_each(|name| drop_name(place, id, name)),
    }
    tree::remove(&directory, Some(FILE))
}

/// Every name that points to `id`; normally one.
pub fn names_of(place: &Place, id: &str) -> Result<Vec<String>, Error> {
    let mut all = names(place)?;
    all.retain(|name| id_of_name(place, name).as_deref() == Some(id));
    Ok(all)
}

/// Every name that is taken.
pub fn names(place: &Place) -> Result<Vec<String>, Error> {
    let directory = place.names();
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| directory.display().to_string()),
    };
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| wb_doc::names::check("name", name).is_ok())
        .collect())
}

/// Puts the true status into `wb.state`: a process that is gone has exited, and so has everything of another boot.
///
/// The exit status of a process nobody waited for is not known, and none is invented. `boot_id` is this boot's.
/// Returns whether the record had to be corrected.
pub fn true_status(document: &mut Document, boot_id: &str) -> Result<bool, Error> {
    let status = document.str_at("/wb/state/status").unwrap_or_default();
    if !WITH_PROCESS.contains(&status) {
        return Ok(false);
    }
    // While it waits to be restarted there is no process but the monitor's.
    let alive = if status == "restarting" {
        is_alive(document, "/wb/state/monitor", boot_id)
    } else {
        is_alive(document, "/wb/state", boot_id)
    };
    if !alive {
        document.set("/wb/state/status", "exited")?;
        document.remove("/wb/state/exitCode");
    }
    Ok(!alive)
}

/// Whether the process at `pointer` (members `pid` and `startTime`) lives: same start time, same boot, no zombie.
pub fn is_alive(document: &Document, pointer: &str, boot_id: &str) -> bool {
    let number = |member: &str| document.at(&format!("{pointer}/{member}")).and_then(Value::as_u64);
    let Some(pid) = number("pid").and_then(|pid| i32::try_from(pid).ok()).filter(|&pid| pid > 0) else {
        return false;
    };
    let boot = document.str_at(&format!("{pointer}/bootId")).or_else(|| document.str_at("/wb/state/bootId"));
    boot == Some(boot_id)
        && wb_sys::proc::stat(pid)
            .is_ok_and(|(state, start)| Some(start) == number("startTime") && !matches!(state, b'Z' | b'X'))
}

#[cfg(test)]
mod tests;
