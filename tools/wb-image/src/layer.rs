//! A layer on its way into the store: as a blob, and unpacked, in one pass.

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use wb_doc::{Context, Error};
use wb_store::image::{BlobWriter, Descriptor, Digest, ImageStore, media};

/// The largest window of a zstd frame that is read, 128 MiB, as a power of two.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const CHUNK_BYTES: usize = 128 << 10;

/// A layer in the store.
#[derive(Debug, Clone)]
pub struct Layer {
    pub blob: Descriptor,
    pub diff_id: Digest,
}

/// How a tar is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    Plain,
    Gzip,
    Zstd,
}

impl Wrapping {
    /// Told from the first bytes, never from a name. What is nothing we know is taken as plain tar, and the
    /// unpacker says what is wrong with it.
    pub fn of(start: &[u8]) -> Result<Self, Error> {
        let other = |name: &str, program: &str| {
            Err(Error::new(format!("{name} is not read here"))
                .hint(format!("{program} -dc FILE | wb import - NAME")))
        };
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => other("xz", "xz"),
            [b'B', b'Z', b'h', ..] => other("bzip2", "bzip2"),
            _ => Ok(Self::Plain),
        }
    }
}

/// Stores the tar `source`, plain or compressed: compressed input stays as it is, plain is compressed with gzip,
/// which every reader of images knows. It is unpacked into the layers at the same time. All or nothing.
pub fn store(store: &ImageStore, source: impl Read, limits: &[String]) -> Result<Layer, Error> {
    store.prepare()?;
    let mut source = BufReader::with_capacity(CHUNK_BYTES, source);
    let start = fill(&mut source)?;
    let wrapping = Wrapping::of(&start)?;
    let source = io::Cursor::new(start).chain(source);
    let mut unpacker = Unpacker::start(&["--store"], limits)?;
    let mut blob = store.blob_writer()?;
    let copied = match wrapping {
        Wrapping::Plain => compress(source, &mut blob, &mut unpacker),
        Wrapping::Gzip => {
            let tee = BufReader::with_capacity(CHUNK_BYTES, blob.copying(source));
            feed(MultiGzDecoder::new(tee), &mut unpacker)
        }
        Wrapping::Zstd => {
            let tee = BufReader::with_capacity(CHUNK_BYTES, blob.copying(source));
            zstd_decoder(tee).and_then(|decoder| feed(decoder, &mut unpacker))
        }
    };
    let diff_id = Digest::parse(unpacker.conclude(copied)?.trim())?;
    let media_type = match wrapping {
        Wrapping::Plain | Wrapping::Gzip => media::OCI_LAYER_GZIP,
        Wrapping::Zstd => media::OCI_LAYER_ZSTD,
    };
    let (digest, size) = blob.commit(None)?;
    Ok(Layer { blob: Descriptor::new(media_type, digest, size), diff_id })
}

/// Stores the blob `expected`, as it is; what looks like a layer is unpacked at the same time. Returns its diff id then.
///
/// Whether it is one, and of which image, an archive says at its end only. So one that cannot be done is a blob
/// and nothing else; if it turns out to be a layer all the same, unpacking it says what is wrong.
pub fn keep(
    store: &ImageStore,
    mut source: impl Read,
    expected: &Descriptor,
    limits: &[String],
) -> Result<Option<Digest>, Error> {
    let mut blob = store.blob_writer()?;
    let start = fill(&mut source)?;
    let is_tar = start.get(257..262) == Some(b"ustar".as_slice());
    let is_layer = is_tar || !matches!(Wrapping::of(&start), Ok(Wrapping::Plain) | Err(_));
    let mut source = blob.copying(io::Cursor::new(start).chain(source));
    let mut done = None;
    // What is there already may well be unpacked too.
    if is_layer && !store.has_blob(expected) {
        let mut unpacker = Unpacker::start(&["--store"], limits)?;
        let copied = unwrap(BufReader::with_capacity(CHUNK_BYTES, &mut source), &mut unpacker);
        done = unpacker.conclude(copied).ok();
    }
    // What follows the layer, or all of it.
    io::copy(&mut source, &mut io::sink()).context(|| "read")?;
    blob.commit(Some(expected))?;
    done.map(|printed| Digest::parse(printed.trim())).transpose()
}

/// The first few bytes.
fn fill(source: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut start = Vec::new();
    source.take(512).read_to_end(&mut start).context(|| "read")?;
    Ok(start)
}

/// Decompresses `source`, of whatever wrapping, into `unpacker`. False where it hung up.
fn unwrap(mut source: impl BufRead, unpacker: &mut Unpacker) -> Result<bool, Error> {
    let start = source.fill_buf().context(|| "read")?;
    match Wrapping::of(start)? {
        Wrapping::Plain => feed(source, unpacker),
        Wrapping::Gzip => feed(MultiGzDecoder::new(source), unpacker),
        Wrapping::Zstd => feed(zstd_decoder(source)?, unpacker),
    }
}

fn zstd_decoder<R: BufRead>(source: R) -> Result<zstd::Decoder<'static, R>, Error> {
    let mut decoder = zstd::Decoder::with_buffer(source).context(|| "zstd")?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).context(|| "zstd")?;
    Ok(decoder)
}

