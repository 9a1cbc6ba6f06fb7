//! Documents at HTTP addresses, for a server that asks for them: each with an `etag` that changes with it, and
//! `304` for whoever has it already (RFC 9110, section 13.1.2).
//!
//! A thread of its own answers one request after the other and closes each connection. Deliberately absent:
//! everything else that HTTP has.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::contents::Content;

/// Whoever sends half a request must not keep the others waiting.
const READ_LIMIT: Duration = Duration::from_secs(2);

/// The documents and whoever serves them. Clones share both.
#[derive(Debug, Clone)]
pub struct Pages {
    address: SocketAddr,
    documents: Arc<Mutex<Documents>>,
    _serving: Arc<Serving>,
}

#[derive(Debug, Default)]
struct Documents {
    /// By path.
    of: BTreeMap<String, Document>,
    versions: u64,
    over: bool,
}

#[derive(Debug, Clone)]
struct Document {
    version: u64,
    content: Content,
}

/// Ends the thread when the last one lets go.
#[derive(Debug)]
struct Serving {
    address: SocketAddr,
    documents: Arc<Mutex<Documents>>,
    thread: Option<JoinHandle<()>>,
}

impl Pages {
    /// # Errors
    /// When no port or no thread can be had.
    pub(super) fn serve() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let documents = Arc::new(Mutex::new(Documents::default()));
        let known = Arc::clone(&documents);
        let serve = move || {
            for stream in listener.incoming().flatten() {
                if lock(&known).over {
                    return;
                }
                // A client that went away asks again.
                let _gone = answer(&stream, &known);
            }
        };
        let thread = thread::Builder::new().name("pages".to_owned()).spawn(serve)?;
        let serving = Serving { address, documents: Arc::clone(&documents), thread: Some(thread) };
        Ok(Self { address, documents, _serving: Arc::new(serving) })
    }

    /// Where a path is.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts a document at a path, in the place of the one that was there.
    pub fn put(&self, path: &str, content: Content) {
        let mut documents = lock(&self.documents);
        documents.versions += 1;
        let version = documents.versions;
        documents.of.insert(path.to_owned(), Document { version, content });
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        lock(&self.documents).over = true;
        // Wakes the thread up. Without a connection it waits on, and ends with the process.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _panicked = thread.join();
        }
    }
}

fn answer(stream: &TcpStream, documents: &Mutex<Documents>) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_LIMIT))?;
    stream.set_write_timeout(Some(READ_LIMIT))?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let mut known = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("if-none-match")
        {
            known = Some(value.trim().to_owned());
        }
    }
    let document = lock(documents).of.get(&path).cloned();
    let mut out = stream;
    let Some(Document { version, content }) = document else {
        return out.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    };
    let etag = format!("\"{version}\"");
    if known.as_deref() == Some(etag.as_str()) {
        return write!(out, "HTTP/1.1 304 Not Modified\r\netag: {etag}\r\nconnection: close\r\n\r\n");
    }
    let length = content.bytes();
    write!(out, "HTTP/1.1 200 OK\r\netag: {etag}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")?;
    content.write_to(&mut out)
}

fn lock(documents: &Mutex<Documents>) -> MutexGuard<'_, Documents> {
    documents.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::{
        environment::contents::Contents,
        plan::{Datum, ReferencePlan},
    };

    fn ask(pages: &Pages, path: &str, head: &str) -> String {
        let mut stream = TcpStream::connect(pages.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n{head}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_document_is_sent_once_to_whoever_keeps_its_tag() {
        let plan = ReferencePlan { blacklist: 1, ..ReferencePlan::example() };
        let contents = Contents::new(&plan, 1, "2026-01-02T03:04:05Z".parse().unwrap());
        let pages = Pages::serve().unwrap();
        assert!(ask(&pages, "/blacklist", "").starts_with("HTTP/1.1 404 "));
        pages.put("/blacklist", contents.of(Datum::Blacklist, 1));
        let first = ask(&pages, "/blacklist", "");
        assert!(first.starts_with("HTTP/1.1 200 ") && first.contains("\r\netag: \"1\"\r\n"), "{first}");
        assert!(first.contains("\r\n\r\n# change 1\n") && first.ends_with("\n1000000001\n"), "{first}");
        assert!(ask(&pages, "/blacklist", "If-None-Match: \"1\"\r\n").starts_with("HTTP/1.1 304 "));
        pages.put("/blacklist", contents.of(Datum::Blacklist, 2));
        assert!(ask(&pages, "/blacklist", "if-none-match: \"1\"\r\n").contains("# change 2\n"));
        assert_eq!(pages.url("/a"), format!("http://{}/a", pages.address));
    }
}
