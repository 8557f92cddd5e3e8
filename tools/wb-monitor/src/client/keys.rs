//! The keys that detach a client from a terminal: docker's notation, and their recognition in what is typed.

use wb_doc::Error;

/// What docker has: control-p, control-q.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// A sequence of keys to be watched for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    sequence: Vec<u8>,
    /// How many of them have been typed, and held back.
    matched: usize,
}

impl Keys {
    /// Reads `a,ctrl-b,…`: single characters and `ctrl-` with a letter or one of `@[\]^_`. Empty means none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut sequence = Vec::new();
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let key = match (word.strip_prefix("ctrl-"), word.as_bytes()) {
                (Some(rest), _) => control(rest),
                (None, [byte]) => Some(*byte),
                _ => None,
            };
            sequence.push(key.ok_or_else(|| {
                Error::usage(format!("invalid detach keys {text:?}: for example {DEFAULT}"))
            })?);
        }
        Ok(Self { sequence, matched: 0 })
    }

    /// Takes what was typed: what of it is for the container, and whether the sequence is complete. Keys that may
    /// begin the sequence are held back until it is clear that they do not.
    pub fn filter(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        if self.sequence.is_empty() {
            out.extend_from_slice(typed);
            return false;
        }
        for &byte in typed {
            while self.matched > 0 && self.sequence[self.matched] != byte {
                // Fall back to the longest end of what was held that begins the sequence, and let go of the rest.
                let held = &self.sequence[..self.matched];
                let shorter = (0..held.len()).rev().find(|&length| held.ends_with(&held[..length]));
                let shorter = shorter.unwrap_or(0);
                out.extend_from_slice(&held[..held.len() - shorter]);
                self.matched = shorter;
            }
            if self.sequence[self.matched] == byte {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    self.matched = 0;
                    return true;
                }
            } else {
                out.push(byte);
            }
        }
        false
    }
}

fn control(key: &str) -> Option<u8> {
    match key.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [other @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Some(other - b'@'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dockers_notation() {
        assert_eq!(Keys::parse(DEFAULT).unwrap().sequence, [16, 17]);
        assert_eq!(Keys::parse("a,ctrl-@,ctrl-_").unwrap().sequence, [b'a', 0, 31]);
        assert!(Keys::parse("").unwrap().sequence.is_empty());
        for text in ["ctrl-A", "ab", ",", "ctrl-", "a,,b"] {
            assert!(Keys::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn holds_back_and_lets_go() {
        let mut keys = Keys::parse("x,x,y").unwrap();
        let mut out = Vec::new();
        assert!(!keys.filter(b"ax", &mut out));
        assert_eq!(out, b"a");
        // Three x: the first was none of the sequence.
        assert!(!keys.filter(b"xx", &mut out));
        assert_eq!(out, b"ax");
        assert!(!keys.filter(b"bx", &mut out));
        assert_eq!(out, b"axxxb");
        assert!(keys.filter(b"xy", &mut out));
        assert_eq!(out, b"axxxb");
    }
}
