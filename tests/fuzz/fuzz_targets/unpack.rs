//! Any bytes as a layer: a tree or a refusal of one line, and nothing outside the layer's directory is touched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

#[allow(dead_code, reason = "what only mounts and diffs need")]
#[path = "../../../tools/wb-rootfs/src/attribute.rs"]
mod attribute;
#[allow(dead_code, reason = "the program's own flags and verbs are not called here")]
#[path = "../../../tools/wb-rootfs/src/unpack/mod.rs"]
mod unpack;

const LIMITS: unpack::Limits = unpack::Limits { bytes: 1 << 20, entries: 1000, path: 4095 };
const CANARIES: [&str; 3] = ["canary", "a/canary", "a/b/canary"];

/// The tree lies three directories deep in a place of this process, with a canary on each level.
fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let base = std::env::temp_dir().join(format!("wb-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(base.join("a/b")).expect("a directory");
        for canary in CANARIES {
            std::fs::write(base.join(canary), "alive").expect("a canary");
        }
        base
    })
}

/// Most changes would end at a header's checksum: it is made right, but where the last byte is odd.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut layer = data.to_vec();
    if data.last().is_some_and(|last| last % 2 == 1) {
        return layer;
    }
    for block in layer.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    layer
}

fn names(directory: &Path) -> usize {
    std::fs::read_dir(directory).expect("a directory").count()
}

fuzz_target!(|data: &[u8]| {
    let base = base();
    let root = base.join("a/b/root");
    let made = unpack::into_directory(&root, &with_checksums(data)[..], LIMITS);
    match made {
        Ok(_) => {
            let parent = wb_sys::tree::open_directory(&base.join("a/b")).expect("the parent");
            wb_sys::tree::remove(&parent, "root".as_ref()).expect("a tree that can be removed");
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
        }
    }
    assert!(!root.exists(), "a part was left");
    for canary in CANARIES {
        assert_eq!(std::fs::read(base.join(canary)).expect("the canary"), b"alive");
    }
    assert_eq!((names(base), names(&base.join("a")), names(&base.join("a/b"))), (2, 2, 1));
});
