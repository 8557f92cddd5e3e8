//! The floor under a pull: layers fetched, hashed as they come, inflated, hashed again and unpacked, each in one pass
//! and one thread, as many side by side as there are processors. No registry, no store, no checks.
//!
//! A layer's directory has a name that was not there before, as with every engine: ext4 chooses by the name where a
//! directory's files lie, and passes over inodes that were freed in the last minutes one by one. Under the name of the
//! run before, whose files have just been removed, that search takes several times as long as all the rest.
//!
//! `floor HOST:PORT REPOSITORY DIRECTORY DIGEST…`

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

struct Hashing<R>(R, Sha256);

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.read(buffer)?;
        self.1.update(&buffer[..length]);
        Ok(length)
    }
}

fn layer(host: &str, repository: &str, directory: &str, digest: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(host)?;
    write!(stream, "GET /v2/{repository}/blobs/{digest} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = BufReader::with_capacity(256 << 10, stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if answer.read_line(&mut line)? == 0 {
            return Err(io::Error::other("no answer"));
        }
    }
    let compressed = BufReader::with_capacity(256 << 10, Hashing(answer, Sha256::new()));
    let plain = Hashing(MultiGzDecoder::new(compressed), Sha256::new());
    let mut archive = tar::Archive::new(BufReader::with_capacity(256 << 10, plain));
    archive.set_preserve_permissions(true);
    let own = std::process::id();
    archive.unpack(format!("{directory}/{own}-{}", digest.trim_start_matches("sha256:")))
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, host, repository, directory, digests @ ..] = &words[..] else {
        return Err(io::Error::other("usage: floor HOST:PORT REPOSITORY DIRECTORY DIGEST..."));
    };
    let queue = Mutex::new(digests.iter().collect::<VecDeque<_>>());
    let run = || -> io::Result<()> {
        loop {
            let next = queue.lock().map_err(|_| io::Error::other("lock"))?.pop_front();
            let Some(digest) = next else { return Ok(()) };
            layer(host, repository, directory, digest)?;
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(run)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| io::Error::other("thread"))?)
    })
}
