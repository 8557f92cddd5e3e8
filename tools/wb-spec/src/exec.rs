//! `wb-spec exec`: another process for a running container.

use crate::flags::{self, EXEC, Given};
use crate::{attend, capabilities, environment, help, namespaces, process};
use serde_json::Value;
use wb_doc::{Document, Error, ExitCode, FilterArgs, names};
use wb_store::Place;

const USAGE: &str = "[-n] exec [FLAGS] [CONTAINER] COMMAND [ARG...]";

/// The verb.
pub fn main(words: impl Iterator<Item = std::ffi::OsString>, named: bool) -> ExitCode {
    let given = match flags::parse(crate::table::TABLE, EXEC, words) {
        Ok(given) if given.on("help") => return help::of_verb(EXEC, USAGE),
        Ok(given) => given,
        Err(error) => {
            let error = if error.advice().is_some() { error } else { error.hint("wb-spec exec --help") };
            return wb_doc::emit(crate::TOOL, "exec", Err(crate::refused(error)));
        }
    };
    match read(&given, named) {
        Ok((mut document, command)) => {
            if document.failure().is_none() {
                if let Err(error) = exec(&mut document, &given, command) {
                    return wb_doc::emit(crate::TOOL, "exec", Err(error));
                }
            }
            let code = document.failure().map_or(0, |failure| failure.code.max(1));
            match wb_doc::emit(crate::TOOL, "exec", Ok(document)) {
                written if written == ExitCode::SUCCESS => ExitCode::from(code),
                failed => failed,
            }
        }
        Err(error) => wb_doc::emit(crate::TOOL, "exec", Err(error)),
    }
}

/// The container's document, and the words of the command.
fn read(given: &Given, named: bool) -> Result<(Document, &[String]), Error> {
    if named {
        let Some((container, command)) = given.words.split_first() else {
            return Err(crate::refused(Error::usage("a container is missing")));
        };
        return Ok((namespaces::record(&Place::from_env()?, container)?, command));
    }
    let args = FilterArgs { doc: given.last("doc").map(Into::into), ..FilterArgs::default() };
    Ok((wb_doc::read_one(&args)?, &given.words))
}

/// Replaces `process` and `wb.run`.
fn exec(document: &mut Document, given: &Given, command: &[String]) -> Result<(), Error> {
    if command.is_empty() {
        return Err(crate::refused(Error::usage("a command is missing").hint("wb-spec exec --help")));
    }
    check_running(document)?;
    replace(document, given, command).map_err(crate::refused)
}

fn check_running(document: &Document) -> Result<(), Error> {
    let name = document.str_at("/wb/name").or(document.str_at("/wb/id").map(names::short)).unwrap_or("?");
    match document.str_at("/wb/state/status") {
        Some("running") => Ok(()),
        Some("paused") => {
            Err(Error::new(format!("container {name} is paused")).hint(format!("wb unpause {name}")))
        }
        Some("restarting") => Err(Error::new(format!("container {name} is restarting"))),
        _ => Err(Error::new(format!("container {name} is not running"))),
    }
}

fn replace(document: &mut Document, given: &Given, command: &[String]) -> Result<(), Error> {
    let tty = given.on("tty");
    document.set("/process/terminal", tty)?;
    document.set("/process/args", command)?;
    let mut env: Vec<String> = document.read("/process/env")?.unwrap_or_default();
    if tty {
        environment::merge(&mut env, ["TERM=xterm".to_owned()]);
    }
    environment::merge(&mut env, environment::variables(given)?);
    env.retain(|entry| entry.contains('='));
    document.set("/process/env", env)?;
    if let Some(cwd) = process::workdir(given)? {
        document.set("/process/cwd", cwd)?;
    }
    if let Some(name) = given.last("user").filter(|user| !user.is_empty()) {
        // The numbers are looked up in the container's root; its own groups and home are another user's.
        let umask = document.at("/process/user/umask").cloned();
        let mut user = process::named_user(name)?;
        if let Some(umask) = umask {
            user["umask"] = umask;
        }
        document.set("/process/user", user)?;
        let mut env: Vec<String> = document.read("/process/env")?.unwrap_or_default();
        let own_home = given.all("env").any(|entry| entry.starts_with("HOME="));
        env.retain(|entry| own_home || !entry.starts_with("HOME="));
        document.set("/process/env", env)?;
    }
    let base = document.read::<Vec<String>>("/process/capabilities/bounding")?.unwrap_or_default();
    if given.on("privileged") {
        document.set("/process/capabilities", capabilities::sets(&capabilities::every()))?;
        document.set("/process/noNewPrivileges", false)?;
    } else if given.has("cap-add") || given.has("cap-drop") {
        capabilities::check_available(given)?;
        document.set("/process/capabilities", capabilities::sets(&capabilities::changed(base, given)?))?;
    }
    document.set("/wb/run", Value::Object(attend::streams(given)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TABLE;
    use serde_json::json;

    fn container(status: &str) -> Document {
        Document::from_value(json!({
            "process": {"args": ["sleep", "9"], "env": ["PATH=/bin", "A=1", "HOME=/root"], "cwd": "/srv",
                        "user": {"uid": 5, "gid": 6, "umask": 18, "additionalGids": [7]},
                        "capabilities": {"bounding": ["CAP_CHOWN"]}},
            "wb": {"id": "x", "name": "web", "state": {"status": status}, "run": {"detach": true}},
        }))
        .unwrap()
    }

    fn exec_line(line: &str, status: &str) -> Result<Document, Error> {
        let given = flags::parse(TABLE, EXEC, line.split(' ').map(Into::into)).unwrap();
        let mut document = container(status);
        exec(&mut document, &given, &given.words).map(|()| document)
    }

    #[test]
    fn replaces_the_process_and_keeps_the_container() {
        let document = exec_line("-it -e A=2 -e B=3 -w /tmp sh -c x", "running").unwrap();
        assert_eq!(document.at("/process/args").unwrap(), &json!(["sh", "-c", "x"]));
        let env = json!(["PATH=/bin", "A=2", "HOME=/root", "TERM=xterm", "B=3"]);
        assert_eq!(document.at("/process/env").unwrap(), &env);
        assert_eq!(document.str_at("/process/cwd"), Some("/tmp"));
        assert_eq!(document.at("/process/user/uid"), Some(&json!(5)));
        assert_eq!(document.at("/wb/run").unwrap(), &json!({"interactive": true, "tty": true}));
        assert_eq!(document.at("/process/capabilities/bounding").unwrap(), &json!(["CAP_CHOWN"]));
    }

    #[test]
    fn another_user_has_other_groups_and_another_home() {
        let document = exec_line("-u nobody id", "running").unwrap();
        let user = json!({"uid": 0, "gid": 0, "username": "nobody", "umask": 18});
        assert_eq!(document.at("/process/user").unwrap(), &user);
        assert_eq!(document.at("/process/env").unwrap(), &json!(["PATH=/bin", "A=1"]));
    }

    #[test]
    fn privileged_means_every_capability() {
        let document = exec_line("--privileged id", "running").unwrap();
        assert_eq!(document.at("/process/capabilities/effective").unwrap().as_array().unwrap().len(), 41);
    }

    #[test]
    fn only_a_running_container_takes_another_process() {
        for (status, message) in [
            ("exited", "container web is not running"),
            ("created", "container web is not running"),
            ("paused", "container web is paused"),
        ] {
            let error = exec_line("id", status).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (message, 1));
        }
    }
}
