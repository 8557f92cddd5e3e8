//! The limits that were asked for, against those that the kernel has.

use crate::group::Group;
use crate::limits;
use serde_json::{Value, json};
use wb_doc::units::number_list;
use wb_doc::{Document, Error};

/// What v2 keeps both members in.
const CPU_MAX: [limits::Row; 2] = [("cpu/quota", "cpu", "cpu.max"), ("cpu/period", "cpu", "cpu.max")];

/// The members that a kernel gives back as they were written; a weight is another number where v2 keeps it.
const COMPARED: [&str; 7] =
    ["memory/limit", "memory/swap", "cpu/quota", "cpu/period", "cpu/cpus", "cpu/mems", "pids/limit"];

/// The differences, empty where they agree. Only what the document asks for is compared, and only where the controller
/// is there: an ordinary user may have none.
pub fn compare(group: &Group, document: &Document) -> Result<Vec<Value>, Error> {
    let mut is = Document::default();
    limits::read(group, &mut is)?;
    let mut found = Vec::new();
    for (member, controller, file) in limits::rows(group).chain(&CPU_MAX) {
        let there = group.directory(controller).is_some_and(|directory| directory.join(file).exists());
        if !there || !COMPARED.contains(member) {
            continue;
        }
        let pointer = format!("/linux/resources/{member}");
        let (asked, has) = (document.at(&pointer), is.at(&pointer));
        if let Some(asked) = asked.filter(|asked| is_limit(asked) && !same(member, asked, has)) {
            let name = pointer[1..].replace('/', ".");
            found.push(json!({ "member": name, "asked": asked, "is": has }));
        }
    }
    Ok(found)
}

fn is_limit(asked: &Value) -> bool {
    asked.as_i64().map_or_else(|| asked.as_str().is_some_and(|text| !text.is_empty()), |number| number > 0)
}

fn same(member: &str, asked: &Value, has: Option<&Value>) -> bool {
    let Some(has) = has else { return false };
    match (asked.as_u64(), has.as_u64(), asked.as_str(), has.as_str()) {
        // The kernel counts pages, which have 64 KiB at most.
        (Some(asked), Some(has), ..) if member.starts_with("memory/") => asked.abs_diff(has) < 64 << 10,
        (Some(asked), Some(has), ..) => asked == has,
        (.., Some(asked), Some(has)) => number_list(asked) == number_list(has),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_spellings_are_no_difference() {
        assert!(same("memory/limit", &json!(100_000_001), Some(&json!(99_999_744))));
        assert!(!same("memory/limit", &json!(64 << 20), Some(&json!(32 << 20))));
        assert!(!same("pids/limit", &json!(20), Some(&json!(21))));
        assert!(!same("pids/limit", &json!(20), None));
        assert!(same("cpu/cpus", &json!("0,1,2"), Some(&json!("0-2"))));
        assert!(!same("cpu/cpus", &json!("0"), Some(&json!("0-1"))));
        assert!(!is_limit(&json!(-1)) && !is_limit(&json!("")) && is_limit(&json!(5)));
    }
}
