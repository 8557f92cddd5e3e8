//! One request and its answer: connections, TLS, and redirects that keep passwords at home.

use crate::Access;
use crate::certs::Certificates;
use crate::guard::Guard;
use crate::url::Url;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use ureq::http::{Method, Request, Response, header};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, TcpConnector};
use ureq::{Agent, Body, Proxy, SendBody};
use wb_doc::Error;

const MAX_REDIRECTS: usize = 5;
const MAX_HEADER_BYTES: usize = 64 << 10;
const CONNECT: Duration = Duration::from_secs(15);
/// From the end of the request to the end of the answer's header.
const RESPONSE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// It would be the same the next time.
    Final(Error),
    /// It speaks TLS, and shows a certificate that is not trusted; or ours cannot be used.
    Untrusted(Error),
    /// Nobody is there.
    Unreachable(Error),
    /// The connection broke, or was silent for too long.
    Broken(Error),
}

impl Failure {
    /// The error alone.
    pub fn into_error(self) -> Error {
        match self {
            Self::Final(error) | Self::Untrusted(error) | Self::Unreachable(error) | Self::Broken(error) => {
                error
            }
        }
    }
}

/// An HTTP client for one registry.
pub struct Client {
    registry: Url,
    verify: bool,
    idle: Duration,
    certificates: Certificates,
    /// Whether anybody has spoken TLS.
    spoken: Arc<AtomicBool>,
    /// By scheme (http, https) and owner of the host (the registry, somebody else): each made when first needed,
    /// since reading the system's certificates takes longer than a whole pull from nearby.
    agents: [[OnceLock<Agent>; 2]; 2],
}

impl Client {
    /// Nothing is opened yet.
    pub fn new(domain: &str, registry: &Url, access: &Access) -> Result<Self, Error> {
        Ok(Self {
            registry: registry.clone(),
            verify: access.tls_verify,
            idle: access.idle()?,
            certificates: Certificates::of(domain, access.cert_dir.as_deref()),
            spoken: Arc::default(),
            agents: Default::default(),
        })
    }

    /// The idle timeout.
    pub fn idle(&self) -> Duration {
        self.idle
    }

    /// Whether the registry speaks TLS, whatever came of the request inside it.
    pub fn speaks_tls(&self) -> bool {
        self.spoken.load(Ordering::Relaxed)
    }

    /// Makes a GET and follows redirects. `authorization` goes to the origin of `url` only.
    pub fn get(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        authorization: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let agent = self.agent(&at)?;
            let mut request = agent.get(at.uri().clone());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(value) = authorization.filter(|_| at.same_origin(url)) {
                request = request.header(header::AUTHORIZATION, value);
            }
            let answer = request.call().map_err(|error| failure(&at, &error))?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            at = self.redirect(&at, &answer).map_err(Failure::Final)?;
        }
        Err(Failure::Final(Error::new(format!("{}: more than {MAX_REDIRECTS} redirects", url.authority()))))
    }

    /// Makes a POST with a form; redirects are not followed.
    pub fn post(&self, url: &Url, form: &[(&str, &str)]) -> Result<Response<Body>, Failure> {
        let agent = self.agent(url)?;
        agent.post(url.uri().clone()).send_form(form.iter().copied()).map_err(|error| failure(url, &error))
    }

    /// Makes a request with a body of `size` bytes; redirects are not followed. `authorization` is sent where `url`
    /// is of the registry's own origin.
    pub fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(&str, &str)],
        authorization: Option<&str>,
        body: &mut dyn Read,
        size: u64,
    ) -> Result<Response<Body>, Failure> {
        let agent = self.agent(url)?;
        let mut request = Request::builder()
            .method(method.clone())
            .uri(url.uri().clone())
            .header(header::CONTENT_LENGTH, size.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let wrong = |error| Failure::Final(Error::new(format!("{}: {error}", url.authority())));
        let mut limited = body.take(size);
        let answer = if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            let request = request.body(SendBody::from_reader(&mut limited)).map_err(wrong)?;
            agent.run(request)
        } else {
            agent.run(request.body(()).map_err(wrong)?)
        };
        answer.map_err(|error| failure(url, &error))
    }

    fn redirect(&self, at: &Url, answer: &Response<Body>) -> Result<Url, Error> {
        let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location =
            location.ok_or_else(|| Error::new(format!("{}: a redirect to nowhere", at.authority())))?;
        self.follow(at, location)
    }

    /// Where a `Location` seen at `at` leads; never from https to http.
    pub fn follow(&self, at: &Url, location: &str) -> Result<Url, Error> {
        let host = at.authority();
        let next = at.join(location).map_err(|error| error.within(format!("{host}: redirect")))?;
        if at.is_https() && !next.is_https() && self.verify {
            return Err(Error::new(format!("{host}: redirect from https to {}", next.authority()))
                .hint("--tls-verify=false allows it"));
        }
        Ok(next)
    }

    fn agent(&self, url: &Url) -> Result<&Agent, Failure> {
        let foreign = url.host() != self.registry.host();
        let slot = &self.agents[usize::from(url.is_https())][usize::from(foreign)];
        if let Some(agent) = slot.get() {
            return Ok(agent);
        }
        let made = self.make_agent(url.is_https(), foreign).map_err(Failure::Untrusted)?;
        Ok(slot.get_or_init(|| made))
    }

    fn make_agent(&self, https: bool, foreign: bool) -> Result<Agent, Error> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(MAX_HEADER_BYTES)
            .accept_encoding("identity")
            .user_agent(concat!("whalebox/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(self.idle))
            .timeout_per_write(Some(self.idle))
            .timeout_recv_response(Some(RESPONSE.max(self.idle)))
            // As every other program: no proxy towards this machine itself.
            .proxy(if self.registry.is_loopback() { None } else { Proxy::try_from_env() });
        let guard =
            Guard { loopback_allowed: self.registry.is_loopback(), open: !foreign, ..Guard::default() };
        let plain = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default());
        Ok(if https {
            let tls = self.certificates.tls(self.verify, foreign, Arc::clone(&self.spoken))?;
            Agent::with_parts(config.build(), plain.chain(tls), guard)
        } else {
            Agent::with_parts(config.build(), plain, guard)
        })
    }
}

