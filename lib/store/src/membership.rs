//! The networks a document names: one more, one less.

use crate::network::{self, attachments};
use serde_json::{Map, Value};
use wb_doc::{Document, Error};

/// The members that belong to a container's place in one network, and not to the container.
const OF_ONE_NETWORK: [&str; 6] = ["name", "ip", "ip6", "mac", "aliases", "result"];

/// Adds a network to those the document names; `wish` has the members of `wb.network`. Returns its place among them,
/// as [`attachments`] counts.
///
/// A container without a network (`none`) gets it as its first one.
pub fn join(doc: &mut Document, wish: Map<String, Value>) -> Result<usize, Error> {
    let all = attachments(doc)?;
    let name = wish.get("name").and_then(Value::as_str).unwrap_or_default();
    network::check_name(name)?;
    if all.iter().any(|attachment| attachment.name == name) {
        return Err(Error::new(format!("network {name}: the container is on it already")));
    }
    let first = &all[0].name;
    if first == "none" {
        for (member, value) in wish {
            doc.set(&format!("/wb/network/{member}"), value)?;
        }
        return Ok(0);
    }
    if !all[0].has_addresses() {
        let message = format!("network {name}: the container has another network stack ({first})");
        return Err(Error::new(message).hint("only a container with networks of its own can join one"));
    }
    doc.push("/wb/networks", wish)?;
    Ok(all.len())
}

/// Takes a network out of those the document names. Where it was the first, the next one takes its place; where it
/// was the only one, the container has none.
///
/// Returns the place it had, or `None` where the container is not on it.
pub fn leave(doc: &mut Document, name: &str) -> Result<Option<usize>, Error> {
    let Some(index) = attachments(doc)?.iter().position(|attachment| attachment.name == name) else {
        return Ok(None);
    };
    let mut more: Vec<Map<String, Value>> = doc.read("/wb/networks")?.unwrap_or_default();
    if index > 0 {
        more.remove(index - 1);
    } else {
        let (mut next, name) =
            if more.is_empty() { (Map::new(), "none") } else { (more.remove(0), network::DEFAULT) };
        next.entry("name").or_insert_with(|| name.into());
        for member in OF_ONE_NETWORK {
            let pointer = format!("/wb/network/{member}");
            match next.remove(member) {
                Some(value) => doc.set(&pointer, value)?,
                None => drop(doc.remove(&pointer)),
            }
        }
    }
    if more.is_empty() {
        doc.remove("/wb/networks");
        return Ok(Some(index));
    }
    doc.set("/wb/networks", more)?;
    Ok(Some(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(text.as_bytes()).unwrap()
    }

    fn wish(name: &str) -> Map<String, Value> {
        [("name".to_owned(), name.into())].into_iter().collect()
    }

    fn shown(doc: &Document) -> String {
        String::from_utf8(doc.to_line()).unwrap()
    }

    #[test]
    fn a_network_joined_and_left_leaves_no_trace() {
        let text = r#"{"wb":{"network":{"name":"a","exposed":["1"]}}}"#;
        let mut doc = document(text);
        assert_eq!(join(&mut doc, wish("b")).unwrap(), 1);
        assert_eq!(join(&mut doc, wish("c")).unwrap(), 2);
        assert!(join(&mut doc, wish("b")).is_err() && join(&mut doc, wish("a")).is_err());
        assert_eq!(leave(&mut doc, "b").unwrap(), Some(1));
        assert_eq!(leave(&mut doc, "b").unwrap(), None);
        assert_eq!(leave(&mut doc, "c").unwrap(), Some(1));
        assert_eq!(shown(&doc), text);
    }

    #[test]
    fn the_next_one_moves_up_and_the_last_one_leaves_none() {
        let mut doc = document(
            r#"{"wb":{"network":{"name":"a","ip":"10.0.0.2","exposed":["1"]},"networks":[{"name":"b","aliases":["x"]}]}}"#,
        );
        assert_eq!(leave(&mut doc, "a").unwrap(), Some(0));
        assert_eq!(shown(&doc), r#"{"wb":{"network":{"name":"b","exposed":["1"],"aliases":["x"]}}}"#);
        assert_eq!(leave(&mut doc, "b").unwrap(), Some(0));
        assert_eq!(shown(&doc), r#"{"wb":{"network":{"name":"none","exposed":["1"]}}}"#);
        assert_eq!(join(&mut doc, wish("c")).unwrap(), 0);
        assert_eq!(shown(&doc), r#"{"wb":{"network":{"name":"c","exposed":["1"]}}}"#);
    }

    #[test]
    fn who_has_the_network_of_another_joins_none() {
        for name in ["host", "container:x"] {
            let mut doc = document(&format!(r#"{{"wb":{{"network":{{"name":"{name}"}}}}}}"#));
            assert!(join(&mut doc, wish("b")).is_err(), "{name}");
        }
        assert!(join(&mut document("{}"), wish("host")).is_err());
    }
}
