//! Images from a registry (OCI distribution-spec 1.1), over http and https.

use crate::access::Access;
use crate::auth::{Auth, Login};
use crate::blob::BlobReader;
use crate::client::{Client, Failure};
use crate::credentials::Credentials;
use crate::retry::{self, Tries};
use crate::url::Url;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use ureq::Body;
use ureq::http::{Method, Response, header};
use wb_doc::{Context, Error};
use wb_store::image::{Descriptor, Digest, MAX_MANIFEST_BYTES, Reference, media};

/// The manifests that are understood, OCI's first.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// What is read of a body that only explains an error.
const MAX_ERROR_BYTES: u64 = 16 << 10;

/// The right to do `actions` (`pull`, `pull,push`) in the repository `path`, as tokens are asked for.
pub fn scope(path: &str, actions: &str) -> String {
    format!("repository:{path}:{actions}")
}

/// The body of a request, made anew for each try: what is to be sent, and how many bytes.
pub type Content<'a> = dyn Fn() -> Result<(Box<dyn Read + 'a>, u64), Error> + 'a;

/// What a registry said to a request that changes something.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Where `Location` leads.
    pub location: Option<Url>,
    /// The last byte of `Range: 0-LAST`: how much of an upload the registry has.
    pub last_byte: Option<u64>,
    /// `Docker-Content-Digest`: what the registry takes the content to be.
    pub digest: Option<String>,
    /// The registry's own words, if it refused.
    pub said: String,
}

/// How a request went.
pub(crate) enum Outcome<T> {
    /// It was answered.
    Answer(T),
    /// It broke, or the registry is busy: the same may work after so long.
    Again(Option<Duration>, Error),
}

/// One repository of a registry.
pub struct Registry {
    client: Client,
    base: Url,
    auth: Auth,
    reference: Reference,
    /// Whether the registry has answered anything yet: what then breaks is worth another try.
    has_answered: AtomicBool,
}

impl Registry {
    /// Finds out how the registry is spoken to; nothing is asked of one that only speaks https. `scopes` are what
    /// tokens will be for.
    pub fn open(reference: &Reference, access: &Access, scopes: &[String]) -> Result<Self, Error> {
        let credentials = Credentials::new(access, &reference.domain);
        let (client, base) = connect(&reference.domain, access)?;
        let auth = Auth::new(credentials, base.clone(), scopes.to_vec(), &access.auth_host);
        let has_answered = AtomicBool::new(false);
        Ok(Self { client, base, auth, reference: reference.clone(), has_answered })
    }

    /// `/v2/REPOSITORY/KIND/SELECTOR`.
    pub fn url(&self, kind: &str, selector: &str) -> Url {
        self.base.with_path(&format!("/v2/{}/{kind}/{selector}", self.reference.path))
    }

    pub(crate) fn idle(&self) -> Duration {
        self.client.idle()
    }

