//! A connection from outside, and the one it is led on by.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use wb_sys::{poll, port};

/// How much of one direction waits for the other side at most.
const BUFFER_BYTES: usize = 64 << 10;

/// The client's connection and ours to the container.
#[derive(Debug)]
pub struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Not connected to the container yet.
    connecting: bool,
    inward: Half,
    outward: Half,
    broken: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    waiting: Vec<u8>,
    /// How much of `waiting` has been written.
    written: usize,
    /// The source has said all it has to say.
    ended: bool,
    /// The sink knows.
    told: bool,
}

/// The next connection of a listener, led on; `None` where nobody waits, or nobody is to be reached inside. An error
/// where there are no descriptors left.
pub fn accept(
    listener: &TcpListener,
    target: impl FnOnce() -> Option<SocketAddr>,
) -> std::io::Result<Option<Connection>> {
    let client = match listener.accept() {
        Ok((client, _)) => client,
        Err(error) if error.raw_os_error().is_some_and(is_shortage) => return Err(error),
        // Nobody waits, or whoever did has gone again.
        Err(_) => return Ok(None),
    };
    client.set_nonblocking(true)?;
    client.set_nodelay(true)?;
    // Dropped, the client is refused, as the container would.
    let Some(Ok(server)) = target().map(port::connect) else { return Ok(None) };
    let server = TcpStream::from(server);
    server.set_nodelay(true)?;
    let (inward, outward) = (Half::default(), Half::default());
    Ok(Some(Connection { client, server, connecting: true, inward, outward, broken: false }))
}

fn is_shortage(number: i32) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(&number)
}

impl Connection {
    /// The ends that something is waited for from. One of which nothing is wanted is left out: that it is gone would
    /// be told without end.
    pub fn waits_for(&self) -> impl Iterator<Item = (&TcpStream, i16)> {
        let wants = |source: &Half, sink: &Half| {
            let reads = if source.wants_more() && !self.connecting { poll::IN } else { 0 };
            let writes = if sink.has_waiting() { poll::OUT } else { 0 };
            reads | writes
        };
        let client = wants(&self.inward, &self.outward);
        let server = if self.connecting { poll::OUT } else { wants(&self.outward, &self.inward) };
        [(&self.client, client), (&self.server, server)].into_iter().filter(|(_, events)| *events != 0)
    }

    /// Moves what can be moved.
    pub fn move_on(&mut self) {
        if self.connecting {
            match self.server.take_error() {
                // Still on its way; it was the client that had something to say.
                Ok(None) if self.server.peer_addr().is_err() => return,
                Ok(None) => self.connecting = false,
                _ => self.broken = true,
            }
        }
        self.broken = self.broken
            || self.inward.pump(&self.client, &self.server).is_err()
            || self.outward.pump(&self.server, &self.client).is_err();
    }

    /// Whether nothing will come any more.
    pub fn is_over(&self) -> bool {
        self.broken || (self.inward.told && self.outward.told)
    }
}

impl Half {
    fn has_waiting(&self) -> bool {
        self.written < self.waiting.len()
    }

    fn wants_more(&self) -> bool {
        !self.ended && !self.has_waiting()
    }

    /// From the source to the sink until one of them would have to be waited for.
    fn pump(&mut self, mut source: &TcpStream, mut sink: &TcpStream) -> std::io::Result<()> {
        loop {
            while self.has_waiting() {
                match sink.write(&self.waiting[self.written..]) {
                    Ok(length) => self.written += length,
                    Err(error) => return wait_or(error),
                }
            }
            if self.ended {
                if !self.told {
                    self.told = true;
                    // It may be gone already.
                    sink.shutdown(Shutdown::Write).ok();
                }
                // A connection that only waits for the other side takes no memory.
                self.waiting = Vec::new();
                return Ok(());
            }
            self.waiting.resize(BUFFER_BYTES, 0);
            self.written = 0;
            let read = source.read(&mut self.waiting);
            self.waiting.truncate(*read.as_ref().unwrap_or(&0));
            match read {
                Ok(length) => self.ended = length == 0,
                Err(error) => {
                    self.waiting = Vec::new();
                    return wait_or(error);
                }
            }
        }
    }
}

fn wait_or(error: std::io::Error) -> std::io::Result<()> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A client and a server, with a connection of the relay between them.
    fn between() -> (TcpStream, TcpStream, Connection) {
        let (door, inside) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let client = TcpStream::connect(door.local_addr().unwrap()).unwrap();
        let connection = accept(&door, || inside.local_addr().ok()).unwrap().unwrap();
        (client, inside.accept().unwrap().0, connection)
    }

    fn until(connection: &mut Connection, done: impl Fn(&Connection) -> bool) {
        for _ in 0..1000 {
            if done(connection) {
                return;
            }
            let mut set = poll::Set::default();
            connection.waits_for().for_each(|(end, events)| set.add(end, events, ()));
            set.wait(Some(std::time::Instant::now() + Duration::from_millis(100))).unwrap();
            connection.move_on();
        }
        panic!("nothing moves: {connection:?}");
    }

    #[test]
    fn an_end_in_one_direction_leaves_the_other_open() {
        let (mut client, mut server, mut connection) = between();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        until(&mut connection, |connection| connection.inward.told);
        let mut heard = String::new();
        server.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "question");
        assert!(!connection.is_over());
        server.write_all(b"answer").unwrap();
        drop(server);
        until(&mut connection, Connection::is_over);
        heard.clear();
        client.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "answer");
    }

    #[test]
    fn where_nobody_listens_the_connection_breaks() {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let _client = TcpStream::connect(door.local_addr().unwrap()).unwrap();
        if let Some(mut connection) = accept(&door, || Some(nobody)).unwrap() {
            until(&mut connection, Connection::is_over);
            assert!(connection.broken);
        }
        door.set_nonblocking(true).unwrap();
        assert!(accept(&door, || Some(nobody)).unwrap().is_none());
    }
}
