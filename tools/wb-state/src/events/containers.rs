//! What happens to containers: the difference between two looks at a record.

use super::Event;
use crate::row::Row;
use serde_json::Value;
use std::collections::BTreeSet;
use std::rc::Rc;
use wb_doc::Error;
use wb_store::{Place, record};

/// What of a container was last seen.
pub struct Seen {
    pub row: Row,
    /// `linux.resources` as text: whether they change is all that matters.
    limits: String,
}

/// A look at a container's record.
pub fn look(place: &Place, id: &str) -> Option<Seen> {
    // A record that cannot be read is not there for whoever watches.
    let bytes = record::bytes(place, id).ok()?;
    let row = Row::parse(&bytes).ok()?;
    let whole: Value = serde_json::from_slice(&bytes).ok()?;
    let limits = whole.pointer("/linux/resources").map(Value::to_string).unwrap_or_default();
    Some(Seen { row, limits })
}

/// What happened between two looks at a container, what it holds of networks and volumes included.
pub fn happened(before: Option<&Seen>, now: Option<&Seen>) -> Vec<Event> {
    let Some(row) = now.or(before).map(|seen| &seen.row) else { return Vec::new() };
    let held = before.map(|seen| holds(&seen.row)).unwrap_or_default();
    let holding = now.map(|seen| holds(&seen.row)).unwrap_or_default();
    let gained = holding.difference(&held).map(|thing| thing.event(true, row));
    let own = differences(before, now).into_iter().map(|event| event.of(row));
    let lost = held.difference(&holding).map(|thing| thing.event(false, row));
    gained.chain(own).chain(lost).collect()
}

/// What the records still tell of earlier times; of containers that are gone nothing.
pub fn past(place: &Place) -> Result<Vec<(Event, Rc<Row>)>, Error> {
    let mut events = Vec::new();
    for id in record::list(place)? {
        let Some(Seen { row, .. }) = look(place, &id) else { continue };
        let row = Rc::new(row);
        let state = &row.wb.state;
        // The exit code is that of the last end, which is this one unless it runs again.
        let code = state.exit_code.filter(|_| state.finished_at > state.started_at);
        let code = code.map(|code| vec![("exitCode", code.to_string())]).unwrap_or_default();
        for (action, time, attributes) in [
            ("create", &row.wb.created, Vec::new()),
            ("start", &state.started_at, Vec::new()),
            ("die", &state.finished_at, code),
        ] {
            if !time.is_empty() {
                let event = Change { action: action.into(), attributes }.of(&row);
                events.push((Event { time: Some(time.clone()), ..event }, Rc::clone(&row)));
            }
        }
    }
    Ok(events)
}

/// A network or a volume that a running container has.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Network(String),
    Volume(String, String),
}

fn holds(row: &Row) -> BTreeSet<Thing> {
    if !matches!(row.wb.state.status.as_str(), "running" | "paused") {
        return BTreeSet::new();
    }
    let is_real =
        |name: &&String| !matches!(name.as_str(), "" | "none" | "host") && !name.starts_with("container:");
    let networks = std::iter::once(&row.wb.network).chain(&row.wb.networks).map(|network| &network.name);
    let volumes = row.wb.volumes.iter().filter(|volume| !volume.name.is_empty());
    networks
        .filter(is_real)
        .map(|name| Thing::Network(name.clone()))
        .chain(volumes.map(|volume| Thing::Volume(volume.name.clone(), volume.destination.clone())))
        .collect()
}

impl Thing {
    fn event(&self, gained: bool, row: &Row) -> Event {
        let container = ("container".to_owned(), row.wb.id.clone());
        match self {
            Self::Network(name) => {
                let attributes = vec![container, ("name".to_owned(), name.clone())];
                Event::new("network", if gained { "connect" } else { "disconnect" }, name, attributes)
            }
            Self::Volume(name, destination) => {
                let attributes = vec![
                    container,
                    ("destination".to_owned(), destination.clone()),
                    ("driver".to_owned(), "local".to_owned()),
                ];
                Event::new("volume", if gained { "mount" } else { "unmount" }, name, attributes)
            }
        }
    }
}

/// A change of a container's record.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    action: String,
    attributes: Vec<(&'static str, String)>,
}

impl Change {
    fn of(self, row: &Row) -> Event {
        let own = self.attributes.into_iter().map(|(key, value)| (key.to_owned(), value));
        let always = [("image".to_owned(), row.image().to_owned()), ("name".to_owned(), row.wb.name.clone())];
        let labels = row.wb.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
        let attributes = own.chain(always).chain(labels).collect();
        let event = Event::new("container", &self.action, &row.wb.id, attributes);
        Event { from: row.image().to_owned(), ..event }
    }
}

