//! The document: a JSON object whose unknown members and key order survive every tool.

use crate::error::{Context, Error};
use crate::member::Member;
use crate::names;
use indexmap::IndexMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The largest document a tool reads, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;
/// The deepest nesting of objects and arrays a tool reads.
pub const MAX_DEPTH: usize = 64;

/// A container's document: an OCI runtime configuration plus the member `wb`.
///
/// A member that was read stays text until somebody asks for it: most tools look into one or two, and hand the others on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document(IndexMap<String, Member>);

/// The member `wb.error`: which tool failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// The tool that failed.
    pub tool: String,
    /// Its verb, empty where it has none.
    #[serde(default)]
    pub verb: String,
    /// What failed, on which object, why.
    pub message: String,
    /// The name of the errno, if a system call failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// The exit status that every later stage of the pipeline takes over.
    pub code: u8,
}

impl Document {
    /// Reads one document from `bytes`.
    ///
    /// Fails on anything that is not one JSON object within [`MAX_DOCUMENT_BYTES`] and [`MAX_DEPTH`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut documents = crate::Documents::new(bytes);
        let first = documents.next().ok_or_else(|| Error::new("no document on input"))??;
        match documents.next() {
            None => Ok(first),
            Some(_) => Err(Error::new("more than one document where one was expected")),
        }
    }

    /// Takes over a JSON value that must be an object.
    pub fn from_value(value: Value) -> Result<Self, Error> {
        match value {
            Value::Object(map) => {
                Ok(Self(map.into_iter().map(|(name, value)| (name, value.into())).collect()))
            }
            other => Err(Error::new(format!("a document is a JSON object, not {}", kind(&other)))),
        }
    }

    /// The document as a JSON value.
    pub fn into_value(self) -> Value {
        Value::Object(self.0.into_iter().map(|(name, member)| (name, member.into_value())).collect())
    }

    /// The members of a document in text of which `stream.rs` knows that every member fits into a value.
    pub(crate) fn from_plain(text: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text).map(Self)
    }

    /// Whether the document has no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A member of the document, to change.
    pub fn member_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.get_mut(name).map(Member::value_mut)
    }

    /// The value at a JSON pointer (RFC 6901), `/linux/resources` for example; JSON `null` counts as absent.
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        let mut parts = pointer.strip_prefix('/')?.split('/');
        let mut value = self.0.get(&*unescape(parts.next()?))?.value();
        for part in parts {
            value = match value {
                Value::Object(map) => map.get(&*unescape(part))?,
                Value::Array(list) => list.get(part.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        (!value.is_null()).then_some(value)
    }

    /// The string at a JSON pointer; `None` where it is absent or no string.
    pub fn str_at(&self, pointer: &str) -> Option<&str> {
        self.at(pointer)?.as_str()
    }

    /// The value at a JSON pointer in its own type; an error names the member that has the wrong type.
    pub fn read<T: DeserializeOwned>(&self, pointer: &str) -> Result<Option<T>, Error> {
        self.at(pointer)
            .map(|value| {
                T::deserialize(value).context(|| format!("document: {}", pointer[1..].replace('/', ".")))
            })
            .transpose()
    }

    /// Sets the value at a JSON pointer, making objects on the way. A value that exists keeps its place.
    ///
    /// Fails where a member on the way exists and is no object, or where `value` cannot be JSON.
    pub fn set(&mut self, pointer: &str, value: impl Serialize) -> Result<(), Error> {
        let name = || format!("document: {}", pointer.trim_start_matches('/').replace('/', "."));
        let value = serde_json::to_value(value).context(name)?;
        let mut parts = pointer.trim_start_matches('/').split('/').map(unescape);
        let mut place = self.0.entry(parts.next().unwrap_or_default().into_owned()).or_default().value_mut();
        for part in parts {
            if place.is_null() {
                *place = Value::Object(Map::new());
            }
            place = match place {
                Value::Object(map) => map.entry(part.into_owned()).or_insert(Value::Null),
                other => return Err(Error::new(format!("{}: inside {}", name(), kind(other)))),
            };
        }
        *place = value;
        Ok(())
    }

    /// Sets the value at a JSON pointer if nothing is there yet.
    pub fn set_default(&mut self, pointer: &str, value: impl Serialize) -> Result<(), Error> {
        if self.at(pointer).is_some() { Ok(()) } else { self.set(pointer, value) }
    }

    /// Removes and returns the value at a JSON pointer; keeps the order of its neighbours.
    pub fn remove(&mut self, pointer: &str) -> Option<Value> {
        let (parent, last) = pointer.rsplit_once('/')?;
        let last = unescape(last);
        if parent.is_empty() {
            return self.0.shift_remove(&*last).map(Member::into_value);
        }
        let mut parts = parent.trim_start_matches('/').split('/');
        let mut value = self.0.get_mut(&*unescape(parts.next()?))?.value_mut();
        for part in parts {
            value = value.get_mut(&*unescape(part))?;
        }
        value.as_object_mut()?.shift_remove(&*last)
    }

    /// Appends to the array at a JSON pointer, making it where it is absent.
    pub fn push(&mut self, pointer: &str, item: impl Serialize) -> Result<(), Error> {
        let mut list = self.read::<Vec<Value>>(pointer)?.unwrap_or_default();
        list.push(serde_json::to_value(item).context(|| pointer.to_owned())?);
        self.set(pointer, list)
    }

    /// The container's id, `wb.id`, checked against the grammar of names.
    pub fn id(&self) -> Result<&str, Error> {
        let id = self.str_at("/wb/id").ok_or_else(|| {
            Error::usage("the document has no wb.id").hint("give --id, or start with `wb-spec run`")
        })?;
        names::check("id", id)?;
        Ok(id)
    }

    /// The failure of an earlier stage, if there was one. A `wb.error` of an unknown shape counts as one.
    pub fn failure(&self) -> Option<Failure> {
        let value = self.at("/wb/error")?;
        Some(serde_json::from_value(value.clone()).unwrap_or_else(|_| Failure {
            tool: String::new(),
            verb: String::new(),
            message: value.to_string(),
            errno: None,
            code: 1,
        }))
    }

    /// Records a failure in `wb.error`; an earlier one stays, since it is the cause.
    pub fn fail(&mut self, tool: &str, verb: &str, error: &Error) {
        if self.at("/wb/error").is_some() {
            return;
        }
        let failure = Failure::new(tool, verb, error);
        if self.set("/wb/error", &failure).is_err() {
            // `wb` is there and no object: the failure matters more than what it replaces.
            self.0.insert("wb".into(), serde_json::json!({ "error": failure }).into());
        }
    }

    /// The document on one line, without the newline.
    pub fn to_line(&self) -> Vec<u8> {
        // Serialising a JSON value to memory cannot fail.
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    /// The document indented for a person.
    pub fn to_pretty(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&self.clone().into_value()).unwrap_or_default()
    }
}

impl Failure {
    /// What happened to `tool` in `verb`.
    pub fn new(tool: &str, verb: &str, error: &Error) -> Self {
        Self {
            tool: tool.to_owned(),
            verb: verb.to_owned(),
            message: error.to_string(),
            errno: error.raw_errno().map(|errno| format!("{errno:?}")),
            code: error.exit_code().max(1),
        }
    }

    /// The failure as an [`Error`] with the same exit status.
    pub fn to_error(&self) -> Error {
        Error::new(format!("{}: {}: {}", self.tool, self.verb, self.message)).code(self.code.max(1))
    }

    /// A document that holds nothing but a failure of the command line.
    pub fn of_usage(tool: &str, message: &str, code: u8) -> Document {
        let mut document = Document::default();
        document.fail(tool, "", &Error::new(message).code(code));
        document
    }
}

fn unescape(part: &str) -> Cow<'_, str> {
    if part.contains('~') { part.replace("~1", "/").replace("~0", "~").into() } else { part.into() }
}

