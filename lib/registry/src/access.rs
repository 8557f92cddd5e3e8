//! The flags that say how registries are reached; the same in every tool that speaks to one.

use std::path::PathBuf;
use std::time::Duration;
use wb_doc::Error;

/// How registries are reached.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Access {
    /// Name and password for the registry
    #[arg(long, value_name = "USER:PASSWORD")]
    pub creds: Option<String>,
    /// Read names and passwords from this file instead of docker's config.json
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// Certificates of registries, as docker's certs.d
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// With =false, take any certificate, and http where https fails
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true)]
    pub tls_verify: bool,
    /// Let this other host ask for the registry's password
    #[arg(long, value_name = "HOST[:PORT]")]
    pub auth_host: Vec<String>,
    /// Give up on a connection that is silent for so long
    #[arg(long, value_name = "DURATION", default_value = "30s", hide_default_value = true)]
    pub idle_timeout: String,
}

impl Access {
    /// The silence after which a connection counts as broken.
    pub(crate) fn idle(&self) -> Result<Duration, Error> {
        let idle = Duration::from_nanos(wb_doc::units::duration_ns(&self.idle_timeout)?);
        if idle < Duration::from_millis(100) {
            return Err(Error::usage("--idle-timeout: at least 100ms"));
        }
        Ok(idle)
    }
}
