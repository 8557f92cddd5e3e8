//! `wb-state events`: what happens to containers, images, volumes and networks, told by the kernel when a file that
//! says what there is gets replaced (inotify(7)).

mod containers;
mod stock;
mod wanted;

use crate::row::Row;
use containers::Seen;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::rc::Rc;
use stock::Stock;
use wanted::Wanted;
use wb_doc::{Context, Error, ExitCode, Template, clock, names};
use wb_store::image::ImageStore;
use wb_store::{Place, record};
use wb_sys::inotify::{Watch, WatchDescriptor};

/// Which events, and how they look.
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    /// JSON, a line an event
    #[arg(long)]
    json: bool,
    /// Print what this template says of each: .Time, .Type, .Action, .ID, .From, .Actor.Attributes
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "json")]
    format: Option<String>,
    /// Only those that match: event=, type=, container=, image=, volume=, network=, label=, or a filter of list
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// First what the records still tell since this time, or of as long ago (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End at this time; one that is past shows nothing new
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// One event, in docker's words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    /// When it was; now, where that is not known.
    time: Option<String>,
    kind: &'static str,
    action: String,
    id: String,
    from: String,
    attributes: Vec<(String, String)>,
}

impl Event {
    fn new(kind: &'static str, action: &str, id: &str, attributes: Vec<(String, String)>) -> Self {
        let (action, id) = (action.to_owned(), id.to_owned());
        Self { time: None, kind, action, id, from: String::new(), attributes }
    }
}

/// How an event is told.
enum Form {
    Words,
    Json,
    Template(Template),
}

/// Nobody reads any more.
struct Unread;

