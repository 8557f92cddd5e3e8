//! The flags that bound what a layer may ask for; the same in every tool that has layers unpacked.

/// How much a layer may ask for. What is not given is as `wb-rootfs unpack` has it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LayerLimits {
    /// Most bytes of a layer, uncompressed
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<String>,
    /// Most entries of a layer
    #[arg(long, value_name = "NUMBER")]
    max_entries: Option<u64>,
    /// Longest path in a layer, in bytes
    #[arg(long, value_name = "BYTES")]
    max_path: Option<u64>,
}

impl LayerLimits {
    /// The flags again, for `wb-rootfs unpack`.
    pub fn arguments(&self) -> Vec<String> {
        let flags = [
            ("--max-bytes", self.max_bytes.clone()),
            ("--max-entries", self.max_entries.map(|number| number.to_string())),
            ("--max-path", self.max_path.map(|number| number.to_string())),
        ];
        flags.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?])).flatten().collect()
    }
}
