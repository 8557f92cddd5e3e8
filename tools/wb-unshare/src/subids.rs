//! The ids an ordinary user may hand on: subuid(5), subgid(5).

use crate::maps::Maps;
use std::fs;
use wb_doc::oci::IdMapping;

/// The maps of the user's namespace: the user is root in it, and the subordinate ids follow from 1 on.
///
/// Without subordinate ids only root can be mapped; `None` then.
pub fn maps(uid: u32, gid: u32) -> Option<Maps> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let names = names(uid, &read("/etc/passwd"));
    let uids = map(uid, &names, &read("/etc/subuid"))?;
    let gids = map(gid, &names, &read("/etc/subgid"))?;
    Some(Maps { uids, gids })
}

/// What a user goes by in the files: the number, and the name (for users whom only a directory server knows, the
/// environment's; newuidmap(1) asks again).
pub fn names(uid: u32, passwd: &str) -> Vec<String> {
    let number = uid.to_string();
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(number.as_str())).then(|| name.to_owned())
    };
    let name = passwd.lines().find_map(of_line).or_else(|| std::env::var("USER").ok());
    name.into_iter().chain([number.clone()]).collect()
}

fn map(own: u32, names: &[String], file: &str) -> Option<Vec<IdMapping>> {
    let mut map = vec![IdMapping { container_id: 0, host_id: own, size: 1 }];
    for line in file.lines() {
        let mut fields = line.split(':');
        if !fields.next().is_some_and(|name| names.iter().any(|own| own == name)) {
            continue;
        }
        let mut number = || fields.next().and_then(|field| field.trim().parse::<u32>().ok());
        let (Some(host_id), Some(size)) = (number(), number()) else { continue };
        let container_id = map.last().and_then(|last| last.container_id.checked_add(last.size));
        if let Some(container_id) = container_id.filter(|_| size > 0) {
            map.push(IdMapping { container_id, host_id, size });
        }
    }
    (map.len() > 1).then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_root_and_the_ranges_follow() {
        let names = names(1000, "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n");
        assert_eq!(names, ["ann", "1000"]);
        let file = "bob:100000:65536\nann:165536:65536\n# ann:1:1\nann:x:1\nann:5:0\n1000:300000:10\n";
        let map: Vec<_> = map(1000, &names, file)
            .unwrap()
            .iter()
            .map(|one| (one.container_id, one.host_id, one.size))
            .collect();
        assert_eq!(map, [(0, 1000, 1), (1, 165_536, 65_536), (65_537, 300_000, 10)]);
    }

    #[test]
    fn without_a_range_there_is_no_map() {
        assert!(map(1000, &["ann".into()], "bob:100000:65536\n").is_none());
    }
}
