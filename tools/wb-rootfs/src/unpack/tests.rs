//! Layers nobody would write: a short run of what the fuzzer in `tests/fuzz/` does for as long as one likes.

use super::{Limits, into_directory};
use std::path::{Path, PathBuf};

const LIMITS: Limits = Limits { bytes: 1 << 20, entries: 1000, path: 4095 };

/// A tar header with a right checksum.
fn header(name: &[u8], kind: u8, size: usize, link: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name[..name.len().min(100)]);
    put(100, b"0000755\0");
    put(108, b"0000000\x000000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000001\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &link[..link.len().min(100)]);
    put(257, b"ustar\x0000");
    put(329, b"0000001\x000000003\0");
    checksum(&mut block);
    block
}

fn checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn file(name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut entry = header(name, b'0', content.len(), b"");
    entry.extend_from_slice(content);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

fn special(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut entry = file(b"special", content);
    entry[156] = kind;
    checksum(&mut entry[..512]);
    entry
}

/// One of everything.
fn seed() -> Vec<u8> {
    [
        header(b"d/", b'5', 0, b""),
        file(b"d/f", b"content"),
        header(b"link", b'2', 0, b"../../.."),
        file(b"link/canary", b"escaped"),
        header(b"hard", b'1', 0, b"d/f"),
        header(b"null", b'3', 0, b""),
        header(b"fifo", b'6', 0, b""),
        file(b"d/.wh.gone", b""),
        file(b"d/.wh..wh..opq", b""),
        special(b'x', b"12 path=a/b\n13 size=0008\n22 SCHILY.xattr.user.a=b\n14 mtime=-1.5\n"),
        file(b"named-by-pax", b"12345678"),
        special(b'L', b"long/name/\0"),
        special(b'K', b"long/link\0"),
        header(b"x", b'2', 0, b"y"),
        header(b"d", b'2', 0, b"/"),
        vec![0; 1024],
    ]
    .concat()
}

/// Marsaglia's xorshift: the same layers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

fn mutate(layer: &mut Vec<u8>, random: &mut Random) {
    const WORDS: [&[u8]; 10] = [
        b"../",
        b"/",
        b".wh.",
        b".wh..wh..opq",
        b"\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"link",
        b"d",
        b"5",
        b"2",
    ];
    for _ in 0..=random.below(4) {
        let blocks = layer.len() / 512;
        let at = random.below(layer.len());
        match random.below(6) {
            0 => layer[at] = u8::try_from(random.below(256)).unwrap(),
            1 => layer.truncate(at.max(512)),
            2 => {
                let word = WORDS[random.below(WORDS.len())];
                let end = (at + word.len()).min(layer.len());
                layer[at..end].copy_from_slice(&word[..end - at]);
            }
            3 if blocks > 1 => {
                let (from, to) = (random.below(blocks) * 512, random.below(blocks) * 512);
                layer.copy_within(from..from + 512, to);
            }
            4 => {
                // A name of a header becomes another.
                let word = WORDS[random.below(WORDS.len())];
                let start = random.below(blocks) * 512 + [0, 157][random.below(2)];
                layer[start..start + word.len()].copy_from_slice(word);
            }
            _ => {
                let block = random.below(blocks) * 512;
                layer[block + 156] = b"012345678xgLKS\0"[random.below(15)];
            }
        }
    }
    // Most mutations would end at the checksum.
    for block in layer.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        checksum(block);
    }
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("wb-rootfs-{name}-{}", std::process::id()));
    std::fs::create_dir_all(path.join("a/b")).unwrap();
    path
}

/// Everything outside the tree, with its content.
fn outside(base: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    for directory in [base.to_owned(), base.join("a"), base.join("a/b")] {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            all.push((path.clone(), std::fs::read(path).ok()));
        }
    }
    all.sort();
    all
}

#[test]
fn mutated_layers_make_a_tree_or_nothing_and_touch_nothing_else() {
    let base = scratch("mutated");
    std::fs::write(base.join("canary"), "alive").unwrap();
    std::fs::write(base.join("a/canary"), "alive").unwrap();
    let before = outside(&base);
    let parent = wb_sys::tree::open_directory(&base.join("a/b")).unwrap();
    let mut random = Random(0x5eed_0001);
    let (mut whole, mut refused) = (0, 0);
    for _ in 0..1500 {
        let mut layer = seed();
        mutate(&mut layer, &mut random);
        match into_directory(&base.join("a/b/root"), &layer[..], LIMITS) {
            Ok(_) => {
                whole += 1;
                wb_sys::tree::remove(&parent, "root".as_ref()).unwrap();
            }
            Err(error) => {
                refused += 1;
                let line = error.to_string();
                assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
            }
        }
        assert_eq!(outside(&base), before);
    }
    // Without root's rights the devices are refused, and so is nearly everything.
    let is_root = std::fs::metadata("/proc/1/environ").is_ok() && std::fs::read("/proc/1/environ").is_ok();
    assert!(refused > 0 && (whole > 100 || !is_root), "{whole} whole, {refused} refused");
    std::fs::remove_dir_all(base).unwrap();
}