/// What happened between two looks at a container, in docker's words.
fn differences(before: Option<&Seen>, now: Option<&Seen>) -> Vec<Change> {
    let event = |action: &str| Change { action: action.to_owned(), attributes: Vec::new() };
    let Some(now) = now else {
        let ran =
            before.is_some_and(|before| matches!(before.row.wb.state.status.as_str(), "running" | "paused"));
        // With --rm the record may be gone before anybody has looked at the exit it told of.
        let last = before.map(|_| event("destroy"));
        return ran.then(|| event("die")).into_iter().chain(last).collect();
    };
    let mut events = Vec::new();
    let old = before.map_or("", |before| before.row.wb.state.status.as_str());
    let state = &now.row.wb.state;
    // A record that is seen for the first time may have come further already.
    if matches!(old, "" | "creating") && !matches!(state.status.as_str(), "creating" | "") {
        events.push(event("create"));
    }
    let before_state = before.map(|before| &before.row.wb.state);
    let again = before_state.is_some_and(|before| before.started_at != state.started_at);
    let ran = matches!(old, "running" | "paused");
    match (old, state.status.as_str()) {
        ("paused", "running") if !again => events.push(event("unpause")),
        ("running", "running") if !again => {}
        ("running", "paused") => events.push(event("pause")),
        (_, "running") => events.push(event("start")),
        (_, "exited" | "restarting") if ran => {
            if state.oom_killed {
                events.push(event("oom"));
            }
            let code = state.exit_code.map_or_else(String::new, |code| code.to_string());
            events.push(Change { action: "die".into(), attributes: vec![("exitCode", code)] });
            if state.stopped {
                events.push(event("stop"));
            }
        }
        _ => {}
    }
    if let Some(before) = before {
        if before.row.wb.name != now.row.wb.name {
            let old = before.row.wb.name.clone();
            events.push(Change { action: "rename".into(), attributes: vec![("oldName", old)] });
        }
        if before.limits != now.limits && !matches!(old, "creating" | "") {
            events.push(event("update"));
        }
        let health = &state.health.status;
        if before.row.wb.state.health.status != *health && !health.is_empty() {
            events.push(event(&format!("health_status: {health}")));
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, state: &str, limits: &str) -> Seen {
        let text = format!(r#"{{"wb":{{"id":"a","name":"{name}","state":{state}}}}}"#);
        Seen { row: Row::parse(text.as_bytes()).unwrap(), limits: limits.into() }
    }

    #[test]
    fn a_life_in_dockers_words() {
        let life = [
            (seen("web", r#"{"status":"creating"}"#, ""), ""),
            (seen("web", r#"{"status":"created"}"#, ""), "create"),
            (seen("web", r#"{"status":"running","startedAt":"1"}"#, ""), "start"),
            (seen("web", r#"{"status":"paused","startedAt":"1"}"#, ""), "pause"),
            (seen("web", r#"{"status":"running","startedAt":"1"}"#, ""), "unpause"),
            (seen("web", r#"{"status":"running","startedAt":"1"}"#, "x"), "update"),
            (seen("www", r#"{"status":"running","startedAt":"1"}"#, "x"), "rename"),
            (seen("www", r#"{"status":"restarting","startedAt":"1","exitCode":1}"#, "x"), "die"),
            (seen("www", r#"{"status":"running","startedAt":"2"}"#, "x"), "start"),
            (seen("www", r#"{"status":"running","startedAt":"3"}"#, "x"), "start"),
            (
                seen("www", r#"{"status":"exited","exitCode":137,"oomKilled":true,"stopped":true}"#, "x"),
                "oom die stop",
            ),
        ];
        let mut before = None;
        for (now, expected) in &life {
            let actions: Vec<String> =
                differences(before, Some(now)).into_iter().map(|event| event.action).collect();
            assert_eq!(actions.join(" "), *expected);
            before = Some(now);
        }
        assert_eq!(differences(before, None)[0].action, "destroy");
        assert!(differences(None, None).is_empty());
    }

    #[test]
    fn what_runs_has_its_networks_and_volumes() {
        let at = |status: &str, more: &str| {
            let text = format!(
                r#"{{"wb":{{"id":"a","network":{{"name":"lan"}},"networks":[{more}],
                    "volumes":[{{"name":"v","destination":"/v"}},{{"source":"/host"}}],
                    "state":{{"status":"{status}","startedAt":"1"}}}}}}"#
            );
            Seen { row: Row::parse(text.as_bytes()).unwrap(), limits: String::new() }
        };
        let words = |before: &Seen, now: Option<&Seen>| {
            let words = happened(Some(before), now).into_iter();
            words.map(|event| format!("{} {} {}", event.kind, event.action, event.id)).collect::<Vec<_>>()
        };
        let (created, running) = (at("created", ""), at("running", ""));
        assert_eq!(
            words(&created, Some(&running)),
            ["network connect lan", "volume mount v", "container start a"]
        );
        let further = at("running", r#"{"name":"more"}"#);
        assert_eq!(words(&running, Some(&further)), ["network connect more"]);
        assert_eq!(words(&further, Some(&running)), ["network disconnect more"]);
        assert!(words(&running, Some(&at("paused", ""))).iter().all(|word| word == "container pause a"));
        assert_eq!(
            words(&running, None),
            ["container die a", "container destroy a", "network disconnect lan", "volume unmount v"]
        );
        let host = Row::parse(br#"{"wb":{"network":{"name":"host"},"state":{"status":"running"}}}"#).unwrap();
        assert!(holds(&host).is_empty());
    }
}
