//! Digests: the names of blobs, checked before they become file names.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt::{self, Display, Write as _};
use wb_doc::Error;

const SHA256: &str = "sha256:";

/// `sha256:<64 lower-case hex digits>` (image-spec, descriptor.md, "Digests").
///
/// A value of this type is safe as part of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// Reads `algorithm:encoded`. Only sha256 is stored; other registered algorithms get an error of their own.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::new(format!("digest {text:?}: not sha256:<64 lower-case hex digits>"));
        if text.len() > 256 {
            return Err(Error::new("digest longer than 256 bytes"));
        }
        let (algorithm, encoded) = text.split_once(':').ok_or_else(wrong)?;
        if matches!(algorithm, "sha512" | "sha384" | "blake3") && encoded.bytes().all(is_lower_hex) {
            return Err(Error::new(format!("digest {text:?}: only sha256 is supported, not {algorithm}")));
        }
        if algorithm == "sha256" && is_hex(encoded) { Ok(Self(text.to_owned())) } else { Err(wrong()) }
    }

    /// The digest whose hex digits are `hex`.
    pub fn from_hex(hex: &str) -> Result<Self, Error> {
        Self::parse(&format!("{SHA256}{hex}"))
    }

    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(content);
        hasher.finish()
    }

    /// `sha256:<hex>`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hex digits alone: the name of the file or directory that holds the content.
    pub fn hex(&self) -> &str {
        &self.0[SHA256.len()..]
    }

    /// The first 12 hex digits, as people see ids.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(is_lower_hex)
}

impl Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Computes a [`Digest`] of what passes by.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// A hash of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        let mut text = String::with_capacity(SHA256.len() + 64);
        text.push_str(SHA256);
        Digest(self.0.finalize().iter().fold(text, |mut text, byte| {
            // Writing to a String cannot fail.
            write!(text, "{byte:02x}").ok();
            text
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_digest_of_nothing() {
        let empty = Digest::of(b"");
        assert_eq!(empty.as_str(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Digest::parse(empty.as_str()).unwrap(), empty);
        assert_eq!(empty.short(), "e3b0c44298fc");
    }

    #[test]
    fn refuses_paths_and_other_algorithms() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            String::new(),
            "sha256:".into(),
            hex.into(),
            "sha256:../../../../etc/passwd".into(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{hex}0"),
            format!("sha256:{}/", &hex[..63]),
            format!("md5:{}", &hex[..32]),
            format!("SHA256:{hex}"),
            format!("sha256:{hex}\n"),
            "x".repeat(100_000),
        ] {
            assert!(Digest::parse(&text).is_err(), "{text:?}");
        }
        let other = Digest::parse(&format!("sha512:{hex}{hex}")).unwrap_err();
        assert!(other.to_string().contains("only sha256"), "{other}");
    }
}
