//! Brownouts of one stream: the time in which at least one attempt waited longer than the limit.

use super::{Bounds, Window, WindowKind};
use crate::analyze::{attribution::Attribution, intervals::Interval};

/// Joins the waits of the late attempts, each from its intended time to its end, into windows.
pub(super) fn measure(mut late: Vec<Interval>, stream: u16, attribution: &Attribution) -> Vec<Window> {
    late.sort_unstable();
    let mut windows: Vec<Window> = Vec::new();
    for interval in late {
        let next = Window {
            kind: WindowKind::Brownout,
            interval,
            bounds: Bounds { lower_ns: interval.length_ns(), upper_ns: 0 },
            attempts: 1,
            flaps: 0,
            event: attribution.event(interval),
            open_start: false,
            open_end: false,
            streams: Vec::new(),
        };
        match windows.last_mut() {
            Some(window) if interval.from_ns <= window.interval.to_ns => {
                window.join(&next);
            }
            _ => windows.push(Window { streams: vec![stream], ..next }),
        }
    }
    for window in &mut windows {
        window.bounds.upper_ns = window.interval.length_ns();
    }
    windows
}
