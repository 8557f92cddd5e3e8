//! Names on networks that people made: aardvark-dns answers on each network's gateway.
//!
//! It reads one file a network, the gateway's addresses on the first line and a container on each further one, and
//! reads them again on SIGHUP. It is started with the first container of such a network and ends by itself when the
//! last has gone. What it does not know it asks the host's resolvers.

use nix::libc::SIGHUP;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wb_doc::{Context, Document, Error, names};
use wb_store::Place;
use wb_store::lock::Lock;
use wb_store::network::{self, Attachment};
use wb_sys::{Errno, process};

/// The domain of all names, first in the containers' search list, so that no short name is asked for outside first.
pub const DOMAIN: &str = "wb.internal";
/// Where distributions put it; it is no program for people.
const PROGRAMS: [&str; 3] = [
    "/usr/lib/podman/aardvark-dns",
    "/usr/libexec/podman/aardvark-dns",
    "/usr/local/libexec/podman/aardvark-dns",
];

/// Makes the container's names known on every network that has names, and returns the resolvers it is to ask.
pub fn join(place: &Place, doc: &Document, attachments: &[Attachment]) -> Result<Vec<IpAddr>, Error> {
    let named: Vec<&Attachment> = attachments.iter().filter(|attachment| has_names(attachment)).collect();
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let Some(program) = PROGRAMS.into_iter().find(|path| Path::new(path).exists()) else {
        let message = "aardvark-dns is not installed: containers do not find each other by name";
        wb_doc::warn(crate::TOOL, message);
        return Ok(Vec::new());
    };
    let id = doc.id()?;
    let directory = directory(place);
    fs::create_dir_all(&directory).context(|| directory.display().to_string())?;
    let _lock = lock(place)?;
    let mut resolvers = Vec::new();
    for attachment in named {
        let gateways: Vec<IpAddr> = attachment.result.ips.iter().filter_map(|ip| ip.gateway).collect();
        let path = directory.join(&attachment.name);
        let mut lines = read(&path)?.into_iter().filter(|line| !is_of(line, id)).collect::<Vec<_>>();
        lines.push(line(id, doc, attachment, &attachments[0].dns.nameservers));
        replace(place, &path, &gateways, &lines)?;
        resolvers.extend(gateways);
    }
    if !reload(place)? {
        start(program, &directory)?;
    }
    Ok(resolvers)
}

/// Forgets the container's names, on one network or on all.
pub fn leave(place: &Place, id: &str, only: Option<&str>) -> Result<(), Error> {
    let directory = directory(place);
    if !directory.exists() {
        return Ok(());
    }
    let _lock = lock(place)?;
    let mut changed = false;
    for entry in fs::read_dir(&directory).context(|| directory.display().to_string())? {
        let entry = entry.context(|| directory.display().to_string())?;
        let name = entry.file_name();
        if only.is_some_and(|only| name != only) || names::check("network", &name.to_string_lossy()).is_err()
        {
            continue;
        }
        let path = entry.path();
        // The resolver's own file, gone with it at any moment.
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.context(|| path.display().to_string())?,
        };
        if !text.lines().skip(1).any(|line| is_of(line, id)) {
            continue;
        }
        changed = true;
        let gateways = text.lines().next().unwrap_or_default().split(',').filter_map(|ip| ip.parse().ok());
        let gateways: Vec<IpAddr> = gateways.collect();
        let lines: Vec<String> =
            text.lines().skip(1).filter(|line| !is_of(line, id)).map(str::to_owned).collect();
        if lines.is_empty() {
            fs::remove_file(&path).context(|| path.display().to_string())?;
        } else {
            replace(place, &path, &gateways, &lines)?;
        }
    }
    if changed {
        // One that has ended meanwhile needs to know nothing.
        reload(place)?;
    }
    Ok(())
}

/// The default network is docker's: without names. A macvlan has no gateway of ours to answer on.
fn has_names(attachment: &Attachment) -> bool {
    attachment.has_addresses()
        && attachment.name != network::DEFAULT
        && attachment.result.interfaces.len() == 3
        && attachment.result.ips.iter().any(|ip| ip.gateway.is_some())
}

fn directory(place: &Place) -> PathBuf {
    place.run().join("dns")
}

