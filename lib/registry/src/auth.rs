//! Authentication: Basic, and tokens of an authorization service (distribution's token specification).

use crate::client::{Client, Failure};
use crate::credentials::{Credentials, Secret};
use crate::registry::explain;
use crate::retry::{self, Tries};
use crate::url::Url;
use std::fmt::Write;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use ureq::http::{HeaderMap, header};
use wb_doc::{Context, Error};

/// The largest answer of a token service.
const MAX_TOKEN_BYTES: u64 = 1 << 20;
/// The longest token that fits into a header everywhere.
const MAX_HEADER_VALUE: usize = 64 << 10;

/// What a registry said to a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// It knows the user.
    Accepted,
    /// It asks nobody.
    NotNeeded,
}

/// What a registry wants to see (RFC 9110, section 11).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// The present `Authorization` of one repository, and how to get a new one.
pub struct Auth {
    credentials: Credentials,
    registry: Url,
    scopes: Vec<String>,
    allowed: Vec<String>,
    header: Mutex<Option<String>>,
}

impl Auth {
    /// Nothing is sent before it is asked for.
    pub fn new(credentials: Credentials, registry: Url, scopes: Vec<String>, allowed: &[String]) -> Self {
        Self { credentials, registry, scopes, allowed: allowed.to_vec(), header: Mutex::new(None) }
    }

    /// The value of `Authorization`, once one is known.
    pub fn header(&self) -> Option<String> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers a 401 that came although `used` was sent; the next request will carry what was asked for.
    pub fn answer(&self, client: &Client, used: Option<&str>, headers: &HeaderMap) -> Result<(), Error> {
        let mut present = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        if present.as_deref() != used {
            // Another layer's request has just got a new one.
            return Ok(());
        }
        let host = self.registry.authority();
        let asked = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = asked.flat_map(challenges).collect();
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let value = match bearer.or(challenges.first()) {
            None => return Err(Error::new(format!("{host}: wants a login, and does not say which kind"))),
            Some(Challenge::Basic) => match self.credentials.get()? {
                Some(Secret::Password { user, password }) => {
                    let value = basic(&user, &password);
                    if used == Some(value.as_str()) {
                        return Err(self.denied("the password is wrong"));
                    }
                    value
                }
                _ => return Err(self.denied("it wants a user and a password")),
            },
            Some(Challenge::Bearer { realm, service }) => {
                format!("Bearer {}", self.token(client, realm, service.as_deref())?)
            }
        };
        *present = Some(value);
        Ok(())
    }

    fn denied(&self, why: &str) -> Error {
        let host = self.registry.authority();
        Error::new(format!("{host}: access denied: {why}")).hint(format!("wb login {host}"))
    }

    fn token(&self, client: &Client, realm: &str, service: Option<&str>) -> Result<String, Error> {
        let host = self.registry.authority();
        let realm = Url::parse(realm).map_err(|error| error.within(format!("{host}: token service")))?;
        if self.registry.is_https() && !realm.is_https() {
            return Err(Error::new(format!("{host}: its token service {} has no https", realm.authority())));
        }
        let secret = self.credentials.get()?;
        if secret.is_some() && !self.trusts(&realm) {
            return Err(Error::new(format!("{host}: wants the password sent to {}", realm.authority()))
                .hint(format!("if that is right: --auth-host {}", realm.authority())));
        }
        let mut query: Vec<_> = self.scopes.iter().map(|scope| ("scope", scope.as_str())).collect();
        query.extend(service.map(|service| ("service", service)));
        let mut tries = Tries::new();
        loop {
            let answer = match &secret {
                Some(Secret::IdentityToken(token)) => {
                    let mut form = query.clone();
                    form.extend([
                        ("grant_type", "refresh_token"),
                        ("refresh_token", token.as_str()),
                        ("client_id", "whalebox"),
                    ]);
                    client.post(&realm, &form)
                }
                Some(Secret::Password { user, password }) => {
                    query.retain(|(name, _)| *name != "account");
                    query.push(("account", user));
                    client.get(&with_query(&realm, &query)?, &[], Some(&basic(user, password)))
                }
                None => client.get(&with_query(&realm, &query)?, &[], None),
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(Failure::Broken(error)) => {
                    tries.wait(None, &error)?;
                    continue;
                }
                Err(other) => return Err(other.into_error().within("token service")),
            };
            match answer.status().as_u16() {
                200 => return read_token(answer.into_body().into_reader()),
                401 | 403 => return Err(self.denied(&explain(answer))),
                status @ (408 | 429 | 500 | 502 | 503 | 504) => {
                    let after = retry::retry_after(answer.headers());
                    let why = format!("token service {}: {status} {}", realm.authority(), explain(answer));
                    tries.wait(after, &Error::new(why))?;
                }
                status => {
                    let why = explain(answer);
                    return Err(Error::new(format!("token service {}: {status} {why}", realm.authority())));
                }
            }
        }
    }

    /// Whether the user's password may go to a token service: the registry's own origin, a domain above it
    /// (gitlab.com for registry.gitlab.com), docker's, or what the user named.
    fn trusts(&self, realm: &Url) -> bool {
        if realm.same_origin(&self.registry) {
            return true;
        }
        let (host, registry) = (realm.host(), self.registry.host());
        let named = |allowed: &String| {
            *allowed == realm.authority() || (*allowed == host && matches!(realm.port(), 80 | 443))
        };
        if self.allowed.iter().any(named) {
            return true;
        }
        let usual = realm.is_https() && realm.port() == 443;
        let above =
            host.contains('.') && registry.strip_suffix(&host).is_some_and(|rest| rest.ends_with('.'));
        let docker = registry == "registry-1.docker.io" && host == "auth.docker.io";
        usual && (host == registry || above || docker)
    }
}