fn failure(url: &Url, error: &ureq::Error) -> Failure {
    use std::io::ErrorKind::{
        ConnectionRefused, HostUnreachable, InvalidData, NetworkUnreachable, PermissionDenied,
    };
    let host = url.authority();
    let said = |what: &dyn std::fmt::Display| Error::new(format!("{host}: {what}"));
    match error {
        ureq::Error::Io(io) => {
            let kind = io.kind();
            let error = match io.raw_os_error() {
                Some(number) => Error::errno(host, wb_sys::Errno::from_raw(number)),
                None => said(io),
            };
            match kind {
                ConnectionRefused | HostUnreachable | NetworkUnreachable => Failure::Unreachable(error),
                InvalidData => tls(error),
                PermissionDenied => Failure::Final(error),
                // The resolver's words, which have neither errno nor kind.
                _ if io.raw_os_error().is_none() && io.to_string().contains("lookup") => {
                    Failure::Unreachable(error)
                }
                _ => Failure::Broken(error),
            }
        }
        ureq::Error::HostNotFound => Failure::Unreachable(said(&"no such host")),
        ureq::Error::Timeout(_) => Failure::Broken(said(&"no answer in time")),
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => tls(said(error)),
        ureq::Error::LargeResponseHeader(..) => {
            Failure::Final(said(&format_args!("answers with more than {MAX_HEADER_BYTES} bytes of headers")))
        }
        ureq::Error::Protocol(_) | ureq::Error::ConnectionFailed | ureq::Error::BodyStalled => {
            Failure::Broken(said(error))
        }
        _ => Failure::Final(said(error)),
    }
}

/// Why a body broke off.
pub fn body_error(url: &Url, error: &std::io::Error) -> Error {
    let host = url.authority();
    match error.raw_os_error() {
        Some(number) => Error::errno(host, wb_sys::Errno::from_raw(number)),
        None => match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
            Some(ureq::Error::Timeout(_)) => Error::new(format!("{host}: silent for too long")),
            _ => Error::new(format!("{host}: {error}")),
        },
    }
}

/// rustls says the word in every message about a certificate, and in no other.
fn tls(error: Error) -> Failure {
    let said = error.to_string();
    let place = "/etc/docker/certs.d/HOST:PORT";
    if said.contains("CertificateRequired") {
        let ours = format!("it wants a certificate of ours: NAME.cert and NAME.key in {place}");
        Failure::Untrusted(error.hint(ours))
    } else if said.contains("certificate") {
        let theirs = format!("a certificate of its own belongs into {place}/ca.crt");
        Failure::Untrusted(error.hint(format!("{theirs}; --tls-verify=false trusts anybody")))
    } else {
        Failure::Final(error)
    }
}