    /// A request repeated while that makes sense: HEAD, and POST, PATCH, PUT or DELETE with their `content`; redirects
    /// are not followed. Whatever the registry says in the end is the answer, an error status too.
    pub fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(&str, &str)],
        content: Option<&Content>,
    ) -> Result<Answer, Error> {
        let mut tries = Tries::new();
        loop {
            match self.send_once(method, url, headers, content)? {
                Outcome::Answer(answer) => return Ok(answer),
                Outcome::Again(after, error) => tries.wait(after, &error)?,
            }
        }
    }

    /// As [`Registry::send`], but what is worth another try is left to the caller.
    pub(crate) fn send_once(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(&str, &str)],
        content: Option<&Content>,
    ) -> Result<Outcome<Answer>, Error> {
        let mut refused = 0;
        loop {
            let authorization = self.auth.header().filter(|_| url.same_origin(&self.base));
            let (mut body, size): (Box<dyn Read>, u64) = match content {
                Some(content) => content()?,
                None => (Box::new(std::io::empty()), 0),
            };
            let sent = self.client.send(method, url, headers, authorization.as_deref(), &mut body, size);
            let answer = match self.judge(sent)? {
                Outcome::Answer(answer) => answer,
                Outcome::Again(after, error) => return Ok(Outcome::Again(after, error)),
            };
            match answer.status().as_u16() {
                401 if refused < 2 => {
                    refused += 1;
                    self.auth.answer(&self.client, authorization.as_deref(), answer.headers())?;
                }
                _ => return self.answer(url, answer).map(Outcome::Answer),
            }
        }
    }

    fn answer(&self, url: &Url, answer: Response<Body>) -> Result<Answer, Error> {
        let status = answer.status().as_u16();
        let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let location = match text("location") {
            // Only for what follows: an error's Location leads nowhere.
            Some(location) if status < 300 => Some(self.client.follow(url, location)?),
            _ => None,
        };
        let last_byte = text("range")
            .and_then(|range| range.strip_prefix("bytes=").unwrap_or(range).strip_prefix("0-")?.parse().ok());
        let digest = text("docker-content-digest").map(str::to_owned);
        let said = if status < 400 { String::new() } else { explain(answer) };
        Ok(Answer { status, location, last_byte, digest, said })
    }

    /// The error that a refusal is.
    pub(crate) fn refused(&self, status: u16, why: &str, what: &str) -> Error {
        let host = self.base.authority();
        match status {
            404 => Error::new(format!("{host}: no {what} in {} ({why})", self.reference.path)),
            401 | 403 => {
                let error = Error::new(format!("{host}: access to {} denied ({why})", self.reference.path));
                error.hint(format!(
                    "the repository may not exist, or need `wb login {}`",
                    self.reference.domain
                ))
            }
            _ => Error::new(format!("{host}: {what}: {status} {why}")),
        }
    }

    fn judge(&self, sent: Result<Response<Body>, Failure>) -> Result<Outcome<Response<Body>>, Error> {
        let answer = match sent {
            Ok(answer) => answer,
            Err(Failure::Final(error) | Failure::Untrusted(error)) => return Err(error),
            Err(Failure::Unreachable(error)) if !self.has_answered.load(Ordering::Relaxed) => {
                return Err(error);
            }
            Err(Failure::Unreachable(error) | Failure::Broken(error)) => {
                return Ok(Outcome::Again(None, error));
            }
        };
        self.has_answered.store(true, Ordering::Relaxed);
        let status = answer.status().as_u16();
        if matches!(status, 408 | 429 | 500 | 502 | 503 | 504) {
            let after = retry::retry_after(answer.headers());
            let why = explain(answer);
            return Ok(Outcome::Again(
                after,
                Error::new(format!("{}: {status} {why}", self.base.authority())),
            ));
        }
        Ok(Outcome::Answer(answer))
    }

    /// A GET that is repeated while that makes sense; the answer is 200, 206 or 416.
    pub(crate) fn get(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        what: &str,
    ) -> Result<Response<Body>, Error> {
        let mut tries = Tries::new();
        let mut refused = 0;
        loop {
            let authorization = self.auth.header();
            let sent = self.client.get(url, headers, authorization.as_deref());
            let answer = match self.judge(sent)? {
                Outcome::Answer(answer) => answer,
                Outcome::Again(after, error) => {
                    tries.wait(after, &error)?;
                    continue;
                }
            };
            match answer.status().as_u16() {
                200 | 206 | 416 => return Ok(answer),
                401 if refused < 2 => {
                    refused += 1;
                    self.auth.answer(&self.client, authorization.as_deref(), answer.headers())?;
                }
                _ => return Err(self.refusal(answer, what)),
            }
        }
    }

    fn refusal(&self, answer: Response<Body>, what: &str) -> Error {
        let status = answer.status().as_u16();
        self.refused(status, &explain(answer), what)
    }

    fn fetch_manifest(&self, selector: &str) -> Result<(Option<String>, Vec<u8>), Error> {
        let what = format!("manifest {selector}");
        let url = self.url("manifests", selector);
        let answer = self.get(&url, &[("Accept", ACCEPT)], &what)?;
        if answer.status() != 200 {
            return Err(self.refusal(answer, &what));
        }
        let text = |name: header::HeaderName| {
            answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let media_type = text(header::CONTENT_TYPE)
            .map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
            .filter(|kind| media::is_index(kind) || media::is_manifest(kind));
        let announced = text(header::HeaderName::from_static("docker-content-digest"));
        let mut bytes = Vec::new();
        let read = answer.into_body().into_reader().take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut bytes);
        read.context(|| what.clone())?;
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(Error::new(format!("{what}: more than {MAX_MANIFEST_BYTES} bytes")));
        }
        let digest = Digest::of(&bytes);
        if let Some(announced) = announced.filter(|text| text.starts_with("sha256:")) {
            if announced != digest.as_str() {
                return Err(Error::new(format!("{what}: announced as {announced}, its content is {digest}")));
            }
        }
        Ok((media_type, bytes))
    }
}

impl Registry {
    /// The manifest or index the reference names, with its verified bytes.
    pub fn root(&self) -> Result<(Descriptor, Vec<u8>), Error> {
        let (media_type, bytes) = self.fetch_manifest(self.reference.selector())?;
        let digest = Digest::of(&bytes);
        if let Some(wanted) = &self.reference.digest {
            if *wanted != digest {
                return Err(Error::new(format!("manifest {wanted}: its content has digest {digest}")));
            }
        }
        let media_type = media_type.unwrap_or_else(|| own_media_type(&bytes));
        Ok((Descriptor::new(&media_type, digest, bytes.len() as u64), bytes))
    }

