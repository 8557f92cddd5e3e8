//! One line of the log: `TIME STREAM TAG TEXT`.

use crate::clock;

/// A record, as it lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was written.
    pub time: &'a [u8],
    /// Whether it came from standard error.
    pub stderr: bool,
    /// Whether it ends a line of the output.
    pub full: bool,
    /// The text.
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a line without its newline; none where it is no record, as when a full disk cut it short.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let (time, rest) = line.split_at_checked(clock::LENGTH)?;
        let rest = rest.strip_prefix(b" ")?;
        let (stderr, rest) = match rest.strip_prefix(b"stdout ") {
            Some(rest) => (false, rest),
            None => (true, rest.strip_prefix(b"stderr ")?),
        };
        // Tags after the first are for the future (CRI, "tags are delimited by `:`").
        let end = memchr::memchr(b' ', rest)?;
        let full = match rest.first()? {
            b'F' => true,
            b'P' => false,
            _ => return None,
        };
        Some(Self { time, stderr, full, text: &rest[end + 1..] })
    }
}

/// Where the last `count` lines of output begin in `bytes`, which are whole records and the end of the log; and how
/// many lines are still missing where they begin before it.
pub fn tail(bytes: &[u8], count: u64) -> (usize, u64) {
    let mut missing = count;
    let mut at = bytes.len();
    let mut begun = false;
    while at > 0 {
        let start = memchr::memrchr(b'\n', &bytes[..at - 1]).map_or(0, |newline| newline + 1);
        if Record::parse(&bytes[start..at - 1]).is_none_or(|record| record.full) || !begun {
            // The end of a line; the parts before it belong to it.
            if missing == 0 {
                return (at, 0);
            }
            missing -= 1;
            begun = true;
        }
        at = start;
    }
    (0, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-02T03:04:05.000000000Z";

    #[test]
    fn reads_records_and_refuses_others() {
        let line = format!("{TIME} stderr F some  text");
        let record = Record::parse(line.as_bytes()).unwrap();
        assert_eq!((record.stderr, record.full, record.text), (true, true, &b"some  text"[..]));
        let line = format!("{TIME} stdout P:x ");
        assert_eq!(Record::parse(line.as_bytes()).unwrap().text, b"");
        for line in ["", "x", TIME, &format!("{TIME} stdin F x"), &format!("{TIME} stdout X x")] {
            assert_eq!(Record::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn counts_lines_and_not_records() {
        let log: String = ["F a", "F b", "P c", "P c", "F c", "F d", "P e"]
            .iter()
            .fold(String::new(), |log, record| log + TIME + " stdout " + record + "\n");
        let length = log.len() / 7;
        let lines = |count| tail(log.as_bytes(), count);
        assert_eq!(lines(0), (log.len(), 0));
        assert_eq!(lines(1), (6 * length, 0));
        assert_eq!(lines(2), (5 * length, 0));
        assert_eq!(lines(3), (2 * length, 0));
        assert_eq!(lines(5), (0, 0));
        assert_eq!(lines(9), (0, 4));
        assert_eq!(tail(b"", 3), (0, 3));
    }
}