fn with_query(realm: &Url, query: &[(&str, &str)]) -> Result<Url, Error> {
    let mut text = realm.uri().to_string();
    for (name, value) in query {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                write!(text, "%{byte:02X}").ok();
            }
        }
    }
    Url::parse(&text)
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn read_token(body: impl Read) -> Result<String, Error> {
    #[derive(serde::Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let what = || "token service";
    let mut bytes = Vec::new();
    body.take(MAX_TOKEN_BYTES + 1).read_to_end(&mut bytes).context(what)?;
    if bytes.len() as u64 > MAX_TOKEN_BYTES {
        return Err(Error::new(format!("token service: more than {MAX_TOKEN_BYTES} bytes")));
    }
    let answer: Answer = serde_json::from_slice(&bytes).context(what)?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token).unwrap_or_default();
    // Anything else could end the header and begin another.
    let valid = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if valid && token.len() <= MAX_HEADER_VALUE {
        Ok(token)
    } else {
        Err(Error::new("token service: its answer is no token"))
    }
}

/// The challenges of one `WWW-Authenticate` that are understood.
fn challenges(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        let (scheme, after) = rest.split_once(' ').unwrap_or((rest, ""));
        if scheme.is_empty() {
            return found;
        }
        let (parameters, next) = parameters(after);
        rest = next;
        let get = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer") {
            if let Some(realm) = get("realm") {
                found.push(Challenge::Bearer { realm, service: get("service") });
            }
        }
    }
}

/// `name="value", name=value …` until something that is no parameter, which begins the next challenge.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.trim_start_matches([' ', ',', '\t']);
        let end =
            start.find(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)).unwrap_or(start.len());
        let (name, after) = start.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=').filter(|_| !name.is_empty()) else {
            return (found, start);
        };
        let after = after.trim_start();
        let (value, next) = if let Some(quoted) = after.strip_prefix('"') {
            unquote(quoted)
        } else {
            let end = after.find([',', ' ']).unwrap_or(after.len());
            (after[..end].to_owned(), &after[end..])
        };
        found.push((name.to_owned(), value));
        rest = next;
    }
}

fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_challenges() {
        let bearer = |realm: &str, service: Option<&str>| Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
        };
        for (text, expected) in [
            (
                r#"Bearer realm="https://a/t",service="r, x",scope="repository:x:pull""#,
                vec![bearer("https://a/t", Some("r, x"))],
            ),
            (r#"Basic realm="x\"y""#, vec![Challenge::Basic]),
            (
                r#"Basic realm="x", Bearer realm="https://a/t""#,
                vec![Challenge::Basic, bearer("https://a/t", None)],
            ),
            ("basic", vec![Challenge::Basic]),
            ("Negotiate, Basic", vec![Challenge::Basic]),
            ("Bearer service=x", vec![]),
            ("", vec![]),
            (r#"Bearer realm="unterminated"#, vec![bearer("unterminated", None)]),
        ] {
            assert_eq!(challenges(text), expected, "{text}");
        }
    }

    #[test]
    fn passwords_go_to_the_registry_and_its_own_only() {
        let auth = |registry: &str, allowed: &[&str]| {
            let allowed: Vec<String> = allowed.iter().map(|host| (*host).to_owned()).collect();
            Auth::new(Credentials::none(), Url::parse(registry).unwrap(), Vec::new(), &allowed)
        };
        for (registry, realm, allowed, trusted) in [
            ("https://r.example", "https://r.example/t", &[][..], true),
            ("https://r.example:5000", "https://r.example/t", &[], true),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt", &[], true),
            ("https://registry-1.docker.io", "https://auth.docker.io/token", &[], true),
            ("https://r.example", "https://evil.example/t", &[], false),
            ("https://r.example", "https://evilr.example/t", &[], false),
            ("https://r.example", "https://example/t", &[], false),
            ("http://127.0.0.1:5000", "http://127.0.0.1:6000/t", &[], false),
            ("http://127.0.0.1:5000", "http://localhost:5000/t", &[], false),
            ("http://127.0.0.1:5000", "http://127.0.0.1:6000/t", &["127.0.0.1:6000"], true),
            ("https://r.example", "https://t.other/t", &["t.other"], true),
        ] {
            let trusts = auth(registry, allowed).trusts(&Url::parse(realm).unwrap());
            assert_eq!(trusts, trusted, "{registry} {realm}");
        }
    }

    #[test]
    fn tokens_are_checked() {
        assert_eq!(read_token(&br#"{"access_token":"a.b"}"#[..]).unwrap(), "a.b");
        for text in ["{}", "x", r#"{"token":"a\r\nX: y"}"#, r#"{"token":"a b"}"#] {
            assert!(read_token(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read_token(io_of(2 << 20)).is_err());
    }

    fn io_of(bytes: u64) -> impl Read {
        std::io::repeat(b'a').take(bytes)
    }

    #[test]
    fn queries_are_encoded() {
        let url =
            with_query(&Url::parse("https://h/t?x=1").unwrap(), &[("scope", "repository:a/b:pull")]).unwrap();
        assert_eq!(url.uri().to_string(), "https://h/t?x=1&scope=repository%3Aa%2Fb%3Apull");
    }
}
