//! A server process with a folder of its own, ended with all its successors when the test is over.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ::server::{seckill::UserId, secrets};
use command_fds::{CommandFdExt as _, FdMapping};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::{
    client::{Answer, Client},
    etcd_process::free_port,
};

/// The binary that is tested.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_seckill");

const ACTIVITIES: &str = r#"{"events":[{"id":1,"name":"opening","starts_at":"2020-01-01T00:00:00Z",
"ends_at":"2100-01-01T00:00:00Z","goods":[{"id":1,"name":"phone","price_cents":9900,"stock":1000,"limit_per_user":1000}]}]}"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    folder: tempfile::TempDir,
    first: Child,
}

impl Server {
    pub(crate) fn start(strategy: &str) -> Self {
        Self::start_with(strategy, "")
    }

    /// `upgrade`: further lines for `[upgrade]`.
    pub(crate) fn start_with(strategy: &str, upgrade: &str) -> Self {
        Self::start_broken(strategy, upgrade, "")
    }

    /// `faults`: what `SECKILL_FAULTS` says, which only a debug build reads.
    pub(crate) fn start_broken(strategy: &str, upgrade: &str, faults: &str) -> Self {
        Self::launch(strategy, upgrade, &[("SECKILL_FAULTS", faults)], &[BINARY])
    }

    /// `wrapper`: a program with its arguments that becomes the program behind them.
    pub(crate) fn start_under(wrapper: &[&str], upgrade: &str) -> Self {
        Self::launch("handoff-live", upgrade, &[], &[wrapper, &[BINARY]].concat())
    }

    /// As a service manager starts it: with the public and the admin socket open, and a socket to be told at.
    pub(crate) fn start_activated(strategy: &str, sockets: &[TcpListener; 2], manager: &Path) -> Self {
        let [public, admin] = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
        let folder = lay_out(strategy, "", public, admin);
        let first = activated(folder.path(), sockets, manager).spawn().unwrap();
        let server = Self { public, admin, folder, first };
        server.until_ready();
        server
    }

    /// The same with sockets of any kind, whose addresses are those of `sides`.
    pub(crate) fn start_activated_by(
        sockets: &[OwnedFd],
        sides: &str,
        at: [SocketAddr; 2],
        manager: &Path,
    ) -> Self {
        let folder = lay_out("handoff-live", "", at[0], at[1]);
        write_settings(folder.path(), sides, "");
        let first = activated(folder.path(), sockets, manager).spawn().unwrap();
        let server = Self { public: at[0], admin: at[1], folder, first };
        server.until_ready();
        server
    }

    fn launch(strategy: &str, upgrade: &str, variables: &[(&str, &str)], program: &[&str]) -> Self {
        let (public, admin) = free_addresses();
        let folder = lay_out(strategy, upgrade, public, admin);
        let first = command_of(program, folder.path()).envs(variables.iter().copied()).spawn().unwrap();
        let server = Self { public, admin, folder, first };
        server.until_ready();
        server
    }

    /// A server that listens elsewhere too: lines of `[api]` and `[admin]` for its own addresses.
    pub(crate) fn start_listening(strategy: &str, lines: impl Fn(SocketAddr, SocketAddr) -> String) -> Self {
        Self::listening(&format!("strategy = \"{strategy}\""), ACTIVITIES, lines)
    }

