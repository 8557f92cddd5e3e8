//! `linux.resources.memory`.

use super::{Writes, not_on_v2};
use crate::resources::Memory;
use wb_doc::Error;

/// Adds the writes for `version`. As everywhere in `linux.resources`, a limit of 0 bytes is none that was given.
pub fn plan(writes: &mut Writes, memory: &Memory, version: u8) -> Result<(), Error> {
    let limit = memory.limit.filter(|&bytes| bytes != 0);
    // Memory without a limit in a group with one for memory and swap would have one all the same.
    let swap = memory.swap.filter(|&bytes| bytes != 0).or(limit.filter(|&bytes| bytes < 0));
    if version == 2 {
        return v2(writes, memory, limit, swap);
    }
    v1(writes, memory, limit, swap);
    Ok(())
}

fn v1(writes: &mut Writes, memory: &Memory, limit: Option<i64>, swap: Option<i64>) {
    // What v1 files hold for "no limit".
    let bytes = |bytes: i64| bytes.max(-1);
    if let Some(use_hierarchy) = memory.use_hierarchy {
        // Before anything else: it can be changed only while there are no children.
        writes.add("memory", "memory.use_hierarchy", Some(u8::from(use_hierarchy)));
    }
    writes.add("memory", "memory.limit_in_bytes", limit.map(bytes));
    writes.add("memory", "memory.memsw.limit_in_bytes", swap.map(bytes));
    writes.add("memory", "memory.soft_limit_in_bytes", memory.reservation.map(bytes));
    writes.add("memory", "memory.kmem.limit_in_bytes", memory.kernel.map(bytes));
    writes.add("memory", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp.map(bytes));
    writes.add("memory", "memory.swappiness", memory.swappiness);
    writes.add("memory", "memory.oom_control", memory.disable_oom_killer.map(u8::from));
}

fn v2(writes: &mut Writes, memory: &Memory, limit: Option<i64>, swap: Option<i64>) -> Result<(), Error> {
    let given = |bytes: Option<i64>| bytes.is_some_and(|bytes| bytes >= 0);
    for (member, is_asked) in [
        ("memory.disableOOMKiller", memory.disable_oom_killer == Some(true)),
        ("memory.useHierarchy false", memory.use_hierarchy == Some(false)),
        ("memory.kernel", given(memory.kernel)),
        ("memory.kernelTCP", given(memory.kernel_tcp)),
        ("memory.swappiness", memory.swappiness.is_some()),
    ] {
        if is_asked {
            return Err(not_on_v2(member, "memory"));
        }
    }
    // What v2 files hold for "no limit".
    let bytes = |bytes: i64| if bytes < 0 { "max".to_owned() } else { bytes.to_string() };
    writes.add("memory", "memory.max", limit.map(bytes));
    writes.add("memory", "memory.swap.max", swap_alone(limit, swap)?.map(bytes));
    writes.add("memory", "memory.low", memory.reservation.map(bytes));
    Ok(())
}

/// v2 counts swap alone where the specification counts memory and swap together.
fn swap_alone(limit: Option<i64>, swap: Option<i64>) -> Result<Option<i64>, Error> {
    match (limit, swap) {
        (_, None) => Ok(None),
        (_, Some(swap)) if swap < 0 => Ok(Some(-1)),
        (Some(limit), Some(swap)) if limit >= 0 && swap >= limit => Ok(Some(swap - limit)),
        (Some(limit), Some(swap)) if limit >= 0 => Err(Error::new(format!(
            "linux.resources.memory: swap {swap} counts memory too, and is less than the limit {limit}"
        ))),
        _ => Err(Error::new("linux.resources.memory: swap without a memory limit")),
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::tests::{refused, shown};

    const EVERYTHING: &str = r#"{"memory":{"limit":8192,"swap":8192,"reservation":4096,"kernel":4096,"kernelTCP":-1,
        "swappiness":0,"disableOOMKiller":true,"useHierarchy":true,"checkBeforeUpdate":true}}"#;

    #[test]
    fn every_member_on_v1() {
        assert_eq!(
            shown(EVERYTHING, 1).unwrap(),
            [
                "memory.use_hierarchy=1",
                "memory.limit_in_bytes=8192",
                "memory.memsw.limit_in_bytes=8192",
                "memory.soft_limit_in_bytes=4096",
                "memory.kmem.limit_in_bytes=4096",
                "memory.kmem.tcp.limit_in_bytes=-1",
                "memory.swappiness=0",
                "memory.oom_control=1",
            ]
        );
    }

    #[test]
    fn v2_refuses_what_it_cannot_honour_and_nothing_else() {
        for member in [
            r#""disableOOMKiller":true"#,
            r#""useHierarchy":false"#,
            r#""kernel":4096"#,
            r#""kernelTCP":0"#,
            r#""swappiness":60"#,
        ] {
            let error = refused(&format!(r#"{{"memory":{{{member}}}}}"#), 2);
            let name = member.split('"').nth(1).unwrap();
            assert!(error.contains(name) && error.contains("memory controller"), "{error}");
        }
        let harmless = r#"{"memory":{"limit":8192,"disableOOMKiller":false,"useHierarchy":true,"kernel":-1,
            "kernelTCP":-1}}"#;
        assert_eq!(shown(harmless, 2).unwrap(), ["memory.max=8192"]);
    }

    #[test]
    fn swap_less_than_memory_is_refused() {
        assert!(shown(r#"{"memory":{"limit":100,"swap":50}}"#, 2).is_err());
        assert_eq!(
            shown(r#"{"memory":{"limit":100,"swap":-1}}"#, 2).unwrap(),
            ["memory.max=100", "memory.swap.max=max"]
        );
    }

    #[test]
    fn no_limit_on_memory_is_none_on_swap() {
        assert_eq!(
            shown(r#"{"memory":{"limit":-1}}"#, 2).unwrap(),
            ["memory.max=max", "memory.swap.max=max"]
        );
        assert_eq!(
            shown(r#"{"memory":{"limit":-1,"swap":0}}"#, 1).unwrap(),
            ["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"]
        );
        assert!(shown(r#"{"memory":{"limit":0,"swap":0}}"#, 1).unwrap().is_empty());
    }
}
