//! Keys that are kept up to date.
//!
//! They are read at one revision and watched from the next one on. Whatever ends the watch, they are read again:
//! a resumption at the last revision would need this way too, after a compaction, and would wait for ever at an etcd
//! that has lost its data and counts anew. So nothing that was changed meanwhile is missed, whatever happened.

use etcd_client::{Client, EventType, GetOptions, WatchOptions, WatchResponse, WatchStream};

use super::{Error, Etcd, Keys, Scope};
use crate::config::EtcdSettings;

/// All that an etcd can hold by default is less than this; the default of the client is 4 MB.
const MESSAGE_BYTES_MAX: usize = 2 << 30;

/// What is at and below a key, and a watch that keeps it so.
#[derive(Debug)]
pub struct Watched {
    etcd: Etcd,
    scope: Scope,
    keys: Keys,
    stream: Option<WatchStream>,
    /// Why the watch ended, as long as nobody was told.
    ended: Option<Error>,
    away: bool,
}

/// What there is to tell.
#[derive(Debug)]
pub enum News {
    /// The keys were read, or have changed.
    Keys,
    /// Etcd does not answer; told once, tried on.
    Away(Error),
}

impl Watched {
    /// Nothing is read before the first [`Watched::next`].
    #[must_use]
    pub fn new(settings: &EtcdSettings, scope: Scope) -> Self {
        let (etcd, keys) = (Etcd::new(settings), Keys::default());
        Self { etcd, scope, keys, stream: None, ended: None, away: false }
    }

    /// As of the last [`News::Keys`].
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Waits until there is something to tell. Changes that have arrived together are told together; those of one
    /// transaction always are. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> News {
        loop {
            if let Some(error) = self.ended.take() {
                tracing::info!(%error, key = self.scope.key(), "a watch is over and begins anew");
            }
            if self.stream.is_none() {
                match self.begin().await {
                    Ok(()) => {
                        self.away = false;
                        return News::Keys;
                    }
                    // One endpoint alone is not etcd.
                    Err(error) if !self.away && self.etcd.all_failed() => {
                        self.away = true;
                        return News::Away(error);
                    }
                    Err(_) => self.etcd.rest().await,
                }
            } else if self.follow().await {
                return News::Keys;
            }
        }
    }

    /// Reads the keys and begins to watch them.
    async fn begin(&mut self) -> Result<(), Error> {
        let scope = self.scope.clone();
        let (keys, stream) = self.etcd.call(|client| read_and_watch(client, scope)).await?;
        (self.keys, self.stream) = (keys, Some(stream));
        Ok(())
    }

    /// Waits for events, and takes those along that have arrived as well. `false`: nothing has changed; the watch
    /// may be over.
    async fn follow(&mut self) -> bool {
        let mut changed = false;
        while let Some(stream) = &mut self.stream {
            let message = tokio::select! {
                biased;
                message = stream.message() => message,
                () = std::future::ready(()), if changed => return true,
            };
            match message {
                Ok(Some(response)) if response.canceled() => self.end(reason(&response)),
                Ok(Some(response)) => changed |= self.apply(&response),
                Ok(None) => self.end("it ended without a word".to_owned()),
                Err(error) => self.end(error.to_string()),
            }
        }
        changed
    }

    fn end(&mut self, reason: String) {
        self.stream = None;
        self.ended = Some(Error::Ended { endpoint: self.etcd.failed(), reason });
    }

    fn apply(&mut self, response: &WatchResponse) -> bool {
        let mut changed = false;
        for event in response.events() {
            let Some(pair) = event.kv() else { continue };
            let key = String::from_utf8_lossy(pair.key());
            if !self.scope.holds(&key) {
                continue;
            }
            changed = true;
            match event.event_type() {
                EventType::Put => self.keys.put(key.into_owned(), pair.value().to_vec()),
                EventType::Delete => self.keys.delete(&key),
            }
        }
        changed
    }
}

/// Reads all keys of a scope at one revision.
pub(super) async fn read(client: &Client, scope: &Scope) -> Result<(Keys, i64), etcd_client::Error> {
    let mut kv = client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
    let options = scope.range_end().map(|end| GetOptions::new().with_range(end));
    let response = kv.get(scope.key(), options).await?;
    let pairs = response.kvs().iter();
    let pairs = pairs.map(|pair| (String::from_utf8_lossy(pair.key()).into_owned(), pair.value().to_vec()));
    let keys = pairs.filter(|(key, _)| scope.holds(key)).collect();
    let revision = response.header().map_or(0, |header| header.revision());
    Ok((keys, revision))
}

async fn read_and_watch(client: Client, scope: Scope) -> Result<(Keys, WatchStream), etcd_client::Error> {
    let (keys, revision) = read(&client, &scope).await?;
    let mut watch = client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut options = WatchOptions::new().with_start_revision(revision + 1);
    if let Some(end) = scope.range_end() {
        options = options.with_range(end);
    }
    let mut stream = watch.watch(scope.key(), Some(options)).await?;
    match stream.message().await? {
        Some(response) if response.canceled() => Err(etcd_client::Error::WatchError(reason(&response))),
        Some(_) => Ok((keys, stream)),
        None => Err(etcd_client::Error::WatchError("it ended before it began".to_owned())),
    }
}

fn reason(response: &WatchResponse) -> String {
    match (response.compact_revision(), response.cancel_reason()) {
        (0, "") => "etcd gave it up".to_owned(),
        (0, reason) => reason.to_owned(),
        (revision, _) => format!("revision {revision} and what was before it is compacted"),
    }
}

#[cfg(test)]
mod tests;
