//! Published ports of an ordinary user: the process that holds them on the host answers there, and hands every
//! connection and datagram on to the container, in the network namespace kept for the user.
//!
//! The rules of nftables reach no further than the kept namespace. pasta(1) could forward ports too, but takes those
//! to forward only when it starts, or else opens every one that is listened to inside, on all addresses, whatever was
//! asked for. The container sees the gateway as its client.

mod tcp;
mod udp;

use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use wb_sys::limits::{self, Resource};
use wb_sys::{Errno, park, poll, port};

/// How long nobody is let in after descriptors have run out.
const PAUSE: Duration = Duration::from_millis(200);

/// A socket on the host, and where it leads.
#[derive(Debug)]
enum Door {
    Tcp(TcpListener),
    Udp(UdpSocket, udp::Flows),
}

/// What a descriptor of one wait is.
#[derive(Debug, Clone, Copy)]
enum Token {
    Door(usize),
    Flow(usize, SocketAddr),
    Connection(usize),
}

/// Hands on what comes in by `sockets` until the process is killed: each to its own of the `targets`, which are asked
/// for anew every time. The process must be a fork of a single-threaded one; everything else it had open is closed.
pub fn forever(sockets: Vec<OwnedFd>, targets: impl Fn() -> Vec<SocketAddr>) -> i32 {
    park::close_others(&sockets);
    // No connection may get the number of standard error.
    let _streams: Vec<_> = (0..3).map(|_| File::options().read(true).write(true).open("/dev/null")).collect();
    raise_limit();
    let doors = sockets.into_iter().map(door);
    let Ok(mut doors) = doors.collect::<std::io::Result<Vec<Door>>>() else { return 1 };
    let mut connections = Vec::new();
    let mut closed_until = None;
    let mut set = poll::Set::default();
    loop {
        if turn(&mut doors, &targets, &mut connections, &mut closed_until, &mut set).is_err() {
            return 1;
        }
    }
}

/// A descriptor or two for each connection: as many as may be had. Fewer are no failure.
fn raise_limit() {
    if let Some(resource) = Resource::of("NOFILE") {
        if let Ok(limit) = limits::rlimit(resource) {
            limits::set_rlimit(resource, limits::Limit { soft: limit.hard, ..limit }).ok();
        }
    }
}

fn door(socket: OwnedFd) -> std::io::Result<Door> {
    if port::is_datagram(&socket)? {
        let socket = UdpSocket::from(socket);
        socket.set_nonblocking(true)?;
        return Ok(Door::Udp(socket, udp::Flows::default()));
    }
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(Door::Tcp(listener))
}

/// Waits for something, and does it.
fn turn(
    doors: &mut [Door],
    targets: &impl Fn() -> Vec<SocketAddr>,
    connections: &mut Vec<tcp::Connection>,
    closed_until: &mut Option<Instant>,
    set: &mut poll::Set<Token>,
) -> Result<(), Errno> {
    let now = Instant::now();
    closed_until.take_if(|until| *until <= now);
    set.clear();
    let mut deadline = *closed_until;
    for (number, door) in doors.iter().enumerate() {
        match door {
            Door::Tcp(listener) if closed_until.is_none() => set.add(listener, poll::IN, Token::Door(number)),
            Door::Tcp(_) => {}
            Door::Udp(socket, flows) => {
                set.add(socket, poll::IN, Token::Door(number));
                for (client, flow) in flows.sockets() {
                    set.add(flow, poll::IN, Token::Flow(number, client));
                }
                deadline = [deadline, flows.deadline()].into_iter().flatten().min();
            }
        }
    }
    for (number, connection) in connections.iter().enumerate() {
        for (end, events) in connection.waits_for() {
            set.add(end, events, Token::Connection(number));
        }
    }
    set.wait(deadline)?;
    for index in 0..set.len() {
        let (token, events) = set.at(index);
        if events == 0 {
            continue;
        }
        match token {
            Token::Door(number) => {
                let target = || targets().get(number).copied();
                match &mut doors[number] {
                    Door::Tcp(listener) => match tcp::accept(listener, target) {
                        Ok(new) => connections.extend(new),
                        Err(_) => *closed_until = Some(Instant::now() + PAUSE),
                    },
                    Door::Udp(socket, flows) => flows.hand_in(socket, target),
                }
            }
            Token::Flow(number, client) => {
                if let Door::Udp(socket, flows) = &mut doors[number] {
                    flows.hand_out(socket, client);
                }
            }
            Token::Connection(number) => connections[number].move_on(),
        }
    }
    connections.retain(|connection| !connection.is_over());
    for door in doors {
        if let Door::Udp(_, flows) = door {
            flows.forget_silent();
        }
    }
    Ok(())
}
