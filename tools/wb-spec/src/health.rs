//! `wb.healthcheck`: how to find out whether the container does its job. What is absent comes from the image.

use crate::flags::{Given, invalid};
use serde_json::{Map, Value, json};
use wb_doc::{Error, units};

const DURATIONS: [(&str, &str); 4] = [
    ("health-interval", "Interval"),
    ("health-timeout", "Timeout"),
    ("health-start-period", "StartPeriod"),
    ("health-start-interval", "StartInterval"),
];

/// Whether a `--health-*` flag was given.
pub fn is_given(given: &Given) -> bool {
    given.has("health-cmd")
        || given.has("health-retries")
        || DURATIONS.iter().any(|(flag, _)| given.has(flag))
}

/// The member, in the image specification's spelling (`Test`, `Interval`, …) with durations in nanoseconds, so
/// that what an image says and what the flags say fit together.
pub fn healthcheck(given: &Given) -> Result<Option<Value>, Error> {
    if given.on("no-healthcheck") {
        return Ok(Some(json!({"Test": ["NONE"]})));
    }
    let mut check = Map::new();
    if let Some(command) = given.last("health-cmd") {
        let test = if command == "none" { json!(["NONE"]) } else { json!(["CMD-SHELL", command]) };
        check.insert("Test".into(), test);
    }
    for (flag, member) in DURATIONS {
        if let Some(text) = given.last(flag) {
            let duration = units::duration_ns(text)?;
            if duration != 0 && duration < 1_000_000 {
                return Err(invalid(flag, text, "at least 1ms"));
            }
            check.insert(member.into(), duration.into());
        }
    }
    if let Some(retries) = given.number::<u32>("health-retries")? {
        check.insert("Retries".into(), retries.into());
    }
    Ok((!check.is_empty()).then_some(Value::Object(check)))
}
