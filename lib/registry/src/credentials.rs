//! Names and passwords: from the command line, from docker's `config.json`, from credential helpers.

use crate::Access;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use wb_doc::{Context, Error};
use wb_store::atomic::{Durability, write};

/// Docker Hub's key in every config.json.
const HUB: &str = "https://index.docker.io/v1/";
const MAX_FILE_BYTES: u64 = 4 << 20;

/// What a registry is shown. It has no `Debug`, so that it gets into no message.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token that gets tokens.
    IdentityToken(String),
}

/// The credentials for one registry, looked up when the registry asks.
pub struct Credentials {
    key: String,
    given: Option<String>,
    files: Vec<PathBuf>,
    found: OnceLock<Option<Secret>>,
}

impl Credentials {
    /// Those of `domain`: `--creds`, else the first file that has some.
    pub fn new(access: &Access, domain: &str) -> Self {
        Self {
            key: key(domain),
            given: access.creds.clone(),
            files: files(access.authfile.as_deref()),
            found: OnceLock::new(),
        }
    }

    /// Just this secret.
    pub fn of(secret: Secret) -> Self {
        let found = OnceLock::from(Some(secret));
        Self { key: String::new(), given: None, files: Vec::new(), found }
    }

    /// None at all.
    #[cfg(test)]
    pub fn none() -> Self {
        Self { key: String::new(), given: None, files: Vec::new(), found: OnceLock::from(None) }
    }

    /// The secret, if there is one.
    pub fn get(&self) -> Result<Option<Secret>, Error> {
        if let Some(found) = self.found.get() {
            return Ok(found.clone());
        }
        let found = self.look_up()?;
        Ok(self.found.get_or_init(|| found).clone())
    }

    fn look_up(&self) -> Result<Option<Secret>, Error> {
        if let Some(given) = &self.given {
            let (user, password) =
                given.split_once(':').ok_or_else(|| Error::usage("--creds: USER:PASSWORD is wanted"))?;
            return Ok(Some(Secret::Password { user: user.into(), password: password.into() }));
        }
        for path in &self.files {
            let Some(config) = read_config(path)? else { continue };
            if let Some(secret) = in_config(&config, &self.key).context(|| path.display().to_string())? {
                return Ok(Some(secret));
            }
        }
        Ok(None)
    }
}

/// The name a registry goes by in config.json.
pub fn key(domain: &str) -> String {
    if matches!(domain, "docker.io" | "index.docker.io" | "registry-1.docker.io") {
        HUB.to_owned()
    } else {
        domain.to_owned()
    }
}

/// docker's config.json.
pub fn docker_config() -> PathBuf {
    let directory = std::env::var_os("DOCKER_CONFIG").filter(|value| !value.is_empty()).map_or_else(
        || {
            let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
            PathBuf::from(home.unwrap_or_else(|| "/root".into())).join(".docker")
        },
        PathBuf::from,
    );
    directory.join("config.json")
}

/// Where names and passwords may lie, as podman and docker look for them.
fn files(own: Option<&Path>) -> Vec<PathBuf> {
    if let Some(own) = own {
        return vec![own.to_owned()];
    }
    if let Some(own) = std::env::var_os("REGISTRY_AUTH_FILE").filter(|value| !value.is_empty()) {
        return vec![own.into()];
    }
    let mut files = vec![docker_config()];
    if let Some(run) = std::env::var_os("XDG_RUNTIME_DIR") {
        files.push(Path::new(&run).join("containers/auth.json"));
    }
    files.push("/run/containers/0/auth.json".into());
    files
}

/// Reads a config.json; `None` where there is none.
fn read_config(path: &Path) -> Result<Option<Map<String, Value>>, Error> {
    let name = || path.display().to_string();
    let mut bytes = Vec::new();
    match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(name),
        Ok(file) => file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).context(name)?,
    };
    serde_json::from_slice(&bytes).context(name).map(Some)
}

fn in_config(config: &Map<String, Value>, key: &str) -> Result<Option<Secret>, Error> {
    let helper = config.get("credHelpers").and_then(|helpers| helpers.get(key)).and_then(Value::as_str);
    if let Some(helper) = helper {
        return helper_get(helper, key);
    }
    let auths = config.get("auths").and_then(Value::as_object);
    if let Some(secret) = auths.and_then(|auths| entry(auths, key)).map(secret).transpose()?.flatten() {
        return Ok(Some(secret));
    }
    match config.get("credsStore").and_then(Value::as_str).filter(|store| !store.is_empty()) {
        Some(store) => helper_get(store, key),
        None => Ok(None),
    }
}

/// The entry of a registry; older programs wrote the key as a URL.
fn entry<'a>(auths: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    auths.get(key).or_else(|| {
        auths.iter().find(|(other, _)| host(other) == host(key) && *other != key).map(|(_, value)| value)
    })
}

fn host(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    match rest.split('/').next().unwrap_or_default() {
        "docker.io" => "index.docker.io",
        host => host,
    }
}

fn secret(entry: &Value) -> Result<Option<Secret>, Error> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Secret::IdentityToken(token.into())));
    }
    if let Some(auth) = text("auth") {
        let wrong = || Error::new("auth: not the base64 of USER:PASSWORD");
        let bytes = STANDARD.decode(auth.trim_end_matches('\0')).map_err(|_| wrong())?;
        let pair = String::from_utf8(bytes).map_err(|_| wrong())?;
        let (user, password) = pair.split_once(':').ok_or_else(wrong)?;
        let password = password.trim_end_matches('\0');
        return Ok(Some(Secret::Password { user: user.into(), password: password.into() }));
    }
    Ok(text("username")
        .zip(text("password"))
        .map(|(user, password)| Secret::Password { user: user.into(), password: password.into() }))
}

