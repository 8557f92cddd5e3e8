//! One 512-byte tar header (POSIX ustar, GNU, star, V7), strictly read: what is ambiguous is refused.

use wb_doc::Error;

/// The unit of a tar archive.
pub const BLOCK: usize = 512;

/// What a header's fields say, before extended headers have their word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub typeflag: u8,
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub size: u64,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: i64,
    pub major: u32,
    pub minor: u32,
}

impl Header {
    /// Reads a header block; its checksum must be right.
    pub fn parse(block: &[u8; BLOCK]) -> Result<Self, Error> {
        check_sum(block)?;
        let typeflag = block[156];
        let is_device = matches!(typeflag, b'3' | b'4');
        // Only devices have numbers here; others hold anything.
        let device = |range: std::ops::Range<usize>, what| {
            if is_device { small(&block[range], what) } else { Ok(0) }
        };
        Ok(Self {
            typeflag,
            name: name(block),
            link: text(&block[157..257]).to_vec(),
            size: unsigned(&block[124..136], "size")?,
            mode: small(&block[100..108], "mode")?,
            uid: unsigned(&block[108..116], "uid")?,
            gid: unsigned(&block[116..124], "gid")?,
            mtime: number(&block[136..148], "mtime")?,
            major: device(329..337, "devmajor")?,
            minor: device(337..345, "devminor")?,
        })
    }
}

/// Whether a block ends the archive.
pub fn is_zero(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

/// The sum of all bytes, the checksum field taken as spaces. Old programs summed signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), Error> {
    let stored = number(&block[148..156], "checksum")?;
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (at, &byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        unsigned += i64::from(byte);
        signed += i64::from(i8::from_ne_bytes([byte]));
    }
    if stored == unsigned || stored == signed {
        Ok(())
    } else {
        Err(Error::new("not a tar header: wrong checksum"))
    }
}

/// The name, with ustar's prefix in front of it. GNU's own magic keeps other things there.
fn name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&block[..100]);
    let prefix = match (&block[257..263], &block[508..512]) {
        (b"ustar\0", b"tar\0") => text(&block[345..476]),
        (b"ustar\0", _) => text(&block[345..500]),
        _ => b"",
    };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// A text field, up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A number: octal digits between blanks, or GNU's base 256 (big-endian two's complement under a marker bit).
fn number(field: &[u8], what: &str) -> Result<i64, Error> {
    let wrong = || Error::new(format!("malformed tar header: {what}"));
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = i64::from(field[0] & 0x3f) | if negative { !0x3f } else { 0 };
        return field[1..].iter().try_fold(first, |sum, &byte| {
            let shifted = sum.checked_mul(256).ok_or_else(wrong)?;
            Ok(shifted | i64::from(byte))
        });
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let digits = field[start..].split(is_blank).next().unwrap_or_default();
    if !field[start + digits.len()..].iter().all(is_blank) {
        return Err(wrong());
    }
    digits.iter().try_fold(0_i64, |sum, &byte| match byte {
        b'0'..=b'7' => Ok(sum.checked_mul(8).ok_or_else(wrong)? + i64::from(byte - b'0')),
        _ => Err(wrong()),
    })
}

fn unsigned(field: &[u8], what: &str) -> Result<u64, Error> {
    u64::try_from(number(field, what)?)
        .map_err(|_| Error::new(format!("malformed tar header: negative {what}")))
}

fn small(field: &[u8], what: &str) -> Result<u32, Error> {
    u32::try_from(number(field, what)?)
        .map_err(|_| Error::new(format!("malformed tar header: {what} out of range")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_octal_and_base_256() {
        assert_eq!(number(b"0000644\0", "x").unwrap(), 0o644);
        assert_eq!(number(b"  644 \0\0", "x").unwrap(), 0o644);
        assert_eq!(number(b"\0\0\0\0", "x").unwrap(), 0);
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0", "x").unwrap(), 256);
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff", "x").unwrap(), -1);
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe", "x").unwrap(), -2);
    }

    #[test]
    fn refuses_numbers_that_are_none_or_too_large() {
        for field in
            [&b"12 34\0\0\0"[..], b"9\0", b"-1\0", b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert!(number(field, "x").is_err(), "{field:?}");
        }
        assert!(unsigned(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "size").is_err());
    }
}
