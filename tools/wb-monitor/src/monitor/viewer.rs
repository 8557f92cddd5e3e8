//! A client as the monitor sees it: a socket, and a feed for each stream it wants.

use super::feed::{Fed, Feed, SPILL_BYTES};
use super::log::Stream;
use super::stdio::{Ours, STREAMS};
use crate::message::{Answer, MAX_BYTES, Request, Streams};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use wb_sys::{Errno, pipe, socket};

/// A connected client.
#[derive(Debug)]
pub struct Viewer {
    socket: OwnedFd,
    /// The one in the foreground of `run`: its end of input is the container's, and it is waited for rather than cut
    /// off when it is very slow.
    pub primary: bool,
    /// Whether it was given the container's input.
    pub has_input: bool,
    feeds: [Option<Feed>; 2],
    /// How much of the next piece it has already, since it shares the container's pages.
    shared: usize,
    gone: bool,
}

impl Viewer {
    /// A client that has just connected and gets nothing yet but the news.
    pub fn new(socket: OwnedFd, primary: bool) -> Self {
        Self { socket, primary, has_input: false, feeds: [None, None], shared: 0, gone: false }
    }

    /// Whether it has left, or was dropped.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Gives it the streams it wants, as far as there are such.
    pub fn attach(&mut self, wanted: Streams, ours: &Ours) -> wb_sys::Result<()> {
        let mut fds: Vec<OwnedFd> = Vec::new();
        let mut streams = Streams::default();
        if let (true, Some(input)) = (wanted.stdin, &ours.input) {
            fds.push(input.try_clone().map_err(|_| Errno::EMFILE)?);
            streams.stdin = true;
        }
        for (stream, wants) in [(Stream::Stdout, wanted.stdout), (Stream::Stderr, wanted.stderr)] {
            if wants && ours.output[stream as usize].is_some() {
                let (feed, reader) = Feed::new()?;
                self.feeds[stream as usize] = Some(feed);
                fds.push(reader);
            }
        }
        streams.stdout = self.feeds[0].is_some();
        streams.stderr = self.feeds[1].is_some();
        self.has_input = streams.stdin;
        self.send_with(&Answer::Attached { streams, tty: ours.tty }, &fds);
        Ok(())
    }

    /// Sends it a message; a client that takes none has left.
    pub fn send(&mut self, answer: &Answer) {
        self.send_with::<OwnedFd>(answer, &[]);
    }

    fn send_with<F: AsRawFd>(&mut self, answer: &Answer, fds: &[F]) {
        let fds: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        if socket::send(&self.socket, &answer.encode(), &fds).is_err() {
            self.gone = true;
        }
    }

    /// The next request, `None` where none waits any more or the client is gone.
    pub fn receive(&mut self) -> Option<Request> {
        let mut buffer = [0; MAX_BYTES];
        match socket::receive(&self.socket, &mut buffer) {
            Ok((0, _)) | Err(Errno::ECONNRESET | Errno::EPIPE) => self.gone = true,
            Ok((length, _)) => {
                let request = Request::decode(&buffer[..length]);
                // Whoever speaks another language is not served.
                self.gone |= request.is_none();
                return request;
            }
            Err(Errno::EAGAIN) => {}
            Err(_) => self.gone = true,
        }
        None
    }

    /// Puts up to `count` bytes of what is next in the container's pipe into its own, without a copy; none where `from`
    /// is no pipe. Says how much is to be taken in this turn.
    pub fn share(&mut self, stream: Stream, from: Option<BorrowedFd<'_>>, count: usize) -> usize {
        self.shared = 0;
        let (Some(from), Some(feed)) = (from, &self.feeds[stream as usize]) else { return count };
        let mut shared = feed.tee(from, count);
        if self.primary && shared == Ok(0) && feed.has_room_soon() {
            shared = feed.tee(from, count);
        }
        match shared {
            Ok(count) => self.shared = count,
            Err(_) => self.feeds[stream as usize] = None,
        }
        // What the reader in the foreground has no room for stays where it is for the moment.
        if self.primary && self.shared > 0 { self.shared } else { count }
    }

    /// Gives it the rest of a piece of output.
    pub fn feed(&mut self, stream: Stream, piece: &[u8], directory: &Path) {
        let Some(feed) = &mut self.feeds[stream as usize] else { return };
        match feed.feed(&piece[self.shared.min(piece.len())..], directory) {
            Fed::Kept => {}
            Fed::Gone => self.feeds[stream as usize] = None,
            // Nowhere to keep its output: it must not believe that it has seen everything.
            Fed::Full => self.gone = true,
        }
        if !self.primary && self.lag() > SPILL_BYTES {
            self.gone = true;
        }
    }

    /// Nothing more will come on a stream: closes its pipe, unless something waits on disk.
    pub fn end_if_direct(&mut self, stream: Stream) {
        let feed = &mut self.feeds[stream as usize];
        if feed.as_ref().is_some_and(Feed::is_direct) {
            *feed = None;
        }
    }

    /// Its pipe of a stream has room again.
    pub fn catch_up(&mut self, stream: Stream) {
        if self.feeds[stream as usize].as_mut().is_some_and(|feed| feed.catch_up() != Fed::Kept) {
            self.feeds[stream as usize] = None;
        }
    }

    /// Streams of which something waits on disk for room in the pipe.
    pub fn lagging(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>)> {
        STREAMS.into_iter().filter_map(|stream| {
            let feed = self.feeds[stream as usize].as_ref().filter(|feed| !feed.is_direct())?;
            Some((stream, feed.as_fd()))
        })
    }

    fn lag(&self) -> u64 {
        self.feeds.iter().flatten().map(Feed::lag).sum()
    }

    /// Whether the container must wait for it: as in any pipeline, once the reader in the foreground lags too far.
    pub fn holds_up(&self) -> bool {
        self.primary && !self.gone && self.lag() > SPILL_BYTES
    }

    /// Nothing more will come on any stream; gives what still waits.
    pub fn end_streams(&mut self) -> [Option<File>; 2] {
        [self.feeds[0].take().and_then(Feed::end), self.feeds[1].take().and_then(Feed::end)]
    }

    /// Tells it the end, and hands over the `rest` of its output.
    pub fn say_exited(&mut self, code: u8, rest: [Option<File>; 2], note: &str) {
        let streams = Streams { stdin: false, stdout: rest[0].is_some(), stderr: rest[1].is_some() };
        let fds: Vec<File> = rest.into_iter().flatten().collect();
        self.send_with(&Answer::Exited { code, rest: streams, note: note.to_owned() }, &fds);
    }

    /// Drops it.
    pub fn leave(&mut self) {
        self.gone = true;
    }
}

impl AsFd for Viewer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for one read of output; the same in every turn.
pub fn read_output(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> wb_sys::Result<usize> {
    match pipe::read(fd, buffer) {
        // A pty whose last user has closed it says so with EIO.
        Err(Errno::EIO) => Ok(0),
        other => other,
    }
}