fn lock(place: &Place) -> Result<Lock, Error> {
    Lock::exclusive(&place.run().join("dns.lock"))
}

fn is_of(line: &str, id: &str) -> bool {
    line.split(' ').next() == Some(id)
}

/// `ID IPV4,… IPV6,… NAME,… [SERVER,…]`
fn line(id: &str, doc: &Document, attachment: &Attachment, servers: &[String]) -> String {
    let of_family = |v4: bool| {
        let ips = attachment.result.ips.iter().map(|ip| ip.address.addr()).filter(|ip| ip.is_ipv4() == v4);
        ips.map(|ip| ip.to_string()).collect::<Vec<_>>().join(",")
    };
    let own = [doc.str_at("/wb/name"), Some(names::short(id)), doc.str_at("/hostname")];
    let mut all: Vec<&str> = Vec::new();
    for name in own.into_iter().flatten().chain(attachment.aliases.iter().map(String::as_str)) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if !name.is_empty() && name.bytes().all(plain) && !all.contains(&name) {
            all.push(name);
        }
    }
    let mut line = format!("{id} {} {} {}", of_family(true), of_family(false), all.join(","));
    if !servers.is_empty() {
        line.push(' ');
        line.push_str(&servers.join(","));
    }
    line
}

/// The containers' lines; none where there is no file.
fn read(path: &Path) -> Result<Vec<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().skip(1).map(str::to_owned).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).context(|| path.display().to_string()),
    }
}

/// Replaces a file whole; the new one grows outside of the directory, where every file is a network.
fn replace(place: &Place, path: &Path, gateways: &[IpAddr], lines: &[String]) -> Result<(), Error> {
    let gateways: Vec<String> = gateways.iter().map(IpAddr::to_string).collect();
    let text = format!("{}\n{}\n", gateways.join(","), lines.join("\n"));
    let new = place.run().join("dns.new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).context(|| path.display().to_string())
}

/// Tells the resolver to read its files again; `false` where none runs.
fn reload(place: &Place) -> Result<bool, Error> {
    let directory = directory(place);
    let text = fs::read_to_string(directory.join("aardvark.pid")).unwrap_or_default();
    let Ok(pid) = text.trim().parse::<i32>() else { return Ok(false) };
    let pidfd = match process::pidfd_open(pid) {
        Err(Errno::ESRCH | Errno::EINVAL) => return Ok(false),
        other => other.context(|| "aardvark-dns")?,
    };
    // The handle first, then the question: the number may be another's by now.
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let ours = directory.as_os_str().as_encoded_bytes();
    if !command.split(|byte| *byte == 0).any(|word| word == ours) {
        return Ok(false);
    }
    match process::pidfd_send_signal(&pidfd, SIGHUP, "the resolver reads its files again") {
        Err(Errno::ESRCH) => Ok(false),
        other => other.context(|| "aardvark-dns").map(|()| true),
    }
}

/// Starts the resolver: it returns when it answers, and goes on in a process of its own.
fn start(program: &str, directory: &Path) -> Result<(), Error> {
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(directory)
        .args(["--filter-search-domain", &format!(".{DOMAIN}"), "--port", "53", "run"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = wb_sys::child::spawn(&mut command, "names of a network, answered on its gateway")
        .and_then(|mut child| child.wait())
        .context(|| program.to_owned())?;
    if status.success() { Ok(()) } else { Err(Error::new(format!("{program}: {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_every_name_once() {
        let doc =
            Document::parse(br#"{"hostname":"web","wb":{"name":"web","id":"0123456789abcdef"}}"#).unwrap();
        let attachment: Attachment = serde_json::from_str(
            r#"{"name":"x","aliases":["www","bad name"],"result":{"ips":[{"address":"10.0.0.2/24"},{"address":"fd00::2/64"}]}}"#,
        )
        .unwrap();
        let text = line("0123456789abcdef", &doc, &attachment, &["192.0.2.1".into()]);
        assert_eq!(text, "0123456789abcdef 10.0.0.2 fd00::2 web,0123456789ab,www 192.0.2.1");
        assert!(is_of(&text, "0123456789abcdef") && !is_of(&text, "0123456789ab"));
    }
}
