//! Datagrams: a socket of ours towards the container for each client, by which the answers find back.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long a client that says nothing is remembered; as long as conntrack remembers a flow of both directions.
const SILENCE: Duration = Duration::from_secs(120);
/// How many clients are remembered; then the one that was silent for longest is forgotten.
const MAX_FLOWS: usize = 512;
/// How many datagrams are handed on before somebody else has a turn.
const TURN: usize = 64;
const MAX_DATAGRAM_BYTES: usize = 64 << 10;

/// The clients of one port.
#[derive(Debug, Default)]
pub struct Flows(HashMap<SocketAddr, Flow>);

#[derive(Debug)]
struct Flow {
    socket: UdpSocket,
    used: Instant,
}

impl Flows {
    /// Each client and the socket its answers come by.
    pub fn sockets(&self) -> impl Iterator<Item = (SocketAddr, &UdpSocket)> {
        self.0.iter().map(|(client, flow)| (*client, &flow.socket))
    }

    /// When the first of them is to be forgotten.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.values().map(|flow| flow.used + SILENCE).min()
    }

    /// Forgets those that have been silent for too long.
    pub fn forget_silent(&mut self) {
        self.0.retain(|_, flow| flow.used.elapsed() < SILENCE);
    }

    /// From the clients to the container. What cannot be handed on is lost, as datagrams may be.
    pub fn hand_in(&mut self, socket: &UdpSocket, target: impl Fn() -> Option<SocketAddr>) {
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        for _ in 0..TURN {
            let Ok((length, client)) = socket.recv_from(&mut buffer) else { return };
            if !self.0.contains_key(&client) {
                self.make_room();
                let Some(Ok(socket)) = target().map(towards) else { continue };
                self.0.insert(client, Flow { socket, used: Instant::now() });
            }
            if let Some(flow) = self.0.get_mut(&client) {
                flow.used = Instant::now();
                flow.socket.send(&buffer[..length]).ok();
            }
        }
    }

    /// From the container back to one client.
    pub fn hand_out(&mut self, socket: &UdpSocket, client: SocketAddr) {
        let Some(flow) = self.0.get_mut(&client) else { return };
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        for _ in 0..TURN {
            // An error is that nobody listens inside (ECONNREFUSED), or that nothing is left.
            let Ok(length) = flow.socket.recv(&mut buffer) else { return };
            flow.used = Instant::now();
            socket.send_to(&buffer[..length], client).ok();
        }
    }

    fn make_room(&mut self) {
        if self.0.len() < MAX_FLOWS {
            return;
        }
        let oldest = self.0.iter().min_by_key(|(_, flow)| flow.used).map(|(client, _)| *client);
        if let Some(oldest) = oldest {
            self.0.remove(&oldest);
        }
    }
}

fn towards(target: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_gets_its_own_answer() {
        let local = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (door, inside, clients) = (local(), local(), [local(), local()]);
        let mut flows = Flows::default();
        let mut buffer = [0; 8];
        for (number, client) in clients.iter().enumerate() {
            client.send_to(&[b'a', u8::try_from(number).unwrap()], door.local_addr().unwrap()).unwrap();
            door.set_nonblocking(false).unwrap();
            door.peek_from(&mut buffer).unwrap();
            door.set_nonblocking(true).unwrap();
            flows.hand_in(&door, || inside.local_addr().ok());
        }
        assert_eq!(flows.sockets().count(), 2);
        for _ in &clients {
            let (length, from) = inside.recv_from(&mut buffer).unwrap();
            inside.send_to(&buffer[..length], from).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            flows.hand_out(&door, client.local_addr().unwrap());
            let (length, _) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(buffer[..length], [b'a', u8::try_from(number).unwrap()]);
        }
        flows.forget_silent();
        assert_eq!(flows.sockets().count(), 2);
        assert!(flows.deadline().is_some());
    }

    #[test]
    fn the_longest_silent_client_makes_room() {
        let inside = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut flows = Flows::default();
        let client = |number: u16| SocketAddr::from(([192, 0, 2, 1], 1000 + number));
        let start = Instant::now();
        for number in 0..4 {
            let used = start + Duration::from_secs(number.into());
            flows.0.insert(client(number), Flow { socket: towards(inside).unwrap(), used });
        }
        flows.make_room();
        assert_eq!(flows.0.len(), 4);
    }
}
