//! Any bytes as documents: read or refused in one line, unchanged when written and read again; and what of them an
//! OCI runtime acts on becomes a plan, with the filter compiled, or a refusal of one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wb_doc::{Document, Documents, Error, Template, hooks, oci, units};

#[allow(dead_code, reason = "the plan is made, not carried out")]
#[path = "../../../tools/wb-confine/src/plan.rs"]
mod plan;
#[allow(dead_code, reason = "as above")]
#[path = "../../../tools/wb-confine/src/priority.rs"]
mod priority;
/// In place of wb-confine's module of this name: profiles are compiled, and the program is looked at, not loaded.
mod seccomp {
    use wb_doc::Error;

    #[derive(Debug)]
    pub struct Filter;

    impl Filter {
        pub fn of(value: &serde_json::Value, compiled: Option<&serde_json::Value>) -> Result<Self, Error> {
            // What the document says it compiles to is bytes as any.
            compiled.and_then(|compiled| wb_seccomp::kept::from_document(value, compiled));
            let program = wb_seccomp::Filter::of(value)?.program;
            assert!(!program.is_empty() && program.len() <= 4096);
            for (at, one) in program.iter().enumerate() {
                // A jump is 0x05 without a condition; with one it ends in 5 as well, and has two ways.
                let ways = match one.code {
                    0x05 => [one.k as usize; 2],
                    code if code & 7 == 5 => [usize::from(one.jt), usize::from(one.jf)],
                    _ => [0; 2],
                };
                assert!(ways.iter().all(|way| at + 1 + way < program.len()) || one.code == 0x06);
            }
            Ok(Self)
        }

        pub fn default_for<S: AsRef<str>>(capabilities: &[S]) -> Result<Self, Error> {
            Self::of(&wb_doc::seccomp::default_profile(capabilities), None)
        }
    }
}

fn is_one_line(error: &Error) {
    let line = error.to_string();
    assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
}

fn refused<T>(result: Result<T, Error>) {
    if let Err(error) = result {
        is_one_line(&error);
    }
}

fn members(mut document: Document) {
    let line = document.to_line();
    assert!(!line.contains(&b'\n'), "a document is one line");
    assert_eq!(Document::parse(&line).expect("what we wrote"), document);
    let value: serde_json::Value =
        serde_json::from_slice(&line).expect("members that are text are values too");
    assert_eq!(document.clone().into_value(), value);
    refused(document.id());
    if let Some(failure) = document.failure() {
        assert!(document.at("/wb/error").is_some(), "{failure:?}");
    }
    refused(document.read::<oci::Process>("/process"));
    refused(document.read::<oci::Root>("/root"));
    refused(document.read::<Vec<oci::Mount>>("/mounts"));
    refused(document.read::<Vec<oci::Namespace>>("/linux/namespaces"));
    refused(document.read::<Vec<oci::IdMapping>>("/linux/uidMappings"));
    refused(document.read::<Vec<oci::Device>>("/linux/devices"));
    refused(hooks::of(&document, "prestart"));
    refused(plan::Plan::of(&document));
    if document.set("/wb/state/status", "fuzzed").is_ok() {
        assert_eq!(document.str_at("/wb/state/status"), Some("fuzzed"));
    }
}

fn words(text: &str) {
    refused(units::bytes(text));
    refused(units::nano_cpus(text));
    refused(units::duration_ns(text));
    refused(
        Template::parse(text)
            .and_then(|template| template.render(&serde_json::json!({"a": [1, {"b": "c"}]}))),
    );
}

fuzz_target!(|data: &[u8]| {
    for document in Documents::new(data).take(100) {
        match document {
            Ok(document) => members(document),
            Err(error) => {
                is_one_line(&error);
                break;
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        words(text);
    }
});
