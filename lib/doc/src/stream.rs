//! A stream of documents: JSON objects one after the other, one a line or indented over many lines.

use crate::document::{Document, MAX_DEPTH, MAX_DOCUMENT_BYTES};
use crate::error::{Context, Error};
use std::io::{ErrorKind, Read};

/// Reads documents one by one, without reading further than the end of the current one requires.
///
/// The limits are kept while reading: input that is too large or too deep is refused before it is parsed.
/// After an error the stream ends, since where the next document starts is then unknown.
#[derive(Debug)]
pub struct Documents<R> {
    input: R,
    buffer: Vec<u8>,
    /// Where the unread part of the buffer starts.
    start: usize,
    finished: bool,
}

/// Where in the text of a value the scanner is, and what it has seen of it.
struct Scanner {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// How many digits stand right before.
    digits: usize,
    plain: bool,
}

/// A value's length in the buffer, in bytes, and whether it is plain: on one line without blanks, and nothing in it that
/// is JSON and yet no value (half a surrogate pair, a number beyond a double), so that its members may stay text.
struct Extent {
    length: usize,
    plain: bool,
}

/// A number with more digits than this may be beyond a double (RFC 8259, section 6, leaves that to the reader).
const PLAIN_DIGITS: usize = 300;

impl<R: Read> Documents<R> {
    /// A stream over `input`.
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, finished: false }
    }

    fn read_more(&mut self) -> Result<bool, Error> {
        let mut chunk = [0; 8 << 10];
        loop {
            match self.input.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.buffer.drain(..self.start);
                    self.start = 0;
                    self.buffer.extend_from_slice(&chunk[..n]);
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(|| "reading the document"),
            }
        }
    }

    /// How far the next value reaches from `start`, or `None` at the end of the input.
    fn next_extent(&mut self) -> Result<Option<Extent>, Error> {
        let mut scanner = Scanner::default();
        let mut length = 0;
        loop {
            if length == 0 {
                let blank = |byte: &&u8| byte.is_ascii_whitespace();
                self.start += self.buffer[self.start..].iter().take_while(blank).count();
                match self.buffer.get(self.start) {
                    None | Some(b'{') => {}
                    Some(&other) => {
                        return Err(Error::new(format!(
                            "input is not a document: it starts with {:?}, not with {{",
                            char::from(other)
                        )));
                    }
                }
            }
            let rest = &self.buffer[self.start + length..];
            let end = scanner.scan(rest)?;
            length += end.unwrap_or(rest.len());
            if length > MAX_DOCUMENT_BYTES {
                return Err(Error::new("document larger than 4 MiB"));
            }
            if end.is_some() {
                return Ok(Some(Extent { length, plain: scanner.plain }));
            }
            if !self.read_more()? {
                return if length == 0 { Ok(None) } else { Err(Error::new("document cut short")) };
            }
        }
    }

    fn next_document(&mut self) -> Result<Option<Document>, Error> {
        let Some(Extent { length, plain }) = self.next_extent()? else { return Ok(None) };
        let text = &self.buffer[self.start..self.start + length];
        self.start += length;
        let invalid = || "document is not valid JSON";
        if plain {
            return Document::from_plain(text).context(invalid).map(Some);
        }
        let value = serde_json::from_slice(text).context(invalid)?;
        Document::from_value(value).map(Some)
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self { depth: 0, in_string: false, escaped: false, digits: 0, plain: true }
    }
}

impl Scanner {
    /// Reads on; where the value ends in `bytes`, how many of them belong to it.
    fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            if self.escaped {
                self.escaped = false;
                self.plain &= byte != b'u';
            } else if self.in_string {
                match byte {
                    b'"' => self.in_string = false,
                    b'\\' => self.escaped = true,
                    _ => at += bytes[at..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\')).count(),
                }
            } else {
                self.outside(byte)?;
                if self.depth == 0 {
                    return Ok(Some(at));
                }
            }
        }
        Ok(None)
    }

    /// A byte that is not inside a string.
    fn outside(&mut self, byte: u8) -> Result<(), Error> {
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(Error::new(format!("document nested deeper than {MAX_DEPTH} levels")));
                }
            }
            b'}' | b']' => self.depth -= 1,
            b'e' | b'E' if self.digits > 0 => self.plain = false,
            _ if byte.is_ascii_whitespace() => self.plain = false,
            _ => {}
        }
        self.digits = if byte.is_ascii_digit() { self.digits + 1 } else { 0 };
        self.plain &= self.digits <= PLAIN_DIGITS;
        Ok(())
    }
}

