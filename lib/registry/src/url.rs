//! URLs as far as registries need them: http and https, a host, a path.

use std::net::IpAddr;
use ureq::http::Uri;
use wb_doc::Error;

/// An absolute http or https URL without user information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    https: bool,
}

impl Url {
    /// Reads an absolute URL.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::new(format!("{text:?}: {why}"));
        if text.len() > 8192 {
            return Err(Error::new("URL longer than 8192 bytes"));
        }
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err(wrong("neither http nor https"));
        }
        // A fragment is not sent.
        let text = text.split('#').next().unwrap_or_default();
        let uri: Uri = text.parse().map_err(|error| wrong(&format!("{error}")))?;
        let https = uri.scheme_str() == Some("https");
        match uri.authority() {
            None => Err(wrong("no host")),
            Some(authority) if authority.as_str().contains('@') => Err(wrong("a name or password in a URL")),
            Some(authority) if authority.host().is_empty() => Err(wrong("no host")),
            Some(_) => Ok(Self { uri, https }),
        }
    }

    /// The same host with another path.
    #[must_use]
    pub fn with_path(&self, path: &str) -> Self {
        let text = format!("{}://{}{path}", self.scheme(), self.authority());
        // Host and scheme were valid, and paths are made of checked references.
        Self { uri: text.parse().unwrap_or_else(|_| self.uri.clone()), https: self.https }
    }

    /// The same URL with one more parameter; its value needs no escaping.
    pub fn with_parameter(&self, parameter: &str) -> Result<Self, Error> {
        let separator = if self.uri.query().is_some() { '&' } else { '?' };
        Self::parse(&format!("{}{separator}{parameter}", self.uri))
    }

    /// Where a `Location` seen at this URL leads (RFC 3986, section 5.2, without dot segments).
    pub fn join(&self, location: &str) -> Result<Self, Error> {
        if location.split(['/', '?']).next().is_some_and(|start| start.contains(':')) {
            return Self::parse(location);
        }
        let root = format!("{}://{}", self.scheme(), self.authority());
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme()));
        }
        if location.starts_with('/') {
            return Self::parse(&format!("{root}{location}"));
        }
        let directory = self.uri.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        Self::parse(&format!("{root}{directory}/{location}"))
    }

    /// For the HTTP library.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether it is https.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Host and port as written.
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// The host without the port, lower-case, without the brackets of an IPv6 address.
    pub fn host(&self) -> String {
        self.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase()
    }

    /// The port, the scheme's own where none is written.
    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.https { 443 } else { 80 })
    }

    /// Whether both are the same origin (RFC 6454): scheme, host and port.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.https == other.https && self.host() == other.host() && self.port() == other.port()
    }

    /// Whether the host is this machine's loopback interface, by its name alone.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_locations() {
        let at = Url::parse("http://h:5000/v2/a/blobs/x?y").unwrap();
        for (location, expected) in [
            ("https://o/p?q=a:b", "https://o/p?q=a:b"),
            ("/p", "http://h:5000/p"),
            ("//o/p", "http://o/p"),
            ("z", "http://h:5000/v2/a/blobs/z"),
        ] {
            assert_eq!(at.join(location).unwrap().uri().to_string(), expected);
        }
        for location in
            ["file:///etc/passwd", "ftp://x/", "http://u:p@h/", "http:///x", "gopher:x", "\r\nx: y"]
        {
            assert!(at.join(location).is_err(), "{location:?}");
        }
    }

    #[test]
    fn knows_origins_and_loopback() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(url("https://H/a").same_origin(&url("https://h:443/b")));
        assert!(!url("https://h/").same_origin(&url("http://h/")));
        assert!(!url("https://h/").same_origin(&url("https://h:444/")));
        assert!(url("http://127.1.2.3:5000/").is_loopback());
        assert!(url("http://[::1]:5000/").is_loopback());
        assert!(!url("http://127.0.0.1.evil.example/").is_loopback());
    }
}
