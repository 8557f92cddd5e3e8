//! Compiled filters that are kept: in files of the place, named by what they were made of, and in documents.
//!
//! A file is its digest, the key it has as its name, and the filter. It is believed only if it is whole, of the one
//! who reads it, and written by nobody else; any other is as good as none, and is replaced.

use crate::Filter;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use wb_doc::Error;
use wb_store::Place;
use wb_store::atomic::{self, Durability};
use wb_sys::seccomp::Instruction;

/// Told anew whenever the same profile compiles to another filter, or a filter is written in another way.
const COMPILER: &str = concat!("wb-seccomp 1 ", env!("CARGO_PKG_VERSION"));
const DIGEST_BYTES: usize = 32;
/// The flags, and whether it notifies.
const HEAD_BYTES: usize = 5;
const INSTRUCTION_BYTES: usize = 8;
/// The kernel takes 4096 instructions at most (BPF_MAXINSNS).
const MAX_FILE_BYTES: u64 = 2 * DIGEST_BYTES as u64 + HEAD_BYTES as u64 + 4096 * INSTRUCTION_BYTES as u64;
/// More profiles than this are not in use at once; the oldest go.
const MAX_FILES: usize = 64;

/// Where filters are kept.
pub fn directory(place: &Place) -> PathBuf {
    place.root().join("seccomp")
}

/// The filter of `linux.seccomp`: the one that is kept, else compiled, and kept if there is a place for it.
pub fn filter(place: &Place, profile: &Value) -> Result<Filter, Error> {
    let key = key(profile);
    let directory = directory(place);
    let path = directory.join(hex(&key));
    if let Some(filter) = read(&path, &key) {
        return Ok(filter);
    }
    let filter = Filter::of(profile)?;
    if place.root().is_dir() {
        // It saves time, and nothing depends on it: on a full disk or a read-only one it is done without.
        keep(&directory, &path, &key, &filter).ok();
    }
    Ok(filter)
}

/// `wb.seccompFilter`: the filter, and what it was made of.
pub fn to_document(profile: &Value, filter: &Filter) -> Value {
    json!({"of": hex(&key(profile)), "filter": hex(&encode(filter))})
}

/// The filter in `wb.seccompFilter`, if it was made of this profile, by this compiler and for this machine.
pub fn from_document(profile: &Value, member: &Value) -> Option<Filter> {
    if member["of"].as_str()? != hex(&key(profile)) {
        return None;
    }
    decode(&unhex(member["filter"].as_str()?)?)
}

/// What a filter depends on: the profile, in which the capabilities have been decided on already, the architecture,
/// and the compiler.
fn key(profile: &Value) -> [u8; DIGEST_BYTES] {
    digest(&[COMPILER.as_bytes(), std::env::consts::ARCH.as_bytes(), profile.to_string().as_bytes()])
}

fn digest(parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn read(path: &Path, key: &[u8]) -> Option<Filter> {
    // Neither a link nor a FIFO leads anywhere else.
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).ok()?;
    if !is_own(&file) {
        return None;
    }
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    let (sum, rest) = bytes.split_at_checked(DIGEST_BYTES)?;
    let (own_key, filter) = rest.split_at_checked(DIGEST_BYTES)?;
    if sum != digest(&[rest]) || own_key != key {
        return None;
    }
    decode(filter)
}

fn is_own(file: &File) -> bool {
    file.metadata().is_ok_and(|status| {
        status.is_file() && status.uid() == nix::unistd::geteuid().as_raw() && status.mode() & 0o022 == 0
    })
}

fn keep(directory: &Path, path: &Path, key: &[u8], filter: &Filter) -> Result<(), Error> {
    let made = fs::DirBuilder::new().mode(0o700).create(directory);
    if made.is_err() && !directory.is_dir() {
        return Err(Error::new("no directory"));
    }
    let mut rest = key.to_vec();
    rest.extend(encode(filter));
    let mut bytes = digest(&[&rest]).to_vec();
    bytes.append(&mut rest);
    atomic::write(path, &bytes, Durability::Visible)?;
    forget_the_oldest(directory);
    Ok(())
}

/// Removes what is beyond [`MAX_FILES`], a killed writer's temporary file included.
fn forget_the_oldest(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let age = |path: &Path| fs::symlink_metadata(path).and_then(|status| status.modified());
    let mut files: Vec<(SystemTime, PathBuf)> =
        entries.flatten().filter_map(|entry| Some((age(&entry.path()).ok()?, entry.path()))).collect();
    files.sort();
    let more = files.len().saturating_sub(MAX_FILES);
    for (_, path) in &files[..more] {
        // Somebody else may have removed it.
        fs::remove_file(path).ok();
    }
}

fn encode(filter: &Filter) -> Vec<u8> {
    let mut bytes = filter.flags.to_le_bytes().to_vec();
    bytes.push(filter.notifies.into());
    for one in &filter.program {
        bytes.extend(one.code.to_le_bytes());
        bytes.extend([one.jt, one.jf]);
        bytes.extend(one.k.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Filter> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    if rest.is_empty() || rest.len() % INSTRUCTION_BYTES != 0 {
        return None;
    }
    let instruction = |row: &[u8]| {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = *row.first_chunk::<INSTRUCTION_BYTES>()?;
        let (code, k) = (u16::from_le_bytes([c0, c1]), u32::from_le_bytes([k0, k1, k2, k3]));
        Some(Instruction { code, jt, jf, k })
    };
    let [f0, f1, f2, f3, notifies] = *head.first_chunk::<HEAD_BYTES>()?;
    Some(Filter {
        program: rest.chunks_exact(INSTRUCTION_BYTES).map(instruction).collect::<Option<_>>()?,
        flags: u32::from_le_bytes([f0, f1, f2, f3]),
        notifies: notifies != 0,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(errno: u32) -> Value {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}]})
    }

    #[test]
    fn a_filter_comes_back_from_a_document_for_its_own_profile_only() {
        let filter = Filter::of(&profile(1)).unwrap();
        let member = to_document(&profile(1), &filter);
        assert_eq!(from_document(&profile(1), &member), Some(filter));
        assert_eq!(from_document(&profile(2), &member), None);
        for wrong in ["", "0", "zz", "0200000000", "020000000000", "0200000000200000000400000"] {
            let member = json!({"of": member["of"], "filter": wrong});
            assert_eq!(from_document(&profile(1), &member), None, "{wrong}");
        }
        assert_eq!(from_document(&profile(1), &json!("x")), None);
    }

    #[test]
    fn the_oldest_files_go() {
        let root = std::env::temp_dir().join(format!("wb-seccomp-kept.{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let place = Place::at(&root, &root);
        for errno in 1..=u32::try_from(MAX_FILES).unwrap() + 6 {
            filter(&place, &profile(errno)).unwrap();
        }
        assert_eq!(fs::read_dir(directory(&place)).unwrap().count(), MAX_FILES);
        fs::remove_dir_all(&root).unwrap();
        // Where there is no place nothing is made.
        filter(&place, &profile(1)).unwrap();
        assert!(!root.exists());
    }
}
