//! `linux.resources.blockIO`: weights and throttles.

use super::{Writes, not_on_v2};
use crate::resources::{BlockIo, Throttle};
use wb_doc::Error;

/// Adds the writes for `version`.
pub fn plan(writes: &mut Writes, block: &BlockIo, version: u8) -> Result<(), Error> {
    if version == 2 {
        return v2(writes, block);
    }
    v1(writes, block);
    Ok(())
}

fn v1(writes: &mut Writes, block: &BlockIo) {
    let given = |weight: &u16| *weight != 0;
    writes.add("blkio", "blkio.weight", block.weight.filter(given));
    writes.add("blkio", "blkio.leaf_weight", block.leaf_weight.filter(given));
    for device in &block.weight_device {
        let line = |weight: u16| format!("{}:{} {weight}", device.major, device.minor);
        writes.add("blkio", "blkio.weight_device", device.weight.filter(given).map(line));
        writes.add("blkio", "blkio.leaf_weight_device", device.leaf_weight.filter(given).map(line));
    }
    for (name, devices) in throttles(block, ["read_bps", "write_bps", "read_iops", "write_iops"]) {
        for device in devices {
            let line = format!("{}:{} {}", device.major, device.minor, device.rate);
            writes.add("blkio", format!("blkio.throttle.{name}_device"), Some(line));
        }
    }
}

fn v2(writes: &mut Writes, block: &BlockIo) -> Result<(), Error> {
    let given = |weight: &u16| *weight != 0;
    let has_leaf =
        block.weight_device.iter().any(|device| device.leaf_weight.is_some_and(|weight| weight != 0));
    if has_leaf || block.leaf_weight.is_some_and(|weight| weight != 0) {
        return Err(not_on_v2("blockIO.leafWeight", "io"));
    }
    writes.add("io", "io.bfq.weight", block.weight.filter(given));
    for device in &block.weight_device {
        let line = |weight: u16| format!("{}:{} {weight}", device.major, device.minor);
        writes.add("io", "io.bfq.weight", device.weight.filter(given).map(line));
    }
    for (key, devices) in throttles(block, ["rbps", "wbps", "riops", "wiops"]) {
        for device in devices {
            let rate = if device.rate == 0 { "max".into() } else { device.rate.to_string() };
            writes.add("io", "io.max", Some(format!("{}:{} {key}={rate}", device.major, device.minor)));
        }
    }
    Ok(())
}

/// The four lists of rates by the names they have in a version.
fn throttles<'a>(block: &'a BlockIo, names: [&'a str; 4]) -> [(&'a str, &'a [Throttle]); 4] {
    let [read_bps, write_bps, read_iops, write_iops] = names;
    [
        (read_bps, &block.throttle_read_bps_device),
        (write_bps, &block.throttle_write_bps_device),
        (read_iops, &block.throttle_read_iops_device),
        (write_iops, &block.throttle_write_iops_device),
    ]
}

#[cfg(test)]
mod tests {
    use crate::plan::tests::{refused, shown};

    const RATES: &str = r#"{"blockIO":{"weight":300,"weightDevice":[{"major":8,"minor":0,"weight":200}],
        "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],
        "throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":2}],
        "throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],
        "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":0}]}}"#;

    #[test]
    fn weights_and_rates() {
        assert_eq!(
            shown(RATES, 1).unwrap(),
            [
                "blkio.weight=300",
                "blkio.weight_device=8:0 200",
                "blkio.throttle.read_bps_device=8:0 1",
                "blkio.throttle.write_bps_device=8:0 2",
                "blkio.throttle.read_iops_device=8:0 3",
                "blkio.throttle.write_iops_device=8:0 0"
            ]
        );
        assert_eq!(
            shown(RATES, 2).unwrap(),
            [
                "io.bfq.weight=300",
                "io.bfq.weight=8:0 200",
                "io.max=8:0 rbps=1",
                "io.max=8:0 wbps=2",
                "io.max=8:0 riops=3",
                "io.max=8:0 wiops=max"
            ]
        );
    }

    #[test]
    fn weights_of_leaves_are_v1s_alone() {
        let text = r#"{"blockIO":{"leafWeight":9,"weightDevice":[{"major":8,"minor":0,"leafWeight":7}]}}"#;
        assert_eq!(shown(text, 1).unwrap(), ["blkio.leaf_weight=9", "blkio.leaf_weight_device=8:0 7"]);
        assert!(refused(text, 2).contains("io controller"));
        assert!(
            refused(r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":7}]}}"#, 2)
                .contains("leafWeight")
        );
    }
}
