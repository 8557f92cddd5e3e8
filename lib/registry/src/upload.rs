//! A blob on its way to a registry (distribution-spec, "Push"): not sent where it is there, taken from another
//! repository of the registry where that has it, else sent in pieces, going on where the registry says it has got to.

use crate::registry::{Outcome, Registry};
use crate::retry::Tries;
use crate::url::Url;
use std::io::Read;
use ureq::http::Method;
use wb_doc::Error;
use wb_store::image::{Descriptor, Digest};

/// After so many bytes the tries are counted anew.
const PROGRESS_BYTES: u64 = 1 << 20;
/// How often one blob may be begun or taken up again, however much came of it each time.
const MAX_TURNS: u32 = 64;

/// What became of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The repository had it.
    There,
    /// Another repository of the registry had it.
    Mounted,
    /// It was sent.
    Whole,
}

/// A blob to be sent.
pub struct Upload<'a> {
    /// What it is.
    pub blob: &'a Descriptor,
    /// Another repository of the same registry that may have it.
    pub from: Option<&'a str>,
    /// The most bytes of one request.
    pub piece_bytes: u64,
    /// Its content from a byte on.
    #[allow(clippy::type_complexity, reason = "a reader that borrows what it reads")]
    pub content: &'a dyn Fn(u64) -> Result<Box<dyn Read + 'a>, Error>,
}

/// An upload that the registry has begun: where it goes on, and with which byte.
struct Begun {
    url: Url,
    at: u64,
}

impl Registry {
    /// Makes sure that the repository has the blob.
    pub fn upload(&self, upload: &Upload) -> Result<Sent, Error> {
        if self.has_blob(&upload.blob.digest)? {
            return Ok(Sent::There);
        }
        let Some(mut begun) = self.begin(upload, upload.from)? else { return Ok(Sent::Mounted) };
        let (mut tries, mut from) = (Tries::new(), 0);
        for _ in 0..MAX_TURNS {
            let (after, error) = match self.send_rest(upload, &mut begun)? {
                Outcome::Answer(()) => return Ok(Sent::Whole),
                Outcome::Again(after, error) => (after, error),
            };
            if begun.at >= from + PROGRESS_BYTES {
                tries.progress();
                from = begun.at;
            }
            tries.wait(after, &error)?;
            // What broke may have been the answer alone.
            if begun.at == upload.blob.size && self.has_blob(&upload.blob.digest)? {
                return Ok(Sent::Whole);
            }
            begun = match self.how_far(&begun.url)? {
                Some(begun) if begun.at <= upload.blob.size => begun,
                _ => match self.begin(upload, None)? {
                    Some(begun) => begun,
                    None => return Ok(Sent::Mounted),
                },
            };
        }
        Err(Error::new(format!("{MAX_TURNS} connections broke")))
    }

    fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let answer = self.send(&Method::HEAD, &self.url("blobs", digest.as_str()), &[], None)?;
        match answer.status {
            // To a store of its own: nobody is sent away for what is not there.
            200..=399 => Ok(true),
            404 => Ok(false),
            status => Err(self.refused(status, &answer.said, "push")),
        }
    }

    /// Begins an upload; `None` where the registry took the blob from the repository `from`.
    fn begin(&self, upload: &Upload, from: Option<&str>) -> Result<Option<Begun>, Error> {
        let mut url = self.url("blobs", "uploads/");
        if let Some(from) = from {
            url = url.with_parameter(&format!("mount={}&from={from}", upload.blob.digest))?;
        }
        let answer = self.send(&Method::POST, &url, &[], None)?;
        match (answer.status, answer.location) {
            (201, _) if from.is_some() => Ok(None),
            (202, Some(url)) => Ok(Some(Begun { url, at: 0 })),
            (202, None) => Err(Error::new("the registry begins an upload and does not say where")),
            // One that may not be read from: sent after all.
            (401 | 403 | 404, _) if from.is_some() => self.begin(upload, None),
            (status, _) => Err(self.refused(status, &answer.said, "push")),
        }
    }

    /// Sends what the registry has not got, and ends the upload. `begun` says how far it got.
    fn send_rest(&self, upload: &Upload, begun: &mut Begun) -> Result<Outcome<()>, Error> {
        let size = upload.blob.size;
        while begun.at < size {
            let start = begun.at;
            let end = size.min(start.saturating_add(upload.piece_bytes.max(1)));
            let range = format!("{start}-{}", end - 1);
            let headers = [("Content-Type", "application/octet-stream"), ("Content-Range", range.as_str())];
            let content = || Ok(((upload.content)(start)?, end - start));
            let answer = match self.send_once(&Method::PATCH, &begun.url, &headers, Some(&content))? {
                Outcome::Answer(answer) => answer,
                Outcome::Again(after, error) => return Ok(Outcome::Again(after, error)),
            };
            // A registry may keep less than it was sent; then it says so.
            let has = answer.last_byte.map_or(end, |last| last + 1);
            match (answer.status, answer.location) {
                (200..=204, Some(url)) if has > start && has <= end => *begun = Begun { url, at: has },
                (200..=204, _) => {
                    return Err(Error::new(format!("the registry answers nonsense to bytes {range}")));
                }
                // It has lost the upload, or the thread.
                (404 | 416, _) => return Ok(Outcome::Again(None, Error::new(answer.said))),
                (status, _) => return Err(self.refused(status, &answer.said, "push")),
            }
        }
        let url = begun.url.with_parameter(&format!("digest={}", upload.blob.digest))?;
        let answer = match self.send_once(&Method::PUT, &url, &[], None)? {
            Outcome::Answer(answer) => answer,
            Outcome::Again(after, error) => return Ok(Outcome::Again(after, error)),
        };
        match answer.status {
            200..=204 => Ok(Outcome::Answer(())),
            404 | 416 => Ok(Outcome::Again(None, Error::new(answer.said))),
            status => Err(self.refused(status, &answer.said, "push")),
        }
    }

    /// How much of an upload the registry has; `None` where it is to be begun anew.
    fn how_far(&self, url: &Url) -> Result<Option<Begun>, Error> {
        let answer = self.send(&Method::GET, url, &[], None)?;
        Ok(match (answer.status, answer.last_byte) {
            // `0-0` is what registries say of one byte and of none; a wrong guess does not pass the digest.
            (200..=204, Some(last)) => {
                let at = if last == 0 { 0 } else { last + 1 };
                Some(Begun { url: answer.location.unwrap_or_else(|| url.clone()), at })
            }
            _ => None,
        })
    }

    /// Puts a manifest or index under a tag or digest. What it refers to must be there.
    pub fn put_manifest(&self, selector: &str, media_type: &str, bytes: &[u8]) -> Result<(), Error> {
        let url = self.url("manifests", selector);
        let content = || Ok((Box::new(bytes) as Box<dyn Read>, bytes.len() as u64));
        let answer = self.send(&Method::PUT, &url, &[("Content-Type", media_type)], Some(&content))?;
        if !(200..=204).contains(&answer.status) {
            return Err(self.refused(answer.status, &answer.said, &format!("push of manifest {selector}")));
        }
        let digest = Digest::of(bytes);
        match answer.digest.filter(|said| said.starts_with("sha256:") && *said != digest.as_str()) {
            Some(other) => Err(Error::new(format!("manifest {digest}: the registry took it as {other}"))),
            None => Ok(()),
        }
    }
}
