//! What goes wrong with Redis and MySQL, and what the one who asked is told of it.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::{
    config,
    stores::{Unavailable, mysql},
};

/// Why Redis or MySQL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the password of redis")]
    Password(#[source] config::PasswordError),
    #[error("be let in by redis; are redis.address and redis.auth right? ({0})")]
    RedisRefuses(String),
    #[error("be let in by mysql; are address, username, password and database of [mysql] right? ({0})")]
    MysqlRefuses(String),
    #[error("ask redis: {0}")]
    Asked(RedisError),
    #[error("ask redis, which is away")]
    Away,
    #[error("get an answer of redis within {limit_ms} ms (redis.timeout_ms)")]
    Late { limit_ms: u128 },
    #[error("use a redis that is not compared with mysql, or was emptied while it was")]
    Uncompared,
    #[error("use what redis answers: {0}")]
    Strange(String),
    #[error(transparent)]
    Mysql(#[from] mysql::Error),
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        // Its text repeats its cause.
        Self::Asked(error)
    }
}

/// What the one who asked is told.
pub(super) fn unavailable(error: &Error) -> Unavailable {
    match error {
        Error::Late { .. } => Unavailable::RedisLate,
        Error::Away => Unavailable::RedisAway,
        Error::Asked(error) if error.is_io_error() || error.is_connection_dropped() => Unavailable::RedisLate,
        Error::Asked(error) => match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown,
            ) => Unavailable::RedisAway,
            _ => Unavailable::Failed,
        },
        _ => Unavailable::Failed,
    }
}
