//! Name resolution for hosts that a registry, not the user, has named: a redirect must not make this machine ask
//! its own services or a cloud's metadata server (server-side request forgery).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Resolves names, and leaves out addresses nobody but the user may name.
#[derive(Debug, Default)]
pub struct Guard {
    /// Asks the system.
    pub inner: DefaultResolver,
    /// Whether the registry itself is on the loopback interface: then others there are its neighbours.
    pub loopback_allowed: bool,
    /// Whether every address is allowed: the user's own choice of host.
    pub open: bool,
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let all = self.inner.resolve(uri, config, timeout)?;
        if self.open {
            return Ok(all);
        }
        let mut allowed = self.empty();
        for address in all.iter().filter(|address| is_allowed(address.ip(), self.loopback_allowed)) {
            allowed.push(*address);
        }
        if allowed.is_empty() {
            let message = "its address belongs to this machine or link, where no registry may lead";
            return Err(ureq::Error::Io(io::Error::new(io::ErrorKind::PermissionDenied, message)));
        }
        Ok(allowed)
    }
}

fn is_allowed(address: IpAddr, loopback_allowed: bool) -> bool {
    let address = match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    if address.is_loopback() {
        return loopback_allowed;
    }
    match address {
        IpAddr::V4(four) => {
            let metadata = Ipv4Addr::new(100, 100, 100, 200);
            !four.is_link_local() && !four.is_unspecified() && !four.is_multicast() && four != metadata
        }
        IpAddr::V6(six) => {
            let metadata = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            !six.is_unicast_link_local() && !six.is_unspecified() && !six.is_multicast() && six != metadata
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_servers_are_out_of_reach() {
        for text in
            ["169.254.169.254", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "0.0.0.0", "127.0.0.1"]
        {
            assert!(!is_allowed(text.parse().unwrap(), false), "{text}");
        }
        for text in ["192.0.2.1", "10.0.0.1", "2001:db8::1"] {
            assert!(is_allowed(text.parse().unwrap(), false), "{text}");
        }
        assert!(is_allowed("127.0.0.1".parse().unwrap(), true));
    }
}
