//! `linux.resources` (config-linux.md, "Control groups"), as far as it can be wrong in itself.

use super::wrong;
use serde_json::Value;
use wb_doc::{Document, Error};

/// cgroup v1 takes more on some kernels, and other things follow from it there.
const MAX_SWAPPINESS: u64 = 100;

/// Checks the members of which one at least has to be there, and those with a range.
pub fn check(document: &Document) -> Result<(), Error> {
    let Some(resources) = document.at("/linux/resources") else { return Ok(()) };
    if resources.pointer("/memory/swappiness").and_then(Value::as_u64).is_some_and(|one| one > MAX_SWAPPINESS)
    {
        return Err(wrong(format!("linux.resources.memory.swappiness: above {MAX_SWAPPINESS}")));
    }
    let weights = resources.pointer("/blockIO/weightDevice").and_then(Value::as_array);
    if weights.into_iter().flatten().any(|one| !has_one(one, ["weight", "leafWeight"])) {
        return Err(wrong("linux.resources.blockIO.weightDevice: neither weight nor leafWeight"));
    }
    let devices = resources.get("rdma").and_then(Value::as_object);
    if devices.into_iter().flatten().any(|(_, one)| !has_one(one, ["hcaHandles", "hcaObjects"])) {
        return Err(wrong("linux.resources.rdma: neither hcaHandles nor hcaObjects"));
    }
    Ok(())
}

fn has_one(entry: &Value, members: [&str; 2]) -> bool {
    members.iter().any(|member| entry[member].is_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_has_to_be_there() {
        let check = |resources: &str| {
            let text = format!(r#"{{"linux":{{"resources":{resources}}}}}"#);
            check(&Document::parse(text.as_bytes()).unwrap())
        };
        for good in [
            "{}",
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":5}]},"rdma":{"x":{"hcaObjects":1}}}"#,
            r#"{"memory":{"swappiness":100}}"#,
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":5},{"major":8,"minor":1}]}}"#,
            r#"{"rdma":{"x":{"hcaObjects":1},"y":{}}}"#,
            r#"{"memory":{"swappiness":101}}"#,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
