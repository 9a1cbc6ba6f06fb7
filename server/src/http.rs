//! The API as a function from a complete request to a complete response. (Skeleton.)

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;

use crate::{
    config::Config,
    lifecycle::{Control, ProcessIdentity},
    secrets::Secrets,
    state::SnapshotCell,
    stores::Store,
    telemetry::Metrics,
};

/// The listening side on which a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    Public,
    Admin,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Admin => "admin",
        })
    }
}

/// What the API is made of.
#[derive(Debug)]
pub struct Parts {
    pub config: Arc<Config>,
    pub identity: ProcessIdentity,
    pub secrets: Secrets,
    pub snapshots: Arc<SnapshotCell>,
    pub store: Arc<Store>,
    pub control: Control,
    pub metrics: Arc<Metrics>,
}

/// The API.
#[derive(Debug)]
pub struct App {
    parts: Parts,
}

impl App {
    /// Puts the API together.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self { parts })
    }

    /// Answers. Never fails: what goes wrong is an answer too.
    pub async fn answer(&self, _side: Side, _request: Request<Bytes>) -> Response<Full<Bytes>> {
        std::future::ready(()).await;
        self.too_large()
    }

    /// The answer to a request whose body is longer than `limits.body_bytes_max`.
    #[must_use]
    pub fn too_large(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        response
    }

    /// The generation of the configuration that is served now.
    #[must_use]
    pub fn config_generation(&self) -> crate::state::Generation {
        self.parts.snapshots.load().generation
    }

    /// The counters of this process.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.parts.metrics
    }
}
