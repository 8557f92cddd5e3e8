//! `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname` of a container: written beside its record and bound over
//! what the image has. The host's own /etc/hosts is never copied.

use crate::dns;
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use wb_doc::{Context, Document, Error, names};
use wb_store::network::{Attachment, Dns};

/// What a container is told when the host knows no resolver but itself: Google's, as docker does.
const LAST_RESORT: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
/// Where a host keeps the resolvers that its loopback resolver asks.
const UPSTREAM: [&str; 3] = [
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/resolvconf/resolv.conf",
];

/// The files, as they are named in the record's directory and below `/etc`.
const NAMES: [&str; 3] = ["hosts", "resolv.conf", "hostname"];

/// Writes the three files into `directory` and binds them in the document. Where networks have names, `resolvers`
/// answer on them; they know what was asked for as `dns.nameservers`.
pub fn provide(
    doc: &mut Document,
    directory: &Path,
    networks: &[Attachment],
    resolvers: &[IpAddr],
) -> Result<(), Error> {
    let hostname = hostname(doc);
    let shares_host = networks.iter().any(|network| network.name == "host");
    let mut dns = networks.first().map(|network| network.dns.clone()).unwrap_or_default();
    if !resolvers.is_empty() {
        dns.nameservers = resolvers.iter().map(IpAddr::to_string).collect();
    }
    let domain = (!resolvers.is_empty()).then_some(dns::DOMAIN);
    for (name, text) in [
        ("hosts", hosts(&hostname, networks)),
        ("resolv.conf", resolv_conf(&dns, domain, shares_host, |path| fs::read_to_string(path).ok())),
        ("hostname", format!("{hostname}\n")),
    ] {
        let path = directory.join(name);
        fs::write(&path, text).context(|| path.display().to_string())?;
        // The container's users read them, whatever our umask is.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
            .context(|| path.display().to_string())?;
        bind(doc, &path, &format!("/etc/{name}"))?;
    }
    Ok(())
}

/// Removes what [`provide`] wrote; goes on after an error and reports the first.
pub fn remove(directory: &Path) -> Result<(), Error> {
    let removed = NAMES.map(|name| match fs::remove_file(directory.join(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| directory.join(name).display().to_string())
        }
        _ => Ok(()),
    });
    removed.into_iter().collect()
}

/// Binds the files of another container, whose network this one shares.
pub fn share(doc: &mut Document, directory: &Path) -> Result<(), Error> {
    for name in NAMES {
        let path = directory.join(name);
        if path.exists() {
            bind(doc, &path, &format!("/etc/{name}"))?;
        }
    }
    Ok(())
}

/// Adds the mount, unless a mount of the user's (or of an earlier run) is there already.
fn bind(doc: &mut Document, source: &Path, destination: &str) -> Result<(), Error> {
    let mounts: Vec<serde_json::Value> = doc.read("/mounts")?.unwrap_or_default();
    if mounts.iter().any(|mount| mount["destination"] == destination) {
        return Ok(());
    }
    let source = source.to_str().ok_or_else(|| Error::new(format!("{}: not UTF-8", source.display())))?;
    let options = ["bind", "rprivate", "rw"];
    doc.push(
        "/mounts",
        json!({ "destination": destination, "type": "bind", "source": source, "options": options }),
    )
}

fn hostname(doc: &Document) -> String {
    let id = doc.id().unwrap_or_default();
    doc.str_at("/hostname").unwrap_or_else(|| names::short(id)).to_owned()
}