/// What a JSON value is, in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Does something for a document; where a container is about to start from it, that is where it has a process, a failure
/// has docker's exit status, 125.
pub fn at_birth(
    document: &mut Document,
    act: impl FnOnce(&mut Document) -> Result<(), Error>,
) -> Result<(), Error> {
    let about_to_start = document.at("/process").is_some();
    act(document).map_err(|error| if about_to_start { error.code(125) } else { error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn keeps_unknown_members_and_their_order() {
        let text = r#"{"zeta":1,"alpha":{"y":[1,2],"x":null},"wb":{"id":"a"}}"#;
        assert_eq!(document(text).to_line(), text.as_bytes());
    }

    #[test]
    fn set_makes_objects_on_the_way_and_keeps_places() {
        let mut doc = document(r#"{"linux":{"a":1,"b":2},"z":0}"#);
        doc.set("/linux/a", 7).unwrap();
        doc.set("/wb/state/pid", 12).unwrap();
        assert_eq!(doc.to_line(), br#"{"linux":{"a":7,"b":2},"z":0,"wb":{"state":{"pid":12}}}"#);
        assert!(doc.set("/z/inside", 1).is_err());
    }

    #[test]
    fn the_first_failure_stays() {
        let mut doc = document("{}");
        doc.fail("wb-a", "add", &Error::new("first").code(3));
        doc.fail("wb-b", "add", &Error::new("second"));
        assert_eq!(doc.failure().unwrap().message, "first");
        assert_eq!(doc.failure().unwrap().code, 3);
    }

    #[test]
    fn a_wrong_type_names_the_member() {
        let doc = document(r#"{"linux":{"resources":{"pids":"x"}}}"#);
        let error = doc.read::<Vec<u64>>("/linux/resources/pids").unwrap_err().to_string();
        assert!(error.starts_with("document: linux.resources.pids: "), "{error}");
    }

    #[test]
    fn removes_without_reordering() {
        let mut doc = document(r#"{"a":{"x":1,"y":2,"z":3}}"#);
        assert_eq!(doc.remove("/a/x"), Some(Value::from(1)));
        assert_eq!(doc.to_line(), br#"{"a":{"y":2,"z":3}}"#);
        assert_eq!(doc.remove("/b/x"), None);
    }
}
