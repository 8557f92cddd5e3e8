//! `exec`: one more program in a container.

use crate::chain::{self, News, Numbers, Status};
use crate::cli::ExecArgs;
use crate::listener::Listener;
use crate::log::Log;
use crate::record::{Container, Place, Status as Life};
use crate::{bundle, check, console, create};
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::path::Path;
use wb_doc::oci::Process;
use wb_doc::{Context, Document, Error, ExitCode};
use wb_sys::capability::Set;

/// Runs `exec`.
pub fn exec(place: &Place, args: &ExecArgs, log: &Log) -> Result<ExitCode, Error> {
    let preserve_fds = chain::preserved(args.preserve_fds)?;
    let container = place.container(&args.id)?;
    match container.status() {
        Life::Running | Life::Created => {}
        Life::Paused if args.ignore_paused => {}
        Life::Paused => {
            return Err(Error::new("cannot exec in a paused container (use --ignore-paused to override)"));
        }
        Life::Creating | Life::Stopped => {
            return Err(Error::new("cannot exec in a container that is not running"));
        }
    }
    let mut document = document(&container, args)?;
    document.set("/wb/run/preserveFds", preserve_fds)?;
    let numbers = Numbers::after(preserve_fds)?;
    let console = console::of(&document, args.console_socket.as_deref(), !args.detach)?;
    let signals = if args.detach { None } else { Some(create::forwarded()?) };
    let pid = start(&document, numbers, console.as_ref(), log)?;
    create::write_pid(args.pid_file.as_deref(), pid)?;
    match signals {
        None => Ok(ExitCode::SUCCESS),
        Some(signals) => create::wait(pid, &signals, console).map(ExitCode::from),
    }
}

/// Starts the chain and waits until the program runs; its pid.
fn start(
    document: &Document,
    numbers: Numbers,
    console: Option<&console::Console>,
    log: &Log,
) -> Result<i32, Error> {
    let (mut status, writer) = Status::pipe()?;
    let mut listener = Listener::of(document)?;
    let mut given = vec![(writer.as_fd(), numbers.status())];
    given.extend(listener.iter().map(|one| (one.theirs.as_fd(), numbers.listener())));
    given.extend(create::standard_streams(console));
    let mut words = chain::tool(&["wb-nsenter", "run"], numbers);
    words.push("--".into());
    words.extend(chain::tool(&["wb-confine"], numbers));
    if listener.is_some() {
        words.extend(["--seccomp-fd".into(), numbers.listener().to_string().into()]);
    }
    chain::start(&words, document, numbers, &given)?;
    drop(given);
    drop(writer);
    log.debug("the chain is on its way");
    let mut found = None;
    loop {
        match status.hear()? {
            News::Started(pid, _) => {
                found = Some(pid);
                if let Some(listener) = listener.take() {
                    listener.prepare(document, "running", pid)?;
                }
            }
            News::Ready => {}
            News::Failed(error) => return Err(error.within("exec failed")),
            News::Ended => return found.ok_or_else(|| Error::new("the chain ended early")),
        }
    }
}

/// The container's document with another process in it.
fn document(container: &Container, args: &ExecArgs) -> Result<Document, Error> {
    let mut document = container.document.clone();
    let own = document.at("/process").cloned().unwrap_or_else(|| json!({}));
    let process = match &args.process {
        Some(path) => read_process(path, &own)?,
        None => by_flags(own, args)?,
    };
    document.set("/process", process)?;
    if args.tty {
        document.set("/process/terminal", true)?;
    }
    bundle::without_console(&mut document);
    check::process_is_sound(&document.read::<Process>("/process")?.unwrap_or_default())?;
    document.remove("/process/user/username");
    // The hooks are the container's.
    document.remove("/hooks");
    for cgroup in &args.cgroup {
        below(&mut document, cgroup)?;
    }
    Ok(document)
}

/// The process in a file; what it leaves open of how the container is kept in check is as in the container.
fn read_process(path: &Path, own: &Value) -> Result<Value, Error> {
    let name = || format!("--process {}", path.display());
    let bytes = std::fs::read(path).context(name)?;
    let mut process: Value = serde_json::from_slice(&bytes).context(name)?;
    if !process.is_object() {
        return Err(Error::new(format!("{}: no JSON object", name())));
    }
    for member in ["oomScoreAdj", "apparmorProfile", "selinuxLabel"] {
        let missing = process[member].is_null() || process[member] == "";
        if missing && !own[member].is_null() {
            process[member] = own[member].clone();
        }
    }
    Ok(process)
}

