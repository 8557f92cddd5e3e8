//! One layer, in one pass: fetch, hash the compressed bytes, store the blob, inflate, unpack.

use crate::source::Source;
use crate::unpack::{Fed, Unpack};
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use wb_doc::{Context, Error};
use wb_registry::progress::Bar;
use wb_store::Place;
use wb_store::image::{BlobWriter, Descriptor, Digest, Hasher, ImageStore, media};

/// Read from the source at once, and handed on at once.
const CHUNK_BYTES: usize = 256 << 10;
/// A zstd window above this would take the memory of the whole machine (RFC 8878 asks decoders for 8 MiB).
const ZSTD_WINDOW_LOG: u32 = 27;

/// A layer of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The compressed blob.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed content.
    pub diff_id: Digest,
}

/// What the work on layers needs.
pub struct Work<'a> {
    /// The blobs.
    pub store: &'a ImageStore,
    /// The layers' directories.
    pub place: &'a Place,
    /// Where blobs that are not in the store come from; `None` where there is nothing to ask.
    pub source: Option<&'a dyn Source>,
    /// Further words for `wb-rootfs unpack`.
    pub limits: &'a [String],
    /// Set when another layer failed: there is no use in going on.
    pub abandoned: &'a AtomicBool,
}

impl Layer {
    /// Whether the layer is unpacked.
    pub fn is_unpacked(&self, place: &Place) -> bool {
        wb_store::layer::is_whole(&place.layers(), self.diff_id.hex())
    }

    /// Whether there is nothing left to do.
    pub fn is_complete(&self, store: &ImageStore, place: &Place) -> bool {
        self.is_unpacked(place) && store.has_blob(&self.descriptor)
    }

    /// Refuses what cannot be a layer before anything is fetched.
    pub fn check(&self) -> Result<(), Error> {
        let kind = self.descriptor.media_type.as_str();
        if kind.contains("foreign") || kind.contains("nondistributable") {
            return Err(Error::new(format!(
                "layer {}: it lies outside the registry ({kind}), and is not fetched from there",
                self.descriptor.digest.short()
            )));
        }
        let known = [
            media::OCI_LAYER,
            media::OCI_LAYER_GZIP,
            media::OCI_LAYER_ZSTD,
            media::DOCKER_LAYER,
            media::DOCKER_LAYER_GZIP,
            "application/vnd.docker.image.rootfs.diff.tar.zstd",
        ];
        if known.contains(&kind) {
            return Ok(());
        }
        Err(Error::new(format!(
            "layer {}: media type {kind:?} is no file system layer",
            self.descriptor.digest.short()
        )))
    }
}

impl Work<'_> {
    /// Makes sure that the layer's blob and directory are there.
    pub fn ensure(&self, layer: &Layer, bar: &Bar) -> Result<(), Error> {
        // Whoever else wants this blob waits here, and then finds it.
        let _lock = self.store.lock_digest(&layer.descriptor.digest)?;
        let done = self.ensure_locked(layer, bar);
        if done.is_err() {
            self.abandoned.store(true, Ordering::Relaxed);
        }
        done.context(|| format!("layer {}", layer.descriptor.digest.short()))
    }

    fn ensure_locked(&self, layer: &Layer, bar: &Bar) -> Result<(), Error> {
        if layer.is_complete(self.store, self.place) {
            bar.done("already there");
            return Ok(());
        }
        if self.store.has_blob(&layer.descriptor) {
            let (file, _) = self.store.open_blob(&layer.descriptor.digest)?;
            let unpacked = self.pass(layer, &mut Tee::new(file, None, layer, bar, self.abandoned));
            if unpacked.is_ok() || self.source.is_none() {
                return unpacked.map(|()| bar.done("unpacked"));
            }
            // A blob that is not what its name says: it is fetched again.
            let path = self.store.blob_path(&layer.descriptor.digest);
            std::fs::remove_file(&path).context(|| path.display().to_string())?;
        }
        let Some(source) = self.source else {
            return Err(Error::new("the blob is not in the store"));
        };
        let content = source.blob(&layer.descriptor)?;
        let writer = self.store.blob_writer()?;
        let mut tee = Tee::new(content, Some(writer), layer, bar, self.abandoned);
        self.pass(layer, &mut tee)?;
        tee.commit()?;
        bar.done("done");
        Ok(())
    }

    /// Everything in one pass over the compressed content; unpacks only where the directory is missing.
    fn pass<R: Read>(&self, layer: &Layer, tee: &mut Tee<R>) -> Result<(), Error> {
        let held = if layer.is_unpacked(self.place) {
            None
        } else {
            let compression = compression(tee.peek(4).map_err(plain)?)?;
            let unpack = Unpack::start(&layer.diff_id, self.limits)?;
            let mut decoder = Decoder::new(compression, tee).map_err(plain)?;
            match feed(&mut decoder, unpack) {
                Ok(held) => Some(held),
                Err(Unfed::Input(error)) if error.get_ref().is_none_or(|inner| !inner.is::<Error>()) => {
                    drop(decoder);
                    // Nonsense inside is mostly the consequence of a wrong blob: then that is the cause to name.
                    io::copy(tee, &mut io::sink()).map_err(plain)?;
                    tee.verify()?;
                    return Err(plain(error).within("inflating"));
                }
                Err(Unfed::Input(error)) => return Err(plain(error)),
                Err(Unfed::Unpack(error)) => return Err(error),
            }
        };
        // What follows the compressed stream counts for the digest.
        io::copy(tee, &mut io::sink()).map_err(plain)?;
        tee.verify()?;
        held.map_or(Ok(()), Held::release)
    }
}

