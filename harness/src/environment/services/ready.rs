//! Whether a service is there, asked in its own protocol.

use std::{
    error::Error as StdError,
    time::{Duration, Instant},
};

use super::{Error, mysql::Mysql, redis::Redis};
use crate::{
    environment::{Gateway, chain},
    plan::{Access, Service},
};

/// One question; a service that is there answers in a millisecond.
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// Asks once; why it is not ready.
///
/// etcd has a leader and can be read from, Redis answers a ping after the password and has loaded its data, MySQL
/// lets the account in and selects.
pub(super) async fn ask(service: Service, access: &Access, gateway: Option<&Gateway>) -> Result<(), String> {
    match service {
        Service::Etcd => {
            let gateway = gateway.expect("etcd must have a gateway");
            if !gateway.is_healthy().await {
                return Err("it does not say that it is healthy (GET /health)".to_owned());
            }
            gateway.get("/", ASK_LIMIT).await.map(drop).map_err(|error| told(&error))
        }
        Service::Redis => {
            let asked = async {
                let mut redis = Redis::connect(access, ASK_LIMIT).await?;
                redis.ask(&["PING"]).await
            };
            match asked.await {
                Ok(answer) if answer.text() == Some("PONG") => Ok(()),
                Ok(other) => Err(format!("it answers {other:?} to a ping")),
                Err(error) => Err(told(&error)),
            }
        }
        Service::Mysql => {
            let asked: Result<(), Error> = async {
                let mut mysql = Mysql::connect(access, ASK_LIMIT).await?;
                mysql.run("SELECT 1").await?;
                mysql.close().await;
                Ok(())
            }
            .await;
            asked.map_err(|error| told(&error))
        }
    }
}

fn told(error: &dyn StdError) -> String {
    format!("the harness failed to {}", chain(error))
}

/// When to ask again, and when to give up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) until: Instant,
    pub(super) interval: Duration,
}

impl Patience {
    pub(super) fn of(limit: Duration) -> Self {
        Self { until: Instant::now() + limit, interval: Duration::from_millis(10) }
    }

    pub(super) fn is_over(self) -> bool {
        Instant::now() >= self.until
    }
}
