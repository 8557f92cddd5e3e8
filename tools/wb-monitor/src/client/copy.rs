//! One direction of a client's traffic: from a descriptor to another, without copying where a pipe allows it.

use super::keys::Keys;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use wb_sys::{Errno, SFlag, node, pipe, poll};

/// How much is moved at once between pipes.
const SPLICE_BYTES: usize = 1 << 20;
/// How much is read at once where it must be copied.
const COPY_BYTES: usize = 32 << 10;

/// What a copier waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Something to read.
    Input,
    /// Room to write.
    Room,
}

/// What became of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It goes on.
    Goes,
    /// The input has ended and everything has been written.
    Ended,
    /// Nobody reads the output any more.
    Broken,
    /// The detach keys were typed.
    Detached,
}

/// A direction.
#[derive(Debug)]
pub struct Copier {
    from: OwnedFd,
    to: OwnedFd,
    wait: Wait,
    /// Whether the kernel moves the bytes.
    splices: bool,
    keys: Option<Keys>,
    held: Vec<u8>,
    written: usize,
    detached: bool,
    /// What comes after the end of `from`.
    next: Option<OwnedFd>,
}

impl Copier {
    /// From `from` to `to`; with `keys` every byte is looked at.
    pub fn new(from: OwnedFd, to: OwnedFd, keys: Option<Keys>) -> Self {
        // A terminal is slow and may be stopped: it gets little at once, so that the client stays attentive. A file
        // may be others' output too, and splice(2) moves its offset without the lock that write(2) takes.
        let splices = keys.is_none() && !std::io::IsTerminal::is_terminal(&to) && !is_file(&to);
        Self {
            from,
            to,
            wait: Wait::Input,
            splices,
            keys,
            held: Vec::new(),
            written: 0,
            detached: false,
            next: None,
        }
    }

    /// Goes on with `file` when the present input has ended.
    pub fn then(&mut self, file: OwnedFd) {
        self.next = Some(file);
    }

    fn end(&mut self) -> Turn {
        let Some(file) = self.next.take() else { return Turn::Ended };
        self.from = file;
        self.wait = Wait::Input;
        Turn::Goes
    }

    /// The descriptor it waits for, and for what.
    pub fn waits(&self) -> (BorrowedFd<'_>, i16) {
        match self.wait {
            Wait::Input => (self.from.as_fd(), poll::IN),
            Wait::Room => (self.to.as_fd(), poll::OUT),
        }
    }

    /// Whether it holds something back, or is about to, until there is room.
    pub fn wants_room(&self) -> bool {
        self.wait == Wait::Room
    }

