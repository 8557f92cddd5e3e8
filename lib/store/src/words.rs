//! Names for containers that were given none: an adjective and an animal of the sea, as `brave_narwhal`.

use std::fs::File;
use std::io::Read;

const ADJECTIVES: [&str; 64] = [
    "able", "agile", "amber", "azure", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "cosy",
    "daring", "deep", "eager", "early", "easy", "fair", "fancy", "fast", "fine", "fond", "free", "fresh",
    "gentle", "glad", "golden", "good", "grand", "great", "happy", "hardy", "honest", "jolly", "keen",
    "kind", "late", "light", "lively", "loyal", "lucky", "mellow", "merry", "mild", "neat", "nimble",
    "noble", "old", "patient", "plain", "proud", "quick", "quiet", "rapid", "salty", "sharp", "shy",
    "silent", "smart", "sober", "steady", "sunny", "swift", "wise",
];

const ANIMALS: [&str; 64] = [
    "anchovy",
    "barnacle",
    "barracuda",
    "beluga",
    "bluefin",
    "bream",
    "carp",
    "clam",
    "cod",
    "conger",
    "coral",
    "cormorant",
    "crab",
    "cuttlefish",
    "dolphin",
    "dugong",
    "eel",
    "flounder",
    "gannet",
    "grouper",
    "gull",
    "haddock",
    "hake",
    "halibut",
    "herring",
    "humpback",
    "kelp",
    "krill",
    "limpet",
    "lobster",
    "mackerel",
    "manatee",
    "manta",
    "marlin",
    "minke",
    "mullet",
    "mussel",
    "narwhal",
    "nautilus",
    "octopus",
    "orca",
    "otter",
    "oyster",
    "pelican",
    "perch",
    "petrel",
    "pilchard",
    "plaice",
    "porpoise",
    "prawn",
    "puffin",
    "ray",
    "salmon",
    "sardine",
    "seal",
    "skate",
    "sponge",
    "squid",
    "sturgeon",
    "tern",
    "tuna",
    "turbot",
    "walrus",
    "whelk",
];

/// A random name; `attempt` after the third adds a digit, so that many containers do not run out of names.
pub fn name(attempt: u32) -> std::io::Result<String> {
    let mut random = [0; 3];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let adjective = ADJECTIVES[usize::from(random[0] % 64)];
    let animal = ANIMALS[usize::from(random[1] % 64)];
    Ok(if attempt < 3 {
        format!("{adjective}_{animal}")
    } else {
        format!("{adjective}_{animal}{}", u32::from(random[2]) << attempt.min(24))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_a_name() {
        for word in ADJECTIVES.into_iter().chain(ANIMALS) {
            assert!(wb_doc::names::check("name", word).is_ok());
        }
        let name = name(9).unwrap();
        assert!(wb_doc::names::check("name", &name).is_ok() && name.contains('_'), "{name}");
    }
}