fn by_flags(mut process: Value, args: &ExecArgs) -> Result<Value, Error> {
    if args.command.is_empty() {
        return Err(Error::usage("no program to run: name one, or give --process"));
    }
    let words: Vec<_> = args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    process["args"] = json!(words);
    process["terminal"] = json!(args.tty);
    if let Some(members) = process.as_object_mut() {
        members.remove("consoleSize");
    }
    if let Some(cwd) = &args.cwd {
        process["cwd"] = json!(cwd);
    }
    if let Some(user) = &args.user {
        let wrong = || Error::usage(format!("--user {user}: not UID[:GID]"));
        let (uid, gid) = user.split_once(':').map_or((user.as_str(), None), |(uid, gid)| (uid, Some(gid)));
        process["user"]["uid"] = json!(uid.parse::<u32>().map_err(|_| wrong())?);
        if let Some(gid) = gid {
            process["user"]["gid"] = json!(gid.parse::<u32>().map_err(|_| wrong())?);
        }
    }
    append(&mut process, &["user", "additionalGids"], &args.additional_gids);
    append(&mut process, &["env"], &args.env);
    for name in &args.cap {
        let known = Set::of(name).and_then(|set| set.names().next().map(str::to_owned));
        let known = known.ok_or_else(|| Error::usage(format!("--cap {name}: unknown capability")))?;
        for set in ["bounding", "effective", "permitted"] {
            append(&mut process, &["capabilities", set], &[&known]);
        }
    }
    if args.no_new_privs {
        process["noNewPrivileges"] = json!(true);
    }
    for (member, value) in [("apparmorProfile", &args.apparmor), ("selinuxLabel", &args.process_label)] {
        if let Some(value) = value {
            process[member] = json!(value);
        }
    }
    Ok(process)
}

/// Adds to the list at a path, which is made where it is missing and something is added.
fn append<T: serde::Serialize>(process: &mut Value, path: &[&str], more: &[T]) {
    if more.is_empty() {
        return;
    }
    let list = path.iter().fold(process, |value, member| &mut value[*member]);
    let mut items = list.as_array().cloned().unwrap_or_default();
    items.extend(more.iter().map(|item| json!(item)));
    *list = Value::Array(items);
}

/// `[CONTROLLERS:]PATH`: a cgroup below the container's own, which exists.
fn below(document: &mut Document, given: &str) -> Result<(), Error> {
    let (controllers, path) =
        given.split_once(':').map_or((None, given), |(left, right)| (Some(left), right));
    let path = path.trim_start_matches('/');
    if path.split('/').any(|part| part == "..") {
        return Err(Error::usage(format!("--cgroup {given}: leads upwards")));
    }
    let chosen = |name: &str| controllers.is_none_or(|list| list.split(',').any(|one| one == name));
    let paths = document.at("/wb/cgroup/paths").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, directory) in paths.iter().filter(|(name, _)| chosen(name)) {
        let directory = Path::new(directory.as_str().unwrap_or_default()).join(path);
        if !directory.is_dir() {
            return Err(Error::new(format!("--cgroup {given}: {} is missing", directory.display())));
        }
        document.set(&format!("/wb/cgroup/paths/{name}"), directory.to_string_lossy())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn process(words: &[&str]) -> Result<Value, Error> {
        let words = [&["wb-oci", "exec"], words].concat();
        let crate::cli::Verb::Exec(args) = crate::cli::Cli::try_parse_from(words).unwrap().verb else {
            panic!("not exec")
        };
        by_flags(json!({"args": ["init"], "cwd": "/", "env": ["A=b"], "user": {"uid": 1, "gid": 2}}), &args)
    }

    #[test]
    fn flags_change_the_containers_process() {
        let words =
            ["-u", "5:6", "-e", "C=d", "-c", "kill", "-g", "7,8", "--cwd", "/x", "id", "sh", "-c", "x"];
        let process = process(&words).unwrap();
        assert_eq!(process["args"], json!(["sh", "-c", "x"]));
        assert_eq!(process["env"], json!(["A=b", "C=d"]));
        assert_eq!(process["user"], json!({"uid": 5, "gid": 6, "additionalGids": [7, 8]}));
        assert_eq!(process["capabilities"]["bounding"], json!(["CAP_KILL"]));
        assert_eq!(process["cwd"], "/x");
    }

    #[test]
    fn options_stand_before_or_after_the_id() {
        assert_eq!(process(&["id", "--user", "9", "id", "-u"]).unwrap()["args"], json!(["id", "-u"]));
        assert!(process(&["-u", "web", "id", "sh"]).is_err());
        assert!(process(&["id"]).is_err());
    }
}