fn hosts(hostname: &str, networks: &[Attachment]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    let mut line = |address: &str, names: &str| {
        // Writing to a String cannot fail.
        writeln!(text, "{address}\t{names}").ok();
    };
    let gateway = networks.iter().flat_map(|network| &network.result.ips).find_map(|ip| ip.gateway);
    for entry in networks.iter().flat_map(|network| &network.hosts) {
        if let Some((names, address)) = host_entry(entry, gateway) {
            line(&address, names);
        }
    }
    if networks.iter().any(|network| network.name == "host") {
        line("127.0.0.1", "host.containers.internal host.docker.internal");
    } else if let Some(gateway) = gateway {
        line(&gateway.to_string(), "host.containers.internal host.docker.internal");
    }
    let mut own = false;
    for ip in networks.iter().flat_map(|network| &network.result.ips) {
        line(&ip.address.addr().to_string(), hostname);
        own = true;
    }
    if !own {
        line("127.0.0.1", hostname);
    }
    text
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`; `host-gateway` for the address is the host as the container sees it.
fn host_entry(entry: &str, gateway: Option<IpAddr>) -> Option<(&str, String)> {
    let (name, address) = entry.split_once('=').or_else(|| entry.split_once(':'))?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    match address {
        "host-gateway" => Some((name, gateway?.to_string())),
        _ => Some((name, address.parse::<IpAddr>().ok()?.to_string())),
    }
}

/// The container's resolver configuration: what was asked for, else the host's with every server that only the host
/// can reach left out.
fn resolv_conf(
    asked: &Dns,
    domain: Option<&str>,
    shares_host: bool,
    read: impl Fn(&str) -> Option<String>,
) -> String {
    let host = read("/etc/resolv.conf").unwrap_or_default();
    let reachable = |server: &String| {
        shares_host
            || server.split('%').next().and_then(|ip| ip.parse::<IpAddr>().ok()).is_some_and(leaves_host)
    };
    let mut servers = asked.nameservers.clone();
    if servers.is_empty() {
        let texts = std::iter::once(host.clone()).chain(UPSTREAM.iter().filter_map(|path| read(path)));
        servers = texts
            .map(|text| words(&text, "nameserver").into_iter().filter(reachable).collect::<Vec<_>>())
            .find(|servers| !servers.is_empty())
            .unwrap_or_else(|| LAST_RESORT.map(str::to_owned).to_vec());
    }
    let or_host = |asked: &[String], key| if asked.is_empty() { words(&host, key) } else { asked.to_vec() };
    let mut search = or_host(&asked.search, "search");
    if let Some(domain) = domain {
        search.insert(0, domain.to_owned());
    }
    // `--dns-search .` asks for none.
    if asked.search.iter().any(|domain| domain == ".") {
        search.clear();
    }
    let options = or_host(&asked.options, "options");
    let mut text = String::new();
    if !search.is_empty() {
        writeln!(text, "search {}", search.join(" ")).ok();
    }
    for server in servers {
        writeln!(text, "nameserver {server}").ok();
    }
    if !options.is_empty() {
        writeln!(text, "options {}", options.join(" ")).ok();
    }
    text
}

/// Whether a packet to `address` leaves the host: not loopback, and no link-local one, whose link the container is
/// not on.
fn leaves_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unspecified() && (v6.segments()[0] & 0xffc0) != 0xfe80,
    }
}

/// What follows `key` in resolv.conf(5): all lines for nameserver, the last one otherwise.
fn words(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default());
    let mut found = Vec::new();
    for line in lines {
        let mut words = line.split_ascii_whitespace();
        if words.next() == Some(key) {
            if key != "nameserver" {
                found.clear();
            }
            found.extend(words.map(str::to_owned));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_resolver_is_replaced_by_one_that_works() {
        let read = |path: &str| match path {
            "/etc/resolv.conf" => {
                Some("nameserver 127.0.0.53\noptions edns0\nsearch example.org\n".to_owned())
            }
            "/run/systemd/resolve/resolv.conf" => Some("nameserver 192.0.2.53\nnameserver ::1\n".to_owned()),
            _ => None,
        };
        let text = resolv_conf(&Dns::default(), None, false, read);
        assert_eq!(text, "search example.org\nnameserver 192.0.2.53\noptions edns0\n");
        let text = resolv_conf(&Dns::default(), None, true, read);
        assert_eq!(text, "search example.org\nnameserver 127.0.0.53\noptions edns0\n");
    }

    #[test]
    fn with_no_resolver_at_all_there_is_a_documented_one() {
        assert_eq!(
            resolv_conf(&Dns::default(), None, false, |_| None),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
        );
    }

    #[test]
    fn what_was_asked_for_wins() {
        let asked = Dns {
            nameservers: vec!["127.0.0.1".into()],
            search: vec![".".into()],
            options: vec!["ndots:2".into()],
            domain: None,
        };
        let host = |_: &str| Some("nameserver 192.0.2.1\nsearch x\n".to_owned());
        assert_eq!(resolv_conf(&asked, None, false, host), "nameserver 127.0.0.1\noptions ndots:2\n");
    }

    #[test]
    fn reads_host_entries_of_both_spellings() {
        let gateway = "10.0.0.1".parse().ok();
        assert_eq!(host_entry("db:192.0.2.7", None).unwrap(), ("db", "192.0.2.7".into()));
        assert_eq!(host_entry("db:fd00::1", None).unwrap(), ("db", "fd00::1".into()));
        assert_eq!(host_entry("db=[fd00::1]", None).unwrap(), ("db", "fd00::1".into()));
        assert_eq!(host_entry("h:host-gateway", gateway).unwrap(), ("h", "10.0.0.1".into()));
        assert!(host_entry("x", None).is_none() && host_entry("x:y", None).is_none());
    }
}
