//! What of the usual configuration needs a group that this user namespace may not have.

use std::borrow::Cow;
use std::path::Path;
use wb_sys::procfs;

/// The first and the last group id of each range in the namespace's map; all of them where it cannot be read.
fn groups() -> Vec<(u64, u64)> {
    parse(&procfs::read(Path::new("self/gid_map")).unwrap_or_else(|_| "0 0 4294967295".into()))
}

fn parse(map: &str) -> Vec<(u64, u64)> {
    let range = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(size))) = (numbers.next(), numbers.next(), numbers.next())
        else {
            return None;
        };
        (size > 0).then_some((first, first + size - 1))
    };
    map.lines().filter_map(range).collect()
}

/// Whether an option of devpts can be given: `gid=` of a group that is not there would be refused. Terminals then
/// belong to the group of whoever opens them.
pub fn can_give(option: &str) -> bool {
    can_give_of(option, groups)
}

fn can_give_of(option: &str, groups: impl FnOnce() -> Vec<(u64, u64)>) -> bool {
    let gid = option.strip_prefix("gid=").and_then(|gid| gid.parse::<u64>().ok());
    gid.is_none_or(|gid| groups().iter().any(|(first, last)| (*first..=*last).contains(&gid)))
}

/// The value of a sysctl; the groups that may ping end with the last group there is.
pub fn fit<'a>(path: &Path, value: &'a str) -> Cow<'a, str> {
    if path == Path::new("sys/net/ipv4/ping_group_range") {
        fit_of(value, &groups())
    } else {
        Cow::Borrowed(value)
    }
}

fn fit_of<'a>(value: &'a str, groups: &[(u64, u64)]) -> Cow<'a, str> {
    let range =
        value.split_once([' ', '\t']).map(|(first, last)| (first.trim().parse::<u64>(), last.trim().parse()));
    let Some((Ok(first), Ok(last))) = range else { return Cow::Borrowed(value) };
    match groups.iter().map(|(_, last)| *last).max() {
        // Nobody is left, or nobody was meant: the kernel has the last word.
        Some(highest) if first <= highest && highest < last => Cow::Owned(format!("{first} {highest}")),
        _ => Cow::Borrowed(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_not_there_is_not_asked_for() {
        let (all, one, many) =
            (parse("0 0 4294967295\n"), parse("0 1000 1\n"), parse("0 1000 1\n1 100000 65536\n"));
        for (map, gives) in [(&all, true), (&one, false), (&many, true)] {
            assert_eq!(can_give_of("gid=5", || map.clone()), gives);
            assert!(can_give_of("mode=0620", || map.clone()));
        }
        assert_eq!(fit_of("0 2147483647", &all), "0 2147483647");
        assert_eq!(fit_of("0 2147483647", &one), "0 0");
        assert_eq!(fit_of("0\t2147483647", &many), "0 65536");
        assert_eq!(fit_of("1 0", &one), "1 0");
        assert_eq!(fit_of("70000 80000", &many), "70000 80000");
    }
}
