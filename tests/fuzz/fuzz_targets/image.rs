//! Any bytes as a reference, a platform, a manifest, an index or a configuration: read or refused in one line, and
//! what was read means the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wb_doc::Error;
use wb_store::image::{
    Body, Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media, parse_body, resolve,
};

fn is_one_line(error: &Error) {
    let line = error.to_string();
    assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
}

fn reference(text: &str) {
    match Reference::parse(text) {
        Ok(found) => {
            // What is stored and shown leads to the same image again.
            let name = found.normalized();
            assert_eq!(Reference::parse(&name).expect("normalized").normalized(), name);
            assert_eq!(Reference::parse(&found.familiar()).expect("familiar").normalized(), name);
            // It becomes part of a URL and of file names.
            assert!(
                name.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%\\\"'<>".contains(&byte)),
                "{name:?}"
            );
            assert!(!found.path.split('/').any(|part| matches!(part, "" | "." | "..")), "{name:?}");
        }
        Err(error) => is_one_line(&error),
    }
    match Digest::parse(text) {
        Ok(digest) => {
            assert!(digest.hex().len() == 64 && digest.hex().bytes().all(|b| b.is_ascii_hexdigit()))
        }
        Err(error) => is_one_line(&error),
    }
    if let Err(error) = Platform::parse(text) {
        is_one_line(&error);
    }
}

fn manifest(bytes: &[u8]) {
    for kind in [media::OCI_MANIFEST, media::OCI_INDEX, media::DOCKER_LIST, ""] {
        match parse_body(bytes, kind) {
            Ok(Body::Manifest(manifest)) => {
                assert!(manifest.layers.len() <= 500);
                // Its own bytes, as hostile as itself, for its configuration.
                if let Err(error) = ImageConfig::parse(bytes, &manifest) {
                    is_one_line(&error);
                }
                let again = serde_json_of(&*manifest);
                assert_eq!(from_json::<Manifest>(&again), *manifest);
            }
            Ok(Body::Index(index)) => {
                assert_eq!(from_json::<Index>(&serde_json_of(&index)), index);
                // An index that leads to itself, for ever.
                let root = Descriptor::new(kind, Digest::of(bytes), bytes.len() as u64);
                let mut fetches = 0;
                let found = resolve(&root, &Platform::local(), &mut |_| {
                    fetches += 1;
                    Ok(bytes.to_vec())
                });
                assert!(fetches <= 1 + 16 + 16 * 16 + 16 * 16 * 16 + 16 * 16 * 16 * 16, "{fetches}");
                if let Err(error) = found {
                    is_one_line(&error);
                }
            }
            Err(error) => is_one_line(&error),
        }
    }
}

fn serde_json_of(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

fn from_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> T {
    serde_json::from_slice(bytes).expect("what we wrote")
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        reference(text);
    }
    manifest(data);
});
