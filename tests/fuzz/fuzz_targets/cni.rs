//! Any bytes as a CNI configuration, a list of them, a result or a document's networks: read or refused in one line,
//! and the addresses that may be given lie in their subnet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wb_doc::{Context, Document, Error};
use wb_store::cni::Config;
use wb_store::network::{self, Ipam, Network, Outcome};

#[allow(dead_code, reason = "what gives addresses out is not called here")]
#[path = "../../../tools/wb-ipam/src/subnet.rs"]
mod subnet;

fn is_one_line(error: &Error) {
    let line = error.to_string();
    assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
}

fn read<T: DeserializeOwned>(data: &[u8]) -> Option<T> {
    let read: Result<T, Error> = serde_json::from_slice(data).context(|| "the configuration");
    read.inspect_err(is_one_line).ok()
}

/// What was read means the same when it is written and read again.
fn same<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let text = serde_json::to_vec(value).expect("JSON");
    assert_eq!(&serde_json::from_slice::<T>(&text).expect("what we wrote"), value);
}

fn addresses(ipam: &Ipam) {
    for set in ipam.sets() {
        match subnet::Subnet::of_set(&set) {
            Err(error) => is_one_line(&error),
            Ok(subnets) => {
                for subnet in subnets {
                    assert!(subnet.size > 0 && subnet.size <= 1 << 24);
                    for offset in [0, subnet.size / 2, subnet.size - 1] {
                        let address = subnet.address(offset);
                        assert!(subnet.net.contains(&address), "{address} of {}", subnet.net);
                    }
                }
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    if let Some(config) = read::<Config>(data) {
        addresses(&config.plugin.ipam);
        if let Some(result) = &config.prev_result {
            same(result);
        }
    }
    if let Some(list) = read::<Network>(data) {
        same(&list);
        if let Err(error) = network::check_name(&list.name) {
            is_one_line(&error);
        }
        match list.plugin() {
            Ok(plugin) => addresses(&plugin.ipam),
            Err(error) => is_one_line(&error),
        }
    }
    if let Some(result) = read::<Outcome>(data) {
        same(&result);
    }
    if let Ok(mut document) = Document::parse(data) {
        match network::attachments(&document) {
            Ok(all) => {
                for (index, attachment) in all.iter().enumerate() {
                    if let Err(error) = network::set_member(&mut document, index, "name", &attachment.name) {
                        is_one_line(&error);
                    }
                }
            }
            Err(error) => is_one_line(&error),
        }
    }
});
