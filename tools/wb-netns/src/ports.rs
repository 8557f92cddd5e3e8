//! Published ports: held on the host by sockets, led to the container by elements of nft maps.
//!
//! No proxy runs. One parked process a container, with nothing in it but the sockets, holds its ports: a second
//! container and any other program get `EADDRINUSE` at once. Only where the host's rules are out of reach, in an
//! ordinary user's namespaces, that process also answers (see [`relay`]).

use crate::{publish, relay, world};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_store::Place;
use wb_store::atomic::{self, Durability};
use wb_store::network::{Attachment, Port};
use wb_sys::netlink::{Netlink, Protocol};
use wb_sys::port::{self, Purpose, Transport};
use wb_sys::{Errno, child, park, pipe, poll, proc, process};

/// How often a pair of ports, the same for IPv4 and IPv6, is looked for.
const ATTEMPTS: usize = 16;

/// The process that holds a container's ports, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Holder {
    pid: i32,
    start_time: u64,
    /// Where each port leads, for one that answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    targets: Vec<SocketAddr>,
}

/// The ports a container publishes: those asked for, and of `publishAll` every exposed one that is not among them.
pub fn wanted(attachment: &Attachment) -> Result<Vec<Port>, Error> {
    let mut ports = attachment.ports.clone();
    for port in &mut ports {
        if port.protocol.is_empty() {
            "tcp".clone_into(&mut port.protocol);
        }
        if port.container_port == 0 {
            return Err(Error::usage("published port: the container's port is missing"));
        }
    }
    if attachment.publish_all {
        for exposed in &attachment.exposed {
            let (number, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
            let (first, last) = number.split_once('-').unwrap_or((number, number));
            let wrong =
                |_| Error::usage(format!("exposed port {exposed:?}: PORT[-PORT][/PROTOCOL] is needed"));
            for container_port in first.parse::<u16>().map_err(wrong)?..=last.parse::<u16>().map_err(wrong)? {
                let same = |port: &Port| port.container_port == container_port && port.protocol == protocol;
                if !ports.iter().any(same) {
                    ports.push(Port { container_port, protocol: protocol.to_owned(), ..Port::default() });
                }
            }
        }
    }
    Ok(ports)
}

/// The host's addresses on which a port is published to a container with these addresses.
pub fn host_addresses(port: &Port, ips: &[IpNet]) -> Result<Vec<IpAddr>, Error> {
    let has = |v4: bool| ips.iter().any(|ip| ip.addr().is_ipv4() == v4);
    let all: Vec<IpAddr> = match port.host_ip {
        Some(address) if address == IpAddr::V6(Ipv6Addr::LOCALHOST) => {
            let message = format!(
                "published port {} on ::1: the kernel leads nothing from there to another link",
                shown(port)
            );
            return Err(Error::new(message).code(125).hint("127.0.0.1 is for this host alone, too"));
        }
        Some(address) if has(address.is_ipv4()) => vec![address],
        Some(address) => {
            let message =
                format!("published port {}: the container has no address to lead {address} to", shown(port));
            return Err(Error::new(message));
        }
        None => [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
            .into_iter()
            .filter(|address: &IpAddr| has(address.is_ipv4()))
            .collect(),
    };
    Ok(all)
}

fn shown(port: &Port) -> String {
    match port.host_port_range {
        Some((first, last)) => format!("{first}-{last}/{}", port.protocol),
        None => format!("{}/{}", port.host_port, port.protocol),
    }
}

/// Where each of the sockets of [`take`] leads, in the same order.
pub fn targets(ports: &[Port], ips: &[IpNet]) -> Result<Vec<SocketAddr>, Error> {
    let mut targets = Vec::new();
    for port in ports {
        for host in host_addresses(port, ips)? {
            let inside = ips.iter().map(IpNet::addr).find(|ip| ip.is_ipv4() == host.is_ipv4());
            targets.extend(inside.map(|inside| SocketAddr::new(inside, port.container_port)));
        }
    }
    Ok(targets)
}

/// Takes every port; those with number 0 get the number of a free one, those with a range the first free one of it.
pub fn take(ports: &mut [Port], ips: &[IpNet]) -> Result<Vec<OwnedFd>, Error> {
    let mut held = Vec::new();
    for port in ports {
        let addresses = host_addresses(port, ips)?;
        let mut candidates: VecDeque<u16> = match (port.host_port_range, port.host_port) {
            (Some((first, last)), _) => (first..=last).collect(),
            (None, 0) => [0; ATTEMPTS].into(),
            (None, number) => [number].into(),
        };
        while let Some(candidate) = candidates.pop_front() {
            match take_one(candidate, &port.protocol, &addresses) {
                Ok((number, sockets)) => {
                    port.host_port = number;
                    held.extend(sockets);
                    break;
                }
                // Somebody has it; or what was free for IPv4 is taken for IPv6.
                Err(Errno::EADDRINUSE) if !candidates.is_empty() => {}
                Err(errno) => {
                    let what = format!("published port {} on {}", shown(port), addresses[0]);
                    let error = Error::errno(what, errno).code(125);
                    return Err(advise(error, errno, port));
                }
            }
        }
    }
    Ok(held)
}

fn advise(error: Error, errno: Errno, port: &Port) -> Error {
    match errno {
        Errno::EPROTONOSUPPORT if world::is_kept() => error.hint("an ordinary user publishes TCP and UDP"),
        // A port that nobody holds is not published: two containers could have it.
        Errno::EPROTONOSUPPORT if port.protocol == "sctp" => error.hint("modprobe sctp"),
        Errno::EACCES => error
            .hint(format!("root allows it: sysctl net.ipv4.ip_unprivileged_port_start={}", port.host_port)),
        _ => error,
    }
}

fn take_one(number: u16, protocol: &str, addresses: &[IpAddr]) -> Result<(u16, Vec<OwnedFd>), Errno> {
    let transport = match protocol {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        "sctp" if !world::is_kept() => Transport::Sctp,
        _ => return Err(Errno::EPROTONOSUPPORT),
    };
    let purpose = if world::is_kept() { Purpose::Serve } else { Purpose::Hold };
    let mut number = number;
    let mut sockets = Vec::new();
    for address in addresses {
        let socket = port::take(SocketAddr::new(*address, number), transport, purpose)?;
        number = port::number(&socket)?;
        sockets.push(socket);
    }
    Ok((number, sockets))
}

fn file(place: &Place, id: &str) -> PathBuf {
    place.run().join("ports").join(id)
}

/// Leaves the sockets to a parked process of their own, which is written down, so that [`withdraw`] finds it. Nobody
/// waits for it: should this program be killed before the writing is done, it ends too.
pub fn park(place: &Place, id: &str, sockets: Vec<OwnedFd>, targets: Vec<SocketAddr>) -> Result<(), Error> {
    let path = file(place, id);
    let directory = place.run().join("ports");
    fs::create_dir_all(&directory).context(|| directory.display().to_string())?;
    let (reader, writer) = pipe::pipe().context(|| "pipe")?;
    let pid = child::fork("a parked process holds the published ports", || {
        let end = writer.as_raw_fd().unsigned_abs();
        // The terminal's signals and its end are not for this one.
        let go = child::new_session()
            .and_then(|_| child::close_range(end, end))
            .and_then(|()| pipe::read(&reader, &mut [0]));
        match go {
            Ok(1) if world::is_kept() => relay::forever(sockets, || leads_to(&path)),
            Ok(1) => park::forever(&sockets),
            _ => 1,
        }
    })
    .context(|| "fork")?;
    drop(reader);
    write_down(&path, pid.as_raw(), targets)?;
    pipe::write(&writer, &[1]).context(|| "the holder of the ports").map(drop)
}

fn write_down(path: &Path, pid: i32, targets: Vec<SocketAddr>) -> Result<(), Error> {
    let start_time = proc::start_time(pid).context(|| "start time")?;
    let targets = if world::is_kept() { targets } else { Vec::new() };
    Holder { pid, start_time, targets }.write(path)
}

impl Holder {
    fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec(self).context(|| "the holder of the ports")?;
        atomic::write(path, &text, Durability::Visible)
    }
}

/// What the file says at this moment; nowhere, where it is gone.
fn leads_to(path: &Path) -> Vec<SocketAddr> {
    let text = fs::read(path).unwrap_or_default();
    serde_json::from_slice::<Holder>(&text).map(|holder| holder.targets).unwrap_or_default()
}

/// Leads what a holder answers elsewhere. One that only holds needs not be told.
pub fn redirect(place: &Place, id: &str, targets: Vec<SocketAddr>) -> Result<(), Error> {
    let path = file(place, id);
    match fs::read(&path).map(|text| serde_json::from_slice::<Holder>(&text)) {
        Ok(Ok(holder)) if !holder.targets.is_empty() => Holder { targets, ..holder }.write(&path),
        _ => Ok(()),
    }
}

/// Takes a container's ports off the host: the rules first, then the holder, whose end is waited for, so that the
/// ports can be taken again at once. Nothing published is fine.
pub fn withdraw(place: &Place, id: &str) -> Result<(), Error> {
    let path = file(place, id);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context(|| path.display().to_string()),
    };
    let netfilter = Netlink::open(Protocol::Netfilter).context(|| "nfnetlink")?;
    publish::withdraw(&netfilter, &place.machine_name("wb"), id)?;
    leave_open(netfilter)?;
    // A file that is no longer whole names nobody.
    if let Ok(holder) = serde_json::from_slice::<Holder>(&text) {
        end(&holder).context(|| "the holder of the ports")?;
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// Whoever closes a netfilter socket last, after something was deleted, waits until the kernel has freed it (a grace
/// period, some 15 ms). That is left to a process that nobody waits for.
fn leave_open(netfilter: Netlink) -> Result<(), Error> {
    let (reader, writer) = pipe::pipe().context(|| "pipe")?;
    child::fork("closes the socket after us, for which the kernel makes it wait", || {
        // The pipes of a pipeline above all, which others read to their end.
        let alone = child::close_all_but(&[netfilter.as_fd(), reader.as_fd()]);
        let ended = alone.and_then(|()| pipe::read(&reader, &mut [0]));
        i32::from(ended.is_err())
    })
    .context(|| "fork")?;
    drop(netfilter);
    drop(writer);
    Ok(())
}

/// Whose ports are held by a process that lives.
pub fn held(place: &Place) -> Result<Vec<String>, Error> {
    let mut held = owners(place)?;
    held.retain(|id| {
        let holder =
            fs::read(file(place, id)).ok().and_then(|text| serde_json::from_slice::<Holder>(&text).ok());
        holder.is_some_and(|holder| proc::start_time(holder.pid) == Ok(holder.start_time))
    });
    Ok(held)
}

/// Whose ports are, or were, held.
pub fn owners(place: &Place) -> Result<Vec<String>, Error> {
    let directory = place.run().join("ports");
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| directory.display().to_string()),
    };
    let mut owners = Vec::new();
    for entry in entries {
        let name = entry.context(|| directory.display().to_string())?.file_name();
        owners.extend(name.into_string().ok().filter(|name| !name.starts_with('.')));
    }
    Ok(owners)
}

