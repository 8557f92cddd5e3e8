//! The flags that bound what a layer may ask for; the same in every tool that has layers unpacked.

/// How much a layer may ask for. What is not given is as `wb-rootfs unpack` has it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LayerLimits {
    /// Most bytes of a layer, uncompressed
    #[arg(long = "max-bytes", value_name = "BYTES")]
    bytes: Option<String>,
    /// Most entries of a layer
    #[arg(long = "max-entries", value_name = "NUMBER")]
    entries: Option<u64>,
    /// Longest path in a layer, in bytes
    #[arg(long = "max-path", value_name = "BYTES")]
    path: Option<u64>,
}

impl LayerLimits {
    /// The flags again, for `wb-rootfs unpack`.
    pub fn arguments(&self) -> Vec<String> {
        let flags = [
            ("--max-bytes", self.bytes.clone()),
            ("--max-entries", self.entries.map(|number| number.to_string())),
            ("--max-path", self.path.map(|number| number.to_string())),
        ];
        flags.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?])).flatten().collect()
    }
}
