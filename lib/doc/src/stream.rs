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

/// Where in the text of a value the scanner is.
#[derive(Default)]
struct Scanner {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

enum Step {
    Inside,
    End,
}

impl<R: Read> Documents<R> {
    /// A stream over `input`.
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, finished: false }
    }

    fn read_more(&mut self) -> Result<bool, Error> {
        let mut chunk = [0; 16 << 10];
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

    /// The bytes of the next value, or `None` at the end of the input.
    fn next_value(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut scanner = Scanner::default();
        let mut length = 0;
        loop {
            while self.start + length < self.buffer.len() {
                let byte = self.buffer[self.start + length];
                if length == 0 && byte.is_ascii_whitespace() {
                    self.start += 1;
                    continue;
                }
                if length == 0 && byte != b'{' {
                    return Err(Error::new(format!(
                        "input is not a document: it starts with {:?}, not with {{",
                        char::from(byte)
                    )));
                }
                length += 1;
                if length > MAX_DOCUMENT_BYTES {
                    return Err(Error::new("document larger than 4 MiB"));
                }
                if let Step::End = scanner.step(byte)? {
                    let value = self.buffer[self.start..self.start + length].to_vec();
                    self.start += length;
                    return Ok(Some(value));
                }
            }
            if !self.read_more()? {
                return if length == 0 { Ok(None) } else { Err(Error::new("document cut short")) };
            }
        }
    }
}

impl Scanner {
    fn step(&mut self, byte: u8) -> Result<Step, Error> {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            b'{' | b'[' if !self.in_string => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(Error::new(format!("document nested deeper than {MAX_DEPTH} levels")));
                }
            }
            b'}' | b']' if !self.in_string => {
                self.depth -= 1;
                if self.depth == 0 {
                    return Ok(Step::End);
                }
            }
            _ => {}
        }
        Ok(Step::Inside)
    }
}

impl<R: Read> Iterator for Documents<R> {
    type Item = Result<Document, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let next = self.next_value().and_then(|bytes| {
            bytes
                .map(|bytes| {
                    let value = serde_json::from_slice(&bytes).context(|| "document is not valid JSON")?;
                    Document::from_value(value)
                })
                .transpose()
        });
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
    fn a_closing_bracket_too_many_is_refused() {
        let read = all("{}]");
        assert!(read[0].is_ok());
        assert!(read[1].is_err());
    }
}
