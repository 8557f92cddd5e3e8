//! `key=value,key=value`: one line of CSV, as docker reads the value of `--mount` and `--network`.

use wb_doc::{Error, escape};

/// The fields as pairs; a field without `=` has an empty value. A field may be quoted (`"a=b,c"`).
pub fn parse(flag: &str, text: &str) -> Result<Vec<(String, Option<String>)>, Error> {
    fields(flag, text)?
        .into_iter()
        .map(|field| match field.split_once('=') {
            Some((key, value)) => Ok((key.trim().to_ascii_lowercase(), Some(value.to_owned()))),
            None if field.is_empty() => {
                Err(Error::usage(format!("invalid argument {:?} for --{flag}: an empty field", escape(text))))
            }
            None => Ok((field.trim().to_ascii_lowercase(), None)),
        })
        .collect()
}

fn fields(flag: &str, text: &str) -> Result<Vec<String>, Error> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = fields.len() - 1;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields[last].push('"');
            }
            '"' if quoted => quoted = false,
            '"' if fields[last].is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            other => fields[last].push(other),
        }
    }
    if quoted {
        return Err(Error::usage(format!(
            "invalid argument {:?} for --{flag}: a quote is open",
            escape(text)
        )));
    }
    Ok(fields)
}

/// `readonly`, `readonly=true`, `readonly=0`.
pub fn boolean(flag: &str, key: &str, value: Option<&str>) -> Result<bool, Error> {
    match value {
        None | Some("true" | "1" | "t" | "T" | "True" | "TRUE") => Ok(true),
        Some("false" | "0" | "f" | "F" | "False" | "FALSE") => Ok(false),
        Some(other) => Err(Error::usage(format!("--{flag}: invalid value {:?} for {key}", escape(other)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_quoted_fields() {
        let pairs = parse("mount", r#"type=bind,"source=/a,b",readonly,x="y""#).unwrap();
        assert_eq!(pairs[0], ("type".into(), Some("bind".into())));
        assert_eq!(pairs[1], ("source".into(), Some("/a,b".into())));
        assert_eq!(pairs[2], ("readonly".into(), None));
        assert_eq!(pairs[3], ("x".into(), Some("\"y\"".into())));
        assert!(parse("mount", "\"a").is_err() && parse("mount", "a,,b").is_err());
    }
}
