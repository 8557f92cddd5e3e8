//! The picture: time from left to right, a lane for each process, a bar for each call.

use crate::timeline::{Call, Lane, Timeline};
use std::fmt::Write as _;

const LANE_HEIGHT: f64 = 30.0;
const LABELS_WIDTH: f64 = 170.0;
const CHART_WIDTH: f64 = 1100.0;
const TOP: f64 = 56.0;

/// What a call is about, its colour, and the names that belong to it. The colours keep apart for colour-blind eyes
/// too (Okabe and Ito's palette).
const KINDS: [(&str, &str, &[&str]); 7] = [
    (
        "mounts",
        "#0072b2",
        &[
            "mount",
            "umount2",
            "pivot_root",
            "open_tree",
            "move_mount",
            "fsopen",
            "fsconfig",
            "fsmount",
            "mount_setattr",
        ],
    ),
    ("namespaces", "#d55e00", &["clone3", "unshare", "setns", "sethostname", "setdomainname"]),
    ("network", "#009e73", &["sendto", "sendmsg", "socket", "bind", "listen", "connect", "ioctl"]),
    ("control files", "#e69f00", &["write", "mkdir", "rmdir"]),
    (
        "privileges",
        "#cc79a7",
        &["capset", "prctl", "seccomp", "setresuid", "setresgid", "setgroups", "prlimit64"],
    ),
    (
        "processes",
        "#56b4e9",
        &[
            "execve",
            "execveat",
            "execvp",
            "fork",
            "posix_spawn",
            "setsid",
            "dup2",
            "close_range",
            "pidfd_open",
            "pidfd_send_signal",
            "signalfd4",
            "waitid",
            "bpf",
        ],
    ),
    (
        "files",
        "#f0e442",
        &[
            "openat",
            "openat2",
            "mknodat",
            "mkdirat",
            "symlinkat",
            "fchownat",
            "fchmodat",
            "pwrite64",
            "memfd_create",
        ],
    ),
];
const OTHER: &str = "#999999";

/// The whole picture as an SVG document.
pub fn svg(timeline: &Timeline) -> String {
    let end = timeline.end().max(1e-6);
    let scale = CHART_WIDTH / end;
    let height = TOP + LANE_HEIGHT * count(timeline.lanes.len()) + 24.0;
    let width = LABELS_WIDTH + CHART_WIDTH + 30.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    legend(&mut out);
    axis(&mut out, end, scale, height);
    for (row, lane) in timeline.lanes.iter().enumerate() {
        draw_lane(&mut out, lane, TOP + LANE_HEIGHT * count(row), scale);
    }
    out.push_str("</svg>\n");
    out
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Appends a formatted piece; writing to a String cannot fail.
fn put(out: &mut String, piece: std::fmt::Arguments<'_>) {
    out.write_fmt(piece).ok();
}

fn legend(out: &mut String) {
    let mut x = LABELS_WIDTH;
    let others = [("other", OTHER)];
    for (name, colour) in KINDS.iter().map(|(name, colour, _)| (*name, *colour)).chain(others) {
        put(out, format_args!("<rect x=\"{x}\" y=\"10\" width=\"12\" height=\"12\" fill=\"{colour}\"/>"));
        put(out, format_args!("<text x=\"{}\" y=\"20\">{name}</text>\n", x + 17.0));
        x += 36.0 + 7.0 * count(name.len());
    }
}

/// A line every so many milliseconds, at a round step that leaves about ten of them.
fn axis(out: &mut String, end: f64, scale: f64, height: f64) {
    let rough = end * 1e3 / 10.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let mut at = 0.0;
    while at <= end * 1e3 {
        let x = LABELS_WIDTH + at / 1e3 * scale;
        let (top, bottom) = (TOP - 8.0, height - 20.0);
        put(
            out,
            format_args!("<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>"),
        );
        let label = (at * 1e4).round() / 1e4;
        put(out, format_args!("<text x=\"{x:.1}\" y=\"{}\" fill=\"#666\">{label} ms</text>\n", TOP - 12.0));
        at += step;
    }
}

fn draw_lane(out: &mut String, lane: &Lane, y: f64, scale: f64) {
    let middle = y + LANE_HEIGHT / 2.0;
    put(
        out,
        format_args!(
            "<text x=\"8\" y=\"{:.1}\">{} <tspan fill=\"#999\">{}</tspan></text>\n",
            middle + 4.0,
            text(&lane.tool),
            lane.pid
        ),
    );
    let start = LABELS_WIDTH + lane.start() * scale;
    let width = ((lane.end() - lane.start()) * scale).max(1.0);
    put(
        out,
        format_args!(
            "<rect x=\"{start:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"4\" fill=\"#e8e8e8\"/>\n",
            middle - 2.0
        ),
    );
    for call in &lane.calls {
        draw_call(out, call, y, scale);
    }
    draw_sum(out, lane, start, start + width, middle);
}

/// What a lane comes to, behind its last call; before its first where there is no room behind it.
fn draw_sum(out: &mut String, lane: &Lane, start: f64, end: f64, middle: f64) {
    let Some(slowest) = lane.slowest() else { return };
    let sum = format!(
        "{:.1} ms in calls, {} {:.1} ms",
        lane.in_calls() * 1e3,
        text(&slowest.name),
        slowest.seconds * 1e3
    );
    let room = 6.2 * count(sum.len());
    let (x, anchor) =
        if end + room < LABELS_WIDTH + CHART_WIDTH { (end + 6.0, "start") } else { (start - 6.0, "end") };
    put(
        out,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"#666\" font-size=\"10\" text-anchor=\"{anchor}\">{sum}</text>\n",
            middle + 4.0
        ),
    );
}

fn draw_call(out: &mut String, call: &Call, y: f64, scale: f64) {
    let x = LABELS_WIDTH + call.time * scale;
    let width = (call.seconds * scale).max(0.8);
    put(
        out,
        format_args!(
            "<g><title>{}{} {:.3} ms: {}</title><rect x=\"{x:.2}\" y=\"{:.1}\" width=\"{width:.2}\" \
             height=\"{:.1}\" fill=\"{}\"/>",
            text(&call.text),
            text(&if call.result.is_empty() { String::new() } else { format!(" = {}", call.result) }),
            call.seconds * 1e3,
            text(&call.why),
            y + 5.0,
            LANE_HEIGHT - 10.0,
            colour(&call.name)
        ),
    );
    // A name only where it fits into its bar.
    if width > 8.0 * count(call.name.len()) {
        put(
            out,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"white\">{}</text>",
                x + 4.0,
                y + LANE_HEIGHT / 2.0 + 4.0,
                text(&call.name)
            ),
        );
    }
    out.push_str("</g>\n");
}

fn colour(name: &str) -> &'static str {
    KINDS.iter().find(|(.., names)| names.contains(&name)).map_or(OTHER, |(_, colour, _)| colour)
}

/// Text as XML takes it; characters XML does not know are left out.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars().take(300) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_a_bar_and_text_is_escaped() {
        let timeline = Timeline::read(crate::timeline::tests::SAMPLE.as_bytes()).unwrap();
        let picture = svg(&timeline);
        assert_eq!(picture.matches("<g>").count(), 3);
        assert!(picture.contains("a &quot;new&quot; &lt;world&gt;"), "{picture}");
        assert!(picture.contains(">1.0 ms in calls, mount 1.0 ms</text>"), "{picture}");
        assert!(picture.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn an_empty_trace_is_an_empty_picture() {
        assert!(svg(&Timeline::default()).contains("</svg>"));
    }
}
