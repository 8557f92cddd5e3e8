//! Whom to trust: the system's certificates, and docker's `certs.d`.
//!
//! `/etc/docker/certs.d/HOST:PORT/*.crt` are further authorities for that registry; `NAME.cert` with `NAME.key` is
//! the certificate we show it.

use crate::tls::{Identity, TlsConnector};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
    pub fn tls(&self, verify: bool, foreign: bool, spoken: Arc<AtomicBool>) -> Result<TlsConnector, Error> {
        let mut identity = Identity::default();
        if verify {
            identity.authorities = rustls_native_certs::load_native_certs().certs;
            for path in self.files("crt")? {
                identity.pinned.extend(certificates(&path)?);
            }
        }
        if !foreign {
            identity.own = self.own()?;
        }
        TlsConnector::new(identity, verify, spoken)
    }

    #[allow(clippy::type_complexity, reason = "the pair rustls wants")]
    fn own(&self) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, Error> {
        let Some(path) = self.files("cert")?.into_iter().next() else { return Ok(None) };
        let chain = certificates(&path)?;
        let key = path.with_extension("key");
        let name = || key.display().to_string();
        let parsed = PrivateKeyDer::from_pem_slice(&read(&key)?);
        let parsed = parsed.map_err(|error| Error::new(format!("{}: {error}", name())))?;
        Ok(Some((chain, parsed)))
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

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
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
