//! Which path is what, by whom it may be asked and how.

use http::{Method, request};

use super::Side;
use crate::state::Datum;

/// What is asked for, by path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'p> {
    EventList,
    EventInfo,
    EventStream,
    Orders,
    /// With the order's id.
    Order(&'p str),
    Live,
    Ready,
    Version,
    Status,
    Metrics,
    Upgrade,
    Reload,
    Drain,
    Config,
    ConfigHistory,
    /// What is served of one kind.
    ConfigOf(Datum),
    Publish(Datum),
}

impl<'p> Route<'p> {
    pub(super) fn find(side: Side, path: &'p str) -> Option<Self> {
        match (side, path) {
            (_, "/health/live") => Some(Self::Live),
            (_, "/health/ready") => Some(Self::Ready),
            (_, "/version") => Some(Self::Version),
            (Side::Public, "/event/list") => Some(Self::EventList),
            (Side::Public, "/event/info") => Some(Self::EventInfo),
            (Side::Public, "/event/stream") => Some(Self::EventStream),
            (Side::Public, "/orders") => Some(Self::Orders),
            (Side::Public, _) => path.strip_prefix("/orders/").map(Self::Order),
            (Side::Admin, "/status") => Some(Self::Status),
            (Side::Admin, "/metrics") => Some(Self::Metrics),
            (Side::Admin, "/upgrade") => Some(Self::Upgrade),
            (Side::Admin, "/reload") => Some(Self::Reload),
            (Side::Admin, "/drain") => Some(Self::Drain),
            (Side::Admin, "/config") => Some(Self::Config),
            (Side::Admin, "/config/history") => Some(Self::ConfigHistory),
            (Side::Admin, _) => {
                let path = path.strip_prefix("/config/")?;
                match path.strip_prefix("publish/") {
                    Some(word) => sourced(word).map(Self::Publish),
                    None => sourced(path).map(Self::ConfigOf),
                }
            }
        }
    }

    pub(super) fn takes_push(side: Side, head: &'p request::Parts) -> bool {
        match Self::find(side, head.uri.path()) {
            Some(Self::ConfigOf(_)) => head.method == Method::PUT,
            Some(Self::Publish(_)) => head.method == Method::POST,
            _ => false,
        }
    }

    /// What it can be asked by, as the `allow` header lists it.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Self::Orders | Self::Upgrade | Self::Reload | Self::Drain | Self::Publish(_) => "POST",
            // A list may be very long, and it is nobody's business.
            Self::ConfigOf(Datum::Blacklist) => "PUT",
            Self::ConfigOf(_) => "GET, HEAD, PUT",
            _ => "GET, HEAD",
        }
    }

    pub(super) fn takes(self, method: &Method) -> bool {
        self.methods().split(", ").any(|known| known == method.as_str())
    }

    pub(super) fn is_for_admin(self) -> bool {
        match self {
            Self::EventList | Self::EventInfo | Self::EventStream => false,
            Self::Orders | Self::Order(_) => false,
            Self::Live | Self::Ready | Self::Version => false,
            Self::Status | Self::Metrics | Self::Upgrade | Self::Reload | Self::Drain => true,
            Self::Config | Self::ConfigHistory | Self::ConfigOf(_) | Self::Publish(_) => true,
        }
    }
}

fn sourced(word: &str) -> Option<Datum> {
    Datum::SOURCED.into_iter().find(|datum| datum.word() == word)
}
