//! The tables of the old iptables(8), which netlink does not know: the kernel shows them to a raw socket
//! (`linux/netfilter_ipv4/ip_tables.h`).

use crate::trace::call;
use crate::{Errno, Result};
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::os::fd::{AsRawFd, OwnedFd};

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`; the entries are asked for with the next number.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
const NAME: &[u8] = b"filter";
const NAME_LEN: usize = 32;
/// `struct ipt_getinfo`: the name, valid_hooks, hook_entry[5], underflow[5], num_entries, size.
const INFO_LEN: usize = NAME_LEN + 4 * 13;
/// `struct ipt_get_entries`: the name, the size, the entries, which begin at a multiple of 8.
const ENTRIES_AT: usize = NAME_LEN + 8;
const HOOKS: usize = 5;

/// One table: its entries as the kernel keeps them, and where each hook's chain begins and has its policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `struct ipt_entry` (or `ip6t_entry`), one after the other.
    pub entries: Vec<u8>,
    /// By hook (`NF_INET_FORWARD` is 2): where its chain begins.
    pub hook_entry: [u32; HOOKS],
    /// Where its policy stands.
    pub underflow: [u32; HOOKS],
}

/// The table `filter` of the present network namespace; `None` where nobody has made one. Asking makes none.
pub fn filter(is_ipv4: bool) -> Result<Option<Table>> {
    let names = if is_ipv4 { "/proc/net/ip_tables_names" } else { "/proc/net/ip6_tables_names" };
    // The kernel would load the table's module for the question alone. Without the file there is no such table.
    let names = std::fs::read_to_string(names).unwrap_or_default();
    if !names.lines().any(|name| name.as_bytes() == NAME) {
        return Ok(None);
    }
    let family = if is_ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
    loop {
        let mut info = vec![0; INFO_LEN];
        info[..NAME.len()].copy_from_slice(NAME);
        match get(&socket, is_ipv4, GET_INFO, &mut info) {
            Err(Errno::ENOENT | Errno::ENOPROTOOPT) => return Ok(None),
            other => other?,
        }
        let number = |index: usize| {
            let at = NAME_LEN + 4 * index;
            info.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
        };
        let size = number(2 * HOOKS + 2);
        let mut entries = vec![0; ENTRIES_AT + size as usize];
        entries[..NAME.len()].copy_from_slice(NAME);
        entries[NAME_LEN..NAME_LEN + 4].copy_from_slice(&size.to_ne_bytes());
        match get(&socket, is_ipv4, GET_ENTRIES, &mut entries) {
            // Somebody has changed the table in between.
            Err(Errno::EAGAIN) => continue,
            other => other?,
        }
        entries.drain(..ENTRIES_AT);
        let (hook_entry, underflow) = (
            std::array::from_fn(|hook| number(1 + hook)),
            std::array::from_fn(|hook| number(1 + HOOKS + hook)),
        );
        return Ok(Some(Table { entries, hook_entry, underflow }));
    }
}

fn get(socket: &OwnedFd, is_ipv4: bool, option: i32, buffer: &mut [u8]) -> Result<()> {
    let (level, shown) =
        if is_ipv4 { (libc::IPPROTO_IP, "SOL_IP, IPT") } else { (libc::IPPROTO_IPV6, "SOL_IPV6, IP6T") };
    let what = if option == GET_INFO { "INFO" } else { "ENTRIES" };
    let fd = socket.as_raw_fd();
    call(
        "a firewall of the old iptables, which netlink does not show",
        || format!("getsockopt({fd}, {shown}_SO_GET_{what}, filter)"),
        || {
            let mut length = libc::socklen_t::try_from(buffer.len()).map_err(|_| Errno::EINVAL)?;
            // SAFETY: the kernel writes at most `length` bytes, which is what the buffer has.
            let result =
                unsafe { libc::getsockopt(fd, level, option, buffer.as_mut_ptr().cast(), &raw mut length) };
            Errno::result(result).map(drop)
        },
    )
}
