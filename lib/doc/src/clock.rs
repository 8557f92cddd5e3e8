//! The time of day as records and the Kubernetes container log write it: RFC 3339 in UTC, nine digits of a second.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many bytes a time has; all have the same, so that times compare as bytes do.
pub const LENGTH: usize = 30;
const NANOS: u64 = 1_000_000_000;

/// Now.
pub fn now() -> [u8; LENGTH] {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format(since.as_secs(), since.subsec_nanos())
}

/// Now, as text.
pub fn now_text() -> String {
    String::from_utf8_lossy(&now()).into_owned()
}

/// The time `seconds` and `nanos` after 1970, as text.
pub fn text(seconds: u64, nanos: u32) -> String {
    String::from_utf8_lossy(&format(seconds, nanos)).into_owned()
}

/// The time `seconds` and `nanos` after 1970.
pub fn format(seconds: u64, nanos: u32) -> [u8; LENGTH] {
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    let (year, month, day) = civil(seconds / 86_400);
    let second = seconds % 86_400;
    for (at, width, value) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, second / 3600),
        (14, 2, second / 60 % 60),
        (17, 2, second % 60),
        (20, 9, u64::from(nanos)),
    ] {
        digits(&mut out[at..at + width], value);
    }
    out
}

fn digits(out: &mut [u8], mut value: u64) {
    for byte in out.iter_mut().rev() {
        // A remainder by ten fits.
        *byte = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// Year, month and day of the day `days` after 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`, for days that are never negative).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Days after 1970-01-01 of a date; the reverse of the above.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let year_of_era = year % 400;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (year / 400 * 146_097 + day_of_era).checked_sub(719_468)
}

/// A point in time from what people type after `--since` or `until=`: RFC 3339 (`2026-01-02T15:04:05Z`, with an offset, or
/// without one and then UTC; the time of day may be missing), seconds after 1970 with decimals, or how long ago in
/// Go's spelling (`10m`, `1h30m`).
pub fn parse(text: &str) -> Option<[u8; LENGTH]> {
    let nanos = moment(text).or_else(|| unix(text)).or_else(|| {
        let ago = crate::units::duration_ns(text).ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_nanos();
        u64::try_from(now).ok()?.checked_sub(ago)
    })?;
    Some(format(nanos / NANOS, u32::try_from(nanos % NANOS).ok()?))
}

/// The time after a filter's `until=`, as text.
///
/// # Errors
/// It is none.
pub fn parse_until(text: &str) -> Result<String, crate::Error> {
    let wrong =
        || crate::Error::usage(format!("invalid filter until={text:?}: a time, or how long ago (24h)"));
    parse_text(text).ok_or_else(wrong)
}

/// As [`parse`], as text.
pub fn parse_text(text: &str) -> Option<String> {
    parse(text).map(|time| String::from_utf8_lossy(&time).into_owned())
}

/// When a file was last written.
pub fn modified(path: &Path) -> Option<String> {
    let since = path.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(text(since.as_secs(), since.subsec_nanos()))
}

fn unix(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    number(whole)?.checked_mul(NANOS)?.checked_add(fraction_nanos(fraction)?)
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn fraction_nanos(digits: &str) -> Option<u64> {
    if digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<9}").parse().ok()
}

fn moment(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00Z"));
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, number(parts.next()?)?, number(parts.next()?)?);
    if parts.next().is_some() || year.len() != 4 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days(number(year)?, month, day)?;
    let (clock, offset_seconds) = split_offset(time)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let hour = number(parts.next()?)?;
    let minute = number(parts.next().unwrap_or("0"))?;
    let second = number(parts.next().unwrap_or("0"))?;
    if parts.next().is_some() || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let local = i64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).ok()?;
    let seconds = u64::try_from(local.checked_sub(offset_seconds)?).ok()?;
    seconds.checked_mul(NANOS)?.checked_add(fraction_nanos(fraction)?)
}

/// The time of day and how many seconds its zone is ahead of UTC.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (hours, minutes) = time[at + 1..].split_once(':')?;
    let seconds = i64::try_from(number(hours)? * 3600 + number(minutes)? * 60).ok()?;
    Some((&time[..at], if time.as_bytes()[at] == b'-' { -seconds } else { seconds }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(time: [u8; LENGTH]) -> String {
        String::from_utf8(time.to_vec()).unwrap()
    }

    #[test]
    fn writes_dates_as_date_does() {
        assert_eq!(string(format(0, 0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(string(format(951_782_400, 5)), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(string(format(1_767_225_599, 999_999_999)), "2025-12-31T23:59:59.999999999Z");
        assert_eq!(string(format(4_107_542_400, 0)), "2100-03-01T00:00:00.000000000Z");
    }

    #[test]
    fn reads_what_people_type() {
        for typed in [
            "2000-02-29T00:00:00Z",
            "2000-02-29",
            "2000-02-29T01:30:00+01:30",
            "2000-02-28T22:00:00.000-02:00",
            "951782400",
            "951782400.0",
        ] {
            assert_eq!(
                parse(typed).map(string).as_deref(),
                Some("2000-02-29T00:00:00.000000000Z"),
                "{typed}"
            );
        }
        assert!(parse("10m").unwrap() < now());
        for typed in ["", "x", "2000-13-01", "2000-02-29T25:00:00Z", "-5", "2000-02"] {
            assert!(parse(typed).is_none(), "{typed}");
        }
    }
}