/// Puts a layer into the store of which only the diff id is known, in one pass; returns the digest of its blob.
pub fn absorb(
    store: &ImageStore,
    place: &Place,
    content: impl Read,
    diff_id: &Digest,
    limits: &[String],
) -> Result<Digest, Error> {
    let mut writer = store.blob_writer()?;
    let mut content = BufReader::with_capacity(CHUNK_BYTES, writer.copying(content));
    if !wb_store::layer::is_whole(&place.layers(), diff_id.hex()) {
        let compression = compression(content.fill_buf().map_err(plain)?)?;
        let unpack = Unpack::start(diff_id, limits)?;
        let mut decoder = Decoder::new(compression, &mut content).map_err(plain)?;
        match feed(&mut decoder, unpack) {
            Ok(held) => held.release()?,
            Err(Unfed::Input(error)) => return Err(plain(error).within("inflating")),
            Err(Unfed::Unpack(error)) => return Err(error),
        }
    }
    io::copy(&mut content, &mut io::sink()).map_err(plain)?;
    drop(content);
    writer.commit(None).map(|(digest, _)| digest)
}

/// Hands the decoder's output to the unpacker, all but its last part.
fn feed(decoder: &mut impl Read, mut unpack: Unpack) -> Result<Held, Unfed> {
    let mut last = Vec::new();
    let mut next = Vec::with_capacity(CHUNK_BYTES);
    loop {
        next.clear();
        let read = decoder.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut next);
        if read.map_err(Unfed::Input)? == 0 {
            return Ok(Held { unpack, last });
        }
        if !last.is_empty() && unpack.feed(&last).map_err(Unfed::Unpack)? == Fed::Enough {
            return Ok(Held { unpack, last: Vec::new() });
        }
        std::mem::swap(&mut last, &mut next);
    }
}

/// Which side of [`feed`] failed.
enum Unfed {
    Input(io::Error),
    Unpack(Error),
}

/// The last part of a layer, held back until the compressed digest is known to be right: without it the diff id
/// is wrong, so that nothing unverified ever appears in the store.
#[derive(Debug)]
struct Held {
    unpack: Unpack,
    last: Vec<u8>,
}

impl Held {
    fn release(mut self) -> Result<(), Error> {
        self.unpack.feed(&self.last)?;
        self.unpack.finish()
    }
}

/// How a layer is compressed. Its own first bytes say so more reliably than its media type, which whole
/// registries have had wrong; what comes out is held against the diff id anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

fn compression(start: &[u8]) -> Result<Compression, Error> {
    match start {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Ok(Compression::Zstd),
        [b'B', b'Z', b'h', _] => Err(Error::new("compressed with bzip2, which is not supported")),
        [0xfd, b'7', b'z', b'X'] => Err(Error::new("compressed with xz, which is not supported")),
        _ => Ok(Compression::None),
    }
}

/// Uncompresses what a [`Tee`] lets through.
enum Decoder<'t, R: Read> {
    None(&'t mut R),
    Gzip(Box<MultiGzDecoder<&'t mut R>>),
    Zstd(zstd::stream::read::Decoder<'static, &'t mut R>),
}

impl<'t, R: BufRead> Decoder<'t, R> {
    fn new(compression: Compression, input: &'t mut R) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(input),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
        })
    }
}

impl<R: BufRead> Read for Decoder<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(input) => input.read(buffer),
            Self::Gzip(input) => input.read(buffer),
            Self::Zstd(input) => input.read(buffer),
        }
    }
}

/// Lets a blob's content through, and on the way counts, hashes and stores it.
struct Tee<'a, R> {
    input: R,
    expected: &'a Descriptor,
    sink: Sink,
    bar: &'a Bar,
    abandoned: &'a AtomicBool,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    passed: u64,
}

