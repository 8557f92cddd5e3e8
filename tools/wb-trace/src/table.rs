//! The table for a terminal: which tool ran when, and the slowest calls.

use crate::timeline::{Call, Lane, Timeline};
use std::fmt::Write as _;

/// Two tables: the lanes, and the `top` slowest calls of all.
pub fn table(timeline: &Timeline, top: usize) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        out.write_fmt(text).ok();
    };
    line(format_args!("START ms    TOOK ms  IN CALLS  CALLS  TOOL         PID      SLOWEST CALL\n"));
    for lane in &timeline.lanes {
        let slowest = lane
            .slowest()
            .map_or_else(String::new, |call| format!("{} {:.3} ms", call.name, call.seconds * 1e3));
        line(format_args!(
            "{:>8.3} {:>10.3} {:>9.3} {:>6}  {:<12} {:<8} {slowest}\n",
            lane.start() * 1e3,
            (lane.end() - lane.start()) * 1e3,
            lane.in_calls() * 1e3,
            lane.calls.len(),
            wb_doc::escape(&lane.tool),
            lane.pid,
        ));
    }
    let mut calls: Vec<(&Lane, &Call)> =
        timeline.lanes.iter().flat_map(|lane| lane.calls.iter().map(move |call| (lane, call))).collect();
    calls.sort_by(|(_, a), (_, b)| b.seconds.total_cmp(&a.seconds));
    line(format_args!("\nTOOK ms  TOOL         CALL\n"));
    for (lane, call) in calls.into_iter().take(top) {
        let text: String = call.text.chars().take(90).collect();
        line(format_args!(
            "{:>7.3}  {:<12} {}  # {}\n",
            call.seconds * 1e3,
            wb_doc::escape(&lane.tool),
            wb_doc::escape(&text),
            wb_doc::escape(&call.why)
        ));
    }
    line(format_args!("\n{:.3} ms from the first call to the last\n", timeline.end() * 1e3));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_call_comes_first() {
        let timeline = Timeline::read(crate::timeline::tests::SAMPLE.as_bytes()).unwrap();
        let text = table(&timeline, 1);
        assert!(text.contains("  1.000  wb-rootfs    mount(\"overlay\", \"/m\")  # layers\n"), "{text}");
        assert!(!text.contains("clone3({"), "{text}");
    }
}