    /// Its output.
    pub fn to(&self) -> BorrowedFd<'_> {
        self.to.as_fd()
    }

    /// What it waited for has come.
    pub fn turn(&mut self) -> Turn {
        if self.wait == Wait::Input {
            // Only when there is room too is anything read, so that nothing is held for long.
            self.wait = Wait::Room;
            if self.splices {
                return self.splice();
            }
        }
        if self.splices {
            return self.splice();
        }
        if self.written == self.held.len() {
            match self.read() {
                Turn::Goes if self.held.is_empty() => {
                    self.wait = Wait::Input;
                    return Turn::Goes;
                }
                Turn::Goes => {}
                Turn::Ended => return self.end(),
                other => return other,
            }
        }
        self.write()
    }

    fn splice(&mut self) -> Turn {
        match pipe::splice(&self.from, &self.to, SPLICE_BYTES) {
            Ok(0) => self.end(),
            Ok(_) => {
                self.wait = Wait::Input;
                Turn::Goes
            }
            // Either nothing to read or no room; which one, the next two waits find out.
            Err(Errno::EAGAIN) => {
                self.wait = if self.wait == Wait::Room && self.is_full() { Wait::Room } else { Wait::Input };
                Turn::Goes
            }
            Err(Errno::EPIPE) => Turn::Broken,
            // A terminal, an append-only file, and others: by hand.
            Err(_) => {
                self.splices = false;
                self.wait = Wait::Room;
                Turn::Goes
            }
        }
    }

    /// Whether it was the output that had no room.
    fn is_full(&self) -> bool {
        let mut set = poll::Set::default();
        set.add(&self.to, poll::OUT, ());
        set.wait(Some(std::time::Instant::now())).is_ok() && set.at(0).1 == 0
    }

    fn read(&mut self) -> Turn {
        self.held.resize(COPY_BYTES, 0);
        self.written = 0;
        let result = pipe::read(&self.from, &mut self.held);
        let count = *result.as_ref().unwrap_or(&0);
        match (&mut self.keys, result) {
            (_, Err(Errno::EAGAIN)) => self.held.clear(),
            // A terminal that was hung up says EIO.
            (_, Ok(0) | Err(_)) => {
                self.held.clear();
                return Turn::Ended;
            }
            (None, Ok(_)) => self.held.truncate(count),
            (Some(keys), Ok(_)) => {
                let typed = self.held[..count].to_vec();
                self.held.clear();
                self.detached = keys.filter(&typed, &mut self.held);
            }
        }
        if self.detached && self.held.is_empty() { Turn::Detached } else { Turn::Goes }
    }

    fn write(&mut self) -> Turn {
        match pipe::write(&self.to, &self.held[self.written..]) {
            Ok(count) => self.written += count,
            Err(Errno::EAGAIN) => {}
            Err(_) => return Turn::Broken,
        }
        if self.written == self.held.len() {
            if self.detached {
                return Turn::Detached;
            }
            self.wait = Wait::Input;
        }
        Turn::Goes
    }
}

fn is_file(fd: &OwnedFd) -> bool {
    node::status(fd)
        .is_ok_and(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_a_file_is_written() {
        let path = std::env::temp_dir().join(format!("wb-copy-{}", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        let (from, input) = pipe::pipe().unwrap();
        let mut copier = Copier::new(from, file.into(), None);
        assert!(!copier.splices);
        pipe::write(&input, b"abc").unwrap();
        drop(input);
        assert_eq!(turns(&mut copier), Turn::Ended);
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
        std::fs::remove_file(&path).unwrap();
    }

    fn turns(copier: &mut Copier) -> Turn {
        loop {
            let (fd, events) = copier.waits();
            let mut set = poll::Set::default();
            set.add(fd, events, ());
            set.wait(Some(std::time::Instant::now())).unwrap();
            if set.at(0).1 == 0 {
                return Turn::Goes;
            }
            match copier.turn() {
                Turn::Goes => {}
                other => return other,
            }
        }
    }

    #[test]
    fn moves_and_ends() {
        let (from, input) = pipe::pipe().unwrap();
        let (output, to) = pipe::pipe().unwrap();
        let mut copier = Copier::new(from, to, None);
        pipe::write(&input, b"abc").unwrap();
        assert_eq!(turns(&mut copier), Turn::Goes);
        drop(input);
        assert_eq!(turns(&mut copier), Turn::Ended);
        let mut buffer = [0; 8];
        assert_eq!(pipe::read(&output, &mut buffer), Ok(3));
    }

    #[test]
    fn writes_what_was_typed_before_it_detaches() {
        let (from, input) = pipe::pipe().unwrap();
        let (output, to) = pipe::pipe().unwrap();
        let mut copier = Copier::new(from, to, Some(Keys::parse("ctrl-p,ctrl-q").unwrap()));
        pipe::write(&input, b"ab\x10\x11cd").unwrap();
        assert_eq!(turns(&mut copier), Turn::Detached);
        let mut buffer = [0; 8];
        assert_eq!(pipe::read(&output, &mut buffer), Ok(2));
    }

    #[test]
    fn a_reader_that_left_breaks_it() {
        let (from, input) = pipe::pipe().unwrap();
        let (output, to) = pipe::pipe().unwrap();
        drop(output);
        pipe::write(&input, b"x").unwrap();
        assert_eq!(turns(&mut Copier::new(from, to, None)), Turn::Broken);
    }
}
