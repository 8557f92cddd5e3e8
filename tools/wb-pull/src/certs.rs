//! Whom to trust: the system's certificates, and docker's `certs.d`.
//!
//! `/etc/docker/certs.d/HOST:PORT/*.crt` are further authorities for that registry; `NAME.cert` with `NAME.key` is
//! the certificate we show it.

use std::fs;
use std::path::{Path, PathBuf};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use wb_doc::{Context, Error};

const DIRECTORIES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The certificates of one registry; read when a TLS connection is about to be made.
#[derive(Debug)]
pub struct Certificates {
    directories: Vec<PathBuf>,
}

impl Certificates {
    /// Those of `domain`; a directory of the user's is taken as it is.
    pub fn of(domain: &str, own: Option<&Path>) -> Self {
        let directories = match own {
            Some(own) => vec![own.to_owned()],
            None => DIRECTORIES.iter().map(|directory| Path::new(directory).join(domain)).collect(),
        };
        Self { directories }
    }

    /// The TLS side of a connection to the registry, or to a host it has sent us to, which gets no certificate of
    /// ours.
    pub fn tls(&self, verify: bool, foreign: bool) -> Result<TlsConfig, Error> {
        let mut builder = TlsConfig::builder().disable_verification(!verify);
        if verify {
            builder = builder.root_certs(RootCerts::from(self.authorities()?));
        }
        if !foreign {
            builder = builder.client_cert(self.client()?);
        }
        Ok(builder.build())
    }

    fn authorities(&self) -> Result<Vec<Certificate<'static>>, Error> {
        let system = rustls_native_certs::load_native_certs();
        let mut all: Vec<_> =
            system.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
        for path in self.files("crt")? {
            all.extend(certificates(&path)?);
        }
        if all.is_empty() {
            return Err(Error::new("no certificate authority is known on this machine")
                .hint("install the package ca-certificates"));
        }
        Ok(all)
    }

    fn client(&self) -> Result<Option<ClientCert>, Error> {
        let Some(path) = self.files("cert")?.into_iter().next() else { return Ok(None) };
        let key = path.with_extension("key");
        let chain = certificates(&path)?;
        let name = || key.display().to_string();
        let key =
            PrivateKey::from_pem(&read(&key)?).map_err(|error| Error::new(format!("{}: {error}", name())))?;
        Ok(Some(ClientCert::new_with_certs(&chain, key)))
    }

    fn files(&self, extension: &str) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        for directory in &self.directories {
            let entries = match fs::read_dir(directory) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.context(|| directory.display().to_string())?,
            };
            for entry in entries {
                let path = entry.context(|| directory.display().to_string())?.path();
                if path.extension().is_some_and(|found| found == extension) {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let pem = read(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        let item = item.map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
        if let PemItem::Certificate(certificate) = item {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        Err(Error::new(format!("{}: no certificate in it", path.display())))
    } else {
        Ok(found)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let name = || path.display().to_string();
    if fs::metadata(path).context(name)?.len() > MAX_FILE_BYTES {
        return Err(Error::new(format!("{}: more than {MAX_FILE_BYTES} bytes", name())));
    }
    fs::read(path).context(name)
}
