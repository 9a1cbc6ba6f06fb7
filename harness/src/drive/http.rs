//! A request as an event: whoever is asked says by its status whether it is done, and may say by a generation
//! what was made.

use serde_json::json;

use super::timeline::Ending;
use crate::{
    clock::RunClock,
    environment::{Environment, chain},
    observe::EventOutcome,
    plan::HttpAction,
};

/// How much of an answer goes into the record, in characters.
const TEXT_CHARS_MAX: usize = 2_000;

/// Sends the request. The record's `generation` is what the analysis follows through the answers.
pub(super) async fn run(action: &HttpAction, environment: &Environment, clock: &RunClock) -> Ending {
    let asked = environment.ask(action).await;
    let acked_ns = clock.now_ns();
    let request = format!("{} {}", action.method, action.path);
    match asked {
        Ok(reply) => {
            let as_expected = is_accepted(&action.accept, reply.status);
            let outcome = if as_expected { EventOutcome::Ok } else { EventOutcome::Failed };
            let text: String = reply.text.chars().take(TEXT_CHARS_MAX).collect();
            let mut detail = json!({ "request": request, "status": reply.status, "answer": text });
            if let Some(generation) = reply.generation {
                detail["generation"] = json!(generation);
            }
            Ending { acked_ns, outcome, as_expected, detail }
        }
        Err(error) => Ending::impossible(clock, &format!("`{request}` got no answer: {}", chain(&error))),
    }
}

fn is_accepted(accept: &[u16], status: u16) -> bool {
    if accept.is_empty() { (200..400).contains(&status) } else { accept.contains(&status) }
}
