//! Asks the new process for something real before it is trusted.
//!
//! This process connects to its own listener like any client, accepts that connection and hands it to the
//! new process, as it will hand over every other one. The answer then proves that listener, transfer and
//! handlers work, and it is seen by the process that has to decide, not merely claimed by the other.
//! Sharing the accept queue for a probe would be simpler, but the probe could meet the wrong process,
//! and a new one that dies with strangers' connections in its hands loses them.

use std::{io, os::fd::AsFd, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::net::getsockname;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::time::sleep;

use super::{ProcessGeneration, channel::Channel, life::Life, message::Message, stream::Stream};
use crate::{config::Bind, exchange, http::Side, tasks::Tasks};

/// What is asked for: the busiest request, which needs the whole state.
const PATH: &str = "/event/list";

/// Between two tries to get into the full queue of a unix socket, which nobody tells when there is room.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// A connection of our own that the new process serves.
pub(super) struct Probe {
    requests: http1::SendRequest<Empty<Bytes>>,
    host: String,
    _driver: Tasks,
}

impl Probe {
    /// Connects through the public listener and gives the accepted end to the new process.
    ///
    /// # Errors
    /// In words, because they are told to whoever asked for the upgrade.
    pub(super) async fn open(life: &Life, channel: &Channel) -> Result<Self, String> {
        let (address, socket) = Self::way(&life.probe_addresses())?;
        let near = Self::connect(life, &address, socket, channel)
            .await
            .map_err(|error| format!("the probe cannot pass the listener: {error}"))?;
        let (requests, connection) = http1::handshake(TokioIo::new(near))
            .await
            .map_err(|error| format!("the probe cannot speak HTTP: {error}"))?;
        let driver = Tasks::default();
        drop(driver.spawn(connection));
        Ok(Self { requests, host: exchange::host_of(&address.to_string()).to_owned(), _driver: driver })
    }

    /// The first address that this machine has, with a socket for it.
    fn way(addresses: &[Bind]) -> Result<(Bind, Socket), String> {
        let mut missing = "there is no public listener to probe".to_owned();
        for address in addresses {
            match own_socket(address) {
                Ok(socket) => return Ok((address.clone(), socket)),
                Err(error) => missing = format!("the probe finds no way to {address}: {error}"),
            }
        }
        Err(missing)
    }

    async fn connect(life: &Life, address: &Bind, socket: Socket, channel: &Channel) -> io::Result<Stream> {
        let accepted = life.diversion.expect(getsockname(&socket)?);
        let near = connected(socket, address).await?;
        let far = accepted.await.map_err(|_| io::Error::other("it was not accepted"))?.into_socket()?;
        let message = Message::Connection { id: 0, side: Side::Public };
        channel.send(&message, &[], &[far.as_fd()]).await.map_err(io::Error::other)?;
        let answer = channel.receive().await.map_err(io::Error::other)?.message;
        if answer == (Message::Adopted { through: 0 }) {
            Ok(near)
        } else {
            Err(io::Error::other(format!("it was not adopted: {answer:?}")))
        }
    }

    /// Asks once; the answer must be good and come from the process with number `expected`.
    ///
    /// # Errors
    /// In words.
    pub(super) async fn ask(&mut self, expected: ProcessGeneration) -> Result<(), String> {
        let request = Request::get(PATH)
            .header(header::HOST, &self.host)
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = self
            .requests
            .send_request(request)
            .await
            .map_err(|error| format!("the new process did not answer GET {PATH}: {error}"))?;
        let status = response.status();
        let process = response.headers().get("x-seckill-process").and_then(|value| value.to_str().ok());
        let process = process.unwrap_or("nobody").to_owned();
        let complete = response.into_body().collect().await;
        if status != StatusCode::OK {
            return Err(format!("the new process answered GET {PATH} with {status}"));
        }
        if process != expected.to_string() {
            return Err(format!("GET {PATH} was answered by process {process}, not by {expected}"));
        }
        complete.map_err(|error| format!("the answer to GET {PATH} was cut: {error}")).map(drop)
    }
}

/// A socket that is bound already, so that the accepting side knows whom to expect.
fn own_socket(to: &Bind) -> io::Result<Socket> {
    let (domain, name) = match to {
        Bind::Tcp(address) => {
            // A copy, which keeps the scope of a link-local address.
            let mut own = *address;
            own.set_port(0);
            (Domain::for_address(own), SockAddr::from(own))
        }
        Bind::File(_) | Bind::Abstract(_) => {
            (Domain::UNIX, SockAddr::unix(format!("\0seckill-probe-{}", uuid::Uuid::now_v7()))?)
        }
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if domain == Domain::IPV6 {
        // IPv4 in the form of IPv6 needs it, whatever the machine's default is.
        socket.set_only_v6(false)?;
    }
    socket.bind(&name)?;
    Ok(socket)
}

async fn connected(socket: Socket, to: &Bind) -> io::Result<Stream> {
    match to {
        Bind::Tcp(address) => {
            let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
            Ok(Stream::Tcp(socket.connect(*address).await?))
        }
        Bind::File(_) | Bind::Abstract(_) => {
            let address = SockAddr::unix(to.unix_name().unwrap_or_default())?;
            while let Err(error) = socket.connect(&address) {
                if error.kind() != io::ErrorKind::WouldBlock {
                    return Err(error);
                }
                sleep(QUEUE_PAUSE).await;
            }
            Stream::from_socket(socket.into())
        }
    }
}
