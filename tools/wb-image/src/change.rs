//! `--change`: the lines of a Dockerfile that change only the configuration.

use serde_json::{Map, Value, json};
use wb_doc::{Error, units};
use wb_store::image::ContainerConfig;

/// Applies one instruction, `CMD ["sh"]` for example, to a configuration.
pub fn apply(config: &mut ContainerConfig, line: &str) -> Result<(), Error> {
    let wrong = |why: &str| Error::usage(format!("--change {line:?}: {why}"));
    let line = line.trim();
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let rest = rest.trim();
    let word = word.to_ascii_uppercase();
    // `CMD []` and `ENTRYPOINT []` are the ones that may be empty, and they are not empty text.
    if rest.is_empty() {
        return Err(wrong("nothing follows the instruction"));
    }
    match word.as_str() {
        "CMD" => config.cmd = Some(command(rest)),
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(rest));
        }
        "ENV" => {
            for (name, value) in pairs(rest, true).map_err(|why| wrong(&why))? {
                let env = config.env.get_or_insert_default();
                env.retain(|known| known.split('=').next() != Some(&name));
                env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => {
            let pairs = pairs(rest, false).map_err(|why| wrong(&why))?;
            config.labels.get_or_insert_default().extend(pairs);
        }
        "EXPOSE" => {
            for port in words(rest).map_err(|why| wrong(&why))? {
                let port = port_of(&port).ok_or_else(|| wrong("a port is NUMBER[/tcp|udp|sctp]"))?;
                config.exposed_ports.get_or_insert_default().insert(port, json!({}));
            }
        }
        "VOLUME" => {
            let paths = match list(rest) {
                Some(paths) => paths,
                None => words(rest).map_err(|why| wrong(&why))?,
            };
            let volumes = config.volumes.get_or_insert_with(Map::new);
            volumes.extend(paths.into_iter().map(|path| (path, json!({}))));
        }
        "USER" => config.user = Some(rest.to_owned()),
        "WORKDIR" => config.working_dir = Some(join(config.working_dir.as_deref(), rest)),
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        "ONBUILD" => {
            let list = config.other.entry("OnBuild").or_insert_with(|| json!([]));
            if !list.is_array() {
                *list = json!([]);
            }
            if let Some(list) = list.as_array_mut() {
                list.push(rest.into());
            }
        }
        "HEALTHCHECK" => config.healthcheck = Some(health(rest).map_err(|why| wrong(&why))?),
        _ => {
            return Err(wrong(
                "not one of CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR",
            ));
        }
    }
    Ok(())
}

/// A JSON list is the argument vector; anything else is for a shell.
fn command(text: &str) -> Vec<String> {
    list(text).unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into(), text.to_owned()])
}

fn list(text: &str) -> Option<Vec<String>> {
    // No list of strings: the shell form, as in a Dockerfile.
    serde_json::from_str(text).ok()
}

/// `KEY=value KEY="a b"`, or docker's older `KEY the rest` where that is allowed.
fn pairs(text: &str, old_form: bool) -> Result<Vec<(String, String)>, String> {
    let first = text.split([' ', '\t']).next().unwrap_or_default();
    if old_form && !first.contains('=') {
        let (name, value) = text.split_once([' ', '\t']).ok_or("a value is missing")?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words(text)?
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(format!("{word:?} is not KEY=VALUE")),
        })
        .collect()
}

/// Words as a shell splits them: quotes and backslashes, nothing else.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), _) if letter == open => quote = None,
            (None | Some('"'), '\\') => {
                let next = letters.next().ok_or("a backslash at the end")?;
                word.get_or_insert_default().push(next);
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    words.extend(word);
    Ok(words)
}

fn port_of(text: &str) -> Option<String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let valid = port.parse::<u16>().is_ok_and(|port| port > 0) && matches!(protocol, "tcp" | "udp" | "sctp");
    valid.then(|| format!("{port}/{protocol}"))
}

fn join(base: Option<&str>, path: &str) -> String {
    let joined = std::path::Path::new(base.filter(|base| !base.is_empty()).unwrap_or("/")).join(path);
    joined.to_string_lossy().into_owned()
}

fn health(text: &str) -> Result<Value, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(json!({ "Test": ["NONE"] }));
    }
    let mut health = Map::new();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once([' ', '\t']).ok_or("CMD is missing")?;
        let (key, value) = option.split_once('=').ok_or("an option is --KEY=VALUE")?;
        let member = match key {
            "interval" => "Interval",
            "timeout" => "Timeout",
            "start-period" => "StartPeriod",
            "retries" => "Retries",
            _ => return Err(format!("--{key} is not an option of HEALTHCHECK")),
        };
        let number = if key == "retries" {
            value.parse::<u64>().map_err(|error| error.to_string())?
        } else {
            units::duration_ns(value).map_err(|error| error.to_string())?
        };
        health.insert(member.into(), number.into());
        rest = after.trim_start();
    }
    let command =
        rest.strip_prefix("CMD").filter(|rest| rest.starts_with([' ', '\t'])).ok_or("CMD is missing")?;
    let command = command.trim();
    let probe = match list(command) {
        Some(list) => [vec!["CMD".to_owned()], list].concat(),
        None => vec!["CMD-SHELL".into(), command.into()],
    };
    health.insert("Test".into(), json!(probe));
    Ok(Value::Object(health))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> ContainerConfig {
        let mut config = ContainerConfig::default();
        for line in lines {
            apply(&mut config, line).unwrap();
        }
        config
    }

    #[test]
    fn reads_a_dockerfiles_lines() {
        let config = after(&[
            r#"CMD ["sh", "-l"]"#,
            "entrypoint exec top -b",
            r#"ENV A=1 B="two words" A=3"#,
            "ENV OLD form of it",
            "EXPOSE 80 53/udp",
            "USER 1000:1000",
            "WORKDIR /a",
            "WORKDIR b",
            r#"LABEL x=y "k e y"="v""#,
            r#"VOLUME ["/data"]"#,
            "HEALTHCHECK --interval=5s --retries=3 CMD true",
        ]);
        assert_eq!(config.cmd.unwrap(), ["sh", "-l"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "exec top -b"]);
        assert_eq!(config.env.unwrap(), ["B=two words", "A=3", "OLD=form of it"]);
        assert_eq!(config.exposed_ports.unwrap().keys().collect::<Vec<_>>(), ["80/tcp", "53/udp"]);
        assert_eq!(config.working_dir.unwrap(), "/a/b");
        assert_eq!(config.labels.unwrap()["k e y"], "v");
        assert!(config.volumes.unwrap().contains_key("/data"));
        let health = config.healthcheck.unwrap();
        assert_eq!(
            health,
            json!({"Interval": 5_000_000_000_u64, "Retries": 3, "Test": ["CMD-SHELL", "true"]})
        );
    }

    #[test]
    fn refuses_what_changes_more_than_the_configuration() {
        for line in ["RUN true", "COPY a b", "CMD", "", "ENV A", "EXPOSE x", "LABEL a", "ENV A=\"b"] {
            assert!(apply(&mut ContainerConfig::default(), line).is_err(), "{line}");
        }
    }
}