enum Sink {
    Blob(BlobWriter),
    Hash(Hasher),
}

impl<'a, R: Read> Tee<'a, R> {
    fn new(
        input: R,
        blob: Option<BlobWriter>,
        layer: &'a Layer,
        bar: &'a Bar,
        abandoned: &'a AtomicBool,
    ) -> Self {
        Self {
            input,
            expected: &layer.descriptor,
            sink: blob.map_or_else(|| Sink::Hash(Hasher::new()), Sink::Blob),
            bar,
            abandoned,
            buffer: vec![0; CHUNK_BYTES],
            at: 0,
            end: 0,
            passed: 0,
        }
    }

    /// Gets more from the input behind what the buffer holds; `false` at its end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(io::Error::other(Error::new("given up, as another layer failed")));
        }
        let read = loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let (passed, size) = (self.passed + read as u64, self.expected.size);
        if passed > size || (read == 0 && passed < size) {
            let more = if read == 0 { "" } else { "more than " };
            return Err(io::Error::other(Error::new(format!("{more}{passed} bytes instead of {size}"))));
        }
        let new = &self.buffer[self.end..self.end + read];
        match &mut self.sink {
            Sink::Blob(writer) => writer.write_all(new)?,
            Sink::Hash(hasher) => hasher.update(new),
        }
        self.passed = passed;
        self.end += read;
        self.bar.add(read as u64);
        Ok(read > 0)
    }

    /// The first `count` bytes, fewer where there are not so many; to be called before anything is read.
    fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.end < count && self.fill()? {}
        Ok(&self.buffer[..self.end.min(count)])
    }

    fn verify(&self) -> Result<(), Error> {
        match &self.sink {
            Sink::Blob(writer) => writer.verify(self.expected),
            Sink::Hash(hasher) => self.expected.verify(&hasher.clone().finish(), self.passed),
        }
    }

    /// Puts the blob into the store.
    fn commit(self) -> Result<(), Error> {
        match self.sink {
            Sink::Blob(writer) => writer.commit(Some(self.expected)).map(drop),
            Sink::Hash(_) => Ok(()),
        }
    }
}

impl<R: Read> BufRead for Tee<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.end {
            (self.at, self.end) = (0, 0);
            self.fill()?;
        }
        Ok(&self.buffer[self.at..self.end])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// The cause of a failed read: one of ours as it was, else in its own words.
pub fn plain(error: io::Error) -> Error {
    if let Some(ours) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return ours.clone();
    }
    match error.raw_os_error() {
        Some(number) => Error::errno("read", wb_sys::Errno::from_raw(number)),
        None => Error::new(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_compressions_by_their_first_bytes() {
        assert_eq!(compression(&[0x1f, 0x8b, 8, 0]).unwrap(), Compression::Gzip);
        assert_eq!(compression(&[0x28, 0xb5, 0x2f, 0xfd]).unwrap(), Compression::Zstd);
        assert_eq!(compression(b"bin/").unwrap(), Compression::None);
        assert_eq!(compression(b"").unwrap(), Compression::None);
        assert!(compression(b"BZh9").is_err());
    }

    #[test]
    fn refuses_layers_that_lie_elsewhere() {
        let layer = |kind: &str| Layer {
            descriptor: Descriptor::new(kind, Digest::of(b""), 0),
            diff_id: Digest::of(b""),
        };
        assert!(layer(media::OCI_LAYER_ZSTD).check().is_ok());
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        assert!(layer(foreign).check().unwrap_err().to_string().contains("outside the registry"));
        assert!(layer("application/octet-stream").check().is_err());
    }

    fn tee_of(content: &[u8], size: u64, digest: Digest) -> Result<(), Error> {
        let layer = Layer { descriptor: Descriptor::new("x", digest.clone(), size), diff_id: digest };
        let (bar, abandoned) = (Bar::hidden(), AtomicBool::new(false));
        let mut tee = Tee::new(content, None, &layer, &bar, &abandoned);
        io::copy(&mut tee, &mut io::sink()).map_err(plain)?;
        tee.verify()
    }

    #[test]
    fn counts_and_hashes_what_passes() {
        let digest = Digest::of(b"hello");
        assert!(tee_of(b"hello", 5, digest.clone()).is_ok());
        assert!(tee_of(b"hallo", 5, digest.clone()).unwrap_err().to_string().contains("digest"));
        assert!(tee_of(b"hell", 5, digest.clone()).unwrap_err().to_string().contains("4 bytes instead of 5"));
        assert!(tee_of(b"hello!", 5, digest).unwrap_err().to_string().contains("more than"));
    }
}
