//! `wb-spec update`: other limits for containers there are.

use crate::flags::{self, Given, UPDATE};
use crate::{attend, help, namespaces, resources};
use serde_json::{Map, Value};
use wb_doc::{Document, Error, ExitCode, Filter, FilterArgs};
use wb_store::Place;

const USAGE: &str = "[-n] update [FLAGS] [CONTAINER...]";

/// The verb.
pub fn main(words: impl Iterator<Item = std::ffi::OsString>, named: bool) -> ExitCode {
    let parsed = flags::parse(crate::table::TABLE, UPDATE, words).map_err(crate::flag_refused);
    let given = match parsed.and_then(|given| check(given, named)) {
        Ok(given) if given.on("help") => return help::of_verb(UPDATE, USAGE),
        Ok(given) => given,
        Err(error) => {
            let error = if error.advice().is_some() { error } else { error.hint("wb-spec update --help") };
            return wb_doc::emit(crate::TOOL, "update", Err(error));
        }
    };
    if named {
        return each_named(&given);
    }
    let args = FilterArgs { doc: given.last("doc").map(Into::into), ..FilterArgs::default() };
    Filter::doing(crate::TOOL, "update").run(&args, |document| update(document, &given))
}

fn check(given: Given, named: bool) -> Result<Given, Error> {
    match (named, given.words.first()) {
        (true, None) if !given.on("help") => Err(Error::usage("a container is missing")),
        (false, Some(word)) if !given.on("help") => Err(Error::usage(format!("unexpected word {word:?}"))
            .hint("wb-spec -n update takes containers' names")),
        _ => Ok(given),
    }
}

/// One document a container named; the exit status is that of the first that failed.
fn each_named(given: &Given) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for container in &given.words {
        let updated =
            Place::from_env().and_then(|place| namespaces::record(&place, container)).and_then(|mut d| {
                update(&mut d, given)?;
                Ok(d)
            });
        let one = wb_doc::emit(crate::TOOL, "update", updated);
        if code == ExitCode::SUCCESS {
            code = one;
        }
    }
    code
}

fn update(document: &mut Document, given: &Given) -> Result<(), Error> {
    let mut limits = document.read::<Map<String, Value>>("/linux/resources")?.unwrap_or_default();
    resources::change(&mut limits, given)?;
    document.set("/linux/resources", limits)?;
    if let Some(policy) = given.last("restart") {
        let policy = attend::restart(policy)?;
        if policy["name"] != "no" && document.at("/wb/run/remove") == Some(&Value::Bool(true)) {
            return Err(Error::usage("conflicting options: --restart and the container's --rm"));
        }
        document.set("/wb/run/restart", policy)?;
    }
    Ok(())
}
