//! `--filter` of events: which are shown.

use super::Event;
use crate::row::Row;
use crate::select::Filters;
use wb_doc::{Error, has_label};

/// What is asked of an event itself; all else is asked of the container it is about.
const KEYS: [&str; 7] = ["event", "type", "container", "image", "volume", "network", "label"];

/// Different keys must all match, of one key any value; of labels all.
#[derive(Debug, Default)]
pub struct Wanted {
    own: Vec<(String, String)>,
    container: Option<Filters>,
}

impl Wanted {
    /// Reads `KEY=VALUE` words.
    pub fn parse(words: &[String]) -> Result<Self, Error> {
        let mut wanted = Self::default();
        let mut rest = Vec::new();
        for word in words {
            match word.split_once('=') {
                Some((key, value)) if KEYS.contains(&key) => wanted.own.push((key.into(), value.into())),
                _ => rest.push(word.clone()),
            }
        }
        if !rest.is_empty() {
            wanted.container = Some(Filters::parse(&rest)?);
        }
        Ok(wanted)
    }

    /// Whether an event is shown; `row` is the container it comes from.
    pub fn matches(&self, event: &Event, row: Option<&Row>) -> bool {
        let of_container = |filters: &Filters| {
            event.kind == "container"
                && row.is_some_and(|row| filters.match_row(row, std::slice::from_ref(row)))
        };
        self.container.as_ref().is_none_or(of_container)
            && KEYS.iter().all(|key| {
                let mut values =
                    self.own.iter().filter(|(other, _)| other == key).map(|(_, value)| value).peekable();
                match (values.peek(), *key) {
                    (None, _) => true,
                    (_, "label") => values.all(|value| event.has("label", value)),
                    _ => values.any(|value| event.has(key, value)),
                }
            })
    }
}

impl Event {
    fn has(&self, key: &str, value: &str) -> bool {
        let attribute = |key: &str| {
            let found = self.attributes.iter().find(|(other, _)| other == key);
            found.map(|(_, value)| value.as_str())
        };
        let is_start = |id: &str| !value.is_empty() && id.starts_with(value);
        let is_image = |name: &str| name == value || name.strip_suffix(":latest") == Some(value);
        match key {
            // Docker's health_status has the status behind it.
            "event" => {
                self.action == value || self.action.split_once(':').is_some_and(|(word, _)| word == value)
            }
            "type" => self.kind == value,
            "label" => self.kind == "container" && has_label(value, attribute),
            "container" if self.kind == "container" => attribute("name") == Some(value) || is_start(&self.id),
            "container" => attribute("container").is_some_and(is_start),
            "image" if self.kind == "container" => attribute("image").is_some_and(is_image),
            "image" => {
                let id = self.id.strip_prefix("sha256:").unwrap_or(&self.id);
                self.kind == "image"
                    && (is_start(id) || is_start(&self.id) || attribute("name").is_some_and(is_image))
            }
            _ => self.kind == key && self.id == value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &'static str, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        let pair = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        Event::new(kind, action, id, attributes.iter().map(pair).collect())
    }

    #[test]
    fn asks_the_event_and_its_container() {
        let row = Row::parse(br#"{"wb":{"id":"3f2a","name":"web","state":{"status":"exited"}}}"#).unwrap();
        let die = event(
            "container",
            "die",
            "3f2a",
            &[("name", "web"), ("image", "busybox:latest"), ("tier", "front")],
        );
        let connect = event("network", "connect", "lan", &[("container", "3f2a"), ("name", "lan")]);
        let untag = event("image", "untag", "sha256:aabb", &[("name", "busybox:latest")]);
        let health = event("container", "health_status: healthy", "3f2a", &[]);
        let shown = |words: &[&str], event: &Event| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let row = (event.kind != "image").then_some(&row);
            Wanted::parse(&words).unwrap().matches(event, row)
        };
        for words in [
            [].as_slice(),
            &["event=die", "event=start"],
            &["container=web", "type=container"],
            &["container=3f"],
            &["image=busybox", "label=tier=front"],
            &["status=exited"],
        ] {
            assert!(shown(words, &die), "{words:?}");
        }
        for words in [
            ["event=start"].as_slice(),
            &["type=image"],
            &["container=other"],
            &["label=tier", "label=x"],
            &["network=lan"],
        ] {
            assert!(!shown(words, &die), "{words:?}");
        }
        assert!(shown(&["network=lan", "container=3f2a"], &connect) && !shown(&["label=tier"], &connect));
        assert!(shown(&["image=busybox"], &untag) && shown(&["image=aabb"], &untag));
        assert!(!shown(&["container=web"], &untag) && !shown(&["status=exited"], &untag));
        assert!(shown(&["event=health_status"], &health));
        assert!(Wanted::parse(&["nosuch=x".to_owned()]).is_err());
    }
}
