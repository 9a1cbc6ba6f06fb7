//! Redis as far as the harness asks it: a command, and its answer (RESP 2, "Redis serialization protocol
//! specification").
//!
//! Deliberately absent: pipelines, pools, reconnecting. A connection asks a few things and is closed.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::plan::Access;

/// No answer that the harness asks for is longer.
const BULK_BYTES_MAX: usize = 64 * 1024 * 1024;
const VALUES_MAX: usize = 10_000_000;

/// Why Redis gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("talk to it")]
    Io(#[from] io::Error),
    #[error("do that: {0}")]
    Refused(String),
    #[error("understand it: it is no Redis, or speaks another protocol")]
    Protocol,
    #[error("hear from it within {limit_ms} ms")]
    Silent { limit_ms: u128 },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Nothing,
    Integer(i64),
    Text(String),
    Array(Vec<Self>),
}

impl Value {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Nothing | Self::Integer(_) | Self::Array(_) => None,
        }
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(*integer),
            Self::Nothing | Self::Text(_) | Self::Array(_) => None,
        }
    }

    pub(super) fn array(&self) -> &[Self] {
        match self {
            Self::Array(values) => values,
            Self::Nothing | Self::Integer(_) | Self::Text(_) => &[],
        }
    }

    /// The value behind a name, in an array of names and values.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        let pairs = self.array().chunks_exact(2);
        pairs.into_iter().find(|pair| pair[0].text() == Some(name)).map(|pair| &pair[1])
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Redis {
    stream: BufReader<TcpStream>,
    /// For each question and its answer.
    limit: Duration,
}

impl Redis {
    /// Connects, and shows the password if there is one.
    pub(super) async fn connect(access: &Access, limit: Duration) -> Result<Self, Error> {
        let connecting = timeout(limit, TcpStream::connect(&access.address)).await;
        let stream = connecting.map_err(|_| silent(limit))??;
        let mut redis = Self { stream: BufReader::new(stream), limit };
        if !access.password.0.is_empty() {
            redis.ask(&["AUTH", &access.password.0]).await?;
        }
        Ok(redis)
    }

    /// Sends a command; what is answered.
    pub(super) async fn ask(&mut self, command: &[&str]) -> Result<Value, Error> {
        let limit = self.limit;
        timeout(limit, self.exchange(command)).await.map_err(|_| silent(limit))?
    }

    async fn exchange(&mut self, command: &[&str]) -> Result<Value, Error> {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for word in command {
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        self.stream.write_all(&bytes).await?;
        read(&mut self.stream).await
    }
}

fn silent(limit: Duration) -> Error {
    Error::Silent { limit_ms: limit.as_millis() }
}

/// A whole answer. An error inside of an array is an error of the whole.
async fn read(stream: &mut BufReader<TcpStream>) -> Result<Value, Error> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    let line = line.strip_suffix("\r\n").ok_or(Error::Protocol)?;
    let (kind, rest) = line.split_at_checked(1).ok_or(Error::Protocol)?;
    let number = || rest.parse::<i64>().map_err(|_| Error::Protocol);
    match kind {
        "+" => Ok(Value::Text(rest.to_owned())),
        "-" => Err(Error::Refused(rest.to_owned())),
        ":" => Ok(Value::Integer(number()?)),
        "$" | "*" if number()? < 0 => Ok(Value::Nothing),
        "$" => {
            let length = usize::try_from(number()?).map_err(|_| Error::Protocol)?;
            if length > BULK_BYTES_MAX {
                return Err(Error::Protocol);
            }
            let mut bytes = vec![0; length + 2];
            stream.read_exact(&mut bytes).await?;
            bytes.truncate(length);
            Ok(Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        "*" => {
            let count = usize::try_from(number()?).map_err(|_| Error::Protocol)?;
            if count > VALUES_MAX {
                return Err(Error::Protocol);
            }
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(Box::pin(read(stream)).await?);
            }
            Ok(Value::Array(values))
        }
        _ => Err(Error::Protocol),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// Asks something that gives this answer; also what it was sent.
    fn ask(password: &str, answers: &[&str]) -> (Result<Value, Error>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let access = Access {
            address: listener.local_addr().unwrap().to_string(),
            password: crate::plan::Password(password.to_owned()),
            ..Access::default()
        };
        let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            for answer in answers {
                let mut buffer = [0; 256];
                let read = stream.read(&mut buffer).unwrap();
                asked.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                stream.write_all(answer.as_bytes()).unwrap();
            }
            asked
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answered = runtime.block_on(async {
            let mut redis = Redis::connect(&access, Duration::from_secs(20)).await?;
            redis.ask(&["PING", "é"]).await
        });
        (answered, serving.join().unwrap())
    }

    #[test]
    fn each_kind_of_answer_is_understood() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (answer, expected) in [
            ("+PONG\r\n", text("PONG")),
            (":-12\r\n", Value::Integer(-12)),
            ("$5\r\na\r\nbc\r\n", text("a\r\nbc")),
            ("$-1\r\n", Value::Nothing),
            ("*0\r\n", Value::Array(vec![])),
            (
                "*2\r\n+lag\r\n*1\r\n:3\r\n",
                Value::Array(vec![text("lag"), Value::Array(vec![Value::Integer(3)])]),
            ),
        ] {
            let (answered, asked) = ask("", &[answer]);
            assert_eq!(answered.unwrap(), expected);
            assert_eq!(asked, "*2\r\n$4\r\nPING\r\n$2\r\né\r\n");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for (answer, expected) in [
            ("-NOAUTH Authentication required.\r\n", "do that: NOAUTH Authentication required."),
            ("*1\r\n-ERR inner\r\n", "do that: ERR inner"),
            ("HTTP/1.1 400 Bad Request\r\n", "understand it: it is no Redis, or speaks another protocol"),
            ("$99999999999\r\n", "understand it: it is no Redis, or speaks another protocol"),
            ("+cut", "understand it: it is no Redis, or speaks another protocol"),
            ("", "talk to it"),
        ] {
            assert_eq!(ask("", &[answer]).0.unwrap_err().to_string(), expected, "{answer}");
        }
    }

    #[test]
    fn the_password_is_shown_first() {
        let (answered, asked) = ask("secret", &["+OK\r\n", "*2\r\n+a\r\n:7\r\n"]);
        assert!(asked.starts_with("*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*2\r\n"), "{asked}");
        assert_eq!(answered.unwrap().field("a").and_then(Value::integer), Some(7));
    }
}
