//! `--filter`: which containers a list shows.

use crate::row::Row;
use wb_doc::{Error, clock, has_label};

/// What `--filter` asks for: different keys must all match, of one key any value.
#[derive(Debug, Default)]
pub struct Filters(Vec<(String, String)>);

const KEYS: [&str; 16] = [
    "id", "name", "status", "exited", "label", "label!", "ancestor", "before", "since", "network", "volume",
    "publish", "expose", "health", "command", "until",
];

impl Filters {
    /// Reads `KEY=VALUE` words.
    pub fn parse(words: &[String]) -> Result<Self, Error> {
        let mut filters = Vec::new();
        for word in words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| Error::usage(format!("invalid filter {word:?}: KEY=VALUE is needed")))?;
            if !KEYS.contains(&key) {
                return Err(Error::usage(format!("invalid filter {key:?}")).hint(KEYS.join(", ")));
            }
            if key == "exited" && value.parse::<u8>().is_err() {
                return Err(Error::usage(format!("invalid filter {word:?}: an exit status is needed")));
            }
            let value = if key == "until" { clock::parse_until(value)? } else { value.to_owned() };
            filters.push((key.to_owned(), value));
        }
        Ok(Self(filters))
    }

    /// Whether a status was asked for: then containers that do not run are looked at, too.
    pub fn ask_for_status(&self) -> bool {
        self.0.iter().any(|(key, _)| matches!(key.as_str(), "status" | "exited"))
    }

    /// Whether a container is shown; `rows` are all, for `before` and `since`.
    pub fn match_row(&self, row: &Row, rows: &[Row]) -> bool {
        KEYS.iter().all(|key| {
            let mut values =
                self.0.iter().filter(|(other, _)| other == key).map(|(_, value)| value).peekable();
            // Every label asked for must be there.
            match (values.peek(), *key) {
                (None, _) => true,
                (_, "label" | "label!") => values.all(|value| matches(row, rows, key, value)),
                _ => values.any(|value| matches(row, rows, key, value)),
            }
        })
    }
}

fn matches(row: &Row, rows: &[Row], key: &str, value: &str) -> bool {
    let wb = &row.wb;
    let created = |word: &str| {
        let is_it =
            |other: &&Row| other.wb.name == word || (!word.is_empty() && other.wb.id.starts_with(word));
        rows.iter().find(is_it).map(|other| other.wb.created.as_str())
    };
    match key {
        "id" => wb.id.starts_with(value),
        "name" => pattern(value.strip_prefix('/').unwrap_or(value), &wb.name),
        "status" => row.status() == value,
        "exited" => {
            row.status() == "exited" && wb.state.exit_code.is_some_and(|code| code.to_string() == value)
        }
        "label" => has_label(value, |key| wb.labels.get(key).map(String::as_str)),
        "label!" => !has_label(value, |key| wb.labels.get(key).map(String::as_str)),
        "ancestor" => {
            let image = &wb.image;
            let bare = image.name.strip_prefix("docker.io/library/").unwrap_or(&image.name);
            let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
            image.reference == value
                || image.name == value
                || bare == value
                || bare.strip_suffix(":latest") == Some(value)
                || (value.len() >= 6 && id.starts_with(value.strip_prefix("sha256:").unwrap_or(value)))
        }
        "before" => created(value).is_some_and(|time| wb.created.as_str() < time),
        "until" => wb.created.as_str() < value,
        "since" => created(value).is_some_and(|time| wb.created.as_str() > time),
        "network" => std::iter::once(&wb.network).chain(&wb.networks).any(|network| network.name == value),
        "volume" => wb
            .volumes
            .iter()
            .any(|volume| [&volume.name, &volume.source, &volume.destination].contains(&&value.into())),
        "publish" => {
            let (port, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
            wb.network.ports.iter().any(|other| {
                (other.host_port.to_string() == port || other.container_port.to_string() == port)
                    && other.protocol == protocol
            })
        }
        "expose" => {
            let wanted = if value.contains('/') { value.to_owned() } else { format!("{value}/tcp") };
            let published = |port: &crate::row::Port| format!("{}/{}", port.container_port, port.protocol);
            wb.network.exposed.contains(&wanted)
                || wb.network.ports.iter().any(|port| published(port) == wanted)
        }
        "health" => match wb.state.health.status.as_str() {
            "" => value == "none",
            health => health == value,
        },
        "command" => row.process.args.join(" ").contains(value),
        _ => false,
    }
}

/// Docker's is a regular expression; of those, anchors are what people use on names.
fn pattern(pattern: &str, name: &str) -> bool {
    let (pattern, from_start) = pattern.strip_prefix('^').map_or((pattern, false), |rest| (rest, true));
    let (pattern, to_end) = pattern.strip_suffix('$').map_or((pattern, false), |rest| (rest, true));
    match (from_start, to_end) {
        (true, true) => name == pattern,
        (true, false) => name.starts_with(pattern),
        (false, true) => name.ends_with(pattern),
        (false, false) => name.contains(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        Row::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn matches_as_docker_does() {
        let rows = [
            row(r#"{"wb":{"id":"3f2a","name":"web1","created":"2025-01-02","labels":{"a":"b","c":""},
                "image":{"ref":"busybox","name":"docker.io/library/busybox:latest"},"network":{"name":"front"},
                "state":{"status":"exited","exitCode":3}}}"#),
            row(r#"{"wb":{"id":"aa","name":"old","created":"2025-01-01","state":{"status":"created"}}}"#),
        ];
        let shown = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let filters = Filters::parse(&words).unwrap();
            rows.iter()
                .filter(|row| filters.match_row(row, &rows))
                .map(|row| row.wb.name.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(&[]), ["web1", "old"]);
        for words in [
            ["name=web", "id=3f"].as_slice(),
            &["name=^web1$"],
            &["status=exited"],
            &["exited=3"],
            &["label=a=b", "label=c"],
            &["ancestor=busybox"],
            &["ancestor=busybox:latest"],
            &["since=old"],
            &["network=front"],
            &["label!=x", "label!=a=x", "name=web"],
            &["name=nope", "name=web"],
            &["until=10m", "name=web"],
            &["until=2025-01-03T00:00:00Z", "name=web"],
        ] {
            assert_eq!(shown(words), ["web1"], "{words:?}");
        }
        assert_eq!(shown(&["before=web1"]), ["old"]);
        assert!(shown(&["label=a=x"]).is_empty() && shown(&["exited=0"]).is_empty());
        assert_eq!(shown(&["label!=a"]), ["old"]);
        assert!(shown(&["until=1"]).is_empty());
        for word in ["x", "foo=bar", "exited=x", "until=x"] {
            assert!(Filters::parse(&[word.to_owned()]).is_err());
        }
    }
}
