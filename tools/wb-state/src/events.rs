//! `wb-state events`: what happens to containers, told by the kernel when a record is replaced (inotify(7)).

use crate::row::Row;
use crate::select::Filters;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;
use wb_doc::{Context, Error, Template, names};
use wb_store::{Place, record};
use wb_sys::inotify::{Watch, WatchDescriptor};

/// Which events, and how they look.
#[derive(clap::Args)]
pub struct EventsArgs {
    /// JSON, a line an event
    #[arg(long)]
    json: bool,
    /// Print what this template says of each: .Time, .Type, .Action, .ID, .From, .Actor.Attributes
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "json")]
    format: Option<String>,
    /// Only those that match: event=NAME, or a filter of list
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
}

/// What of a container was last seen.
struct Seen {
    row: Row,
    /// `linux.resources` as text: whether they change is all that matters.
    limits: String,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    action: String,
    attributes: Vec<(&'static str, String)>,
}

/// The verb; ends when nobody reads any more.
pub fn events(place: &Place, args: &EventsArgs) -> Result<ExitCode, Error> {
    let (wanted, rest): (Vec<String>, Vec<String>) =
        args.filters.iter().cloned().partition(|filter| filter.starts_with("event="));
    let wanted: Vec<&str> = wanted.iter().filter_map(|filter| filter.strip_prefix("event=")).collect();
    let filters = Filters::parse(&rest)?;
    let format = args.format.as_deref().map(|text| if text == "json" { "{{json .}}" } else { text });
    let form = match format.map(Template::parse).transpose()? {
        Some(template) => Form::Template(template),
        None if args.json => Form::Json,
        None => Form::Words,
    };
    record::make_parents(place)?;
    let watch = Watch::new().context(|| "inotify")?;
    let parent = place.containers();
    let top = watch.watch(&parent).context(|| parent.display().to_string())?;
    let mut ids: HashMap<WatchDescriptor, String> = HashMap::new();
    let mut seen: HashMap<String, Seen> = HashMap::new();
    let known = |ids: &mut HashMap<WatchDescriptor, String>, id: &str| {
        // A container that is gone already has nothing to watch.
        if let Ok(descriptor) = watch.watch(&place.container(id)) {
            ids.insert(descriptor, id.to_owned());
        }
    };
    for id in record::list(place)? {
        known(&mut ids, &id);
        look(place, &id).map(|now| seen.insert(id, now));
    }
    loop {
        let mut changed: Vec<String> = Vec::new();
        for event in watch.wait().context(|| "inotify")? {
            let name = event.name.as_ref().and_then(|name| name.to_str());
            if event.wd == top {
                let Some(id) = name.filter(|name| names::check("id", name).is_ok()) else { continue };
                known(&mut ids, id);
                changed.push(id.to_owned());
            } else if name == Some(record::FILE) {
                changed.extend(ids.get(&event.wd).cloned());
            }
        }
        changed.dedup();
        for id in changed {
            let now = look(place, &id);
            let events = differences(seen.get(&id), now.as_ref());
            let before = match now {
                Some(now) => seen.insert(id.clone(), now),
                None => seen.remove(&id),
            };
            let Some(row) = seen.get(&id).or(before.as_ref()).map(|seen| &seen.row) else { continue };
            for event in &events {
                let shown = (wanted.is_empty() || wanted.contains(&event.action.as_str()))
                    && filters.match_row(row, std::slice::from_ref(row));
                if !shown {
                    continue;
                }
                match say(&form, row, event)? {
                    Ok(()) => {}
                    Err(_) => return Ok(ExitCode::SUCCESS),
                }
            }
        }
    }
}

fn look(place: &Place, id: &str) -> Option<Seen> {
    // A record that cannot be read is not there for whoever watches.
    let bytes = record::bytes(place, id).ok()?;
    let row = Row::parse(&bytes).ok()?;
    let whole: Value = serde_json::from_slice(&bytes).ok()?;
    let limits = whole.pointer("/linux/resources").map(Value::to_string).unwrap_or_default();
    Some(Seen { row, limits })
}

/// What happened between two looks at a container, in docker's words.
fn differences(before: Option<&Seen>, now: Option<&Seen>) -> Vec<Event> {
    let event = |action: &str| Event { action: action.to_owned(), attributes: Vec::new() };
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
            events.push(Event { action: "die".into(), attributes: vec![("exitCode", code)] });
            if state.stopped {
                events.push(event("stop"));
            }
        }
        _ => {}
    }
    if let Some(before) = before {
        if before.row.wb.name != now.row.wb.name {
            let old = before.row.wb.name.clone();
            events.push(Event { action: "rename".into(), attributes: vec![("oldName", old)] });
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

/// How an event is told.
enum Form {
    Words,
    Json,
    Template(Template),
}

/// Prints an event; the inner error says that nobody reads any more.
fn say(form: &Form, row: &Row, event: &Event) -> Result<std::io::Result<()>, Error> {
    let now = Timestamp::now();
    let time = format!("{now:.9}");
    let mut attributes: Vec<(&str, String)> = event.attributes.clone();
    attributes.push(("image", row.image().to_owned()));
    attributes.push(("name", row.wb.name.clone()));
    attributes.extend(row.wb.labels.iter().map(|(key, value)| (key.as_str(), value.clone())));
    let object = || -> Map<String, Value> {
        attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone().into())).collect()
    };
    let line = match form {
        Form::Json => json!({
            "time": time, "type": "container", "action": event.action, "id": row.wb.id, "attributes": object(),
        })
        .to_string(),
        Form::Template(template) => template.render(&json!({
            "Time": now.as_second(), "TimeNano": i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
            "Type": "container", "Action": event.action, "Status": event.action, "ID": row.wb.id,
            "From": row.image(), "Actor": {"ID": row.wb.id, "Attributes": object()},
        }))?,
        Form::Words => {
            let words: Vec<String> = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let words = words.join(", ");
            wb_doc::escape(&format!("{time} container {} {} ({words})", event.action, row.wb.id))
        }
    };
    let mut out = std::io::stdout().lock();
    Ok(writeln!(out, "{line}").and_then(|()| out.flush()))
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
}
