//! Image references, read exactly as docker reads them (github.com/distribution/reference).

use crate::image::Digest;
use std::fmt::{self, Display};
use wb_doc::Error;

const DEFAULT_DOMAIN: &str = "docker.io";
const OFFICIAL: &str = "library/";
const MAX_NAME_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;

/// A normalized reference: domain and path always, tag or digest or both as they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The registry, with its port: `docker.io`, `localhost:5000`.
    pub domain: String,
    /// The repository: `library/ubuntu`.
    pub path: String,
    /// The tag, if one was given.
    pub tag: Option<String>,
    /// The digest, if one was given.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Reads `[DOMAIN/]PATH[:TAG][@DIGEST]`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::usage(format!("invalid reference {text:?}: {why}"));
        if text.len() > 1024 {
            return Err(Error::usage("invalid reference: longer than 1024 bytes"));
        }
        if text.len() == 64 && Digest::from_hex(text).is_ok() {
            return Err(wrong("64 hex digits are an id, not a name"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(Digest::parse(digest).map_err(|error| wrong(&error.to_string()))?))
            }
            None => (text, None),
        };
        let (domain, remainder) = split_domain(rest);
        // A colon in what follows the domain can only begin the tag.
        let (path, tag) = match remainder.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (remainder, None),
        };
        if let Some(tag) = tag {
            check_tag(tag).map_err(wrong)?;
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(wrong("a repository name is lower-case"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(wrong("no repository name"));
        }
        if !is_domain(domain) {
            return Err(wrong("no registry name"));
        }
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("{OFFICIAL}{path}")
        } else {
            path.to_owned()
        };
        if domain.len() + 1 + path.len() > MAX_NAME_BYTES {
            return Err(wrong("a name has at most 255 bytes"));
        }
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }

    /// `docker.io/library/ubuntu`: without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name an image is stored under: `docker.io/library/ubuntu:latest`, or with the digest, where one was
    /// given, instead of the tag (as docker, for which the digest decides).
    pub fn normalized(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.repository()),
            None => format!("{}:{}", self.repository(), self.tag_or_latest()),
        }
    }

    /// The tag, `latest` where there is none.
    pub fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    /// What the registry is asked for: the digest if there is one, else the tag.
    pub fn selector(&self) -> &str {
        self.digest.as_ref().map_or_else(|| self.tag_or_latest(), Digest::as_str)
    }

    /// The repository as people see it: without `docker.io/` and `library/`.
    pub fn familiar_repository(&self) -> &str {
        if self.domain != DEFAULT_DOMAIN {
            return "";
        }
        self.path.strip_prefix(OFFICIAL).filter(|rest| !rest.contains('/')).unwrap_or(&self.path)
    }

    /// The name as people see it: `ubuntu:22.04`.
    pub fn familiar(&self) -> String {
        let full = self.normalized();
        match self.familiar_repository() {
            "" => full,
            short => format!("{short}{}", &full[self.domain.len() + 1 + self.path.len()..]),
        }
    }
}

impl Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

/// docker's rule: what stands before the first slash is a registry if it has a dot or a port, is `localhost`, or
/// could be no repository name.
fn split_domain(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (if first == "index.docker.io" { DEFAULT_DOMAIN } else { first }, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    }
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = tag.bytes().next().is_some_and(word);
    if first && tag.len() <= MAX_TAG_BYTES && tag.bytes().all(|byte| word(byte) || b".-".contains(&byte)) {
        Ok(())
    } else {
        Err("a tag is [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut rest = part;
    loop {
        let word = rest.trim_start_matches(alphanumeric);
        if word.len() == rest.len() {
            return false;
        }
        if word.is_empty() {
            return true;
        }
        let after = word.trim_start_matches(|c: char| !alphanumeric(c));
        let separator = &word[..word.len() - after.len()];
        if !matches!(separator, "." | "_" | "__") && !separator.bytes().all(|byte| byte == b'-') {
            return false;
        }
        rest = after;
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let valid = address.parse::<std::net::Ipv6Addr>().is_ok();
            return valid && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
        }
        None => domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// A stored name as people see it, in two parts: `busybox` and `latest`. Parts that are missing are `<none>`.
pub fn familiar(name: Option<&str>) -> (String, String) {
    let none = || "<none>".to_owned();
    let Some(name) = name else { return (none(), none()) };
    // Another program may have written any name.
    let Ok(reference) = Reference::parse(name) else { return (name.to_owned(), none()) };
    let repository = match reference.familiar_repository() {
        "" => reference.repository(),
        short => short.to_owned(),
    };
    match reference.digest {
        Some(_) => (repository, none()),
        None => (repository, reference.tag_or_latest().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn reads_references_as_docker_does() {
        let at = format!("@sha256:{HEX}");
        let table: [(&str, &str, &str); 18] = [
            ("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
            ("ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04"),
            ("a/b", "docker.io/a/b:latest", "a/b:latest"),
            ("a/b/c:1", "docker.io/a/b/c:1", "a/b/c:1"),
            ("docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
            ("docker.io/library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
            ("index.docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
            ("library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
            ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest", "localhost:5000/a/b:latest"),
            ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
            ("quay.io/x/y:v1", "quay.io/x/y:v1", "quay.io/x/y:v1"),
            ("HOST/a", "HOST/a:latest", "HOST/a:latest"),
            ("[::1]:5000/a:b", "[::1]:5000/a:b", "[::1]:5000/a:b"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest", "127.0.0.1:5000/a:latest"),
            ("a--b/c__d/e.f_g", "docker.io/a--b/c__d/e.f_g:latest", "a--b/c__d/e.f_g:latest"),
            ("x:Tag_1.0-rc", "docker.io/library/x:Tag_1.0-rc", "x:Tag_1.0-rc"),
            ("deadbeef", "docker.io/library/deadbeef:latest", "deadbeef:latest"),
        ];
        for (text, normalized, familiar) in table {
            let read = Reference::parse(text).unwrap();
            assert_eq!(read.normalized(), normalized, "{text}");
            assert_eq!(read.familiar(), familiar, "{text}");
        }
        let both = Reference::parse(&format!("host:5000/a/b:tag{at}")).unwrap();
        assert_eq!(both.tag.as_deref(), Some("tag"));
        assert_eq!(both.normalized(), format!("host:5000/a/b{at}"));
        assert_eq!(both.selector(), format!("sha256:{HEX}"));
        let digest = Reference::parse(&format!("ubuntu{at}")).unwrap();
        assert_eq!(digest.familiar(), format!("ubuntu{at}"));
    }

    #[test]
    fn refuses_what_docker_refuses() {
        let long = "a".repeat(256);
        for text in [
            "",
            ":tag",
            "Ubuntu",
            "a:",
            "a@",
            "a@sha256:123",
            "a@md5:d41d8cd98f00b204e9800998ecf8427e",
            "../x",
            "a/../b",
            "/a",
            "a/",
            "a//b",
            "-a",
            "a-",
            "a___b",
            "a..b",
            "a b",
            "a\nb",
            "a:b:c",
            "a:-x",
            "host:99999/a",
            "-h.x/a",
            "[::g]/a",
            "http://x/a",
            HEX,
            &long,
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
