//! Where on the picture a moment is: in proportion, but for long waits, in which no tool makes a call.

use crate::timeline::Timeline;

/// What the lanes' names take, and all their calls.
pub const LABELS_WIDTH: f64 = 170.0;
pub const CHART_WIDTH: f64 = 1100.0;

/// How long nothing must happen for the wait to be folded: next to it the tools' milliseconds would not be seen.
const FOLDED_SECONDS: f64 = 0.1;
const FOLD_WIDTH: f64 = 50.0;

/// The stretches of time in which calls are made, in order, from 0 on.
pub struct Scale {
    busy: Vec<(f64, f64)>,
    per_second: f64,
    fold_width: f64,
}

impl Scale {
    pub fn new(timeline: &Timeline) -> Self {
        let mut calls: Vec<(f64, f64)> = timeline
            .lanes
            .iter()
            .flat_map(|lane| &lane.calls)
            .map(|call| (call.time, call.time + call.seconds))
            .collect();
        calls.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut busy: Vec<(f64, f64)> = vec![(0.0, 0.0)];
        for (start, end) in calls {
            match busy.last_mut() {
                Some(last) if start - last.1 < FOLDED_SECONDS => last.1 = last.1.max(end),
                _ => busy.push((start, end)),
            }
        }
        let total: f64 = busy.iter().map(|(start, end)| end - start).sum();
        let folds = f64::from(u32::try_from(busy.len() - 1).unwrap_or(u32::MAX));
        let fold_width = FOLD_WIDTH.min(CHART_WIDTH / 2.0 / folds.max(1.0));
        Self { busy, per_second: (CHART_WIDTH - folds * fold_width) / total.max(1e-6), fold_width }
    }

    /// Where `time`, in seconds from the first call, is.
    pub fn x(&self, time: f64) -> f64 {
        let mut x = LABELS_WIDTH;
        for (start, end) in &self.busy {
            if time < *start {
                // Inside a fold.
                return x - self.fold_width / 2.0;
            }
            if time <= *end {
                return x + (time - start) * self.per_second;
            }
            x += (end - start) * self.per_second + self.fold_width;
        }
        x - self.fold_width
    }

    /// What is folded: from when to when.
    pub fn folds(&self) -> impl Iterator<Item = (f64, f64)> {
        self.busy.windows(2).map(|pair| (pair[0].1, pair[1].0))
    }

    /// Round moments that are not in a fold, about ten of them.
    pub fn ticks_ms(&self) -> Vec<f64> {
        let rough = CHART_WIDTH / self.per_second * 1e3 / 10.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let mut ticks = Vec::new();
        for (start, end) in &self.busy {
            let mut at = (start * 1e3 / step).ceil() * step;
            while at <= end * 1e3 {
                ticks.push(at);
                at += step;
            }
        }
        ticks
    }
}