/// The verb; ends at a time, or when nobody reads any more.
pub fn events(place: &Place, args: &EventsArgs) -> Result<ExitCode, Error> {
    let wanted = Wanted::parse(&args.filters)?;
    let form = match args.format.as_deref().map(Template::parse_format).transpose()? {
        Some(template) => Form::Template(template),
        None if args.json => Form::Json,
        None => Form::Words,
    };
    let time = |flag: &str, text: &Option<String>| {
        let wrong = |text: &String| Error::usage(format!("--{flag} {text:?}: a time, or how long ago (10m)"));
        text.as_ref().map(|text| clock::parse_text(text).ok_or_else(|| wrong(text))).transpose()
    };
    let (since, until) = (time("since", &args.since)?, time("until", &args.until)?);
    // First it is watched, then looked at: so nothing is missed in between.
    let mut watcher = Watcher::new(place)?;
    let told =
        since.map_or(Ok(Ok(())), |since| watcher.tell_past(&form, &wanted, &since, until.as_deref()))?;
    if told.is_err() {
        return Ok(ExitCode::SUCCESS);
    }
    while watcher.wait(until.as_deref())? {
        if watcher.tell_changes(&form, &wanted)?.is_err() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is watched, and what was last seen there.
struct Watcher<'a> {
    place: &'a Place,
    watch: Watch,
    containers: WatchDescriptor,
    images: WatchDescriptor,
    volumes: WatchDescriptor,
    networks: WatchDescriptor,
    ids: HashMap<WatchDescriptor, String>,
    seen: HashMap<String, Seen>,
    stock: Stock,
    changes: Vec<Change>,
}

/// Where something has changed.
#[derive(PartialEq, Eq)]
enum Change {
    Container(String),
    Images,
    Volumes,
    Networks,
}

impl<'a> Watcher<'a> {
    fn new(place: &'a Place) -> Result<Self, Error> {
        record::make_parents(place)?;
        let store = ImageStore::new(place);
        store.prepare()?;
        let watch = Watch::new().context(|| "inotify")?;
        let on = |path: &Path, mode: u32| {
            let made = DirBuilder::new().recursive(true).mode(mode).create(path);
            made.context(|| path.display().to_string())?;
            watch.watch(path).context(|| path.display().to_string())
        };
        let containers = on(&place.containers(), 0o700)?;
        let images = on(store.directory(), 0o700)?;
        let volumes = on(&place.volumes(), 0o700)?;
        let networks = on(&place.networks(), 0o755)?;
        let stock = Stock::look(place)?;
        let (ids, seen, changes) = (HashMap::new(), HashMap::new(), Vec::new());
        let mut watcher =
            Self { place, watch, containers, images, volumes, networks, ids, seen, stock, changes };
        for id in record::list(place)? {
            watcher.know(&id);
            containers::look(place, &id).map(|now| watcher.seen.insert(id, now));
        }
        Ok(watcher)
    }

    fn know(&mut self, id: &str) {
        // A container that is gone already has nothing to watch.
        if let Ok(descriptor) = self.watch.watch(&self.place.container(id)) {
            self.ids.insert(descriptor, id.to_owned());
        }
    }

    /// What happened earlier, as far as what there is tells of it.
    fn tell_past(
        &self,
        form: &Form,
        wanted: &Wanted,
        since: &str,
        until: Option<&str>,
    ) -> Result<Result<(), Unread>, Error> {
        let others = self.stock.past(self.place).into_iter().map(|event| (event, None));
        let mut past: Vec<(Event, Option<Rc<Row>>)> =
            containers::past(self.place)?.into_iter().map(|(event, row)| (event, Some(row))).collect();
        past.extend(others);
        let time = |event: &Event| event.time.as_deref().and_then(clock::parse_text).unwrap_or_default();
        past.retain(|(event, _)| {
            let time = time(event);
            time.as_str() >= since && until.is_none_or(|until| time.as_str() <= until)
        });
        past.sort_by_cached_key(|(event, _)| time(event));
        for (event, row) in &past {
            if wanted.matches(event, row.as_deref()) && say(form, event)?.is_err() {
                return Ok(Err(Unread));
            }
        }
        Ok(Ok(()))
    }

    /// Waits until something changes; says whether there is time left for it.
    fn wait(&mut self, until: Option<&str>) -> Result<bool, Error> {
        let left = match until {
            Some(until) => {
                let end: Timestamp = until.parse().map_err(|_| Error::usage("--until: out of range"))?;
                match Timestamp::now().duration_until(end).try_into() {
                    Ok(left) => Some(left),
                    // It is past.
                    Err(_) => return Ok(false),
                }
            }
            None => None,
        };
        for event in self.watch.wait_for(left).context(|| "inotify")? {
            let name = event.name.as_ref().and_then(|name| name.to_str()).unwrap_or_default();
            let change = match event.wd {
                wd if wd == self.containers && names::check("id", name).is_ok() => {
                    self.know(name);
                    Some(Change::Container(name.to_owned()))
                }
                wd if wd == self.images => (name == "index.json").then_some(Change::Images),
                wd if wd == self.volumes => Some(Change::Volumes),
                wd if wd == self.networks => name.ends_with(".conflist").then_some(Change::Networks),
                wd if name == record::FILE => self.ids.get(&wd).cloned().map(Change::Container),
                _ => None,
            };
            self.changes.extend(change);
        }
        self.changes.dedup();
        Ok(true)
    }

    fn tell_changes(&mut self, form: &Form, wanted: &Wanted) -> Result<Result<(), Unread>, Error> {
        for change in std::mem::take(&mut self.changes) {
            let before;
            let (events, row) = match change {
                Change::Container(id) => {
                    let now = containers::look(self.place, &id);
                    let events = containers::happened(self.seen.get(&id), now.as_ref());
                    before = self.seen.remove(&id);
                    now.map(|now| self.seen.insert(id.clone(), now));
                    (events, self.seen.get(&id).or(before.as_ref()).map(|seen| &seen.row))
                }
                Change::Images => (self.stock.look_at_images(self.place)?, None),
                Change::Volumes => (self.stock.look_at_volumes(self.place)?, None),
                Change::Networks => (self.stock.look_at_networks(self.place)?, None),
            };
            for event in &events {
                if wanted.matches(event, row) && say(form, event)?.is_err() {
                    return Ok(Err(Unread));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// Prints an event.
fn say(form: &Form, event: &Event) -> Result<Result<(), Unread>, Error> {
    let time = event.time.as_ref().and_then(|time| time.parse().ok()).unwrap_or_else(Timestamp::now);
    let Event { kind, action, id, from, attributes, .. } = event;
    let object = || -> Map<String, Value> {
        attributes.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect()
    };
    let line = match form {
        Form::Json => json!({
            "time": format!("{time:.9}"), "type": kind, "action": action, "id": id, "attributes": object(),
        })
        .to_string(),
        Form::Template(template) => template.render(&json!({
            "Time": time.as_second(), "TimeNano": i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX),
            "Type": kind, "Action": action, "Status": action, "ID": id, "From": from,
            "Actor": {"ID": id, "Attributes": object()}, "Scope": "local",
        }))?,
        Form::Words => {
            let words: Vec<String> = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
            wb_doc::escape(&format!("{time:.9} {kind} {action} {id} ({})", words.join(", ")))
        }
    };
    let mut out = std::io::stdout().lock();
    Ok(writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|_| Unread))
}
