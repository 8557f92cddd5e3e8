//! `--filter` of the verbs that remove what nobody uses: which of it.

use crate::{Error, clock};

/// What `--filter` asks for: all of it must hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PruneFilters {
    until: Option<String>,
    labels: Vec<String>,
    without: Vec<String>,
}

impl PruneFilters {
    /// Reads `KEY=VALUE` words with the keys `label`, `label!` and, where things of the kind have an age, `until`.
    ///
    /// # Errors
    /// Another key, or no time after `until=`.
    pub fn parse(words: &[String], have_age: bool) -> Result<Self, Error> {
        let mut filters = Self::default();
        for word in words {
            let wrong = || {
                let keys = if have_age { "label=, label!= or until=" } else { "label= or label!=" };
                Error::usage(format!("invalid filter {word:?}")).hint(keys)
            };
            let (key, value) = word.split_once('=').ok_or_else(wrong)?;
            match key {
                "label" => filters.labels.push(value.to_owned()),
                "label!" => filters.without.push(value.to_owned()),
                "until" if have_age => filters.until = Some(clock::parse_until(value)?),
                _ => return Err(wrong()),
            }
        }
        Ok(filters)
    }

    /// Whether something made at this time (RFC 3339) and with these labels may go. What has no time is not old.
    pub fn allow<'a>(&self, created: Option<&str>, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let is_old = |until: &String| {
            let created = created.and_then(clock::parse);
            created.is_some_and(|created| created.as_slice() < until.as_bytes())
        };
        self.until.as_ref().is_none_or(is_old)
            && self.labels.iter().all(|wanted| has_label(wanted, &label))
            && !self.without.iter().any(|unwanted| has_label(unwanted, &label))
    }
}

/// Whether among labels is the one wanted, `KEY` or `KEY=VALUE`.
pub fn has_label<'a>(wanted: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => label(key) == Some(value),
        None => label(wanted).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(words: &[&str]) -> bool {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let label = |key: &str| (key == "tier").then_some("front");
        PruneFilters::parse(&words, true).unwrap().allow(Some("2020-01-02T03:04:05.5+01:00"), label)
    }

    #[test]
    fn all_filters_must_hold() {
        for words in [
            [].as_slice(),
            &["label=tier"],
            &["label=tier=front"],
            &["label!=tier=back", "label!=other"],
            &["until=1h"],
            &["until=2020-01-03", "label=tier"],
        ] {
            assert!(allows(words), "{words:?}");
        }
        for words in [
            ["label=other"].as_slice(),
            &["label=tier", "label=tier=back"],
            &["label!=tier", "label!=other"],
            &["until=2020-01-02"],
            &["until=1577930000"],
        ] {
            assert!(!allows(words), "{words:?}");
        }
        assert!(!PruneFilters::parse(&["until=1h".into()], true).unwrap().allow(None, |_| None));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for word in ["label", "name=x", "until=soon", ""] {
            assert!(PruneFilters::parse(&[word.to_owned()], true).is_err(), "{word}");
        }
        assert!(PruneFilters::parse(&["until=1h".into()], false).is_err());
    }
}
