//! `linux.resources.devices` on cgroup v1: `devices.allow` and `devices.deny` (cgroup-v1/devices.rst).
//!
//! The kernel keeps a default, set by `a`, and exceptions from it. A rule that goes with the default takes an
//! exception back, but only one of exactly its numbers: of the others it says nothing and does nothing. What it
//! would not do is refused here.

use super::{Write, Writes};
use crate::resources::DeviceRule;
use wb_doc::Error;

/// A rule about one type of device; no number means any.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    kind: char,
    major: Option<i64>,
    minor: Option<i64>,
    access: String,
}

impl Line {
    fn same_numbers(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let number = |a: Option<i64>, b: Option<i64>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind
            && number(self.major, other.major)
            && number(self.minor, other.minor)
            && self.access.chars().any(|letter| other.access.contains(letter))
    }

    /// What of this line `others` do not say.
    fn beyond(&self, others: &[Self]) -> Option<Self> {
        let others: String = others
            .iter()
            .filter(|other| other.same_numbers(self))
            .map(|other| other.access.as_str())
            .collect();
        let access: String = self.access.chars().filter(|&letter| !others.contains(letter)).collect();
        (!access.is_empty()).then(|| Self { access, ..self.clone() })
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.trim_end().split_once(' ')?;
        let (numbers, access) = rest.split_once(' ')?;
        let (major, minor) = numbers.split_once(':')?;
        let number = |text: &str| text.parse().ok();
        let (major, minor) = (number(major), number(minor));
        Some(Self { kind: kind.chars().next()?, major, minor, access: access.to_owned() })
    }

    /// As `devices.allow` takes it.
    fn shown(&self) -> String {
        let number = |value: Option<i64>| value.map_or_else(|| "*".to_owned(), |value| value.to_string());
        format!("{} {}:{} {}", self.kind, number(self.major), number(self.minor), self.access)
    }
}

/// Adds the writes, in the order of the rules.
pub(super) fn plan(writes: &mut Writes, rules: &[DeviceRule]) -> Result<(), Error> {
    // A new cgroup has its parent's default and exceptions, which are not known here: the first rule is, as a rule,
    // one about everything.
    let mut default_allows = None;
    let mut exceptions: Vec<Line> = Vec::new();
    for rule in rules {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        let lines = lines_of(rule)?;
        if lines.is_empty() {
            writes.add("devices", file, Some("a"));
            default_allows = Some(rule.allow);
            exceptions.clear();
            continue;
        }
        for line in lines {
            if default_allows == Some(rule.allow) {
                let hidden =
                    exceptions.iter().find(|other| other.overlaps(&line) && !other.same_numbers(&line));
                if let Some(other) = hidden {
                    return Err(Error::new(format!(
                        "linux.resources.devices: the devices controller of cgroup v1 cannot make {} an \
                         exception from {}",
                        line.shown(),
                        other.shown()
                    )));
                }
            } else {
                exceptions.push(line.clone());
            }
            writes.add("devices", file, Some(line.shown()));
        }
    }
    Ok(())
}

/// The writes that lead a group whose `devices.list` is `list` to what the rules say. Where they only allow, as those
/// of containers do, its processes lose nothing meanwhile that they have before and after.
pub fn change(rules: &[DeviceRule], list: &str) -> Result<Vec<Write>, Error> {
    let mut writes = Writes::default();
    plan(&mut writes, rules)?;
    let Some((first, rest)) = writes.0.split_first() else { return Ok(Vec::new()) };
    let had: Vec<Line> = list.lines().filter_map(Line::parse).collect();
    let has_all = had.iter().any(|line| line.kind == 'a');
    let only_allows = rest.iter().all(|write| write.value != "a" && write.file == "devices.allow");
    match (first.file.as_str(), first.value.as_str()) {
        ("devices.allow", "a") if rest.is_empty() && has_all => Ok(Vec::new()),
        ("devices.deny", "a") if only_allows && !has_all => {
            let wanted: Vec<Line> = rest.iter().filter_map(|write| Line::parse(&write.value)).collect();
            let mut writes = Writes::default();
            for (file, from, to) in [("devices.allow", &had, &wanted), ("devices.deny", &wanted, &had)] {
                for line in to.iter().filter_map(|line| line.beyond(from)) {
                    writes.add("devices", file, Some(line.shown()));
                }
            }
            Ok(writes.0)
        }
        _ => Ok(writes.0),
    }
}

