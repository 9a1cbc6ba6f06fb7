//! An etcd of a test's own: on a loopback port, with its data in a folder that goes with it.

use std::{
    fs,
    future::Future,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::id,
    sync::atomic::{AtomicU16, Ordering},
};

use etcd_client::{Client, CompactionOptions, Permission, PutOptions, Txn, TxnOp};
use rustix::process::Signal;
use tokio::runtime::Runtime;

use crate::{
    daemon::{Daemon, are_installed},
    server::eventually,
};

/// Below the ports that the kernel gives to connections: whoever connects to a port of those again and again while
/// nobody listens there meets himself at last.
const PORTS_FROM: u16 = 14_000;
const PORTS: u16 = 16_000;
/// How far from each other two processes begin whose numbers follow each other, so that they seldom want the same.
const PORTS_APART: u32 = 211;

/// A running etcd with one member.
#[derive(Debug)]
pub(crate) struct Etcd {
    port: u16,
    daemon: Daemon,
    folder: tempfile::TempDir,
    runtime: Runtime,
}

/// An etcd, or nothing where none is installed, which is said aloud and is a failure in continuous integration.
pub(crate) fn etcd() -> Option<Etcd> {
    is_installed().then(Etcd::start)
}

/// Whether there is one.
pub(crate) fn is_installed() -> bool {
    are_installed(&[("etcd", "etcd-server")])
}

impl Etcd {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let port = free_port();
        let daemon = alone(folder.path(), port);
        let etcd = Self { port, daemon, folder, runtime };
        etcd.until_it_answers();
        etcd
    }

    /// `host:port` for `[etcd] address`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The lines of the settings for an etcd that may be asked often whether it is there.
    pub(crate) fn settings(&self) -> String {
        format!("[etcd]\naddress = \"{}\"\nkeep_alive_ms = 200\ntimeout_ms = 400\n", self.address())
    }

    pub(crate) fn put(&self, key: &str, value: &str) {
        self.ask(|client| async move { client.kv_client().put(key, value, None).await });
    }

    /// Puts without a word between them, as fast as one client can.
    pub(crate) fn put_all<'p>(&self, pairs: impl Iterator<Item = (&'p str, String)>) {
        self.ask(|client| async move {
            let mut client = client.kv_client();
            for (key, value) in pairs {
                client.put(key, value, None).await?;
            }
            Ok(())
        });
    }

    /// Puts all of them in one transaction.
    pub(crate) fn put_together(&self, pairs: &[(&str, &str)]) {
        let puts: Vec<TxnOp> =
            pairs.iter().map(|(key, value)| TxnOp::put(*key, *value, Some(PutOptions::new()))).collect();
        self.ask(|client| async move { client.kv_client().txn(Txn::new().and_then(puts)).await });
    }

    pub(crate) fn delete(&self, key: &str) {
        self.ask(|client| async move { client.kv_client().delete(key, None).await });
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let found = self.ask(|client| async move { client.kv_client().get(key, None).await });
        found.kvs().first().map(|pair| pair.value_str().unwrap().to_owned())
    }

    /// Forgets everything but the present, of which it makes a new revision first: the same one twice is refused.
    pub(crate) fn compact(&self) {
        self.ask(|client| async move {
            let mut client = client.kv_client();
            let revision = client.put("x", "", None).await?.header().unwrap().revision();
            client.compact(revision, Some(CompactionOptions::new().with_physical())).await
        });
    }

    /// Lets nobody in any more but `shop` with this password, and him only to what is ours.
    pub(crate) fn protect(&self, password: &str) {
        self.ask(|client| async move {
            let mut auth = client.auth_client();
            auth.user_add("root", "of no concern", None).await?;
            auth.user_grant_role("root", "root").await?;
            auth.role_add("shop").await?;
            auth.role_grant_permission("shop", Permission::read_write("/seckill/").with_prefix()).await?;
            auth.user_add("shop", password, None).await?;
            auth.user_grant_role("shop", "shop").await?;
            auth.auth_enable().await
        });
    }

    /// Where a test may put something.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// Ends it; the data stays.
    pub(crate) fn stop(&mut self, signal: Signal) {
        self.daemon.stop(signal);
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        self.daemon = alone(self.folder.path(), self.port);
        self.until_it_answers();
    }

    /// Starts it again where nobody looks for it, and returns the port at which it was.
    pub(crate) fn start_elsewhere(&mut self) -> u16 {
        let before = std::mem::replace(&mut self.port, free_port());
        self.start_again();
        before
    }

    /// Where it is to be at its next start.
    pub(crate) fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    /// Starts it again with nothing in it.
    pub(crate) fn start_empty(&mut self) {
        fs::remove_dir_all(self.folder.path().join("data")).unwrap();
        self.start_again();
    }

    fn until_it_answers(&self) {
        eventually("an answer of etcd", || {
            TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port))).ok()?;
            let address = self.address();
            let asked = async { Client::connect([address], None).await?.kv_client().get("x", None).await };
            self.runtime.block_on(asked).ok()
        });
    }

    /// What a client of its own is answered.
    pub(crate) fn ask<T, F>(&self, work: impl FnOnce(Client) -> F) -> T
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let address = self.address();
        self.runtime.block_on(async { work(Client::connect([address], None).await?).await }).unwrap()
    }
}

/// One that is all of its cluster.
fn alone(folder: &Path, port: u16) -> Daemon {
    let peers = ["--listen-peer-urls=unix://peer.sock:0", "--initial-advertise-peer-urls=http://127.0.0.1:1"];
    let cluster = ["--initial-cluster=n=http://127.0.0.1:1", "--name=n"];
    spawn(folder, port, &[peers, cluster].concat())
}

/// Elections are short, and nothing waits for the disk.
pub(crate) fn spawn(folder: &Path, port: u16, member: &[&str]) -> Daemon {
    let url = format!("http://127.0.0.1:{port}");
    let client = [format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}")];
    let own = ["--data-dir=data", "--unsafe-no-fsync", "--bcrypt-cost=4", "--heartbeat-interval=10"];
    let more =
        ["--election-timeout=100", "--grpc-keepalive-min-time=50ms", "--logger=zap", "--log-level=warn"];
    let client = client.iter().map(String::as_str);
    let arguments = own.into_iter().chain(member.iter().copied()).chain(client).chain(more);
    Daemon::start("etcd", folder, arguments)
}

/// One that nobody has now, on any address.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(id().wrapping_mul(PORTS_APART) % u32::from(PORTS)).unwrap();
    let free = (0..PORTS).find_map(|_| {
        let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = PORTS_FROM + offset;
        is_free(port).then_some(port)
    });
    free.expect("one of so many ports must be free")
}

/// On a machine without IPv6 it need not be free there.
fn is_free(port: u16) -> bool {
    let has_ipv6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    let of_ipv4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
    of_ipv4 && (!has_ipv6 || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).is_ok())
}