    /// A server with `public.sock` beside its port, that sells so many goods with names of so many bytes. `upgrade`:
    /// lines for `[upgrade]`, and sections after it.
    pub(crate) fn start_with_goods(goods: usize, name_bytes: usize, upgrade: &str) -> Self {
        let name = "g".repeat(name_bytes);
        let goods: Vec<String> = (1..=goods)
            .map(|id| {
                format!(r#"{{"id":{id},"name":"{name}","price_cents":1,"stock":1000,"limit_per_user":1000}}"#)
            })
            .collect();
        let activities = format!(
            r#"{{"events":[{{"id":1,"name":"opening","starts_at":"2020-01-01T00:00:00Z","ends_at":"2100-01-01T00:00:00Z","goods":[{}]}}]}}"#,
            goods.join(",")
        );
        Self::listening(upgrade, &activities, |public, admin| {
            format!("[api]\nbind = [\"{public}\", \"unix:public.sock\"]\n[admin]\nbind = \"{admin}\"\n")
        })
    }

    fn listening(upgrade: &str, activities: &str, lines: impl Fn(SocketAddr, SocketAddr) -> String) -> Self {
        let (public, admin) = free_addresses();
        let folder = lay_out("handoff-live", "", public, admin);
        write_settings(folder.path(), &lines(public, admin), upgrade);
        fs::write(folder.path().join("activities.json"), activities).unwrap();
        let first = command(folder.path()).spawn().unwrap();
        let server = Self { public, admin, folder, first };
        server.until_ready();
        server
    }

    /// A server in a network of its own, of which only `admin.sock` is to be reached. `wrapper` as in
    /// [`Server::start_under`].
    pub(crate) fn start_apart(wrapper: &[&str], sides: &str) -> Self {
        let (public, admin) = free_addresses();
        let folder = lay_out("handoff-live", "", public, admin);
        write_settings(folder.path(), sides, "");
        let first = command_of(&[wrapper, &[BINARY]].concat(), folder.path()).spawn().unwrap();
        let server = Self { public, admin, folder, first };
        eventually("readiness", || {
            let mut client = Client::connect_unix(&server.path("admin.sock")).ok()?;
            (client.try_get("/health/ready").ok()?.status == 200).then_some(())
        });
        server
    }

    /// Writes other settings for the process that comes next.
    pub(crate) fn configure(&self, sides: &str, upgrade: &str) {
        write_settings(self.folder.path(), sides, upgrade);
    }

    /// What another one says that is started in the same folder, until it ends.
    pub(crate) fn run(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(BINARY).args(arguments).current_dir(self.folder.path()).output().unwrap()
    }

    /// What another one says that is started in the same folder with these sockets, until it ends.
    pub(crate) fn activated_with(&self, sockets: &[TcpListener], manager: &Path) -> String {
        let mut command = activated(self.folder.path(), sockets, manager);
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// Starts another process beside the one that serves, as one does by hand.
    pub(crate) fn start_beside(&self) {
        drop(self.launch_beside());
    }

    /// The same for whoever wants to know how it ends.
    pub(crate) fn launch_beside(&self) -> Child {
        self.beside(command(self.folder.path()))
    }

    /// The same, as a service manager does that holds the sockets.
    pub(crate) fn activate_beside(&self, sockets: &[TcpListener], manager: &Path) {
        drop(self.beside(activated(self.folder.path(), sockets, manager)));
    }

    /// It is ended with the group.
    fn beside(&self, mut command: Command) -> Child {
        let group = Pid::from_child(&self.first).as_raw_nonzero().get();
        command.process_group(group).spawn().unwrap()
    }

    /// Kills everything that was started.
    pub(crate) fn kill(&mut self) {
        _ = kill_process_group(Pid::from_child(&self.first), Signal::KILL);
        _ = self.first.wait();
    }

    /// Starts it again in the same folder, after everything that was started before is dead.
    pub(crate) fn start_again(&mut self) {
        self.kill();
        let gone = || std::net::TcpStream::connect(self.public).is_err().then_some(());
        eventually("nobody who listens", gone);
        self.first = command(self.folder.path()).spawn().unwrap();
        eventually("readiness", || {
            if self.first.try_wait().unwrap().is_some() {
                // It has met one that was about to die.
                self.first = command(self.folder.path()).spawn().unwrap();
            }
            let mut client = Client::try_connect(self.public).ok()?;
            (client.try_get("/health/ready").ok()?.status == 200).then_some(())
        });
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A script that can be upgraded to.
    pub(crate) fn script(&self, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path("script");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// The process id in the pid file.
    pub(crate) fn pid(&self) -> u32 {
        let text = eventually("a pid file", || fs::read_to_string(self.path(".pid")).ok());
        text.trim().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal_to(self.pid(), signal);
    }

    /// A request that is in flight in the first process: its head and half of its body have been read.
    pub(crate) fn stuck(&self) -> Client {
        let mut client = Client::connect(self.public);
        client.send("POST /orders HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n01234");
        // The process has read it once it has handled something that came after it.
        let later = Client::connect(self.public).get("/event/list");
        assert_eq!((later.status, later.process()), (200, 1));
        client
    }

    pub(crate) fn admin_request(&self, request: &str) -> Answer {
        let mut client = Client::connect(self.admin);
        self.ask(&mut client, request)
    }

    /// The answer, unless its connection ends before: without a connection that moves, some do as processes change.
    pub(crate) fn try_admin_request(&self, request: &str) -> Option<Answer> {
        let mut client = Client::try_connect(self.admin).ok()?;
        client.try_send(&self.request(request)).ok()?;
        client.answer().ok()
    }

    /// The status of process `generation`, once that one is asked.
    pub(crate) fn status_of(&self, generation: u32) -> Value {
        eventually("the status of the new process", || {
            let answer = self.try_admin_request("GET /status")?;
            (answer.process() == generation).then(|| answer.json())
        })
    }

    /// Sends an admin request, `METHOD PATH BODY`, on `client`.
    pub(crate) fn ask(&self, client: &mut Client, request: &str) -> Answer {
        self.send(client, request);
        client.answer().unwrap()
    }

    pub(crate) fn send(&self, client: &mut Client, request: &str) {
        client.send(&self.request(request));
    }

    /// The text of an admin request.
    pub(crate) fn request(&self, request: &str) -> String {
        let token = fs::read_to_string(self.path(".admin-token")).unwrap();
        let mut words = request.splitn(3, ' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let body = words.next().unwrap_or_default();
        let (token, length) = (token.trim(), body.len());
        format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }

    /// Buys as `user`.
    pub(crate) fn buy(&self, client: &mut Client, user: u64, key: &str, event: u64, goods: u64) -> Answer {
        client.send(&self.purchase(user, key, event, goods));
        client.answer().unwrap()
    }

    /// The text of a purchase.
    pub(crate) fn purchase(&self, user: u64, key: &str, event: u64, goods: u64) -> String {
        let (token, body) = (self.token(user), format!(r#"{{"event":{event},"goods":{goods}}}"#));
        format!(
            "POST /orders HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
             idempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Asks for an order of `user`.
    pub(crate) fn find(&self, client: &mut Client, user: u64, id: &str) -> Answer {
        let token = self.token(user);
        client.send(&format!(
            "GET /orders/{id} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\r\n"
        ));
        client.answer().unwrap()
    }

    fn token(&self, user: u64) -> String {
        let key = secrets::load_token_key(&self.path(".token-secret")).unwrap();
        key.mint(UserId(user), "2100-01-01T00:00:00Z".parse().unwrap())
    }

    /// Asks for an upgrade and returns the whole answer.
    pub(crate) fn upgrade_to(&self, binary: &Path) -> Answer {
        let body = serde_json::json!({ "binary": binary }).to_string();
        self.admin_request(&format!("POST /upgrade {body}"))
    }

    /// Upgrades to the same binary; it must succeed.
    pub(crate) fn upgrade(&self) -> Value {
        let answer = self.upgrade_to(Path::new(BINARY));
        assert_eq!(answer.status, 200, "{}\n{}", answer.body, self.log());
        answer.json()
    }

    /// Waits until the process that the test started ends.
    pub(crate) fn end(&mut self) -> std::process::ExitStatus {
        end_of(&mut self.first)
    }

    /// Waits until a fresh connection is answered by process `generation`.
    pub(crate) fn until_process(&self, generation: u32) {
        eventually("the new process", || {
            // Some strategies lose requests in between; that is what they are here for.
            let mut client = Client::try_connect(self.public).ok()?;
            (client.try_get("/event/list").ok()?.process() == generation).then_some(())
        });
    }

    fn until_ready(&self) {
        eventually("readiness", || {
            std::net::TcpStream::connect(self.admin).ok()?;
            let mut client = Client::try_connect(self.public).ok()?;
            (client.try_get("/health/ready").ok()?.status == 200).then_some(())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The group is empty when the test has ended the server itself.
        _ = kill_process_group(Pid::from_child(&self.first), Signal::KILL);
        _ = self.first.wait();
        if std::thread::panicking() {
            eprintln!("log of the server:\n{}", fs::read_to_string(self.path("log")).unwrap_or_default());
        }
    }
}

/// How a process ends that the test has started.
pub(crate) fn end_of(process: &mut Child) -> std::process::ExitStatus {
    eventually("the end of the process", || process.try_wait().unwrap())
}

/// A folder with what a server starts with.
pub(crate) fn signal_to(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

fn lay_out(strategy: &str, upgrade: &str, public: SocketAddr, admin: SocketAddr) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sides = format!("[api]\nbind = \"{public}\"\n[admin]\nbind = \"{admin}\"\n");
    write_settings(folder.path(), &sides, &format!("strategy = \"{strategy}\"\n{upgrade}"));
    fs::write(folder.path().join("activities.json"), ACTIVITIES).unwrap();
    fs::write(folder.path().join("blacklist.txt"), "666\n").unwrap();
    folder
}

fn write_settings(folder: &Path, sides: &str, upgrade: &str) {
    fs::write(folder.join("seckill.toml"), format!("{sides}[upgrade]\n{upgrade}\n")).unwrap();
}

fn activated(folder: &Path, sockets: &[impl AsFd], manager: &Path) -> Command {
    let mapping = |(child_fd, socket)| FdMapping {
        parent_fd: AsFd::as_fd(socket).try_clone_to_owned().unwrap(),
        child_fd,
    };
    let mut command = command(folder);
    command.env("LISTEN_FDS", sockets.len().to_string()).env("NOTIFY_SOCKET", manager);
    command.fd_mappings((3..).zip(sockets).map(mapping).collect()).unwrap();
    command
}

fn command(folder: &Path) -> Command {
    command_of(&[BINARY], folder)
}

fn command_of(program: &[&str], folder: &Path) -> Command {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(program[0]);
    command
        .args(&program[1..])
        .args(["serve", "-c", "seckill.toml"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0);
    command
}

/// Two addresses that nobody listens at.
fn free_addresses() -> (SocketAddr, SocketAddr) {
    (free_address(), free_address())
}

/// One of them. The kernel gives its port to no connection before somebody listens there.
pub(crate) fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

/// Tries until it succeeds, patiently; the time between tries is the scheduler's.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
