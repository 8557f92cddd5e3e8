//! A blob's content, which goes on where the connection broke.

use crate::client;
use crate::registry::Registry;
use crate::retry::Tries;
use crate::url::Url;
use std::io::{self, Read};
use std::time::Instant;
use ureq::BodyReader;
use ureq::http::{HeaderMap, header};
use wb_doc::Error;
use wb_store::image::Descriptor;

/// What counts as going on: after so many bytes the tries are counted anew.
const PROGRESS_BYTES: u64 = 1 << 20;
/// The slowest rate, in bytes a second over an idle timeout, that is no stall.
const MIN_RATE: u64 = 512;
/// How many connections one blob may take, however much each of them brings.
const MAX_CONNECTIONS: u32 = 64;

/// Reads a blob of a registry.
pub struct BlobReader<'a> {
    registry: &'a Registry,
    url: Url,
    name: String,
    size: u64,
    /// How much has been handed on.
    at: u64,
    body: Option<BodyReader<'static>>,
    /// How much of the body lies before `at`, where the registry cannot begin in the middle.
    skip: u64,
    tries: Tries,
    connections: u32,
    /// Whether the registry has answered a Range wrongly.
    range_is_useless: bool,
    window: (Instant, u64),
    last_progress: u64,
}

impl<'a> BlobReader<'a> {
    /// Makes the first request, so that a blob that is not there is known before anything else begins.
    pub(crate) fn open(registry: &'a Registry, descriptor: &Descriptor) -> Result<Self, Error> {
        let mut reader = Self {
            registry,
            url: registry.url("blobs", descriptor.digest.as_str()),
            name: format!("blob {}", descriptor.digest),
            size: descriptor.size,
            at: 0,
            body: None,
            skip: 0,
            tries: Tries::new(),
            connections: 0,
            range_is_useless: false,
            window: (Instant::now(), 0),
            last_progress: 0,
        };
        reader.request()?;
        Ok(reader)
    }

    fn request(&mut self) -> Result<(), Error> {
        self.connections += 1;
        if self.connections > MAX_CONNECTIONS {
            return Err(Error::new(format!("{}: {MAX_CONNECTIONS} connections broke", self.url.authority())));
        }
        let range = format!("bytes={}-", self.at);
        let resume = self.at > 0 && !self.range_is_useless;
        let headers: &[(&str, &str)] = if resume { &[("Range", &range)] } else { &[] };
        let answer = self.registry.get(&self.url, headers, &self.name)?;
        let start = match (answer.status().as_u16(), resume) {
            (206, true) => content_range(answer.headers()),
            (206, false) | (416, _) => None,
            _ => Some(0),
        };
        let encoding = answer.headers().get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|value| value != "identity") {
            return Err(Error::new(format!("{}: sent with another encoding than asked for", self.name)));
        }
        match start {
            Some(start) if start <= self.at => {
                let length = answer.body().content_length();
                if let Some(length) = length.filter(|length| start + length != self.size) {
                    let (is, should) = (start + length, self.size);
                    return Err(Error::new(format!(
                        "{}: {is} bytes announced instead of {should}",
                        self.name
                    )));
                }
                self.skip = self.at - start;
                self.body = Some(answer.into_body().into_reader());
                self.window = (Instant::now(), self.at);
                Ok(())
            }
            _ if resume => {
                self.range_is_useless = true;
                self.request()
            }
            _ => Err(Error::new(format!("{}: a part of it where all was asked for", self.name))),
        }
    }

    /// A connection broke: another one, after a while.
    fn again(&mut self, error: &Error) -> Result<(), Error> {
        self.body = None;
        if self.at - self.last_progress >= PROGRESS_BYTES {
            self.tries.progress();
            self.last_progress = self.at;
        }
        self.tries.wait(None, error)?;
        self.request()
    }

    /// Whether the connection moves, but so slowly that it would keep us for ever.
    fn crawls(&mut self) -> bool {
        let (since, from) = self.window;
        let span = since.elapsed();
        if span < self.registry.idle() {
            return false;
        }
        self.window = (Instant::now(), self.at);
        let wanted = u128::from(MIN_RATE) * span.as_millis() / 1000;
        u128::from(self.at - from) < wanted
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            if self.at == self.size {
                return self.read_beyond(buffer);
            }
            let Some(body) = &mut self.body else {
                return Err(Error::new(format!("{}: no connection", self.name)));
            };
            let mut limit = usize::try_from(self.size - self.at).unwrap_or(usize::MAX).min(buffer.len());
            if self.skip > 0 {
                limit = usize::try_from(self.skip).unwrap_or(usize::MAX).min(buffer.len());
            }
            match body.read(&mut buffer[..limit]) {
                Ok(0) => {
                    let error =
                        format!("{}: the connection ends after {} of {}", self.name, self.at, self.size);
                    self.again(&Error::new(error))?;
                }
                Ok(read) if self.skip > 0 => self.skip -= read as u64,
                Ok(read) => {
                    self.at += read as u64;
                    if self.at < self.size && self.crawls() {
                        let error =
                            format!("{}: slower than {MIN_RATE} bytes a second", self.url.authority());
                        self.again(&Error::new(error))?;
                    }
                    return Ok(read);
                }
                Err(error) => {
                    let error = client::body_error(&self.url, &error);
                    self.again(&error)?;
                }
            }
        }
    }

    /// All is there. Where the registry announced no length, it must end here too.
    fn read_beyond(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let Some(mut body) = self.body.take() else { return Ok(0) };
        match body.read(&mut buffer[..1]) {
            Ok(1..) => Err(Error::new(format!("{}: more than {} bytes", self.name, self.size))),
            // An unclean end behind the last byte does no harm: the digest decides.
            Ok(0) | Err(_) => Ok(0),
        }
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.read_some(buffer).map_err(io::Error::other)
    }
}

/// The first byte of `Content-Range: bytes FIRST-LAST/SIZE`.
fn content_range(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
