//! PAX extended headers (POSIX pax, "pax Extended Header") and GNU long names: what they say of the next file.

use wb_doc::{Error, escape};

/// What extended headers say of the file that follows them; each member overrides the header's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extended {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    /// Names and values, without the `SCHILY.xattr.` of the archive.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Where a list of PAX records stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Before one file (`x`).
    File,
    /// For the whole archive (`g`). What docker and Go do is done here: it changes nothing. A list that would change
    /// which files there are is refused, since others obey it.
    Global,
}

impl Extended {
    /// Reads a list of PAX records.
    pub fn records(&mut self, mut rest: &[u8], scope: Scope) -> Result<(), Error> {
        while !rest.is_empty() {
            let (key, value, tail) = record(rest).ok_or_else(|| Error::new("malformed PAX record"))?;
            rest = tail;
            self.set(key, value, scope)?;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8], scope: Scope) -> Result<(), Error> {
        let wrong = || Error::new(format!("malformed PAX record: {}", escape(&String::from_utf8_lossy(key))));
        if key.starts_with(b"GNU.sparse.") {
            return Err(sparse());
        }
        if scope == Scope::Global {
            return match key {
                b"path" | b"linkpath" | b"size" => {
                    let key = String::from_utf8_lossy(key);
                    Err(Error::new(format!("PAX record {key} for the whole archive")))
                }
                _ => Ok(()),
            };
        }
        let whole = || -> Result<Option<u64>, Error> {
            match value {
                // An empty value takes an earlier record back.
                b"" => Ok(None),
                _ => decimal(value).map(Some).ok_or_else(wrong),
            }
        };
        match key {
            b"path" => self.path = name(value).ok_or_else(wrong)?,
            b"linkpath" => self.link = name(value).ok_or_else(wrong)?,
            b"size" => self.size = whole()?,
            b"uid" => self.uid = whole()?,
            b"gid" => self.gid = whole()?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or_else(wrong)?),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() || name.contains(&0) {
                        return Err(wrong());
                    }
                    self.xattrs.retain(|(known, _)| known != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// Sparse files are refused: a few bytes of archive would become any number of bytes of file.
pub fn sparse() -> Error {
    Error::new("sparse files are not allowed in a layer")
}

/// A name of a GNU `L` or `K` header: up to its first NUL.
pub fn gnu_name(content: &[u8]) -> Vec<u8> {
    content.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
}

/// The first record, `LENGTH KEY=VALUE\n` with LENGTH counting all of it: key, value, and what follows.
fn record(list: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = list.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&list[..blank])?).ok()?;
    if length <= blank || length > list.len() {
        return None;
    }
    let (record, tail) = list.split_at(length);
    let record = record[blank + 1..].strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    (equals > 0).then(|| (&record[..equals], &record[equals + 1..], tail))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, &byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// A path: no NUL inside; empty takes an earlier one back.
#[allow(clippy::option_option, reason = "malformed, taken back, or given")]
fn name(value: &[u8]) -> Option<Option<Vec<u8>>> {
    (!value.contains(&0)).then(|| (!value.is_empty()).then(|| value.to_vec()))
}

/// Seconds with an optional fraction, `-1.5` too; digits beyond nanoseconds are cut.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let (negative, value) = value.strip_prefix(b"-").map_or((false, value), |rest| (true, rest));
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds =
        (0..9).fold(0, |sum, at| sum * 10 + fraction.get(at).map_or(0, |&digit| u32::from(digit - b'0')));
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        // -1.5 is half a second after -2.
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(list: &[u8]) -> Result<Extended, Error> {
        let mut extended = Extended::default();
        extended.records(list, Scope::File).map(|()| extended)
    }

    #[test]
    fn reads_names_numbers_times_and_attributes() {
        let list = b"12 path=a/b\n13 size=1234\n20 mtime=1700000000\n32 SCHILY.xattr.user.x=\0a=b\nc  \n";
        let extended = records(list).unwrap();
        assert_eq!(extended.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(extended.size, Some(1234));
        assert_eq!(extended.mtime, Some((1_700_000_000, 0)));
        assert_eq!(extended.xattrs, [(b"user.x".to_vec(), b"\0a=b\nc  ".to_vec())]);
    }

    #[test]
    fn refuses_malformed_records() {
        for list in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"6 a=b",
            b"6 abc\n",
            b"5 =b\n",
            b"x a=b\n",
            b"-6 a=b\n",
            b"99999999999999999999999 a=b\n",
            b"11 path=a\0\n",
            b"11 size=-1\n",
            b"30 size=99999999999999999999\n",
            b"0 a=b\n",
            b"22 GNU.sparse.major=1\n",
        ] {
            assert!(records(list).is_err(), "{:?}", String::from_utf8_lossy(list));
        }
    }

    #[test]
    fn an_empty_value_takes_back() {
        assert_eq!(records(b"10 path=a\n8 path=\n").unwrap().path, None);
    }

    #[test]
    fn times_before_1970() {
        assert_eq!(time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        assert_eq!(time(b"1.0000000019"), Some((1, 1)));
        assert_eq!(time(b"1.x"), None);
    }

    #[test]
    fn a_list_for_the_whole_archive_changes_nothing() {
        let mut extended = Extended::default();
        extended.records(b"15 comment=abc\n", Scope::Global).unwrap();
        assert_eq!(extended, Extended::default());
        assert!(extended.records(b"10 path=a\n", Scope::Global).is_err());
    }
}