/// Gives `source` to the unpacker and, compressed, to the blob. False where the unpacker hung up.
fn compress(mut source: impl Read, blob: &mut BlobWriter, unpacker: &mut Unpacker) -> Result<bool, Error> {
    // Its header holds no time and no name: the same tar gives the same blob. Of 300 MB level 1 makes 150 MB in 1.9 s,
    // level 3 127 MB in 3.2 s, level 5 124 MB in 4.0 s.
    let mut encoder = GzEncoder::new(blob, Compression::new(3));
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let length = read(&mut source, &mut buffer)?;
        if length == 0 {
            encoder.finish().context(|| "write the blob")?;
            return Ok(true);
        }
        if !unpacker.write(&buffer[..length])? {
            return Ok(false);
        }
        encoder.write_all(&buffer[..length]).context(|| "write the blob")?;
    }
}

/// Gives all of `source` to the unpacker. False where it hung up.
fn feed(mut source: impl Read, unpacker: &mut Unpacker) -> Result<bool, Error> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let length = read(&mut source, &mut buffer).map_err(|error| error.within("decompress"))?;
        if length == 0 {
            return Ok(true);
        }
        if !unpacker.write(&buffer[..length])? {
            return Ok(false);
        }
    }
}

fn read(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other.context(|| "read"),
        }
    }
}

/// A running `wb-rootfs unpack`.
pub struct Unpacker {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Unpacker {
    pub fn start(arguments: &[&str], limits: &[String]) -> Result<Self, Error> {
        let mut command = Command::new("wb-rootfs");
        command.arg("unpack").args(arguments).args(limits);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            wb_sys::child::spawn(&mut command, "a layer becomes a directory").context(|| "wb-rootfs")?;
        let stdin = child.stdin.take();
        if let Some(stdin) = &stdin {
            wb_sys::tree::widen_pipe(stdin);
        }
        Ok(Self { child, stdin })
    }

    /// False where it reads no more; why, `finish` says.
    fn write(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        let Some(stdin) = &mut self.stdin else { return Ok(false) };
        match stdin.write_all(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            written => written.map(|()| true).context(|| "wb-rootfs unpack"),
        }
    }

    /// Gives it the layer `source`, of whatever wrapping, and waits for it.
    pub fn feed(mut self, source: impl BufRead) -> Result<(), Error> {
        let copied = unwrap(source, &mut self);
        self.conclude(copied).map(drop)
    }

    /// Ends it; returns what it printed. `copied` says how its feeding went: false means that it hung up.
    fn conclude(mut self, copied: Result<bool, Error>) -> Result<String, Error> {
        if copied.is_err() {
            self.kill();
        }
        let printed = self.finish();
        match (copied, printed) {
            (Ok(true), Ok(printed)) => Ok(printed),
            (Ok(false), Ok(_)) => Err(Error::new("wb-rootfs: unpack: ended early")),
            // Where it refused, that is the cause of whatever else failed.
            (Ok(_), Err(error)) | (Err(error), _) => Err(error),
        }
    }

    /// Ends it before its input is whole: a layer cut off must not become one.
    fn kill(&mut self) {
        // SIGTERM lets it clean up. It may be gone already; its status is asked for next.
        let pid = i32::try_from(self.child.id()).unwrap_or(0);
        if let Ok(pidfd) = wb_sys::process::pidfd_open(pid) {
            wb_sys::process::pidfd_send_signal(pidfd, nix::libc::SIGTERM, "its input failed").ok();
        }
    }

    /// Waits for it; returns what it printed, or its failure as ours.
    fn finish(mut self) -> Result<String, Error> {
        drop(self.stdin.take());
        let output = self.child.wait_with_output().context(|| "wb-rootfs unpack")?;
        child_result(&output)
    }
}

/// A child's output; its end counts only if the child succeeded, so that half a layer is never taken for a whole one.
pub struct Checked {
    output: ChildStdout,
    child: Option<Child>,
}

impl Checked {
    /// The output of `child`, which must be a pipe.
    pub fn new(mut child: Child) -> Result<Self, Error> {
        let output = child.stdout.take().ok_or_else(|| Error::new("no output"))?;
        wb_sys::tree::widen_pipe(&output);
        Ok(Self { output, child: Some(child) })
    }
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.output.read(buffer)?;
        if length == 0 && !buffer.is_empty() {
            if let Some(child) = self.child.take() {
                child_result(&child.wait_with_output()?).map_err(io::Error::other)?;
            }
        }
        Ok(length)
    }
}

/// What a program of ours printed, or its one line of failure with its hint.
pub fn child_result(output: &std::process::Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let mut lines = said.lines();
    let failure = match lines.next() {
        Some(line) => Error::new(line),
        None => Error::new(format!("wb-rootfs: {}", output.status)),
    };
    Err(match lines.find_map(|line| line.strip_prefix("hint: ")) {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_wrappings_by_their_first_bytes() {
        assert_eq!(Wrapping::of(&[0x1f, 0x8b, 8]).unwrap(), Wrapping::Gzip);
        assert_eq!(Wrapping::of(&[0x28, 0xb5, 0x2f, 0xfd]).unwrap(), Wrapping::Zstd);
        assert_eq!(Wrapping::of(b"etc/").unwrap(), Wrapping::Plain);
        assert_eq!(Wrapping::of(b"").unwrap(), Wrapping::Plain);
        assert!(Wrapping::of(b"\xfd7zXZ\0").is_err());
    }
}
