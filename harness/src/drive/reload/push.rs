//! A push: the content goes to the admin side, whose answer names the generation.

use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    clock::RunClock,
    environment::{Content, Control, chain},
    plan::Datum,
};

/// Between two tries.
const RETRY_INTERVAL: Duration = Duration::from_millis(4);
/// How much of an answer goes into the record, in characters.
const TEXT_CHARS_MAX: usize = 2_000;

/// What is pushed.
pub(super) struct Push {
    pub(super) datum: Datum,
    pub(super) delta: bool,
    /// On the condition that a generation is served which is so no more.
    pub(super) overtaken: bool,
}

/// What a push was answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) generation: Option<u64>,
    pub(super) text: String,
}

/// Pushes until somebody answers for good, as a pusher would: a process that is being replaced asks to come again,
/// and a connection may be refused. What the answer was, when it came, and how many tries it took.
pub(super) async fn put(
    push: &Push,
    content: &Content,
    control: &Control,
    client: &Client,
    clock: &RunClock,
    deadline_ns: u64,
) -> Result<(Answer, u64, u64), String> {
    let query = if push.delta { "?delta" } else { "" };
    let path = format!("/config/{}{query}", push.datum.word());
    // No process serves generation 0.
    let condition = push.overtaken.then_some("\"0\"");
    let body = content.to_vec();
    for tries in 1.. {
        let asked = control.put(client, &path, condition, body.clone(), clock.until(deadline_ns)).await;
        let at_ns = clock.now_ns();
        let is_over = at_ns >= deadline_ns;
        match asked {
            Ok((503, _)) if !is_over => {}
            Ok((status, text)) => {
                let body: Option<Value> = serde_json::from_str(&text).ok();
                let generation = body.and_then(|body| body.get("generation")?.as_u64());
                let text = text.chars().take(TEXT_CHARS_MAX).collect();
                return Ok((Answer { status, generation, text }, at_ns, tries));
            }
            Err(_) if !is_over => {}
            Err(error) => return Err(format!("`PUT {path}` got no answer: {}", chain(&error))),
        }
        sleep(RETRY_INTERVAL).await;
    }
    Err("nobody tried".to_owned())
}
