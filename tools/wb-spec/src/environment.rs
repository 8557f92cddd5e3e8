//! Variables and labels: `-e`, `--env-file`, `-l`, `--label-file`.

use crate::flags::{Given, invalid};
use serde_json::{Map, Value};
use wb_doc::{Context, Error};

/// The PATH of a container whose image names none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Adds what every container's environment holds, unless it is there, and drops what was to be unset.
///
/// Where there is an image, wb-pull does this, since the image's own variables come first.
pub fn complete(env: &mut Vec<String>, hostname: Option<&str>, terminal: bool) {
    env.retain(|entry| entry.contains('='));
    let has = |env: &[String], name: &str| env.iter().any(|entry| entry.split('=').next() == Some(name));
    if !has(env, "PATH") {
        env.insert(0, DEFAULT_PATH.into());
    }
    if let Some(hostname) = hostname.filter(|_| !has(env, "HOSTNAME")) {
        env.push(format!("HOSTNAME={hostname}"));
    }
    if terminal && !has(env, "TERM") {
        env.push("TERM=xterm".into());
    }
}

/// The variables of `--env-file` and `-e`, the latter winning, each name once. A bare name unsets the image's.
pub fn variables(given: &Given) -> Result<Vec<String>, Error> {
    let mut env = Vec::new();
    for path in given.all("env-file") {
        let lines = lines(path, "--env-file")?;
        let mut entries = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split('=').next().unwrap_or_default();
            if name.is_empty() || name.contains(char::is_whitespace) {
                let message = format!("--env-file {path}: line {}: poorly formatted environment", number + 1);
                return Err(Error::usage(message));
            }
            entries.extend(entry(line));
        }
        merge(&mut env, entries);
    }
    for text in given.all("env") {
        if text.is_empty() || text.starts_with('=') {
            return Err(invalid("env", text, "NAME=VALUE"));
        }
        if text.contains('\0') {
            return Err(invalid("env", text, "a value without NUL bytes"));
        }
        // Docker: a name that we do not have either unsets what the image sets.
        merge(&mut env, [entry(text).unwrap_or_else(|| text.to_owned())]);
    }
    Ok(env)
}

/// `NAME=VALUE` as it is; a bare `NAME` with our own value, or nothing where we have none.
fn entry(text: &str) -> Option<String> {
    if text.contains('=') {
        return Some(text.to_owned());
    }
    std::env::var(text).ok().map(|value| format!("{text}={value}"))
}

/// Puts `entries` into `env`, replacing the value of a name that is there and keeping its place.
pub fn merge(env: &mut Vec<String>, entries: impl IntoIterator<Item = String>) {
    for entry in entries {
        let name = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
        match env.iter_mut().find(|known| name(known) == name(&entry)) {
            Some(known) => *known = entry,
            None => env.push(entry),
        }
    }
}

/// The labels of `--label-file` and `-l`; a label without a value is empty.
pub fn labels(given: &Given) -> Result<Value, Error> {
    let mut labels = Map::new();
    let mut add = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if key.trim().is_empty() {
            return Err(invalid("label", text, "KEY[=VALUE]"));
        }
        labels.insert(key.to_owned(), value.into());
        Ok(())
    };
    for path in given.all("label-file") {
        for line in lines(path, "--label-file")? {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                add(line)?;
            }
        }
    }
    given.all("label").try_for_each(&mut add)?;
    Ok(Value::Object(labels))
}

fn lines(path: &str, flag: &str) -> Result<Vec<String>, Error> {
    let text = std::fs::read_to_string(path).context(|| format!("{flag} {path}"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_value_takes_the_place_of_an_earlier_one() {
        let mut env = vec!["A=1".to_owned(), "B=2".to_owned()];
        merge(&mut env, ["C=3".into(), "A=4=5".into()]);
        assert_eq!(env, ["A=4=5", "B=2", "C=3"]);
    }
}