fn end(holder: &Holder) -> Result<(), Errno> {
    let pidfd = match process::pidfd_open(holder.pid) {
        Err(Errno::ESRCH) => return Ok(()),
        other => other?,
    };
    // The handle first, then the question: the number may be another's by now.
    if proc::start_time(holder.pid) != Ok(holder.start_time) {
        return Ok(());
    }
    match process::pidfd_send_signal(&pidfd, nix::libc::SIGKILL, "the ports are free when it has ended") {
        Err(Errno::ESRCH) => return Ok(()),
        other => other?,
    }
    let mut set = poll::Set::default();
    set.add(pidfd.as_fd(), poll::IN, ());
    set.wait(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host: Option<&str>, host_port: u16, container_port: u16) -> Port {
        Port {
            host_ip: host.map(|ip| ip.parse().unwrap()),
            host_port,
            container_port,
            protocol: "tcp".into(),
            ..Port::default()
        }
    }

    #[test]
    fn exposed_ports_are_published_once() {
        let attachment = Attachment {
            ports: vec![port(None, 8080, 80)],
            exposed: vec!["80/tcp".into(), "53/udp".into(), "100-101".into()],
            publish_all: true,
            ..Attachment::default()
        };
        let wanted: Vec<_> =
            wanted(&attachment).unwrap().iter().map(|p| (p.host_port, p.container_port)).collect();
        assert_eq!(wanted, [(8080, 80), (0, 53), (0, 100), (0, 101)]);
    }
}
