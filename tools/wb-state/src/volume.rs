//! `wb-state volume`: named directories that outlive containers.

use crate::row::Row;
use crate::{TOOL, print};
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error, ExitCode, Filter, PruneFilters, has_label, names, table};
use wb_store::atomic::{self, Durability};
use wb_store::lock::Lock;
use wb_store::{Place, record, tree};

/// What a volume's maker said of it, beside its data.
const FILE: &str = "volume.json";

/// What to do with volumes.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a volume; prints its name
    Create {
        /// Its name (default a random one)
        name: Option<String>,
        /// Label it
        #[arg(short, long = "label", value_name = "KEY[=VALUE]")]
        labels: Vec<String>,
        /// Only "local" is known
        #[arg(short, long, value_parser = ["local"])]
        driver: Option<String>,
    },
    /// List volumes
    #[command(alias = "list")]
    Ls {
        /// Only names
        #[arg(short, long)]
        quiet: bool,
        /// One JSON array
        #[arg(long)]
        json: bool,
        /// A template with .Name, .Driver, .Mountpoint, .Labels, .CreatedAt, .Scope; a leading "table" gives headings
        #[arg(long, value_name = "TEMPLATE")]
        format: Option<String>,
        /// name=PART, label=KEY[=VALUE], dangling=true|false
        #[arg(short, long = "filter", value_name = "KEY=VALUE")]
        filters: Vec<String>,
    },
    /// Print all about volumes, as a JSON array
    Inspect {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
        /// A template, as for ls
        #[arg(short, long, value_name = "TEMPLATE")]
        format: Option<String>,
    },
    /// Remove volumes and what is in them
    #[command(alias = "remove")]
    Rm {
        /// One that does not exist is no error
        #[arg(short, long)]
        force: bool,
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove volumes that no container uses: those without a name of their own, with -a all
    Prune {
        /// Named ones, too
        #[arg(short, long)]
        all: bool,
        /// Accepted for docker's sake: nothing is asked
        #[arg(short, long)]
        force: bool,
        /// Only these: label=KEY[=VALUE], label!=KEY[=VALUE]
        #[arg(long = "filter", value_name = "KEY=VALUE")]
        filters: Vec<String>,
    },
}

/// The verb.
pub fn run(place: &Place, verb: &Verb) -> Result<ExitCode, Error> {
    match verb {
        Verb::Create { name, labels, driver: _ } => {
            let name = name.clone().map_or_else(record::random_id, Ok)?;
            create(place, &name, labels)?;
            print(&format!("{name}\n"))
        }
        Verb::Ls { quiet, json, format, filters } => {
            let volumes = choose(place, all(place)?, filters)?;
            if let Some(format) = format {
                return print(&table::formatted(format, "VOLUME", &volumes)?);
            }
            if *json {
                return print(&pretty(&volumes)?);
            }
            let names = volumes.iter().map(|volume| volume["Name"].as_str().unwrap_or_default().to_owned());
            if *quiet {
                return print(&names.map(|name| name + "\n").collect::<String>());
            }
            let cells: Vec<Vec<String>> = names.map(|name| vec!["local".into(), name]).collect();
            print(&table::layout(&["DRIVER", "VOLUME NAME"], &cells))
        }
        Verb::Inspect { names, format } => {
            let mut volumes = Vec::new();
            let code = each(names, |name| {
                volumes.push(inspect(place, name)?);
                Ok(())
            });
            let text = match format {
                Some(format) => table::formatted(format, "VOLUME", &volumes)?,
                None => pretty(&volumes)?,
            };
            let printed = print(&text)?;
            Ok(if code == ExitCode::SUCCESS { printed } else { code })
        }
        Verb::Rm { force, names } => {
            let used = users(place)?;
            Ok(each(names, |name| {
                match remove(place, name, &used) {
                    Err(error) if *force && error.to_string().starts_with("no such volume") => return Ok(()),
                    other => other?,
                }
                print(&format!("{name}\n")).map(drop)
            }))
        }
        Verb::Prune { all, force: _, filters } => prune(place, *all, &PruneFilters::parse(filters, false)?),
    }
}

/// Runs `act` for each name; one failure is reported and does not stop the others.
fn each(names: &[String], mut act: impl FnMut(&str) -> Result<(), Error>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for name in names {
        if let Err(error) = act(name) {
            Filter::doing(TOOL, "volume").report(&error);
            code = ExitCode::from(1);
        }
    }
    code
}

fn pretty(volumes: &[Value]) -> Result<String, Error> {
    serde_json::to_string_pretty(volumes).context(|| "volumes").map(|text| text + "\n")
}

/// A volume that exists stays as it is, as with docker.
fn create(place: &Place, name: &str, labels: &[String]) -> Result<(), Error> {
    names::check("volume", name)?;
    let directory = place.volumes().join(name);
    let private = |path: &Path| {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).context(|| path.display().to_string())
    };
    private(&directory)?;
    let _lock = Lock::exclusive(&directory.join(".lock"))?;
    let data = directory.join("_data");
    if data.is_dir() {
        return Ok(());
    }
    let pair = |label: &String| match label.split_once('=') {
        Some((key, value)) => (key.to_owned(), Value::from(value)),
        None => (label.clone(), Value::from("")),
    };
    let labels: Map<String, Value> = labels.iter().map(pair).collect();
    let about = json!({"created": format!("{:.9}", jiff::Timestamp::now()), "labels": labels});
    atomic::write(&directory.join(FILE), about.to_string().as_bytes(), Durability::Visible)?;
    fs::DirBuilder::new().mode(0o755).create(&data).context(|| data.display().to_string())
}

