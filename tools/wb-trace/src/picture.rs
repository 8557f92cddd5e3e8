//! The picture: time from left to right, a lane for each process, a bar for each call.

use crate::scale::{CHART_WIDTH, LABELS_WIDTH, Scale};
use crate::timeline::{Call, Lane, Timeline};
use std::fmt::Write as _;

const LANE_HEIGHT: f64 = 30.0;
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
            "chroot",
            "open_tree",
            "move_mount",
            "fsopen",
            "fsconfig",
            "fsmount",
            "fspick",
            "mount_setattr",
        ],
    ),
    ("namespaces", "#d55e00", &["clone3", "unshare", "setns", "sethostname", "setdomainname"]),
    ("network", "#009e73", &["sendto", "sendmsg", "socket", "bind", "listen", "connect", "ioctl"]),
    ("control files", "#e69f00", &["write", "mkdir", "rmdir"]),
    (
        "privileges",
        "#cc79a7",
        &["capset", "prctl", "seccomp", "setresuid", "setresgid", "setgroups", "prlimit64", "keyctl"],
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
            "kill",
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
    let scale = Scale::new(timeline);
    let height = TOP + LANE_HEIGHT * count(timeline.lanes.len()) + 24.0;
    let width = LABELS_WIDTH + CHART_WIDTH + 60.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    legend(&mut out);
    axis(&mut out, &scale, height);
    for (row, lane) in timeline.lanes.iter().enumerate() {
        draw_lane(&mut out, lane, TOP + LANE_HEIGHT * count(row), &scale);
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

/// A line every so many milliseconds, at a round step that leaves about ten of them; and a band for each fold, which
/// says how long it is.
fn axis(out: &mut String, scale: &Scale, height: f64) {
    let (top, bottom) = (TOP - 8.0, height - 20.0);
    let mut free = 0.0;
    for at in scale.ticks_ms() {
        let x = scale.x(at / 1e3);
        put(
            out,
            format_args!("<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>"),
        );
        // Behind a fold lines may stand close.
        if x >= free {
            let label = format!("{} ms", (at * 1e4).round() / 1e4);
            put(out, format_args!("<text x=\"{x:.1}\" y=\"{}\" fill=\"#666\">{label}</text>\n", TOP - 12.0));
            free = x + 8.0 * count(label.len());
        }
    }
    for (start, end) in scale.folds() {
        let (from, to) = (scale.x(start), scale.x(end));
        let (middle, seconds) = (f64::midpoint(from, to), end - start);
        put(
            out,
            format_args!(
                "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#f4f4f4\"/>\
                 <text x=\"{middle:.1}\" y=\"{:.1}\" fill=\"#666\" font-size=\"10\" text-anchor=\"middle\">{seconds:.1} s\
                 <title>no tool made a call</title></text>\n",
                to - from,
                bottom - top,
                height - 8.0
            ),
        );
    }
}

fn draw_lane(out: &mut String, lane: &Lane, y: f64, scale: &Scale) {
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
    let start = scale.x(lane.start());
    let width = (scale.x(lane.end()) - start).max(1.0);
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
    draw_sum(out, lane, scale, start + width, middle);
}

/// What a lane comes to, behind its last call; before its first where there is no room behind it, and where there is
/// none there either, between two calls.
fn draw_sum(out: &mut String, lane: &Lane, scale: &Scale, end: f64, middle: f64) {
    let Some(slowest) = lane.slowest() else { return };
    let sum = format!(
        "{:.1} ms in calls, {} {:.1} ms",
        lane.in_calls() * 1e3,
        text(&slowest.name),
        slowest.seconds * 1e3
    );
    let room = 6.2 * count(sum.len());
    let start = scale.x(lane.start());
    let (x, anchor, y) = if end + room < LABELS_WIDTH + CHART_WIDTH + 40.0 {
        (end + 6.0, "start", middle + 4.0)
    } else if start - room > LABELS_WIDTH {
        (start - 6.0, "end", middle + 4.0)
    } else {
        (widest_gap(lane, scale) + 6.0, "start", middle - 5.0)
    };
    // With a seam, to be read over whatever it lies on.
    put(
        out,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"#666\" font-size=\"10\" text-anchor=\"{anchor}\" stroke=\"white\" \
             stroke-width=\"3\" paint-order=\"stroke\">{sum}</text>\n"
        ),
    );
}

/// Where the widest gap between two calls of a lane begins.
fn widest_gap(lane: &Lane, scale: &Scale) -> f64 {
    let gaps = lane.calls.windows(2).map(|pair| {
        let from = scale.x(pair[0].time + pair[0].seconds);
        (scale.x(pair[1].time) - from, from)
    });
    gaps.max_by(|a, b| a.0.total_cmp(&b.0)).map_or_else(|| scale.x(lane.start()), |(_, from)| from)
}

fn draw_call(out: &mut String, call: &Call, y: f64, scale: &Scale) {
    let x = scale.x(call.time);
    let width = (scale.x(call.time + call.seconds) - x).max(0.8);
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

    /// The x of each sum's text, and where it is anchored.
    fn sums(picture: &str) -> Vec<(f64, bool)> {
        let lines = picture.lines().filter(|line| line.contains(" ms in calls, "));
        lines
            .map(|line| {
                let x = line.split("x=\"").nth(1).unwrap().split('"').next().unwrap();
                (x.parse().unwrap(), line.contains("text-anchor=\"end\""))
            })
            .collect()
    }

    #[test]
    fn the_sum_of_a_lane_that_takes_the_whole_width_stands_between_its_calls() {
        let lines = "{\"time\":1,\"tool\":\"wb-a\",\"pid\":1,\"name\":\"fork\",\"call\":\"fork()\",\"why\":\"w\",\"result\":\"2\",\"seconds\":0.001}\n\
             {\"time\":1.08,\"tool\":\"wb-a\",\"pid\":1,\"name\":\"kill\",\"call\":\"kill()\",\"why\":\"w\",\"result\":\"0\",\"seconds\":0.001}\n";
        let picture = svg(&Timeline::read(lines.as_bytes()).unwrap());
        let sums = sums(&picture);
        assert_eq!(sums.len(), 1, "{picture}");
        assert!(sums[0].0 > LABELS_WIDTH && !sums[0].1, "{sums:?}");
    }

    #[test]
    fn a_long_wait_is_folded_and_said() {
        let call = |time: f64| {
            format!(
                "{{\"time\":{time},\"tool\":\"wb-a\",\"pid\":1,\"name\":\"kill\",\"call\":\"kill()\",\"why\":\"w\",\"result\":\"0\",\"seconds\":0.005}}\n"
            )
        };
        let picture = svg(&Timeline::read((call(1.0) + &call(61.0)).as_bytes()).unwrap());
        assert!(picture.contains(">60.0 s<"), "{picture}");
        // Both calls are as wide as if nothing lay between them.
        let widths = picture.split("<g>").skip(1).map(|call| {
            let width = call.split(" width=\"").nth(1).unwrap().split('"').next().unwrap();
            width.parse::<f64>().unwrap()
        });
        assert!(widths.clone().count() == 2 && widths.into_iter().all(|width| width > 400.0), "{picture}");
    }

    #[test]
    fn an_empty_trace_is_an_empty_picture() {
        assert!(svg(&Timeline::default()).contains("</svg>"));
    }
}
