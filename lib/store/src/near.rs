//! What a person may have meant by a name that there is not.

use wb_doc::Error;

/// The error with the nearest of `names` as its hint, where one is near: one slip in a short word, two in a longer.
#[must_use]
pub fn hinted<'a>(error: Error, typed: &str, names: impl IntoIterator<Item = &'a str>) -> Error {
    match nearest(typed, names) {
        Some(name) => error.hint(format!("did you mean {}?", wb_doc::escape(name))),
        None => error,
    }
}

/// The first of the nearest names; two letters exchanged are one slip.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips = (typed.chars().count() / 3).min(2);
    let near = names.into_iter().map(|name| (strsim::osa_distance(name, typed), name));
    near.filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_or_two_is_near_and_another_word_is_not() {
        let names = ["web", "database", "runner-box"];
        assert_eq!(nearest("wbe", names), Some("web"));
        assert_eq!(nearest("databsae", names), Some("database"));
        assert_eq!(nearest("runer-bx", names), Some("runner-box"));
        assert_eq!(nearest("nope", ["one", "nape"]), Some("nape"));
        assert_eq!(nearest("nope", ["one"]), None);
        assert_eq!(nearest("ab", ["aa"]), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest("netwrok", ["network", "net"]), Some("network"));
    }
}
