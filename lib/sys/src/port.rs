//! Ports of the host: held by a socket that is bound and never answers, so that nobody else can take them.

use crate::trace::call;
use crate::{Errno, Result};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind,
    getsockname, listen, setsockopt, socket, sockopt,
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
}

/// Takes a port; number 0 takes any free one. `EADDRINUSE` where anybody has it.
///
/// An address of `::` takes the port for IPv6 only. A TCP socket listens: another one with `SO_REUSEADDR` could
/// share the port of one that is only bound. Connections that are still winding down (`TIME_WAIT`) are no obstacle.
pub fn take(address: SocketAddr, transport: Transport) -> Result<OwnedFd> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Transport::Udp => (SockType::Datagram, SockProtocol::Udp),
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
    match transport {
        Transport::Tcp => listen(&socket, Backlog::new(0)?)?,
        // What arrives here was not for the container; it is thrown away once this much of it waits.
        Transport::Udp => setsockopt(&socket, sockopt::RcvBuf, &0)?,
    }
    Ok(socket)
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
        for transport in [Transport::Tcp, Transport::Udp] {
            let first = take("127.0.0.1:0".parse().unwrap(), transport).unwrap();
            let port = number(&first).unwrap();
            assert_ne!(port, 0);
            let again = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
            assert_eq!(take(again, transport).map(drop), Err(Errno::EADDRINUSE));
            let any = SocketAddr::new("0.0.0.0".parse().unwrap(), port);
            assert_eq!(take(any, transport).map(drop), Err(Errno::EADDRINUSE));
            drop(first);
            take(again, transport).unwrap();
        }
    }
}
