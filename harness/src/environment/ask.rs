//! One request to the target beside the load, and what its answer says of the configuration.

use std::time::Duration;

use reqwest::{Method, Response, header::HeaderMap};
use serde_json::Value;

use super::{
    Environment,
    control::{CONFIG_HEADER, client},
};
use crate::plan::{HttpAction, Side};

/// How much of an answer is kept. No acknowledgement is longer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// An answer to a request beside the load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// The configuration generation that the answer names: the member `generation` of a JSON body, which tells
    /// what was made, else the header, which tells what answered.
    pub generation: Option<u64>,
    /// The beginning of the body.
    pub text: String,
}

impl Environment {
    /// Asks the target, over a connection of its own.
    ///
    /// # Errors
    /// When no whole answer came in time.
    pub async fn ask(&self, action: &HttpAction) -> Result<Reply, reqwest::Error> {
        let HttpAction { side, method, path, headers, body, timeout_ms, .. } = action;
        let (host, token, config_header) = match (self, side) {
            (Self::Reference(reference), Side::Admin) => {
                let control = reference.control();
                (control.admin.to_string(), Some(control.token.as_str()), Some(CONFIG_HEADER))
            }
            (Self::Reference(_), Side::Public) => (self.host(), None, Some(CONFIG_HEADER)),
            (Self::Command(command), _) => (self.host(), None, command.at().config_header.as_deref()),
            (Self::External(external), _) => (self.host(), None, external.config_header.as_deref()),
        };
        let method = Method::from_bytes(method.as_bytes()).expect("a plan must have checked its methods");
        let mut request = client()?
            .request(method, format!("http://{host}{path}"))
            .timeout(Duration::from_millis(*timeout_ms))
            .body(body.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let of_header = config_header.and_then(|name| generation(response.headers(), name));
        let text = beginning(response).await?;
        let of_body =
            serde_json::from_str::<Value>(&text).ok().and_then(|body| body.get("generation")?.as_u64());
        Ok(Reply { status, generation: of_body.or(of_header), text })
    }
}

fn generation(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

async fn beginning(mut response: Response) -> Result<String, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = ANSWER_BYTES_MAX - bytes.len();
        bytes.extend_from_slice(&chunk[..room.min(chunk.len())]);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use super::*;
    use crate::environment::External;

    /// Asks a server that gives this answer once; also what it was asked.
    fn ask(answer: &str) -> (Reply, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = answer.to_owned();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut buffer = [0; 1024];
            while !asked.ends_with(b"x=1") {
                let read = stream.read(&mut buffer).unwrap();
                asked.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let config_header = Some("x-config".to_owned());
        let target = Environment::External(External { address, host: address.to_string(), config_header });
        let action = HttpAction {
            side: Side::Public,
            method: "PUT".to_owned(),
            path: "/change?a=1".to_owned(),
            headers: vec![("x-reason".to_owned(), "test".to_owned())],
            body: "x=1".to_owned(),
            accept: Vec::new(),
            timeout_ms: 30_000,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reply = runtime.block_on(target.ask(&action)).unwrap();
        (reply, serving.join().unwrap())
    }

    #[test]
    fn the_body_tells_what_was_made_and_the_header_what_answered() {
        let (reply, asked) =
            ask("HTTP/1.1 200 OK\r\nx-config: 4\r\ncontent-length: 17\r\n\r\n{\"generation\": 5}");
        assert!(asked.starts_with("PUT /change?a=1 HTTP/1.1\r\nx-reason: test\r\n"), "{asked}");
        assert_eq!((reply.status, reply.generation), (200, Some(5)));
        let (reply, _) = ask("HTTP/1.1 503 Busy\r\nX-Config: 4\r\ncontent-length: 2\r\n\r\nno");
        assert_eq!(reply, Reply { status: 503, generation: Some(4), text: "no".to_owned() });
    }

    #[test]
    fn no_redirection_leads_elsewhere() {
        let (reply, _) =
            ask("HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n");
        assert_eq!((reply.status, reply.generation), (302, None));
    }
}