/// The lines of a rule; none stands for every device and every access. The kernel ignores whatever stands behind
/// an `a`, so that a rule about some of all devices is one about block and one about character devices.
fn lines_of(rule: &DeviceRule) -> Result<Vec<Line>, Error> {
    let access = rule.access.as_deref().unwrap_or("rwm");
    if access.is_empty() || !access.bytes().all(|byte| b"rwm".contains(&byte)) {
        return Err(Error::new(format!("linux.resources.devices: access {access:?} is not of r, w, m")));
    }
    let number = |value: Option<i64>| value.filter(|&value| value >= 0);
    let (major, minor) = (number(rule.major), number(rule.minor));
    let kinds = match rule.kind.as_deref().unwrap_or("a") {
        "a" if major.is_none() && minor.is_none() && "rwm".chars().all(|letter| access.contains(letter)) => {
            ""
        }
        "a" => "bc",
        "b" => "b",
        "c" => "c",
        other => {
            return Err(Error::new(format!("linux.resources.devices: type {other:?} is none of a, b, c")));
        }
    };
    Ok(kinds.chars().map(|kind| Line { kind, major, minor, access: access.to_owned() }).collect())
}

#[cfg(test)]
mod tests {
    use crate::plan::tests::{refused, shown};

    #[test]
    fn rules_in_the_kernel_notation() {
        assert_eq!(
            shown(
                r#"{"devices":[{"allow":false,"access":"rwm"},
                    {"allow":true,"type":"c","major":136,"access":"rw"},{"allow":true,"type":"a","major":7,"minor":-1}]}"#,
                1
            )
            .unwrap(),
            ["devices.deny=a", "devices.allow=c 136:* rw", "devices.allow=b 7:* rwm", "devices.allow=c 7:* rwm"]
        );
        assert!(shown(r#"{"devices":[{"allow":true,"type":"x"}]}"#, 1).is_err());
        assert!(shown(r#"{"devices":[{"allow":true,"access":"rx"}]}"#, 1).is_err());
        assert!(shown(r#"{"devices":[{"allow":true}]}"#, 2).unwrap().is_empty());
    }

    #[test]
    fn a_letter_for_every_device_is_not_every_letter() {
        assert_eq!(
            shown(r#"{"devices":[{"allow":false},{"allow":true,"access":"r"}]}"#, 1).unwrap(),
            ["devices.deny=a", "devices.allow=b *:* r", "devices.allow=c *:* r"]
        );
    }

    #[test]
    fn a_living_group_gets_what_is_new_and_then_loses_what_is_gone() {
        let rules: Vec<_> = super::super::tests::resources(
            r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":3},
                {"allow":true,"type":"c","major":1,"minor":5,"access":"r"},{"allow":true,"type":"c","access":"m"}]}"#,
        )
        .devices;
        let lines = |list: &str| -> Vec<String> {
            let writes = super::change(&rules, list).unwrap();
            writes.iter().map(|write| format!("{}={}", write.file, write.value)).collect()
        };
        assert!(lines("c 1:3 rwm\nc *:* m\nc 1:5 r\n").is_empty());
        assert_eq!(
            lines("c 1:3 r\nc 1:5 rw\nb 8:0 rwm\nc *:* m\n"),
            ["devices.allow=c 1:3 wm", "devices.deny=c 1:5 w", "devices.deny=b 8:0 rwm"]
        );
        assert_eq!(lines("a *:* rwm\n").len(), 4);
    }

    #[test]
    fn what_the_kernel_would_ignore_is_refused() {
        let error = refused(
            r#"{"devices":[{"allow":false},{"allow":true,"type":"c","access":"rw"},
                {"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]}"#,
            1,
        );
        assert!(error.contains("devices controller") && error.contains("c 1:3 w"), "{error}");
        // Exactly the exception of before, another access, another device: all that can be said.
        let text = r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":3},
            {"allow":false,"type":"c","major":1,"minor":3,"access":"w"},
            {"allow":false,"type":"c","major":1,"minor":5},{"allow":false,"type":"b","major":1,"minor":3}]}"#;
        assert_eq!(shown(text, 1).unwrap().len(), 5);
    }
}
