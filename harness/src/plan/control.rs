//! The streams of the control target: an echo inside of the harness that no event ever touches.
//!
//! It gets the same kind of schedule as the target, so what happens to it is the machine's or the
//! harness's doing. Half of its attempts use a connection once, half reuse one, as a target's do.

use super::{Arrival, Client, ConnectionMode, LoadPlan, Op, Pace, RequestPlan, StreamPlan};

/// Connections that are kept alive: enough for a rate of hundreds with an echo that answers at once.
const CONNECTIONS: u32 = 4;

impl LoadPlan {
    /// The streams of the control target; none when the plan has no control.
    #[must_use]
    pub fn control_streams(&self) -> Vec<StreamPlan> {
        if self.control_rate <= 0.0 {
            return Vec::new();
        }
        // A closed loop has no schedule of its own that could be followed.
        let is_poisson = self.streams.iter().any(|stream| stream.arrival == Arrival::Poisson);
        let arrival = if is_poisson { Arrival::Poisson } else { Arrival::Uniform };
        let stream = |name: &str, connection| StreamPlan {
            name: name.to_owned(),
            client: Client::Http1,
            connection,
            pace: Pace::default(),
            rate: self.control_rate / 2.0,
            arrival,
            requests: vec![RequestPlan { name: "echo".to_owned(), weight: 1, op: echo() }],
        };
        vec![
            stream("control-new", ConnectionMode::New),
            stream("control-reused", ConnectionMode::Reused { connections: CONNECTIONS }),
        ]
    }

    /// The load with the control's streams behind its own.
    #[must_use]
    pub fn with_control(&self) -> Self {
        let mut load = self.clone();
        load.streams.extend(self.control_streams());
        load
    }
}

fn echo() -> Op {
    Op::Http {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: String::new(),
        accept: vec![200],
        sha256: None,
    }
}
