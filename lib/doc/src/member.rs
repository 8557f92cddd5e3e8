//! A member of a document: text until somebody asks for its value.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::cell::OnceCell;

/// One member: what was read, or what was made of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    /// JSON that fits into a value (`stream.rs` sees to that).
    text: Option<Box<RawValue>>,
    /// The value of the text, once somebody has asked.
    read: OnceCell<Value>,
    /// What was set, or may have been changed; it counts instead of the text.
    made: Option<Value>,
}

impl Member {
    pub(crate) fn value(&self) -> &Value {
        self.made.as_ref().unwrap_or_else(|| self.read.get_or_init(|| parse(self.text.as_deref())))
    }

    pub(crate) fn value_mut(&mut self) -> &mut Value {
        let Self { text, read, made } = self;
        made.get_or_insert_with(|| read.take().unwrap_or_else(|| parse(text.as_deref())))
    }

    pub(crate) fn into_value(mut self) -> Value {
        std::mem::take(self.value_mut())
    }
}

fn parse(text: Option<&RawValue>) -> Value {
    text.and_then(|text| serde_json::from_str(text.get()).ok()).unwrap_or_default()
}

impl From<Value> for Member {
    fn from(value: Value) -> Self {
        Self { made: Some(value), ..Self::default() }
    }
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

impl Serialize for Member {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (&self.made, &self.text) {
            (None, Some(text)) => text.serialize(serializer),
            _ => self.value().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::deserialize(deserializer).map(|text| Self { text: Some(text), ..Self::default() })
    }
}
