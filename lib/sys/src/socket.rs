//! Local sockets that keep messages whole (`SOCK_SEQPACKET`) and carry descriptors (`SCM_RIGHTS`): unix(7).

use crate::trace::{call, quoted};
use crate::{Errno, Result};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    accept4, bind, connect, listen, recvmsg, sendmsg, socket, socketpair,
};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

/// The most descriptors one message carries.
pub const MAX_FDS: usize = 4;

/// A connected pair.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// Listens at `path`, which must not exist. The socket's mode is what the umask leaves; it never waits.
pub fn listen_at(path: &Path) -> Result<OwnedFd> {
    let socket = new(SockFlag::SOCK_NONBLOCK)?;
    let raw = socket.as_raw_fd();
    let (_directory, address) = address(path)?;
    call(
        "a path and not an abstract name: only who may enter the directory may connect",
        || format!("bind({raw}, {{sa_family=AF_UNIX, sun_path={}}}, …)", quoted(path)),
        || bind(raw, &address),
    )?;
    listen(&socket, Backlog::new(16)?)?;
    Ok(socket)
}

/// Connects to the socket at `path`; `ECONNREFUSED` or `ENOENT` where nobody listens.
pub fn connect_to(path: &Path) -> Result<OwnedFd> {
    let socket = new(SockFlag::empty())?;
    let raw = socket.as_raw_fd();
    let (_directory, address) = address(path)?;
    call(
        "whoever attends the container listens here",
        || format!("connect({raw}, {{sa_family=AF_UNIX, sun_path={}}}, …)", quoted(path)),
        || connect(raw, &address),
    )?;
    Ok(socket)
}

/// As [`connect_to`], to a socket that is a stream, as other programs' sockets mostly are.
pub fn connect_stream(path: &Path) -> Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let raw = socket.as_raw_fd();
    let (_directory, address) = address(path)?;
    call(
        "an engine listens here",
        || format!("connect({raw}, {{sa_family=AF_UNIX, sun_path={}}}, …)", quoted(path)),
        || connect(raw, &address),
    )?;
    Ok(socket)
}

/// The next connection of a listening socket, `None` where none waits. It never waits itself.
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>> {
    match accept4(listener.as_fd().as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn new(flags: SockFlag) -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, flags | SockFlag::SOCK_CLOEXEC, None)
}

/// The address of `path`, of which sun_path has room for 108 bytes only: the way to a longer one leads through a
/// descriptor of its directory, which must stay open until the address has been used.
fn address(path: &Path) -> Result<(Option<File>, UnixAddr)> {
    if let Ok(address) = UnixAddr::new(path) {
        return Ok((None, address));
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::EINVAL);
    };
    let directory =
        File::open(parent).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    Ok((Some(directory), UnixAddr::new(&short)?))
}

/// Sends one message and up to [`MAX_FDS`] descriptors. Never raises SIGPIPE: `EPIPE` where nobody is left.
pub fn send(socket: impl AsFd, message: &[u8], fds: &[RawFd]) -> Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    let data = [IoSlice::new(message)];
    loop {
        match sendmsg::<()>(socket.as_fd().as_raw_fd(), &data, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Receives one message into `buffer`: its length (0 where the other end is gone) and its descriptors,
/// close-on-exec. `EMSGSIZE` where it was cut short.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut data = [IoSliceMut::new(buffer)];
    let raw = socket.as_fd().as_raw_fd();
    let message = loop {
        match recvmsg::<()>(raw, &mut data, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            for number in numbers {
                // SAFETY: the kernel has just made this descriptor for us, and each is taken over once.
                fds.push(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((message.bytes, fds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_whole_and_carry_descriptors() {
        let (a, b) = pair().unwrap();
        let (reader, writer) = crate::pipe::pipe().unwrap();
        send(&a, b"one", &[]).unwrap();
        send(&a, b"two", &[writer.as_raw_fd()]).unwrap();
        drop(writer);
        let mut buffer = [0; 64];
        let (length, fds) = receive(&b, &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"one"[..], 0));
        let (length, fds) = receive(&b, &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"two"[..], 1));
        crate::pipe::write(&fds[0], b"x").unwrap();
        assert_eq!(crate::pipe::read(&reader, &mut buffer), Ok(1));
        drop(a);
        assert_eq!(receive(&b, &mut buffer).unwrap().0, 0);
        assert_eq!(send(&b, b"x", &[]), Err(Errno::EPIPE));
    }

    #[test]
    fn a_path_longer_than_sun_path_works() {
        let mut directory = std::env::temp_dir().join(format!("wb-sys-{}", std::process::id()));
        let top = directory.clone();
        directory.push("x".repeat(150));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("sock");
        let listener = listen_at(&path).unwrap();
        assert!(accept(&listener).unwrap().is_none());
        let client = connect_to(&path).unwrap();
        let server = accept(&listener).unwrap().unwrap();
        send(&client, b"hello", &[]).unwrap();
        let mut buffer = [0; 64];
        assert_eq!(receive(&server, &mut buffer).unwrap().0, 5);
        std::fs::remove_dir_all(top).unwrap();
    }
}
