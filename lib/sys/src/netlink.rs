//! Netlink: requests to the kernel's network and netfilter configuration (netlink(7), rtnetlink(7)).
//!
//! Several requests travel in one send; the kernel works them off in order and answers the last one with an
//! acknowledgement, a failed one with its error wherever it stands.

use crate::trace::call;
use crate::{Errno, Result};
use netlink_packet_core::Emitable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, BorrowedFd};

/// The length of `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
/// The nftables subsystem of nfnetlink: the high byte of its message types.
pub const NFNL_SUBSYS_NFTABLES: u8 = 10;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
/// Asks for all objects of a kind.
pub const NLM_F_DUMP: u16 = 0x300;
/// Fails with `EEXIST` where the object exists.
pub const NLM_F_EXCL: u16 = 0x200;
/// Replaces an object that exists.
pub const NLM_F_REPLACE: u16 = 0x100;
/// Makes the object.
pub const NLM_F_CREATE: u16 = 0x400;
/// Adds at the end of a list.
pub const NLM_F_APPEND: u16 = 0x800;

/// A family of netlink sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes: rtnetlink(7).
    Route,
    /// nftables and connection tracking.
    Netfilter,
}

impl Protocol {
    fn number(self) -> isize {
        match self {
            Self::Route => netlink_sys::protocols::NETLINK_ROUTE,
            Self::Netfilter => netlink_sys::protocols::NETLINK_NETFILTER,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Route => "NETLINK_ROUTE",
            Self::Netfilter => "NETLINK_NETFILTER",
        }
    }
}

/// One request: what the kernel reads, and how the trace shows it.
#[derive(Debug, Clone)]
pub struct Request {
    kind: u16,
    flags: u16,
    payload: Vec<u8>,
    shown: String,
}

impl Request {
    /// A request of message type `kind` with `payload` after the netlink header.
    pub fn new(kind: u16, flags: u16, payload: Vec<u8>, shown: impl Into<String>) -> Self {
        Self { kind, flags, payload, shown: shown.into() }
    }

    /// An rtnetlink request.
    pub fn route(message: &RouteNetlinkMessage, flags: u16, shown: impl Into<String>) -> Self {
        let mut payload = vec![0; message.buffer_len()];
        message.emit(&mut payload);
        Self::new(message.message_type(), flags, payload, shown)
    }

    /// How the trace shows it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    fn emit(&self, sequence: u32, flags: u16, out: &mut Vec<u8>) {
        // A message is far below 4 GiB; the kernel refuses a wrong length.
        let length = u32::try_from(HEADER_LEN + self.payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_ne_bytes());
        out.extend_from_slice(&self.kind.to_ne_bytes());
        out.extend_from_slice(&(self.flags | flags | NLM_F_REQUEST).to_ne_bytes());
        out.extend_from_slice(&sequence.to_ne_bytes());
        out.extend_from_slice(&0_u32.to_ne_bytes());
        out.extend_from_slice(&self.payload);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

/// Which request of a send the kernel refused, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Its place among the requests sent, counted from 0.
    pub index: usize,
    /// The kernel's reason.
    pub errno: Errno,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self { index: 0, errno }
    }
}

/// A netlink socket. It stays in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    protocol: Protocol,
    sequence: std::cell::Cell<u32>,
}

impl Netlink {
    /// socket(2) in the present network namespace.
    pub fn open(protocol: Protocol) -> Result<Self> {
        let name = protocol.name();
        let mut opened = None;
        call(
            "a line to the kernel's network configuration",
            || format!("socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, {name})"),
            || {
                let socket = Socket::new(protocol.number()).map_err(|error| raw(&error))?;
                Ok(opened.insert(socket).as_raw_fd())
            },
        )?;
        let socket = opened.ok_or(Errno::EBADF)?;
        // A dump of a large rule set comes in pieces; the default receive buffer holds them.
        Ok(Self { socket, protocol, sequence: std::cell::Cell::new(1) })
    }

    /// Sends requests that change something and waits for the kernel's answer to all of them.
    ///
    /// Requests after a refused one have been worked off too (rtnetlink knows no transactions); the first refusal
    /// is reported.
    pub fn change(&self, requests: &[Request], why: &str) -> std::result::Result<(), Refused> {
        match requests.len().checked_sub(1) {
            Some(last) => self.send_all(requests, last, why),
            None => Ok(()),
        }
    }

    /// Sends nftables requests as one transaction: all of them take effect, or none.
    pub fn commit(&self, requests: &[Request], why: &str) -> std::result::Result<(), Refused> {
        // struct nfgenmsg of the bracket names the subsystem, in network byte order.
        let bracket = |kind, shown: &str| Request::new(kind, 0, vec![0, 0, 0, NFNL_SUBSYS_NFTABLES], shown);
        let mut batch = vec![bracket(NFNL_MSG_BATCH_BEGIN, "NFNL_MSG_BATCH_BEGIN")];
        batch.extend_from_slice(requests);
        batch.push(bracket(NFNL_MSG_BATCH_END, "NFNL_MSG_BATCH_END"));
        // Kernels before 6.10 acknowledge no bracket: the last request inside it is asked to answer.
        match requests.len() {
            0 => Ok(()),
            last => self.send_all(&batch, last, why).map_err(|refused| Refused {
                index: refused.index.saturating_sub(1).min(last - 1),
                ..refused
            }),
        }
    }

