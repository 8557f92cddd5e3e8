//! What was asked against what the kernel says, member by member.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use wb_doc::{Document, Error};

/// One difference: the member, what the document asks for, and what the process has.
#[allow(clippy::needless_pass_by_value, reason = "values on their way into the result")]
fn difference(member: &str, asked: Value, is: Value) -> Value {
    json!({ "member": member, "asked": asked, "is": is })
}

/// The differences between a document and the description of its process; empty where they agree.
///
/// Only what the document asks for is compared. The program may have changed its own name, directory and
/// environment; that is its right and no drift.
pub fn compare(asked: &Document, is: &Document) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for member in ["/hostname", "/process/noNewPrivileges", "/process/oomScoreAdj", "/root/readonly"] {
        let (asked, is) = (asked.at(member), is.at(member));
        if let Some(asked) = asked.filter(|asked| Some(*asked) != is) {
            found.push(difference(&member[1..].replace('/', "."), asked.clone(), json!(is)));
        }
    }
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        let member = format!("/process/capabilities/{set}");
        let (asked, is) = (strings(asked, &member)?, strings(is, &member)?);
        if asked != is {
            found.push(difference(&member[1..].replace('/', "."), json!(asked), json!(is)));
        }
    }
    compare_limits(asked, is, &mut found)?;
    compare_by_key(asked, is, "/linux/namespaces", "type", &mut found)?;
    compare_by_key(asked, is, "/mounts", "destination", &mut found)?;
    compare_network(asked, is, &mut found)?;
    for member in ["/linux/maskedPaths", "/linux/readonlyPaths"] {
        let have = strings(is, "/linux/maskedPaths")?
            .union(&strings(is, "/linux/readonlyPaths")?)
            .cloned()
            .collect();
        let missing: Vec<_> =
            strings(asked, member)?.difference(&have).filter(|path| exists(is, path)).cloned().collect();
        if !missing.is_empty() {
            found.push(difference(&member[1..].replace('/', "."), json!(missing), json!("open")));
        }
    }
    Ok(found)
}

/// Whether the path exists for the process: what does not exist needs no mask.
fn exists(is: &Document, path: &str) -> bool {
    let pid = is.at("/wb/state/pid").and_then(Value::as_i64).unwrap_or_default();
    std::path::Path::new(&format!("/proc/{pid}/root{path}")).exists()
}

fn strings(document: &Document, member: &str) -> Result<BTreeSet<String>, Error> {
    Ok(document.read::<BTreeSet<String>>(member)?.unwrap_or_default())
}

/// Addresses and routes of all networks the document has a result of. What the kernel adds by itself is left out: the
/// loopback interface, link-local addresses, and routes without a gateway.
fn compare_network(asked: &Document, is: &Document, found: &mut Vec<Value>) -> Result<(), Error> {
    let mut results: Vec<Value> = asked.at("/wb/network/result").into_iter().cloned().collect();
    for further in asked.read::<Vec<Value>>("/wb/networks")?.unwrap_or_default() {
        results.extend(further.get("result").cloned());
    }
    if !results.iter().any(|result| result["ips"].as_array().is_some_and(|ips| !ips.is_empty())) {
        return Ok(());
    }
    let have: Vec<Value> = is.at("/wb/network/result").into_iter().cloned().collect();
    for (list, key, needs) in [("ips", "address", "address"), ("routes", "dst", "gw")] {
        let name = format!("wb.network.result.{list}");
        // A result may leave a gateway to whoever reads it.
        let missing = &values(&results, list, key, needs) - &values(&have, list, key, key);
        if !missing.is_empty() {
            found.push(difference(&name, json!(missing), Value::Null));
        }
        let more = &values(&have, list, key, needs) - &values(&results, list, key, key);
        if !more.is_empty() {
            found.push(difference(&name, Value::Null, json!(more)));
        }
    }
    Ok(())
}

/// The member `key` of the items of `list` in results, of those that have the member `needs`.
fn values(results: &[Value], list: &str, key: &str, needs: &str) -> BTreeSet<String> {
    let own = |text: &str| ["127.", "::1/", "fe80:"].iter().any(|start| text.starts_with(start));
    results
        .iter()
        .filter_map(|result| result[list].as_array())
        .flatten()
        .filter(|item| item.get(needs).is_some_and(|value| !value.is_null()))
        .filter_map(|item| item[key].as_str())
        .filter(|text| !own(text))
        .map(str::to_owned)
        .collect()
}

/// Limits are clamped to what the caller may give: less than asked is shown, as the kernel has it.
fn compare_limits(asked: &Document, is: &Document, found: &mut Vec<Value>) -> Result<(), Error> {
    let have = is.read::<Vec<wb_doc::oci::Rlimit>>("/process/rlimits")?.unwrap_or_default();
    for limit in asked.read::<Vec<wb_doc::oci::Rlimit>>("/process/rlimits")?.unwrap_or_default() {
        let now = have.iter().find(|now| now.kind == limit.kind);
        if now != Some(&limit) {
            found.push(difference(&format!("process.rlimits {}", limit.kind), json!(limit), json!(now)));
        }
    }
    Ok(())
}

/// Members of a list that the document asks for and the process does not have; and namespaces it has beyond.
fn compare_by_key(
    asked: &Document,
    is: &Document,
    member: &str,
    key: &str,
    found: &mut Vec<Value>,
) -> Result<(), Error> {
    let keys = |document: &Document| -> Result<BTreeSet<String>, Error> {
        let list = document.read::<Vec<Value>>(member)?.unwrap_or_default();
        Ok(list
            .iter()
            .filter_map(|item| Some(item.get(key)?.as_str()?.trim_end_matches('/').to_owned()))
            .collect())
    };
    let (asked, is) = (keys(asked)?, keys(is)?);
    let name = member[1..].replace('/', ".");
    let missing: Vec<_> = asked.difference(&is).collect();
    if !missing.is_empty() {
        found.push(difference(&name, json!(missing), Value::Null));
    }
    let more: Vec<_> = is.difference(&asked).collect();
    if !more.is_empty() {
        found.push(difference(&name, Value::Null, json!(more)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn agreement_is_empty_and_order_does_not_matter() {
        let asked = document(
            r#"{"hostname":"a","process":{"capabilities":{"bounding":["CAP_KILL","CAP_CHOWN"]}},
                "linux":{"namespaces":[{"type":"pid"},{"type":"uts"}]}}"#,
        );
        let is = document(
            r#"{"hostname":"a","process":{"capabilities":{"bounding":["CAP_CHOWN","CAP_KILL"]}},
                "linux":{"namespaces":[{"type":"uts"},{"type":"pid"}]}}"#,
        );
        assert!(compare(&asked, &is).unwrap().is_empty());
    }

    #[test]
    fn each_difference_names_its_member() {
        let asked = document(r#"{"hostname":"a","mounts":[{"destination":"/x"}]}"#);
        let is = document(r#"{"hostname":"b","mounts":[{"destination":"/y"}]}"#);
        let members: Vec<_> = compare(&asked, &is)
            .unwrap()
            .iter()
            .map(|found| found["member"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(members, ["hostname", "mounts", "mounts"]);
    }
}
