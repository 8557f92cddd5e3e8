//! A tar as every reader understands it: POSIX ustar, with PAX records where a value does not fit.
//!
//! The same entries give the same bytes: times in whole seconds, no access times, no names of users.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use tar::{EntryType, Header};
use wb_doc::{Context, Error};
use wb_sys::{major, minor, tree};

const BLOCK: usize = 512;
/// Names and values of extended attributes.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;
/// What a ustar header holds of a name.
const MAX_NAME_BYTES: usize = 100;
/// The largest values of 7 and 11 octal digits.
const MAX_ID: u32 = 0o777_7777;
const MAX_LONG: u64 = 0o777_7777_7777;

/// A tar on its way out.
pub struct Writer<W> {
    out: W,
    buffer: Vec<u8>,
}

/// What goes into a header.
#[derive(Default, Clone)]
pub struct Fields<'a> {
    pub path: &'a [u8],
    pub link: &'a [u8],
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: i64,
    pub device: Option<u64>,
    pub xattrs: Xattrs,
}

impl<W: Write> Writer<W> {
    /// A tar that goes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, buffer: vec![0; 128 << 10] }
    }

    /// The end of the archive; nothing is left in a buffer of ours.
    pub fn finish(mut self) -> Result<(), Error> {
        self.put(&[0; 2 * BLOCK])?;
        self.out.flush().context(|| "write the archive")
    }

    /// What `fd` has to read, `size` bytes of it and no other number, and the padding.
    pub fn content(&mut self, fd: impl AsFd, size: u64) -> Result<(), Error> {
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let length = match tree::read(&fd, &mut self.buffer[..wanted]).context(|| "read")? {
                // Cut off while it was read: what the header promised is kept.
                0 => {
                    self.buffer[..wanted].fill(0);
                    wanted
                }
                length => length,
            };
            self.out.write_all(&self.buffer[..length]).context(|| "write the archive")?;
            left -= length as u64;
        }
        self.pad(size)
    }

    /// An entry's header, its content to follow.
    pub fn header(&mut self, kind: EntryType, fields: &Fields<'_>) -> Result<(), Error> {
        let records = records(fields);
        if !records.is_empty() {
            let path = fields.path.strip_suffix(b"/").unwrap_or(fields.path);
            let base = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            let name = [b"PaxHeaders/", &base[..base.len().min(80)]].concat();
            let size = records.len() as u64;
            let pax = Fields { path: &name, mode: 0o644, size, ..Fields::default() };
            self.block(EntryType::XHeader, &pax)?;
            self.put(&records)?;
            self.pad(size)?;
        }
        self.block(kind, fields)
    }

    fn block(&mut self, kind: EntryType, fields: &Fields<'_>) -> Result<(), Error> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(fields.mode);
        // What does not fit stands in a PAX record, and as zero here.
        header.set_uid(if fields.uid <= MAX_ID { fields.uid.into() } else { 0 });
        header.set_gid(if fields.gid <= MAX_ID { fields.gid.into() } else { 0 });
        header.set_size(if fields.size <= MAX_LONG { fields.size } else { 0 });
        header.set_mtime(u64::try_from(fields.mtime).ok().filter(|&time| time <= MAX_LONG).unwrap_or(0));
        let device = fields.device.unwrap_or(0);
        let number = |part: u64| u32::try_from(part).unwrap_or(0);
        header.set_device_major(number(major(device))).context(|| "devmajor")?;
        header.set_device_minor(number(minor(device))).context(|| "devminor")?;
        let old = header.as_old_mut();
        let name = &fields.path[..fields.path.len().min(MAX_NAME_BYTES)];
        old.name[..name.len()].copy_from_slice(name);
        let link = &fields.link[..fields.link.len().min(MAX_NAME_BYTES)];
        old.linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.put(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let padding = usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or(0);
        self.put(&[0; BLOCK][..padding])
    }

    /// Bytes as they are.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).context(|| "write the archive")
    }
}

/// The attributes an archive carries: file capabilities and users' own; sorted.
pub fn kept(fd: &OwnedFd) -> Result<Xattrs, Error> {
    let mut xattrs = tree::xattrs(fd).context(|| "listxattr")?;
    xattrs.retain(|(name, _)| {
        name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
    });
    Ok(xattrs)
}

/// PAX records for what the header cannot hold.
fn records(fields: &Fields<'_>) -> Vec<u8> {
    let mut list = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| {
        // The length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        list.extend_from_slice(length.to_string().as_bytes());
        list.push(b' ');
        list.extend_from_slice(key);
        list.push(b'=');
        list.extend_from_slice(value);
        list.push(b'\n');
    };
    for (name, value) in &fields.xattrs {
        add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    if fields.gid > MAX_ID {
        add(b"gid", fields.gid.to_string().as_bytes());
    }
    if fields.link.len() > MAX_NAME_BYTES {
        add(b"linkpath", fields.link);
    }
    if u64::try_from(fields.mtime).map_or(true, |time| time > MAX_LONG) {
        add(b"mtime", fields.mtime.to_string().as_bytes());
    }
    if fields.path.len() > MAX_NAME_BYTES {
        add(b"path", fields.path);
    }
    if fields.size > MAX_LONG {
        add(b"size", fields.size.to_string().as_bytes());
    }
    if fields.uid > MAX_ID {
        add(b"uid", fields.uid.to_string().as_bytes());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_records_length_counts_itself() {
        let long = vec![b'a'; 101];
        assert_eq!(records(&Fields { path: &long[..90], ..Fields::default() }), b"");
        let list = records(&Fields { path: &long, uid: 3_000_000, ..Fields::default() });
        let text = String::from_utf8(list).unwrap();
        assert!(text.starts_with("111 path=aaa") && text.ends_with("\n15 uid=3000000\n"), "{text}");
        assert_eq!(text.find('\n').unwrap() + 1, 111);
    }

    #[test]
    fn nine_becomes_ten_digits_together() {
        // 96 bytes without the length: 98 with two digits; 97 would be 99, 98 would be 101.
        for size in 90..110 {
            let value = vec![b'v'; size];
            let list = records(&Fields { xattrs: vec![(b"user.x".to_vec(), value)], ..Fields::default() });
            let digits = list.split(|&byte| byte == b' ').next().unwrap();
            assert_eq!(std::str::from_utf8(digits).unwrap().parse::<usize>().unwrap(), list.len());
        }
    }
}
