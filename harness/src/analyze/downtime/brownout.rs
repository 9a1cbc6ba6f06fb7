//! Brownouts of one stream: the time in which at least one attempt waited longer than the limit.

use super::{Bounds, Window, WindowKind};
use crate::{
    analyze::{attribution::Attribution, intervals::Interval},
    observe::Attempt,
};

/// Joins the waits of the late attempts, given by their indices, into windows.
pub(super) fn measure(
    attempts: &[Attempt],
    late: Vec<u32>,
    stream: u16,
    attribution: &Attribution,
) -> Vec<Window> {
    let at = |index: u32| &attempts[index as usize];
    let mut by_intended = late;
    by_intended.sort_unstable_by_key(|&index| (at(index).intended_ns, at(index).ended_ns, at(index).id));
    let mut windows: Vec<Window> = Vec::new();
    for &index in &by_intended {
        let interval = Interval { from_ns: at(index).intended_ns, to_ns: at(index).ended_ns };
        let next = Window {
            kind: WindowKind::Brownout,
            interval,
            bounds: Bounds { lower_ns: interval.length_ns(), upper_ns: 0 },
            attempts: 1,
            flaps: 0,
            event: attribution.event(interval),
            open_start: false,
            open_end: false,
            streams: vec![stream],
        };
        match windows.last_mut() {
            Some(window) if interval.from_ns <= window.interval.to_ns => {
                window.join(&next);
                window.streams.truncate(1);
            }
            _ => windows.push(next),
        }
    }
    for window in &mut windows {
        window.bounds.upper_ns = window.interval.length_ns();
    }
    windows
}
