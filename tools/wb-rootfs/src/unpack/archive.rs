//! A layer's tar archive as a stream of entries, read once from front to back in bounded memory.

use super::extended::{self, Extended, Scope};
use super::header::{BLOCK, Header, is_zero};
use std::io::{ErrorKind, Read};
use wb_doc::{Context, Error, escape};

/// How much is read at once; small enough to stay in a core's cache between hashing and writing.
const BUFFER_BYTES: usize = 256 << 10;
/// The longest extended header or long name, as Go's archive/tar has it.
const MAX_SPECIAL_BYTES: u64 = 1 << 20;
/// The longest target of a symlink the kernel keeps.
const MAX_LINK_BYTES: usize = 4095;

/// How much an archive may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive, headers and padding included.
    pub bytes: u64,
    /// Entries, extended headers included.
    pub entries: u64,
    /// Bytes of one path.
    pub path: usize,
}

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Link,
    Symlink,
    Character { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
    Directory,
    Fifo,
}

/// One entry, with everything its extended headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Components joined by `/`, none of them empty, `.` or `..`; empty for the root itself.
    pub path: Vec<u8>,
    /// A symlink's target as it stands; a hard link's cleaned as `path` is.
    pub link: Vec<u8>,
    pub kind: Kind,
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The archive behind `source`.
pub struct Archive<R> {
    source: R,
    buffer: Box<[u8]>,
    /// What of the buffer is read but not yet used.
    start: usize,
    end: usize,
    limits: Limits,
    bytes: u64,
    entries: u64,
    /// Content of the current entry that is still to come, and the padding after it.
    content: u64,
    padding: u64,
}

impl<R: Read> Archive<R> {
    pub fn new(source: R, limits: Limits) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self { source, buffer, start: 0, end: 0, limits, bytes: 0, entries: 0, content: 0, padding: 0 }
    }

    /// The next entry; `None` at the end of the archive, marked or not.
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        self.content(|_| Ok(()))?;
        let mut extended = Extended::default();
        let (mut has_records, mut long_name, mut long_link) = (false, None, None);
        loop {
            let Some(block) = self.block()? else {
                return Self::end(has_records || long_name.is_some() || long_link.is_some());
            };
            if is_zero(&block) {
                return match self.block()? {
                    Some(second) if !is_zero(&second) => {
                        Err(Error::new("malformed archive: entries after an empty block"))
                    }
                    _ => Self::end(has_records || long_name.is_some() || long_link.is_some()),
                };
            }
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(Error::new(format!("more than {} entries", self.limits.entries))
                    .hint("raise the limit with --max-entries"));
            }
            let header = Header::parse(&block)?;
            match header.typeflag {
                b'x' if has_records => {
                    return Err(Error::new("malformed archive: PAX header upon PAX header"));
                }
                b'x' => {
                    extended.records(&self.special(&header)?, Scope::File)?;
                    has_records = true;
                }
                b'g' => Extended::default().records(&self.special(&header)?, Scope::Global)?,
                b'L' if long_name.is_none() => long_name = Some(extended::gnu_name(&self.special(&header)?)),
                b'K' if long_link.is_none() => long_link = Some(extended::gnu_name(&self.special(&header)?)),
                b'L' | b'K' => return Err(Error::new("malformed archive: long name upon long name")),
                _ => {
                    // PAX has the last word, then GNU's long names, then the header.
                    extended.path = extended.path.or(long_name);
                    extended.link = extended.link.or(long_link);
                    return self.entry(header, extended).map(Some);
                }
            }
        }
    }

    /// Gives what is left of the current entry's content to `sink`, piece by piece.
    pub fn content(&mut self, mut sink: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        while self.content + self.padding > 0 {
            if self.start == self.end && !self.fill()? {
                return Err(Error::new("the archive ends in the middle of a file"));
            }
            let there = self.end - self.start;
            if self.content > 0 {
                let length = usize::try_from(self.content).unwrap_or(usize::MAX).min(there);
                sink(&self.buffer[self.start..self.start + length])?;
                self.start += length;
                self.content -= length as u64;
            } else {
                let length = usize::try_from(self.padding).unwrap_or(usize::MAX).min(there);
                self.start += length;
                self.padding -= length as u64;
            }
        }
        Ok(())
    }

    /// Reads on to the real end of the stream, whatever comes there, and gives back its source.
    pub fn drain(mut self) -> Result<R, Error> {
        while self.fill()? {
            self.start = self.end;
        }
        Ok(self.source)
    }

    fn end(is_pending: bool) -> Result<Option<Entry>, Error> {
        if is_pending { Err(Error::new("the archive ends after an extended header")) } else { Ok(None) }
    }

    fn entry(&mut self, mut header: Header, extended: Extended) -> Result<Entry, Error> {
        let name = extended.path.unwrap_or_else(|| std::mem::take(&mut header.name));
        let shown = || escape(&String::from_utf8_lossy(&name)).chars().take(300).collect::<String>();
        let entry = (|| {
            let kind = kind(&header, &name)?;
            let size = extended.size.unwrap_or(header.size);
            if kind != Kind::File && size > 0 {
                // Readers disagree whether content follows.
                return Err(Error::new("content where the type has none"));
            }
            let link = extended.link.unwrap_or_else(|| std::mem::take(&mut header.link));
            Ok(Entry {
                path: clean(&name, self.limits.path)?,
                link: match kind {
                    Kind::Link => clean(&link, self.limits.path).context(|| "hard link")?,
                    Kind::Symlink if link.is_empty() => return Err(Error::new("symlink to nothing")),
                    Kind::Symlink if link.len() > MAX_LINK_BYTES => {
                        return Err(Error::new("symlink longer than 4095 bytes"));
                    }
                    Kind::Symlink => link,
                    _ => Vec::new(),
                },
                kind,
                size,
                mode: header.mode & 0o7777,
                uid: owner(extended.uid.unwrap_or(header.uid), "uid")?,
                gid: owner(extended.gid.unwrap_or(header.gid), "gid")?,
                mtime: extended.mtime.unwrap_or((header.mtime, 0)),
                xattrs: extended.xattrs,
            })
        })()
        .map_err(|error| error.within(shown()))?;
        self.expect(entry.size).map_err(|error| error.within(shown()))?;
        Ok(entry)
    }

    /// The content of an extended header.
    fn special(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        if header.size > MAX_SPECIAL_BYTES {
            return Err(Error::new(format!("extended header of {} bytes, more than 1 MiB", header.size)));
        }
        self.expect(header.size)?;
        let mut content = Vec::new();
        self.content(|piece| {
            content.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(content)
    }

    /// Sets what follows the header, and refuses early what would go over the limit anyway.
    fn expect(&mut self, size: u64) -> Result<(), Error> {
        if self.bytes.saturating_add(size) > self.limits.bytes.saturating_add(BUFFER_BYTES as u64) {
            return Err(self.over_bytes());
        }
        self.content = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    /// The next block; `None` where the stream ends before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            if self.start == self.end && !self.fill()? {
                return match filled {
                    0 => Ok(None),
                    _ => Err(Error::new("the archive ends in the middle of a header")),
                };
            }
            let length = (BLOCK - filled).min(self.end - self.start);
            block[filled..filled + length].copy_from_slice(&self.buffer[self.start..self.start + length]);
            filled += length;
            self.start += length;
        }
        Ok(Some(block))
    }

    /// Reads more into the empty buffer; false at the end of the stream.
    fn fill(&mut self) -> Result<bool, Error> {
        let length = loop {
            match self.source.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other.context(|| "reading the layer")?,
            }
        };
        self.start = 0;
        self.end = length;
        self.bytes += length as u64;
        if self.bytes > self.limits.bytes {
            return Err(self.over_bytes());
        }
        Ok(length > 0)
    }

    fn over_bytes(&self) -> Error {
        Error::new(format!("more than {} bytes unpacked", self.limits.bytes))
            .hint("raise the limit with --max-bytes")
    }
}

