//! `wb.run`: how the container is attended. A member that is absent has its default.

use crate::flags::{Given, invalid};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};
use wb_doc::{Error, escape, units};

/// The member `wb.run` of a new container.
pub fn run(given: &Given) -> Result<Value, Error> {
    let mut run = streams(given)?;
    for (flag, member) in [("rm", "remove"), ("init", "init")] {
        if given.on(flag) {
            run.insert(member.into(), true.into());
        }
    }
    if given.last("sig-proxy") == Some("false") {
        run.insert("sigProxy".into(), false.into());
    }
    if let Some(name) = given.last("stop-signal") {
        run.insert("stopSignal".into(), signal(name)?.into());
    }
    if let Some(seconds) = given.number::<i64>("stop-timeout")? {
        run.insert("stopTimeout".into(), seconds.into());
    }
    if let Some(policy) = given.last("restart") {
        run.insert("restart".into(), restart(policy)?);
    }
    let log = log(given)?;
    if !log.is_empty() {
        run.insert("log".into(), Value::Object(log));
    }
    for flag in ["cidfile", "pidfile"] {
        if let Some(path) = given.last(flag) {
            let path = std::path::absolute(path).map_err(|_| invalid(flag, path, "a file name"))?;
            run.insert(flag.into(), path.to_string_lossy().into());
        }
    }
    Ok(Value::Object(run))
}

/// The members that run and exec share.
pub fn streams(given: &Given) -> Result<Map<String, Value>, Error> {
    let mut run = Map::new();
    for member in ["detach", "interactive", "tty"] {
        if given.on(member) {
            run.insert(member.into(), true.into());
        }
    }
    let mut attach: Vec<Value> = Vec::new();
    for stream in given.all("attach") {
        let stream = stream.to_ascii_lowercase();
        if !["stdin", "stdout", "stderr"].contains(&stream.as_str()) {
            return Err(invalid("attach", &stream, "stdin, stdout or stderr"));
        }
        attach.push(stream.into());
    }
    if !attach.is_empty() {
        run.insert("attach".into(), attach.into());
    }
    if let Some(keys) = given.last("detach-keys") {
        check_keys(keys)?;
        run.insert("detachKeys".into(), keys.into());
    }
    Ok(run)
}

/// `ctrl-p,ctrl-q`: letters, or `ctrl-` and a letter or one of `@[\]^_`.
fn check_keys(keys: &str) -> Result<(), Error> {
    let known = |key: &str| match key.strip_prefix("ctrl-") {
        Some(with) => {
            with.len() == 1 && with.bytes().all(|b| b.is_ascii_lowercase() || b"@[\\]^_".contains(&b))
        }
        None => key.chars().count() == 1,
    };
    if keys.is_empty() || keys.split(',').all(known) {
        Ok(())
    } else {
        Err(invalid("detach-keys", keys, "keys such as ctrl-p,ctrl-q"))
    }
}

/// `TERM`, `SIGTERM`, `term`, `15` as `SIGTERM`; `RTMIN+3` as `SIGRTMIN+3`.
pub fn signal(name: &str) -> Result<String, Error> {
    let upper = name.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(number) = bare.parse::<i32>() {
        if let Ok(known) = Signal::try_from(number) {
            return Ok(known.as_str().into());
        }
        if (34..=64).contains(&number) {
            return Ok(format!("SIGRTMIN+{}", number - 34));
        }
    } else if let Ok(known) = format!("SIG{bare}").parse::<Signal>() {
        return Ok(known.as_str().into());
    } else if bare == "RTMIN" || bare == "RTMAX" {
        return Ok(format!("SIG{bare}"));
    } else if let Some(offset) = bare.strip_prefix("RTMIN+").or(bare.strip_prefix("RTMAX-")) {
        if offset.parse::<u8>().is_ok_and(|offset| offset <= 30) {
            return Ok(format!("SIG{bare}"));
        }
    }
    Err(Error::usage(format!("invalid signal: {}", escape(name))))
}

/// `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:5`.
pub fn restart(policy: &str) -> Result<Value, Error> {
    let wrong = || invalid("restart", policy, "no, on-failure[:N], always or unless-stopped");
    match policy.split_once(':') {
        None if ["no", "always", "unless-stopped", "on-failure"].contains(&policy) => {
            Ok(json!({"name": policy}))
        }
        None if policy.is_empty() => Ok(json!({"name": "no"})),
        Some(("on-failure", max)) => {
            Ok(json!({"name": "on-failure", "max": max.parse::<u32>().map_err(|_| wrong())?}))
        }
        _ => Err(wrong()),
    }
}

fn log(given: &Given) -> Result<Map<String, Value>, Error> {
    let mut log = Map::new();
    match given.last("log-driver").unwrap_or("local") {
        "none" => drop(log.insert("driver".into(), "none".into())),
        "local" | "json-file" | "k8s-file" | "" => {}
        other => return Err(invalid("log-driver", other, "json-file, local, k8s-file or none")),
    }
    for option in given.all("log-opt") {
        match option.split_once('=') {
            Some(("max-size", "-1" | "unlimited")) => drop(log.insert("maxSize".into(), (-1).into())),
            Some(("max-size", size)) => {
                let size = units::bytes(size)?;
                if size < 1 {
                    return Err(invalid("log-opt", option, "a size above zero"));
                }
                log.insert("maxSize".into(), size.into());
            }
            Some(("max-file", count)) => {
                let count = count.parse::<u32>().ok().filter(|count| (1..=1000).contains(count));
                let count = count.ok_or_else(|| invalid("log-opt", option, "a number of files"))?;
                log.insert("maxFile".into(), count.into());
            }
            _ => return Err(invalid("log-opt", option, "max-size=SIZE or max-file=N")),
        }
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_one_spelling() {
        for (name, expected) in [
            ("TERM", "SIGTERM"),
            ("sigint", "SIGINT"),
            ("9", "SIGKILL"),
            ("37", "SIGRTMIN+3"),
            ("SIGRTMIN+3", "SIGRTMIN+3"),
        ] {
            assert_eq!(signal(name).unwrap(), expected);
        }
        for name in ["", "FOO", "0", "99", "RTMIN+99"] {
            assert!(signal(name).is_err(), "{name}");
        }
    }

    #[test]
    fn restart_policies() {
        assert_eq!(restart("on-failure:5").unwrap(), json!({"name": "on-failure", "max": 5}));
        for policy in ["always:3", "on-failure:x", "sometimes"] {
            assert!(restart(policy).is_err(), "{policy}");
        }
    }
}