impl<R: Read> Iterator for Documents<R> {
    type Item = Result<Document, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let next = self.next_document();
        self.finished = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Result<Document, Error>> {
        Documents::new(text.as_bytes()).collect()
    }

    #[test]
    fn reads_lines_and_indented_documents_alike() {
        let read = all("{\"a\":1}\n{\n  \"b\": \"}{\\\"\"\n}{\"c\":[{}]}\n\n");
        assert_eq!(read.len(), 3);
        assert!(read.iter().all(Result::is_ok));
        assert_eq!(read[1].as_ref().unwrap().str_at("/b"), Some("}{\""));
    }

    #[test]
    fn nothing_is_no_document() {
        assert!(all("").is_empty());
        assert!(all(" \n\t").is_empty());
    }

    #[test]
    fn refuses_what_is_no_object_and_ends() {
        for text in ["[1]", "null", "x", "{\"a\":1", "{\"a\" 1}{}", "\u{0}"] {
            let read = all(text);
            assert_eq!(read.len(), 1, "{text:?}");
            assert!(read[0].is_err(), "{text:?}");
        }
    }

    #[test]
    fn refuses_depth_and_size() {
        let deep = format!("{}{}", "{\"a\":".repeat(65), "0");
        assert!(all(&deep)[0].as_ref().unwrap_err().to_string().contains("deeper"));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_DOCUMENT_BYTES));
        assert!(all(&large)[0].as_ref().unwrap_err().to_string().contains("4 MiB"));
    }

    #[test]
    fn what_is_json_and_yet_no_value_is_refused() {
        let digits = "9".repeat(400);
        for text in ["{\"a\":[1e999]}", "{\"a\":{\"b\":\"\\ud800\"}}", &format!("{{\"a\":{digits}}}")] {
            assert!(all(text)[0].is_err(), "{text}");
        }
        for text in
            ["{\"a\":[1e99,-0.5,0E+0]}", "{\"a\":\"\\ud83d\\udc0b e9 \\\\u\"}", "{\"true\":true,\"a\":null}"]
        {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(all(text)[0].as_ref().unwrap().clone().into_value(), value, "{text}");
        }
    }

    #[test]
    fn what_nobody_asks_for_stays_as_it_was_written() {
        let text = "{\"n\":1234567890123456789012345678901234567890,\"f\":1.50,\"wb\":{\"id\":\"a\"}}";
        let mut document = all(text).remove(0).unwrap();
        document.set("/wb/id", "b").unwrap();
        assert_eq!(document.to_line(), text.replace("\"a\"", "\"b\"").as_bytes());
        // Indented text is written on one line all the same.
        assert_eq!(all("{\"a\": [\n1,\n2]}")[0].as_ref().unwrap().to_line(), b"{\"a\":[1,2]}");
    }

    #[test]
    fn a_value_may_arrive_in_pieces() {
        struct Bytewise<'a>(&'a [u8]);
        impl Read for Bytewise<'_> {
            fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
                let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
                (out[0], self.0) = (*first, rest);
                Ok(1)
            }
        }
        let text = " {\"a\":\"\\\\\\\"}\"}\n{\"b\":[{\"c\":12}]} ";
        let read: Vec<_> = Documents::new(Bytewise(text.as_bytes())).map(Result::unwrap).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].str_at("/a"), Some("\\\"}"));
        assert_eq!(read[1].to_line(), b"{\"b\":[{\"c\":12}]}");
    }

    #[test]
    fn a_closing_bracket_too_many_is_refused() {
        let read = all("{}]");
        assert!(read[0].is_ok());
        assert!(read[1].is_err());
    }
}
