//! Who speaks for a stream, and what that client cannot do.

use tomlcheck::Section;

use crate::plan::{Client, ConnectionMode, Pace, StreamPlan};

const CLIENTS: &[(&str, Client)] =
    &[("http1", Client::Http1), ("http2", Client::Http2), ("reqwest", Client::Reqwest)];

pub(super) fn read(stream: &Section<'_>) -> Client {
    stream.choice("client", CLIENTS).unwrap_or_default()
}

/// Only the client of HTTP/1.1, which is written by hand, can be held up at every step.
pub(super) fn check(section: &Section<'_>, stream: &StreamPlan) {
    if stream.client == Client::Http1 {
        return;
    }
    let word = stream.client.word();
    if !matches!(stream.connection, ConnectionMode::New | ConnectionMode::Reused { .. }) {
        section.fault_at(
            "connection",
            format!("{} connections are for http1, this stream's client is {word}", stream.connection.word()),
            "write \"reused\" or \"new\", or client = \"http1\"",
        );
    }
    if stream.pace != Pace::default() {
        section.fault_at(
            "client",
            format!("a pace is for http1, this stream's client is {word}"),
            "remove the pace, or write client = \"http1\"",
        );
    }
}