/// A credential helper: the name of a program, which must not become a path.
fn helper(name: &str, verb: &str, input: &str) -> Result<(bool, Vec<u8>), Error> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(Error::new(format!("credential helper {name:?}: not a program's name")));
    }
    let program = format!("docker-credential-{name}");
    let what = || program.clone();
    let mut command = Command::new(&program);
    command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child =
        wb_sys::child::spawn(&mut command, "passwords are this program's business").context(what)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not listen says so by its status.
        stdin.write_all(input.as_bytes()).ok();
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(1 << 20).read_to_end(&mut output).context(what)?;
    }
    let status = child.wait().context(what)?;
    Ok((status.success(), output))
}

fn helper_get(name: &str, key: &str) -> Result<Option<Secret>, Error> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Found {
        username: String,
        secret: String,
    }
    let (success, output) = helper(name, "get", key)?;
    if !success {
        // The helpers' protocol has no other word for "I have none".
        let said = String::from_utf8_lossy(&output);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(Error::new(format!("docker-credential-{name}: {}", said.trim())));
    }
    let found: Found = serde_json::from_slice(&output).context(|| format!("docker-credential-{name}"))?;
    Ok(Some(if found.username == "<token>" {
        Secret::IdentityToken(found.secret)
    } else {
        Secret::Password { user: found.username, password: found.secret }
    }))
}

/// Keeps a password for a registry; returns where.
pub fn store(path: &Path, domain: &str, user: &str, password: &str) -> Result<String, Error> {
    let key = key(domain);
    let mut config = read_config(path)?.unwrap_or_default();
    if let Some(name) = keeper(&config, &key) {
        let input = json!({ "ServerURL": key, "Username": user, "Secret": password }).to_string();
        let (success, output) = helper(&name, "store", &input)?;
        let said = String::from_utf8_lossy(&output);
        return if success {
            Ok(format!("docker-credential-{name}"))
        } else {
            Err(Error::new(format!("docker-credential-{name}: {}", said.trim())))
        };
    }
    let auth = STANDARD.encode(format!("{user}:{password}"));
    let auths = config.entry("auths").or_insert_with(|| json!({}));
    let auths = auths.as_object_mut().ok_or_else(|| Error::new(format!("{}: auths", path.display())))?;
    auths.insert(key, json!({ "auth": auth }));
    write_config(path, &config)?;
    Ok(path.display().to_string())
}

/// Forgets a registry's password; `false` where none was kept.
pub fn erase(path: &Path, domain: &str) -> Result<bool, Error> {
    let key = key(domain);
    let Some(mut config) = read_config(path)? else { return Ok(false) };
    let mut known = false;
    if let Some(name) = keeper(&config, &key) {
        known = helper(&name, "erase", &key)?.0;
    }
    if let Some(auths) = config.get_mut("auths").and_then(Value::as_object_mut) {
        if auths.shift_remove(&key).is_some() {
            known = true;
            write_config(path, &config)?;
        }
    }
    Ok(known)
}

/// The helper that keeps a registry's password, if any.
fn keeper(config: &Map<String, Value>, key: &str) -> Option<String> {
    let own = config.get("credHelpers").and_then(|helpers| helpers.get(key));
    own.or(config.get("credsStore"))
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

fn write_config(path: &Path, config: &Map<String, Value>) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(directory) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(directory).context(|| directory.display().to_string())?;
    }
    let mut bytes = serde_json::to_vec_pretty(config).context(|| path.display().to_string())?;
    bytes.push(b'\n');
    write(path, &bytes, Durability::Durable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: Value, domain: &str) -> Option<(String, String)> {
        let Value::Object(config) = config else { return None };
        match in_config(&config, &key(domain)).unwrap()? {
            Secret::Password { user, password } => Some((user, password)),
            Secret::IdentityToken(token) => Some(("<token>".into(), token)),
        }
    }

    #[test]
    fn reads_dockers_config() {
        let auth = STANDARD.encode("u:p:q");
        let pair = Some(("u".to_owned(), "p:q".to_owned()));
        assert_eq!(found(json!({"auths": {"h:5000": {"auth": auth}}}), "h:5000"), pair);
        assert_eq!(found(json!({"auths": {"https://h:5000/v1/": {"auth": auth}}}), "h:5000"), pair);
        assert_eq!(found(json!({"auths": {"h:5000": {"auth": auth}}}), "h"), None);
        assert_eq!(found(json!({"auths": {HUB: {"auth": auth}}}), "docker.io"), pair);
        let token = found(json!({"auths": {"h": {"auth": auth, "identitytoken": "t"}}}), "h");
        assert_eq!(token, Some(("<token>".into(), "t".into())));
        assert_eq!(found(json!({}), "h"), None);
    }

    #[test]
    fn a_helper_is_a_name_and_no_path() {
        for name in ["../x", "a b", "", "x/y", "x;y"] {
            assert!(helper(name, "get", "").is_err(), "{name}");
        }
    }

    #[test]
    fn a_login_keeps_the_rest_of_the_file() {
        let directory = std::env::temp_dir().join(format!("wb-pull-test-{}", std::process::id()));
        let path = directory.join("config.json");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(&path, r#"{"x":1,"auths":{"o":{"auth":"dTpw"}}}"#).unwrap();
        store(&path, "h", "u", "p").unwrap();
        let config = read_config(&path).unwrap().unwrap();
        assert_eq!(config["x"], 1);
        assert_eq!(found(Value::Object(config.clone()), "h"), Some(("u".into(), "p".into())));
        assert_eq!(found(Value::Object(config), "o"), Some(("u".into(), "p".into())));
        assert!(erase(&path, "h").unwrap());
        assert!(!erase(&path, "h").unwrap());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
