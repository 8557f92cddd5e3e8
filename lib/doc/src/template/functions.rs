//! The functions of Go's text/template and docker's own.

use super::{is_true, shown};
use crate::error::Error;
use serde_json::Value;
use std::cmp::Ordering;

/// Their names.
pub const KNOWN: [&str; 23] = [
    "json", "len", "index", "join", "split", "upper", "lower", "title", "print", "println", "printf", "eq",
    "ne", "lt", "le", "gt", "ge", "and", "or", "not", "truncate", "pad", "slice",
];

/// Calls one.
pub fn call(name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let wrong = || Error::usage(format!("template: {name}: wrong arguments"));
    let text = |at: usize| arguments.get(at).map(shown).ok_or_else(wrong);
    let number = |at: usize| {
        let value = arguments.get(at).and_then(Value::as_u64).and_then(|value| usize::try_from(value).ok());
        value.ok_or_else(wrong)
    };
    let compared = || order(arguments.first()?, arguments.get(1)?);
    Ok(match name {
        "json" => serde_json::to_string(arguments.first().ok_or_else(wrong)?).map_err(|_| wrong())?.into(),
        "len" => match arguments.first() {
            Some(Value::String(text)) => text.len().into(),
            Some(Value::Array(list)) => list.len().into(),
            Some(Value::Object(map)) => map.len().into(),
            Some(Value::Null) => 0.into(),
            _ => return Err(wrong()),
        },
        "index" => index(arguments).ok_or_else(wrong)?,
        "join" => {
            let list = arguments.first().and_then(Value::as_array).ok_or_else(wrong)?;
            list.iter().map(shown).collect::<Vec<_>>().join(&text(1)?).into()
        }
        "split" => text(0)?.split(text(1)?.as_str()).map(Value::from).collect(),
        "upper" => text(0)?.to_uppercase().into(),
        "lower" => text(0)?.to_lowercase().into(),
        "title" => {
            let text = text(0)?;
            let mut chars = text.chars();
            chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect()).into()
        }
        "print" => arguments.iter().map(shown).collect::<String>().into(),
        "println" => (arguments.iter().map(shown).collect::<Vec<_>>().join(" ") + "\n").into(),
        "printf" => printf(&text(0)?, &arguments[1..]).into(),
        "eq" => {
            let first = arguments.first().ok_or_else(wrong)?;
            arguments[1..].iter().any(|other| same(first, other)).into()
        }
        "ne" => {
            let (first, second) = arguments.first().zip(arguments.get(1)).ok_or_else(wrong)?;
            (!same(first, second)).into()
        }
        "lt" => (compared().ok_or_else(wrong)? == Ordering::Less).into(),
        "le" => (compared().ok_or_else(wrong)? != Ordering::Greater).into(),
        "gt" => (compared().ok_or_else(wrong)? == Ordering::Greater).into(),
        "ge" => (compared().ok_or_else(wrong)? != Ordering::Less).into(),
        "and" => {
            arguments.iter().find(|value| !is_true(value)).or(arguments.last()).cloned().ok_or_else(wrong)?
        }
        "or" => {
            arguments.iter().find(|value| is_true(value)).or(arguments.last()).cloned().ok_or_else(wrong)?
        }
        "not" => (!is_true(arguments.first().ok_or_else(wrong)?)).into(),
        "truncate" => text(0)?.chars().take(number(1)?).collect::<String>().into(),
        "pad" => {
            format!("{}{}{}", " ".repeat(number(1)?.min(999)), text(0)?, " ".repeat(number(2)?.min(999)))
                .into()
        }
        "slice" => {
            let chars: Vec<char> = text(0)?.chars().collect();
            let end = if arguments.len() > 2 { number(2)? } else { chars.len() };
            chars.get(number(1)?..end).ok_or_else(wrong)?.iter().collect::<String>().into()
        }
        _ => return Err(Error::usage(format!("template: function {name:?} not defined"))),
    })
}

fn index(arguments: &[Value]) -> Option<Value> {
    let (first, keys) = arguments.split_first()?;
    let mut value = first.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Array(list), key) => list.get(usize::try_from(key.as_u64()?).ok()?)?.clone(),
            // As with Go's maps, what is not there is empty.
            (Value::Object(map), key) => map.get(key.as_str()?).cloned().unwrap_or(Value::Null),
            (Value::Null, _) => Value::Null,
            _ => return None,
        };
    }
    Some(value)
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b) == Ordering::Equal,
        _ => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// `%s %d %v %q %t` and `%%`, without widths.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut arguments = arguments.iter();
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('%') | None => out.push('%'),
            Some('q') => {
                let text = arguments.next().map(shown).unwrap_or_default();
                out.push_str(&Value::from(text).to_string());
            }
            Some(_) => out.push_str(&arguments.next().map(shown).unwrap_or_default()),
        }
    }
    out
}
