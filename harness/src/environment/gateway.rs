//! etcd through its gateway for JSON: keys and values in base64 (etcd documentation, "gRPC gateway").

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Client;
use serde_json::{Value, json};

use super::{Error, control::client};

/// Whether it is well is known at once, or it is not.
const HEALTH_LIMIT: Duration = Duration::from_secs(1);
/// A key that nobody reads.
const PASSING: &str = "/harness/passing";

/// One etcd, at an address that stays the same when it is started again.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// `host:port`
    address: String,
    client: Client,
}

impl Gateway {
    pub(super) fn new(address: String) -> Result<Self, Error> {
        let client = client().map_err(|source| Error::Etcd { address: address.clone(), source })?;
        Ok(Self { address, client })
    }

    /// `host:port`
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it says that it is healthy: it has a leader and can write.
    pub async fn is_healthy(&self) -> bool {
        let asked = self.client.get(format!("http://{}/health", self.address)).timeout(HEALTH_LIMIT).send();
        match asked.await {
            Ok(answer) => answer.json::<Value>().await.is_ok_and(|told| told["health"] == "true"),
            Err(_) => false,
        }
    }

    /// Writes a key; waits for the answer for as long as `limit`.
    ///
    /// # Errors
    /// When it refuses, or does not answer.
    pub async fn put(&self, key: &str, value: &[u8], limit: Duration) -> Result<(), Error> {
        let body = json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(value) });
        self.ask("kv/put", &body, limit).await.map(drop)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// As [`Gateway::put`].
    pub async fn delete(&self, key: &str, limit: Duration) -> Result<(), Error> {
        self.ask("kv/deleterange", &json!({ "key": STANDARD.encode(key) }), limit).await.map(drop)
    }

    /// Deletes all keys that begin with `prefix`.
    ///
    /// # Errors
    /// As [`Gateway::put`].
    pub async fn delete_below(&self, prefix: &str, limit: Duration) -> Result<(), Error> {
        self.ask("kv/deleterange", &range_below(prefix), limit).await.map(drop)
    }

    /// All keys that begin with `prefix`, in order.
    ///
    /// # Errors
    /// As [`Gateway::put`].
    pub async fn keys_below(&self, prefix: &str, limit: Duration) -> Result<Vec<String>, Error> {
        let mut asked = range_below(prefix);
        asked["keys_only"] = Value::Bool(true);
        let told = self.ask("kv/range", &asked, limit).await?;
        let key = |kv: &Value| STANDARD.decode(kv["key"].as_str()?).ok();
        let keys = told["kvs"].as_array().into_iter().flatten().filter_map(key);
        Ok(keys.map(|key| String::from_utf8_lossy(&key).into_owned()).collect())
    }

    /// What a key holds; `None`: there is none.
    ///
    /// # Errors
    /// As [`Gateway::put`].
    pub async fn get(&self, key: &str, limit: Duration) -> Result<Option<Vec<u8>>, Error> {
        let told = self.ask("kv/range", &json!({ "key": STANDARD.encode(key) }), limit).await?;
        let value = told.pointer("/kvs/0").map(|kv| kv["value"].as_str().unwrap_or_default());
        Ok(value.and_then(|value| STANDARD.decode(value).ok()))
    }

    /// Throws away the history up to now, of which there is always some: a key comes and goes before. The revision that
    /// is left.
    ///
    /// # Errors
    /// As [`Gateway::put`].
    pub async fn compact(&self, limit: Duration) -> Result<u64, Error> {
        self.put(PASSING, &[], limit).await?;
        let told = self.ask("kv/deleterange", &json!({ "key": STANDARD.encode(PASSING) }), limit).await?;
        let revision = told.pointer("/header/revision").and_then(Value::as_str);
        let revision = revision.and_then(|revision| revision.parse().ok()).unwrap_or(0_u64);
        let body = json!({ "revision": revision.to_string(), "physical": true });
        self.ask("kv/compaction", &body, limit).await?;
        Ok(revision)
    }

    async fn ask(&self, path: &str, body: &Value, limit: Duration) -> Result<Value, Error> {
        let failed = |source| Error::Etcd { address: self.address.clone(), source };
        let request =
            self.client.post(format!("http://{}/v3/{path}", self.address)).json(body).timeout(limit);
        let answer = request.send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        answer.json().await.map_err(failed)
    }
}

/// From a prefix that ends with `/` to before the same with the character that follows it.
fn range_below(prefix: &str) -> Value {
    let end = format!("{}0", prefix.trim_end_matches('/'));
    json!({ "key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end) })
}
