//! The quantities people type: sizes, CPU counts, durations.

use crate::error::Error;
use std::collections::BTreeSet;

/// A size in bytes from docker's spelling: a number, decimals allowed, and one of `b k m g t p` (powers of
/// 1024), optionally followed by `b` or `ib`. `-1` is allowed where docker allows "unlimited" and is returned
/// as -1.
pub fn bytes(text: &str) -> Result<i64, Error> {
    let wrong = || Error::usage(format!("invalid size {text:?}: a number and one of b, k, m, g, t"));
    if text == "-1" {
        return Ok(-1);
    }
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1 << shift).ok_or_else(wrong);
    }
    let value = number.parse::<f64>().map_err(|_| wrong())? * f64::from(2_u32).powi(shift);
    // The bound keeps the conversion exact enough: 2^62 bytes is more than any machine has.
    #[allow(clippy::cast_possible_truncation, reason = "bounded above, and never negative")]
    if value.is_finite() && value < 4.6e18 { Ok(value as i64) } else { Err(wrong()) }
}

/// CPUs (`0.25`, `2`) as nanoseconds of CPU a second, exact: no float on the way.
pub fn nano_cpus(text: &str) -> Result<u64, Error> {
    let wrong = || Error::usage(format!("invalid number of CPUs {text:?}: a decimal number such as 0.5"));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 {
        return Err(wrong());
    }
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(wrong());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
    let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000_000).and_then(|nano| nano.checked_add(fraction)).ok_or_else(wrong)
}

/// A duration in nanoseconds from Go's spelling: `300ms`, `1.5s`, `1m30s`, `2h`; a bare `0` is allowed.
pub fn duration_ns(text: &str) -> Result<u64, Error> {
    let wrong = || Error::usage(format!("invalid duration {text:?}: for example 300ms, 1m30s, 2h"));
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return Err(wrong()),
        };
        total += number * unit;
        rest = &rest[end..];
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded, never negative")]
    if text.is_empty() || total > 9e18 { Err(wrong()) } else { Ok(total as u64) }
}

/// Bytes in docker's short form for what moves or lies somewhere, by thousands: `1.45kB`, `12.3MB`.
pub fn human_size(bytes: u64) -> String {
    human(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"], 3)
}

/// Bytes in docker's short form for memory, by 1024: `3.012MiB`.
pub fn human_memory(bytes: u64) -> String {
    human(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 4)
}

/// At most so many significant `digits`, and no zeros at the end of a fraction.
fn human(bytes: u64, step: f64, units: &[&str], digits: usize) -> String {
    #[allow(clippy::cast_precision_loss, reason = "a few digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let whole = format!("{value:.0}").len();
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
}

/// The numbers of a list such as `0-2,4` (cpuset(7), "List format"); what is no list has none.
pub fn number_list(list: &str) -> BTreeSet<u32> {
    let range = |part: &str| -> Option<std::ops::RangeInclusive<u32>> {
        let (first, end) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=end.trim().parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().take(1 << 16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers_are_taken_apart() {
        assert_eq!(number_list("0-2,4"), BTreeSet::from([0, 1, 2, 4]));
        assert_eq!(number_list("0,1,2, 4\n"), number_list("0-2,4"));
        assert!(number_list("").is_empty() && number_list("a-b").is_empty() && number_list("3-1").is_empty());
        assert_eq!(number_list("0-4294967295").len(), 1 << 16);
    }

    #[test]
    fn sizes_as_docker_reads_them() {
        for (text, value) in [
            ("100m", 100 << 20),
            ("1g", 1 << 30),
            ("512", 512),
            ("1.5k", 1536),
            ("2GiB", 2 << 30),
            ("-1", -1),
        ] {
            assert_eq!(bytes(text).unwrap(), value, "{text}");
        }
        for text in ["", "m", "10x", "-5", "1e3", "99999999999999g"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_as_docker_shows_them() {
        for (bytes, size, memory) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1450, "1.45kB", "1.416KiB"),
            (2_000_000, "2MB", "1.907MiB"),
            (123_456_789, "123MB", "117.7MiB"),
            (1 << 30, "1.07GB", "1GiB"),
        ] {
            assert_eq!((human_size(bytes).as_str(), human_memory(bytes).as_str()), (size, memory));
        }
    }

    #[test]
    fn cpus_are_exact() {
        assert_eq!(nano_cpus("0.25").unwrap(), 250_000_000);
        assert_eq!(nano_cpus("0.04").unwrap(), 40_000_000);
        assert_eq!(nano_cpus("2").unwrap(), 2_000_000_000);
        for text in ["", ".", "-1", "1,5", "x", "0.0000000001"] {
            assert!(nano_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_as_go_reads_them() {
        assert_eq!(duration_ns("1m30s").unwrap(), 90_000_000_000);
        assert_eq!(duration_ns("300ms").unwrap(), 300_000_000);
        for text in ["", "10", "s", "1x"] {
            assert!(duration_ns(text).is_err(), "{text}");
        }
    }
}
