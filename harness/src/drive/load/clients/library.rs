//! A stream over reqwest, as an application would use it: one client with its pool and its retries.
//!
//! What fails here has failed after all that the library does by itself, which is the point of it. The
//! library does not tell its connections, so none is recorded and no attempt names one. Redirects are not
//! followed: it is the answer to the plan's request that counts.

use std::{error::Error as StdError, io, iter, rc::Rc, sync::Arc};

use reqwest::{Client, redirect::Policy};
use rustix::io::Errno;
use sha2::Digest as _;

use super::{
    Setting,
    desk::{Asked, Desk, Whole, io_cause},
    http2,
};
use crate::{
    drive::load::{Error, connection::Failure, target::connect_failure},
    observe::{Cause, Phase},
    plan::{ConnectionMode, StreamPlan},
    tls,
};

#[derive(Debug)]
pub(super) struct Lane {
    client: Client,
    port: u16,
}

impl Lane {
    /// # Errors
    /// When the library refuses to make a client.
    pub(super) fn new(stream: &StreamPlan, setting: &Setting<'_>) -> Result<Self, Error> {
        tls::provide();
        let idle_max = match stream.connection {
            ConnectionMode::Reused { connections }
            | ConnectionMode::Idle { connections, .. }
            | ConnectionMode::Pipelined { connections, .. } => connections as usize,
            ConnectionMode::New | ConnectionMode::ConnectWait { .. } => 0,
        };
        let name = setting.host.rsplit_once(':').map_or(setting.host, |(name, _)| name);
        let mut builder = Client::builder();
        // What the library offers by itself, too.
        if let Some(tls) = setting.tls(&["h2", "http/1.1"])? {
            builder = builder.tls_backend_preconfigured(Arc::unwrap_or_clone(tls.config));
        }
        let client = builder
            .no_proxy()
            .redirect(Policy::none())
            .pool_max_idle_per_host(idle_max)
            .resolve(name, setting.target)
            .build();
        Ok(Self { client: client.map_err(Error::Library)?, port: setting.target.port() })
    }

    pub(super) async fn exchange(&self, desk: &Rc<Desk>, asked: &mut Asked) -> Result<Whole, Failure> {
        // It does not tell connecting from waiting while it does them.
        asked.attempt.phase = Phase::Wait;
        let mut request =
            reqwest::Request::try_from(asked.request.clone()).map_err(|error| failure(&error))?;
        // The name is resolved to the target's address, the port is not.
        let _has_a_host = request.url_mut().set_port(Some(self.port));
        let mut response = self.client.execute(request).await.map_err(|error| failure(&error))?;
        desk.head(asked, response.status(), response.headers());
        let mut digest = desk.digest(&asked.attempt);
        while let Some(piece) = response.chunk().await.map_err(|error| broken_off(&error))? {
            if let Some(digest) = &mut digest {
                digest.update(&piece);
            }
        }
        Ok(Whole { sha256: digest.map(|digest| digest.finalize().into()) })
    }
}

/// What it means that no answer came.
fn failure(error: &reqwest::Error) -> Failure {
    for errno in chain(error).filter_map(|error| Errno::from_io_error(error.downcast_ref()?)) {
        let failure = connect_failure(errno);
        if error.is_connect() || failure.phase == Phase::Send {
            return failure;
        }
    }
    let cause = cause(error);
    let phase = match cause {
        Cause::Tls if error.is_connect() => Phase::Tls,
        _ if error.is_connect() => Phase::Connect,
        _ => Phase::Wait,
    };
    Failure { phase, cause }
}

/// What it means that the body broke off.
fn broken_off(error: &reqwest::Error) -> Failure {
    let cause = match cause(error) {
        // The end in order before the end of the body.
        Cause::Eof => Cause::ShortBody,
        cause => cause,
    };
    Failure { phase: Phase::Body, cause }
}

/// The first cause in the chain that has a name of ours. What has none is not guessed.
fn cause(error: &reqwest::Error) -> Cause {
    chain(error).find_map(named).unwrap_or(Cause::Network)
}

fn named(error: &(dyn StdError + 'static)) -> Option<Cause> {
    let cause = if let Some(error) = error.downcast_ref::<hyper::Error>() {
        match () {
            () if error.is_incomplete_message() => Cause::Eof,
            () if error.is_parse() => Cause::Parse,
            () => return None,
        }
    } else if let Some(error) = error.downcast_ref::<h2::Error>() {
        http2::cause(error, None, false)
    } else if error.is::<rustls::Error>() {
        Cause::Tls
    } else {
        io_cause(error.downcast_ref::<io::Error>()?.kind())
    };
    Some(cause).filter(|cause| *cause != Cause::Network)
}

/// An error and all that it was caused by, those included that an error of the system's wraps.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    iter::successors(error.source(), |&error| {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|error| error as &(dyn StdError + 'static)).or_else(|| error.source())
    })
}