    /// A manifest or index by its descriptor; the caller verifies the bytes.
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.fetch_manifest(descriptor.digest.as_str()).map(|(_, bytes)| bytes)
    }

    /// A blob's content, at most `descriptor.size` bytes of it; the caller verifies. What breaks meanwhile is
    /// taken up again.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<impl Read + Send + '_, Error> {
        BlobReader::open(self, descriptor)
    }
}

/// What a manifest is whose answer has no usable `Content-Type`.
fn own_media_type(bytes: &[u8]) -> String {
    // What is no JSON is refused soon, by whoever reads it.
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    match value.get("mediaType").and_then(serde_json::Value::as_str) {
        Some(own) => own.to_owned(),
        None if value.get("manifests").is_some() => media::OCI_INDEX.into(),
        None => media::OCI_MANIFEST.into(),
    }
}

/// The registry's own words (distribution-spec, "Error codes"), short and on one line.
pub(crate) fn explain(answer: Response<Body>) -> String {
    let reason = answer.status().canonical_reason().unwrap_or("error").to_owned();
    let mut body = Vec::new();
    // Only an explanation: what cannot be read explains nothing.
    answer.into_body().into_reader().take(MAX_ERROR_BYTES).read_to_end(&mut body).ok();
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let first = value.pointer("/errors/0");
    let said = first.and_then(|first| first.get("message").or(first.get("code")));
    match said.and_then(serde_json::Value::as_str).filter(|text| !text.is_empty()) {
        Some(text) => text.chars().take(200).collect(),
        None => reason,
    }
}

/// A client for `domain`, and the scheme and host it is reached under.
///
/// A registry on the loopback interface may speak plain http, as docker has it; any other only where the user
/// gave up verification.
fn connect(domain: &str, access: &Access) -> Result<(Client, Url), Error> {
    let host = if domain == "docker.io" { "registry-1.docker.io" } else { domain };
    let base = |scheme: &str| Url::parse(&format!("{scheme}://{host}"));
    let https = base("https")?;
    let client = Client::new(domain, &https, access)?;
    let candidates = match (https.is_loopback(), access.tls_verify) {
        (true, _) => [base("http")?, https],
        (false, false) => [https, base("http")?],
        (false, true) => return Ok((client, https)),
    };
    let mut first = None;
    for candidate in candidates {
        match client.get(&candidate.with_path("/v2/"), &[], None) {
            // What a TLS server says to plain http.
            Ok(answer) if answer.status() == 400 => {}
            Ok(_) => return Ok((client, candidate)),
            Err(Failure::Untrusted(error)) => return Err(error),
            // It was found out that this is the way to speak to it, whatever came of the question.
            Err(Failure::Final(error)) if candidate.is_https() && client.speaks_tls() => return Err(error),
            Err(Failure::Broken(_)) if candidate.is_https() && client.speaks_tls() => {
                return Ok((client, candidate));
            }
            Err(Failure::Final(error) | Failure::Unreachable(error)) => {
                first.get_or_insert((error, None));
            }
            Err(Failure::Broken(error)) => {
                first.get_or_insert((error, Some(candidate)));
            }
        }
    }
    match first {
        // It accepted the connection and then broke it: the requests that follow have their own patience.
        Some((_, Some(broken))) => Ok((client, broken)),
        Some((error, None)) => Err(error),
        None => Err(Error::new(format!("{host}: no registry answers there"))),
    }
}

/// Asks the registry whether it takes these credentials.
pub fn check_login(domain: &str, access: &Access, credentials: Credentials) -> Result<Login, Error> {
    let (client, base) = connect(domain, access)?;
    let auth = Auth::new(credentials, base.clone(), Vec::new(), &access.auth_host);
    let url = base.with_path("/v2/");
    let mut refused = 0;
    loop {
        let authorization = auth.header();
        let answer = client.get(&url, &[], authorization.as_deref()).map_err(Failure::into_error)?;
        match answer.status().as_u16() {
            200 => return Ok(if refused == 0 { Login::NotNeeded } else { Login::Accepted }),
            401 if refused < 1 => {
                refused += 1;
                auth.answer(&client, authorization.as_deref(), answer.headers())?;
            }
            401 | 403 => return Err(Error::new(format!("{domain}: {}", explain(answer)))),
            status => return Err(Error::new(format!("{domain}: {status} {}", explain(answer)))),
        }
    }
}