fn kind(header: &Header, name: &[u8]) -> Result<Kind, Error> {
    let (major, minor) = (header.major, header.minor);
    // What the kernel's device numbers hold; more would be cut to another device.
    if major > 0xfff || minor > 0xf_ffff {
        return Err(Error::new(format!("device {major}:{minor} out of range")));
    }
    Ok(match header.typeflag {
        // V7 had no type for directories.
        0 if name.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' => Kind::File,
        b'1' => Kind::Link,
        b'2' => Kind::Symlink,
        b'3' => Kind::Character { major, minor },
        b'4' => Kind::Block { major, minor },
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'S' => return Err(extended::sparse()),
        other => return Err(Error::new(format!("unknown type {:?} of entry", char::from(other)))),
    })
}

/// The largest owner the kernel takes is 2^32 - 2; -1 would mean "leave it".
fn owner(id: u64, what: &str) -> Result<u32, Error> {
    u32::try_from(id)
        .ok()
        .filter(|&id| id != u32::MAX)
        .ok_or_else(|| Error::new(format!("{what} {id} out of range")))
}

/// A path as components joined by `/`: absolute means from the root of the layer, `.` and doubled slashes vanish,
/// `..` is refused.
pub fn clean(path: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    if path.is_empty() {
        return Err(Error::new("empty name"));
    }
    if path.len() > limit {
        return Err(Error::new(format!("name longer than {limit} bytes")));
    }
    let mut clean = Vec::with_capacity(path.len());
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Error::new("name with ..")),
            _ => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(part);
            }
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_names_and_refuses_to_go_up() {
        for (path, expected) in [
            ("a/b", "a/b"),
            ("/a//./b/", "a/b"),
            ("./", ""),
            ("/", ""),
            ("a...", "a..."),
            ("./.wh.x", ".wh.x"),
        ] {
            assert_eq!(clean(path.as_bytes(), 4095).unwrap(), expected.as_bytes(), "{path}");
        }
        for path in ["", "..", "a/..", "../a", "a/../../b", "/.."] {
            assert!(clean(path.as_bytes(), 4095).is_err(), "{path}");
        }
        assert!(clean(b"abcd", 3).is_err());
    }

    #[test]
    fn owners_the_kernel_cannot_hold_are_refused() {
        assert_eq!(owner(u64::from(u32::MAX) - 1, "uid").unwrap(), u32::MAX - 1);
        assert!(owner(u64::from(u32::MAX), "uid").is_err());
        assert!(owner(1 << 32, "uid").is_err());
    }
}