pub fn existing(place: &Place) -> Result<Vec<String>, Error> {
    let directory = place.volumes();
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| directory.display().to_string()),
    };
    let mut found: Vec<String> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            entry
                .file_name()
                .into_string()
                .ok()
                .filter(|name| is_directory && names::check("volume", name).is_ok())
        })
        .collect();
    found.sort_unstable();
    Ok(found)
}

fn all(place: &Place) -> Result<Vec<Value>, Error> {
    existing(place)?.iter().map(|name| inspect(place, name)).collect()
}

fn directory_of(place: &Place, name: &str) -> Result<PathBuf, Error> {
    let unknown = || {
        let others = existing(place).unwrap_or_default();
        let error = Error::new(format!("no such volume: {name}"));
        wb_store::near::hinted(error, name, others.iter().map(String::as_str))
    };
    names::check("volume", name).map_err(|_| unknown())?;
    let directory = place.volumes().join(name);
    let is_directory = fs::symlink_metadata(&directory).is_ok_and(|metadata| metadata.is_dir());
    if is_directory { Ok(directory) } else { Err(unknown()) }
}

pub fn inspect(place: &Place, name: &str) -> Result<Value, Error> {
    let directory = directory_of(place, name)?;
    // A volume that a container made on the way says nothing about itself.
    let about: Value = fs::read(directory.join(FILE))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or(Value::Null);
    let made = || -> Option<String> {
        let time = fs::metadata(directory.join("_data")).ok()?.created().ok()?;
        jiff::Timestamp::try_from(time).ok().map(|time| format!("{time:.9}"))
    };
    Ok(json!({
        "Name": name,
        "Driver": "local",
        "Scope": "local",
        "Mountpoint": directory.join("_data").to_string_lossy(),
        "CreatedAt": about["created"].as_str().map(str::to_owned).or_else(made),
        "Labels": about["labels"].as_object().cloned().unwrap_or_default(),
    }))
}

/// Which containers use which volume.
fn users(place: &Place) -> Result<HashMap<String, Vec<String>>, Error> {
    let mut used: HashMap<String, Vec<String>> = HashMap::new();
    for id in record::list(place)? {
        let row = record::bytes(place, &id)
            .and_then(|bytes| Row::parse(&bytes).context(|| format!("record of {}", names::short(&id))));
        match row {
            Ok(row) => {
                for volume in row.wb.volumes.into_iter().filter(|volume| !volume.name.is_empty()) {
                    used.entry(volume.name).or_default().push(id.clone());
                }
            }
            Err(_) if !place.container(&id).exists() => {}
            // What it uses is not known: nothing is removed then.
            Err(error) => return Err(error),
        }
    }
    Ok(used)
}

fn choose(place: &Place, volumes: Vec<Value>, filters: &[String]) -> Result<Vec<Value>, Error> {
    let mut volumes = volumes;
    for filter in filters {
        let wrong = || Error::usage(format!("invalid filter {filter:?}")).hint("name=, label= or dangling=");
        let (key, value) = filter.split_once('=').ok_or_else(wrong)?;
        match key {
            "name" => {
                volumes.retain(|volume| volume["Name"].as_str().is_some_and(|name| name.contains(value)));
            }
            "label" => {
                volumes.retain(|volume| has_label(value, |key| volume["Labels"][key].as_str()));
            }
            "dangling" => {
                let wanted = matches!(value, "true" | "1");
                let used = users(place)?;
                volumes.retain(|volume| {
                    let name = volume["Name"].as_str().unwrap_or_default();
                    used.contains_key(name) != wanted
                });
            }
            _ => return Err(wrong()),
        }
    }
    Ok(volumes)
}

/// Removes those that no container uses and that were given no name; `named` ones, too, where that is asked for.
fn prune(place: &Place, named: bool, filters: &PruneFilters) -> Result<ExitCode, Error> {
    let used = users(place)?;
    let is_random = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut unused = existing(place)?;
    unused.retain(|name| !used.contains_key(name) && (named || is_random(name)));
    Ok(each(&unused, |name| {
        let volume = inspect(place, name)?;
        if filters.allow(None, |key| volume["Labels"][key].as_str()) {
            remove(place, name, &used)?;
            print(&format!("{name}\n"))?;
        }
        Ok(())
    }))
}

fn remove(place: &Place, name: &str, used: &HashMap<String, Vec<String>>) -> Result<(), Error> {
    let directory = directory_of(place, name)?;
    if let Some(ids) = used.get(name) {
        let ids: Vec<&str> = ids.iter().map(|id| names::short(id)).collect();
        return Err(Error::new(format!("volume {name} is in use by {}", ids.join(", "))));
    }
    let _lock = Lock::exclusive(&directory.join(".lock"))?;
    tree::remove(&directory, None)
}
