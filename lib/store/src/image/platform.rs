//! Platforms: which of an index's images runs here.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt::{self, Display};
use wb_doc::Error;

/// An operating system and a processor, in Go's words (image-index.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, `v8`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Other members: `os.version`, `os.features`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Platform {
    /// This machine's.
    pub fn local() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            "powerpc64" => ("ppc64", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self::new("linux", architecture, variant)
    }

    /// Reads `os/arch[/variant]`, or `arch` alone; the spellings of uname(1) are understood.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong =
            || Error::usage(format!("invalid platform {text:?}: os/arch[/variant], for example linux/arm64"));
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !parts.iter().all(word) {
            return Err(wrong());
        }
        let (os, architecture, variant) = match parts[..] {
            ["linux"] => return Ok(Self::local()),
            [architecture] => ("linux", architecture, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(wrong()),
        };
        let (architecture, implied) = match architecture {
            "x86_64" | "x86-64" => ("amd64", None),
            "i386" | "i686" => ("386", None),
            "aarch64" => ("arm64", None),
            "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v6")),
            other => (other, None),
        };
        Ok(Self::new(os, architecture, variant.or(implied)))
    }

    fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            other: Map::new(),
        }
    }

    /// How well an image for `offered` serves somebody who wants `self`: 0 not at all, more is better.
    ///
    /// An ARM processor runs the code of older variants too; other variants must be the same, an absent one
    /// being the architecture's base.
    pub fn accepts(&self, offered: &Self) -> u8 {
        if self.os != offered.os || self.architecture != offered.architecture {
            return 0;
        }
        let (wanted, offered) = (self.variant_number(), offered.variant_number());
        match self.architecture.as_str() {
            _ if wanted == offered => 100,
            "arm" if offered < wanted => 50 + offered.min(40),
            // Nobody who asks for linux/arm64 minds which version of it.
            _ if self.variant.is_none() => 10,
            _ => 0,
        }
    }

    fn variant_number(&self) -> u8 {
        let base = match self.architecture.as_str() {
            "arm64" => 8,
            "arm" => 7,
            "amd64" => 1,
            _ => 0,
        };
        let digits = self.variant.as_deref().map(|variant| variant.trim_start_matches('v'));
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(base)
    }
}

impl Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(wanted: &str, offered: &str) -> u8 {
        Platform::parse(wanted).unwrap().accepts(&Platform::parse(offered).unwrap())
    }

    #[test]
    fn variants_count_where_they_matter() {
        assert!(score("linux/amd64", "linux/amd64") > 0);
        assert!(score("linux/arm64", "linux/arm64/v8") > 0);
        assert!(score("linux/arm64/v8", "linux/arm64") > 0);
        assert!(score("linux/arm/v7", "linux/arm/v6") > 0);
        assert!(score("linux/arm/v7", "linux/arm/v7") > score("linux/arm/v7", "linux/arm/v6"));
        assert_eq!(score("linux/arm/v6", "linux/arm/v7"), 0);
        assert_eq!(score("linux/amd64", "linux/arm64"), 0);
        assert_eq!(score("linux/amd64", "windows/amd64"), 0);
        assert!(score("linux/amd64", "linux/amd64") > score("linux/amd64", "linux/amd64/v3"));
    }

    #[test]
    fn reads_what_people_type() {
        assert_eq!(Platform::parse("x86_64").unwrap().to_string(), "linux/amd64");
        assert_eq!(Platform::parse("linux/arm/v7").unwrap().to_string(), "linux/arm/v7");
        for text in ["", "/", "linux/", "a/b/c/d", "linux/../x", "linux/a b"] {
            assert!(Platform::parse(text).is_err(), "{text:?}");
        }
    }
}
