//! A client that does only what it is told: no retry, no pool, no hidden reconnect.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::{linux::net::SocketAddrExt as _, unix::net},
    path::Path,
    time::Duration,
};

/// Longer than anything that a test waits for on purpose.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<Socket>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(net::UnixStream),
}

impl Read for Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The process generation that answered.
    pub(crate) fn process(&self) -> u32 {
        self.header("x-seckill-process").expect("every answer must name its process").parse().unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// On a connection that may not be there yet: who sends waits for it.
    pub(crate) fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(Socket::Tcp(stream)) })
    }

    /// One that takes some kilobytes at a time, so that the rest stays with the server.
    pub(crate) fn connect_narrow(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_recv_buffer_size(16 * 1024)?;
        socket.connect(&address.into())?;
        Self::over(socket.into())
    }

    pub(crate) fn connect_unix(path: &Path) -> io::Result<Self> {
        Self::of_unix(net::UnixStream::connect(path)?)
    }

    pub(crate) fn connect_abstract(name: &str) -> io::Result<Self> {
        Self::of_unix(net::UnixStream::connect_addr(&net::SocketAddr::from_abstract_name(name)?)?)
    }

    fn of_unix(stream: net::UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(Socket::Unix(stream)) })
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.try_send(text).unwrap();
    }

    pub(crate) fn try_send(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.try_get(path).unwrap()
    }

    pub(crate) fn try_get(&mut self, path: &str) -> io::Result<Answer> {
        self.try_send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))?;
        self.answer()
    }

    /// Tells the server that nothing more will be sent.
    pub(crate) fn end_sending(&mut self) {
        match self.stream.get_ref() {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// The next answer on the connection; an end of the connection is an error.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head_only()?;
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body = self.part(length)?;
        Ok(answer)
    }

    /// So many bytes of the body of an answer whose head was read.
    pub(crate) fn part(&mut self, bytes: usize) -> io::Result<String> {
        let mut part = vec![0; bytes];
        self.stream.read_exact(&mut part)?;
        String::from_utf8(part).map_err(io::Error::other)
    }

    /// The next answer on the connection, to a request that asked for no body, or whose body is read by parts.
    pub(crate) fn head_only(&mut self) -> io::Result<Answer> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status in {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((key, value)) = line.split_once(':') else { break };
            headers.push((key.to_lowercase(), value.trim().to_owned()));
        }
        Ok(Answer { status, headers, body: String::new() })
    }

    /// Asks for the stream of events; its head.
    pub(crate) fn open_stream(&mut self) -> Answer {
        self.send("GET /event/stream HTTP/1.1\r\nhost: test\r\n\r\n");
        self.head_only().unwrap()
    }

    /// The next chunk of an answer that is sent in chunks; `None`: that was its end.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<String>> {
        let size = usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
        let mut bytes = vec![0; size + 2];
        self.stream.read_exact(&mut bytes)?;
        assert!(bytes.ends_with(b"\r\n"));
        bytes.truncate(size);
        Ok((size > 0).then(|| String::from_utf8(bytes).unwrap()))
    }

    /// The connection was ended by the server, in order or not.
    pub(crate) fn is_ended(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