    fn send_all(&self, requests: &[Request], last: usize, why: &str) -> std::result::Result<(), Refused> {
        let first = self.sequence.get();
        let mut bytes = Vec::with_capacity(512);
        let mut sequence = first;
        for (index, request) in requests.iter().enumerate() {
            request.emit(sequence, if index == last { NLM_F_ACK } else { 0 }, &mut bytes);
            sequence = sequence.wrapping_add(1);
        }
        self.sequence.set(sequence);
        let mut refused = None;
        let shown = || requests.iter().map(Request::shown).collect::<Vec<_>>().join("; ");
        call(
            why,
            || format!("sendto({}, [{}])", self.protocol.name(), shown()),
            || {
                self.send(&bytes)?;
                self.receive(|header, payload| {
                    if header.kind != NLMSG_ERROR {
                        return false;
                    }
                    let index = header.sequence.wrapping_sub(first) as usize;
                    if index >= requests.len() {
                        return false;
                    }
                    let error = error_of(payload);
                    if let (Some(errno), None) = (error, refused) {
                        refused = Some(Refused { index, errno });
                    }
                    // A transaction refused as a whole is answered at its opening bracket, and nothing else may come.
                    index == last || (last + 1 < requests.len() && index == 0 && error.is_some())
                })?;
                refused.map_or(Ok(()), |refused: Refused| Err(refused.errno))
            },
        )
        .map_err(|errno| refused.unwrap_or(Refused { index: last, errno }))
    }

    /// Sends a request for information; `each` gets the type and payload of every answer.
    pub fn ask(&self, request: &Request, why: &str, mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        let sequence = self.sequence.get();
        self.sequence.set(sequence.wrapping_add(1));
        let dump = request.flags & NLM_F_DUMP == NLM_F_DUMP;
        let mut bytes = Vec::with_capacity(64);
        request.emit(sequence, if dump { 0 } else { NLM_F_ACK }, &mut bytes);
        let mut failed = None;
        call(
            why,
            || format!("sendto({}, [{}])", self.protocol.name(), request.shown),
            || {
                self.send(&bytes)?;
                self.receive(|header, payload| {
                    if header.sequence != sequence {
                        return false;
                    }
                    match header.kind {
                        NLMSG_ERROR | NLMSG_DONE => {
                            failed = error_of(payload);
                            true
                        }
                        kind => {
                            each(kind, payload);
                            false
                        }
                    }
                })?;
                failed.map_or(Ok(()), Err)
            },
        )
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        let sent = self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0).map_err(|error| raw(&error))?;
        if sent == bytes.len() { Ok(()) } else { Err(Errno::EMSGSIZE) }
    }

    /// Hands every message that arrives to `each` until it says that was the last.
    fn receive(&self, mut each: impl FnMut(&Header, &[u8]) -> bool) -> Result<()> {
        let mut buffer: Vec<u8> = Vec::with_capacity(32 << 10);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(raw(&error)),
            }
            let mut rest = buffer.as_slice();
            while let Some((header, payload, next)) = split(rest) {
                if each(&header, payload) {
                    return Ok(());
                }
                rest = next;
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

struct Header {
    kind: u16,
    sequence: u32,
}

fn split(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let length = u32_at(bytes, 0)? as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let header = Header { kind, sequence: u32_at(bytes, 8)? };
    let payload = bytes.get(HEADER_LEN..length)?;
    Some((header, payload, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The error in an `NLMSG_ERROR` or `NLMSG_DONE`: a negative errno, 0 for success.
fn error_of(payload: &[u8]) -> Option<Errno> {
    let code = payload.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    (code < 0).then(|| Errno::from_raw(-code))
}

fn raw(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_a_stream_of_messages() {
        let mut bytes = Vec::new();
        Request::new(20, 0, vec![1, 2, 3], "a").emit(7, 0, &mut bytes);
        Request::new(21, 0, vec![], "b").emit(8, NLM_F_ACK, &mut bytes);
        let (header, payload, rest) = split(&bytes).unwrap();
        assert_eq!((header.kind, header.sequence, payload), (20, 7, &[1, 2, 3][..]));
        let (header, payload, rest) = split(rest).unwrap();
        assert_eq!((header.kind, header.sequence, payload.len(), rest.len()), (21, 8, 0, 0));
        assert!(split(&bytes[..10]).is_none());
    }

    #[test]
    fn reads_errors() {
        assert_eq!(error_of(&(-17_i32).to_ne_bytes()), Some(Errno::EEXIST));
        assert_eq!(error_of(&0_i32.to_ne_bytes()), None);
    }
}
