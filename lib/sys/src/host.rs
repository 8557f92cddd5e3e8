//! What a uts or network namespace has of its own: the names of the host, the loopback interface.

use crate::trace::{call, quoted};
use crate::{Errno, Result};
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::os::fd::AsRawFd;

/// sethostname(2), in this uts namespace.
pub fn set_hostname(name: &str) -> Result<()> {
    call(
        "its own name",
        || format!("sethostname({}, {})", quoted(name), name.len()),
        || nix::unistd::sethostname(name),
    )
}

/// setdomainname(2), in this uts namespace.
pub fn set_domainname(name: &str) -> Result<()> {
    call(
        "its own NIS domain name",
        || format!("setdomainname({}, {})", quoted(name), name.len()),
        || {
            // SAFETY: the bytes live through the call and their number is given.
            Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
        },
    )
}

/// Switches the loopback interface of this network namespace on; the kernel then gives it its addresses.
pub fn loopback_up() -> Result<()> {
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let fd = socket.as_raw_fd();
    call(
        "the one interface a new network namespace has",
        || format!("ioctl({fd}, SIOCSIFFLAGS, {{ifr_name=\"lo\", ifr_flags=IFF_UP}})"),
        || {
            // SAFETY: a zeroed ifreq is a valid one.
            let mut request = unsafe { std::mem::zeroed::<libc::ifreq>() };
            for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
                *to = libc::c_char::from_ne_bytes([*from]);
            }
            request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
            let pointer = std::ptr::from_mut(&mut request);
            // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives through the call.
            Errno::result(unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, pointer) }).map(drop)
        },
    )
}
