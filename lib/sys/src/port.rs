//! Ports of the host: held by a socket that is bound and never answers, so that nobody else can take them.

use crate::trace::call;
use crate::{Errno, Result};
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
    SockaddrStorage, bind, getsockname, listen, setsockopt, shutdown, socket, sockopt,
};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// tcp(7)
    Tcp,
    /// udp(7)
    Udp,
    /// sctp(7); `EPROTONOSUPPORT` where the kernel has none.
    Sctp,
}

/// What a port is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Nobody else is to have it; what comes is led elsewhere by rules.
    Hold,
    /// Whoever comes is answered.
    Serve,
}

/// Takes a port; number 0 takes any free one. `EADDRINUSE` where anybody has it.
///
/// An address of `::` takes the port for IPv6 only. Connections that are still winding down (`TIME_WAIT`) are no
/// obstacle. A socket for IPv4 listens, so that ss(8) shows it. One for IPv6 that only holds refuses whoever comes:
/// the rules lead nobody from `::1`, and a connection that is established and silent is worse than none.
pub fn take(address: SocketAddr, transport: Transport, purpose: Purpose) -> Result<OwnedFd> {
    let refuses = purpose == Purpose::Hold && address.is_ipv6() && transport == Transport::Tcp;
    // The number of a socket that stopped listening is only kept if it was asked for.
    let probe = if address.port() == 0 && refuses { Some(bound(address, transport)?) } else { None };
    let port = probe.as_ref().map_or(Ok(address.port()), number)?;
    let socket = bound(SocketAddr::new(address.ip(), port), transport)?;
    match (transport, purpose) {
        // Another socket with SO_REUSEADDR could share the port of one that is bound and no more.
        (Transport::Tcp, Purpose::Hold) => listen(&socket, Backlog::new(0)?)?,
        (Transport::Tcp, Purpose::Serve) => listen(&socket, Backlog::MAXCONN)?,
        // What arrives here was not for the container; it is thrown away once this much of it waits.
        (Transport::Udp, Purpose::Hold) => setsockopt(&socket, sockopt::RcvBuf, &0)?,
        // SCTP shares only among those that set SO_REUSEADDR, and who comes to one that does not listen is refused. (A
        // backlog of 0 is EINVAL there.)
        (Transport::Sctp, _) | (Transport::Udp, Purpose::Serve) => {}
    }
    if refuses {
        // Nor of one that gives up sharing after it has listened.
        shutdown(socket.as_raw_fd(), Shutdown::Both)?;
        setsockopt(&socket, sockopt::ReuseAddr, &false)?;
    }
    Ok(socket)
}

/// Begins to connect over TCP, and does not wait: the socket can be written to once it is connected.
pub fn connect(address: SocketAddr) -> Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, SockProtocol::Tcp)?;
    let raw = socket.as_raw_fd();
    let started = match address {
        SocketAddr::V4(v4) => nix::sys::socket::connect(raw, &SockaddrIn::from(v4)),
        SocketAddr::V6(v6) => nix::sys::socket::connect(raw, &SockaddrIn6::from(v6)),
    };
    match started {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

fn bound(address: SocketAddr, transport: Transport) -> Result<OwnedFd> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Transport::Udp => (SockType::Datagram, SockProtocol::Udp),
        Transport::Sctp => (SockType::Stream, SockProtocol::Sctp),
    };
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    let raw = socket.as_raw_fd();
    call(
        "the port is held as long as this socket is open",
        || format!("bind({raw}, {address}, {transport:?})"),
        || {
            if transport == Transport::Tcp {
                setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            }
            match address {
                SocketAddr::V4(v4) => bind(raw, &SockaddrIn::from(v4)),
                SocketAddr::V6(v6) => bind(raw, &SockaddrIn6::from(v6)),
            }
        },
    )?;
    Ok(socket)
}

/// Whether a socket takes datagrams.
pub fn is_datagram(socket: &OwnedFd) -> Result<bool> {
    Ok(nix::sys::socket::getsockopt(socket, sockopt::SockType)? == SockType::Datagram)
}

/// The port a socket has.
pub fn number(socket: &OwnedFd) -> Result<u16> {
    let address: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let v4 = address.as_sockaddr_in().map(SockaddrIn::port);
    v4.or_else(|| address.as_sockaddr_in6().map(SockaddrIn6::port)).ok_or(Errno::EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_taken_is_taken() {
        for transport in [Transport::Tcp, Transport::Udp, Transport::Sctp] {
            let first = match take("127.0.0.1:0".parse().unwrap(), transport, Purpose::Hold) {
                Err(Errno::EPROTONOSUPPORT) if transport == Transport::Sctp => continue,
                other => other.unwrap(),
            };
            let port = number(&first).unwrap();
            assert_ne!(port, 0);
            let again = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
            assert_eq!(take(again, transport, Purpose::Hold).map(drop), Err(Errno::EADDRINUSE));
            let any = SocketAddr::new("0.0.0.0".parse().unwrap(), port);
            assert_eq!(take(any, transport, Purpose::Hold).map(drop), Err(Errno::EADDRINUSE));
            drop(first);
            take(again, transport, Purpose::Hold).unwrap();
        }
    }

    #[test]
    fn over_ipv6_a_held_port_refuses() {
        let held = take("[::]:0".parse().unwrap(), Transport::Tcp, Purpose::Hold).unwrap();
        let port = number(&held).unwrap();
        let client = std::net::TcpStream::connect(("::1", port));
        assert_eq!(client.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        for address in ["[::]:0", "[::1]:0"] {
            let mut address: SocketAddr = address.parse().unwrap();
            address.set_port(port);
            assert_eq!(take(address, Transport::Tcp, Purpose::Hold).map(drop), Err(Errno::EADDRINUSE));
            // The standard library shares ports (SO_REUSEADDR).
            assert!(std::net::TcpListener::bind(address).is_err());
        }
        drop(held);
        take(SocketAddr::new("::".parse().unwrap(), port), Transport::Tcp, Purpose::Hold).unwrap();
    }

    #[test]
    fn a_port_that_serves_is_connected_to() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let address: SocketAddr = address.parse().unwrap();
            let door = take(address, Transport::Tcp, Purpose::Serve).unwrap();
            let at = SocketAddr::new(address.ip(), number(&door).unwrap());
            let _client = connect(at).unwrap();
            let (_server, from) = std::net::TcpListener::from(door).accept().unwrap();
            assert_eq!(from.ip(), address.ip());
        }
    }
}
