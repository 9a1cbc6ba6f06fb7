//! A server that somebody else started: its URL resolved, checked to be local, and reached once.

use std::{io, net::SocketAddr, time::Duration};

use reqwest::Url;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::Error;
use crate::plan::ExternalPlan;

/// A server on this machine accepts at once; longer means that its queue is full or packets are dropped.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Where an external target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    pub address: SocketAddr,
    /// `host:port` as the URL spells it, the port filled in.
    pub host: String,
    /// Name of the answers' header with their configuration generation, if there is one.
    pub config_header: Option<String>,
}

impl External {
    /// Resolves the plan's URL and connects to it once.
    pub(super) async fn reach(plan: &ExternalPlan) -> Result<Self, Error> {
        let refuse = |why: &str| Error::Url { url: plan.url.clone(), why: why.to_owned() };
        let (name, port) = parts(&plan.url).map_err(refuse)?;
        let unreachable = |source| Error::Unreachable { url: plan.url.clone(), source };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<SocketAddr> = lookup_host((bare, port)).await.map_err(unreachable)?.collect();
        // The generator is a flood when it is aimed at somebody else's machine.
        if !addresses.iter().all(|address| address.ip().is_loopback()) {
            return Err(refuse("it is not on this machine; load goes to loopback addresses only"));
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
                Ok(Ok(_stream)) => {
                    let config_header = plan.config_header.clone();
                    return Ok(Self { address, host: format!("{name}:{port}"), config_header });
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "it did not accept within 2 s"),
            }
        }
        Err(unreachable(last))
    }
}

/// Host and port of an `http://host:port` or `https://host:port` URL, or why it is none.
fn parts(url: &str) -> Result<(String, u16), &'static str> {
    let parsed = Url::parse(url).map_err(|_| "it is not a URL; write http://host:port")?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err("only http and https are supported; write http://host:port");
    }
    if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() {
        return Err("paths belong to the requests of a stream; write http://host:port");
    }
    let host = parsed.host_str().ok_or("it has no host; write http://host:port")?;
    Ok((host.to_owned(), parsed.port_or_known_default().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn reach(url: &str) -> Result<External, Error> {
        let plan = ExternalPlan { url: url.to_owned(), tls: None, process_header: None, config_header: None };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(External::reach(&plan))
    }

    #[test]
    fn urls_are_taken_apart_or_refused_with_a_hint() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", Ok(("127.0.0.1".to_owned(), 8080))),
            ("http://[::1]:81/", Ok(("[::1]".to_owned(), 81))),
            ("http://localhost", Ok(("localhost".to_owned(), 80))),
            ("https://localhost", Ok(("localhost".to_owned(), 443))),
            ("ftp://localhost", Err("only http and https are supported; write http://host:port")),
            ("http://localhost:1/x", Err("paths belong to the requests of a stream; write http://host:port")),
            ("nonsense", Err("it is not a URL; write http://host:port")),
        ] {
            assert_eq!(parts(url), expected, "{url}");
        }
    }

    #[test]
    fn a_listening_server_is_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let external = reach(&format!("http://{address}")).unwrap();
        assert_eq!(external, External { address, host: address.to_string(), config_header: None });
    }

    #[test]
    fn other_machines_and_closed_ports_are_refused() {
        insta::assert_snapshot!(reach("http://192.0.2.1:80").unwrap_err(), @"use http://192.0.2.1:80 as the target: it is not on this machine; load goes to loopback addresses only");
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = reach(&format!("http://{address}")).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("reach http://{address}: start the server that it names, then run this again")
        );
    }
}
