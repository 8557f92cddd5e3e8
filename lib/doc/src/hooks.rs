//! `hooks` (config.md, "POSIX-platform Hooks"), and the state they are told (runtime.md, "State").

use crate::document::Document;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The file, absolute.
    pub path: String,
    /// Its arguments with its own name first.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its whole environment.
    #[serde(default)]
    pub env: Vec<String>,
    /// Seconds after which it is killed.
    #[serde(default)]
    pub timeout: Option<i64>,
}

/// The six kinds, in the order in which they run.
pub const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The hooks of one kind; none is the usual case. Refuses relative paths and timeouts of no time.
pub fn of(document: &Document, kind: &str) -> Result<Vec<Hook>, Error> {
    let hooks = document.read::<Vec<Hook>>(&format!("/hooks/{kind}"))?.unwrap_or_default();
    for hook in &hooks {
        if !hook.path.starts_with('/') {
            return Err(Error::new(format!("document: hooks.{kind}: path {:?} is not absolute", hook.path)));
        }
        if hook.timeout.is_some_and(|seconds| seconds <= 0) {
            return Err(Error::new(format!("document: hooks.{kind}: a timeout is more than 0 seconds")));
        }
    }
    Ok(hooks)
}

/// The state of a container as a hook reads it on its standard input, in JSON.
pub fn state(document: &Document, status: &str, pid: Option<i32>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct State<'a> {
        oci_version: &'a str,
        id: &'a str,
        status: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
        bundle: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        annotations: Option<&'a Value>,
    }
    let state = State {
        oci_version: document.str_at("/ociVersion").unwrap_or("1.2.0"),
        id: document.str_at("/wb/id").unwrap_or_default(),
        status,
        pid,
        bundle: document.str_at("/wb/bundle").unwrap_or_default(),
        annotations: document.at("/annotations"),
    };
    // Serialising plain data to memory cannot fail.
    serde_json::to_vec(&state).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn reads_hooks_and_refuses_nonsense() {
        let doc = document(r#"{"hooks":{"poststop":[{"path":"/bin/x","args":["x","y"],"timeout":3}]}}"#);
        assert_eq!(of(&doc, "poststop").unwrap()[0].timeout, Some(3));
        assert!(of(&doc, "poststart").unwrap().is_empty());
        for hook in [r#"{"path":"x"}"#, r#"{"path":"/x","timeout":0}"#, "{}"] {
            assert!(
                of(&document(&format!(r#"{{"hooks":{{"prestart":[{hook}]}}}}"#)), "prestart").is_err(),
                "{hook}"
            );
        }
    }

    #[test]
    fn the_state_is_the_specifications() {
        let doc = document(r#"{"ociVersion":"1.2.0","annotations":{"a":"b"},"wb":{"id":"x","bundle":"/b"}}"#);
        let text = String::from_utf8(state(&doc, "created", Some(7))).unwrap();
        let wanted = r#"{"ociVersion":"1.2.0","id":"x","status":"created","pid":7,"bundle":"/b","annotations":{"a":"b"}}"#;
        assert_eq!(text, wanted);
    }
}
