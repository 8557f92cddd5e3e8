//! Docker's words for times and states.

use crate::port::outside;
use crate::row::{Port, Row};
use jiff::Timestamp;

/// How long something took or is ago, as docker says it ("About a minute", "3 hours").
pub fn duration(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".into(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 730 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// The time since an RFC 3339 time; `None` where it is none. A time in the future is now.
pub fn since(time: &str, now: Timestamp) -> Option<String> {
    let then: Timestamp = time.parse().ok()?;
    Some(duration(u64::try_from(now.as_second() - then.as_second()).unwrap_or(0)))
}

/// The column STATUS.
pub fn status(row: &Row, now: Timestamp) -> String {
    let state = &row.wb.state;
    let up = || since(&state.started_at, now).map_or_else(|| "Up".into(), |time| format!("Up {time}"));
    let ago = || since(&state.finished_at, now).map_or(String::new(), |time| format!(" {time} ago"));
    let code = state.exit_code.map_or_else(|| "unknown".into(), |code| code.to_string());
    match row.status() {
        "running" if !state.health.status.is_empty() => match state.health.status.as_str() {
            "starting" => format!("{} (health: starting)", up()),
            health => format!("{} ({health})", up()),
        },
        "running" => up(),
        "paused" => format!("{} (Paused)", up()),
        "restarting" => format!("Restarting ({code}){}", ago()),
        // What docker shows in inspect alone.
        "exited" if state.oom_killed => format!("Exited ({code}){} (OOM killed)", ago()),
        "exited" => format!("Exited ({code}){}", ago()),
        "removing" => "Removal In Progress".into(),
        "dead" => "Dead".into(),
        _ => "Created".into(),
    }
}

/// The column PORTS: published ones, then those that are only exposed.
pub fn ports(row: &Row) -> String {
    let networks = || std::iter::once(&row.wb.network).chain(&row.wb.networks);
    let published: Vec<&Port> = networks().flat_map(|network| &network.ports).collect();
    let mut shown: Vec<String> = published.iter().map(|port| published_port(port)).collect();
    for exposed in networks().flat_map(|network| &network.exposed) {
        let of = |port: &&Port| format!("{}/{}", port.container_port, port.protocol);
        if !published.iter().any(|port| of(port) == *exposed) {
            shown.push(exposed.clone());
        }
    }
    shown.join(", ")
}

fn published_port(port: &Port) -> String {
    format!("{}->{}/{}", outside(port), port.container_port, port.protocol)
}

/// The column COMMAND: words with spaces between apostrophes, all quoted as Go quotes, at most 20 characters unless
/// `whole`.
pub fn command(args: &[String], whole: bool) -> String {
    let word = |arg: &String| if arg.contains(' ') { format!("'{arg}'") } else { arg.clone() };
    let joined = args.iter().map(word).collect::<Vec<_>>().join(" ");
    let shown = if whole || joined.chars().count() <= 20 {
        joined
    } else {
        joined.chars().take(19).chain(['…']).collect()
    };
    format!("\"{}\"", shown.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_dockers_words() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (180, "3 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86_400, "2 weeks"),
            (60 * 86_400, "2 months"),
            (730 * 86_400, "2 years"),
        ] {
            assert_eq!(duration(seconds), words, "{seconds}");
        }
    }

    #[test]
    fn states_in_dockers_words() {
        let now: Timestamp = "2025-01-01T02:00:00Z".parse().unwrap();
        for (state, words) in [
            (r#"{"status":"running","startedAt":"2025-01-01T01:57:00Z"}"#, "Up 3 minutes"),
            (
                r#"{"status":"running","startedAt":"2025-01-01T01:57:00Z","health":{"status":"healthy"}}"#,
                "Up 3 minutes (healthy)",
            ),
            (r#"{"status":"paused","startedAt":"2025-01-01T01:59:58Z"}"#, "Up 2 seconds (Paused)"),
            (
                r#"{"status":"exited","exitCode":137,"finishedAt":"2025-01-01T00:00:00Z"}"#,
                "Exited (137) 2 hours ago",
            ),
            (
                r#"{"status":"exited","exitCode":137,"oomKilled":true,"finishedAt":"2025-01-01T01:59:58Z"}"#,
                "Exited (137) 2 seconds ago (OOM killed)",
            ),
            (r#"{"status":"exited"}"#, "Exited (unknown)"),
            (r#"{"status":"creating"}"#, "Created"),
        ] {
            let row = Row::parse(format!("{{\"wb\":{{\"state\":{state}}}}}").as_bytes()).unwrap();
            assert_eq!(status(&row, now), words);
        }
    }

    #[test]
    fn commands_and_ports() {
        let args: Vec<String> = ["sh", "-c", "echo \"a\" and much more"].map(str::to_owned).to_vec();
        assert_eq!(command(&args, false), "\"sh -c 'echo \\\"a\\\" and…\"");
        let text = r#"{"wb":{"network":{"ports":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"},
            {"hostIP":"::1","hostPort":53,"containerPort":53,"protocol":"udp"}],"exposed":["80/tcp","443/tcp"]}}}"#;
        let row = Row::parse(text.as_bytes()).unwrap();
        assert_eq!(ports(&row), "0.0.0.0:8080->80/tcp, [::1]:53->53/udp, 443/tcp");
    }
}
