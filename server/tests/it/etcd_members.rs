//! An etcd of three members that loses its leader.

use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use tokio::runtime::Runtime;

use crate::{
    daemon::Daemon,
    etcd::{KEY, sale, served, until_sold},
    etcd_process::{free_port, is_installed, spawn},
    server::eventually,
};

/// A member that waits for a leader answers when it is too late for everybody.
const PATIENCE: Duration = Duration::from_millis(500);

struct Member {
    name: String,
    port: u16,
    peer: u16,
    child: Option<Daemon>,
    folder: tempfile::TempDir,
}

/// Three processes, ended with the test.
struct Members {
    members: Vec<Member>,
    runtime: Runtime,
}

impl Members {
    fn start() -> Self {
        let members = (0..3).map(|number| Member {
            name: format!("n{number}"),
            port: free_port(),
            peer: free_port(),
            child: None,
            folder: tempfile::tempdir().unwrap(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut members = Self { members: members.collect(), runtime };
        for index in 0..3 {
            members.run(index);
        }
        members.leader();
        members
    }

    fn run(&mut self, index: usize) {
        let url = |member: &Member| format!("http://127.0.0.1:{}", member.peer);
        let all: Vec<_> = self.members.iter().map(|one| format!("{}={}", one.name, url(one))).collect();
        let member = &mut self.members[index];
        let (name, url, all) = (format!("--name={}", member.name), url(member), all.join(","));
        let (listen, advertise) =
            (format!("--listen-peer-urls={url}"), format!("--initial-advertise-peer-urls={url}"));
        let flags = [&*name, &*listen, &*advertise, &*format!("--initial-cluster={all}")];
        member.child = Some(spawn(member.folder.path(), member.port, &flags));
    }

    fn kill(&mut self, index: usize) {
        drop(self.members[index].child.take().unwrap());
    }

    fn ask<T, F: Future<Output = Result<T, Error>>>(
        &self,
        index: usize,
        work: impl FnOnce(Client) -> F,
    ) -> Result<T, Error> {
        let address = format!("127.0.0.1:{}", self.members[index].port);
        let options = ConnectOptions::new().with_timeout(PATIENCE).with_connect_timeout(PATIENCE);
        self.runtime.block_on(async { work(Client::connect([address], Some(options)).await?).await })
    }

    /// Waits until somebody says that he leads, and returns who.
    fn leader(&self) -> usize {
        eventually("a leader", || {
            (0..self.members.len()).filter(|&index| self.members[index].child.is_some()).find(|&index| {
                let status =
                    self.ask(index, |client| async move { client.maintenance_client().status().await });
                status.is_ok_and(|status| {
                    status.leader() != 0
                        && status.header().is_some_and(|header| header.member_id() == status.leader())
                })
            })
        })
    }

    /// Puts by any member that lives, as soon as one can.
    fn put(&self, value: &str) {
        eventually("a put", || {
            (0..self.members.len()).filter(|&index| self.members[index].child.is_some()).find(|&index| {
                let put =
                    self.ask(index, |client| async move { client.kv_client().put(KEY, value, None).await });
                put.is_ok()
            })
        });
    }

    /// The members' addresses for `[etcd] address`, `first` before the others.
    fn settings(&self, first: usize) -> String {
        let mut order = [0, 1, 2];
        order.rotate_left(first);
        let addresses: Vec<_> =
            order.iter().map(|&index| format!("127.0.0.1:{}", self.members[index].port)).collect();
        format!("[etcd]\naddress = \"{}\"\nkeep_alive_ms = 200\ntimeout_ms = 400\n", addresses.join(","))
    }
}

/// Serves from the member that leads, or from the one behind it, while the leader is killed, again and again.
fn check(behind: usize) {
    if !is_installed() {
        return;
    }
    let mut members = Members::start();
    members.put(&sale("before"));
    let server = served(&members.settings((members.leader() + behind) % 3));
    until_sold(&server, "before");
    for round in 0..3 {
        let leader = members.leader();
        members.kill(leader);
        let name = format!("after {round}");
        members.put(&sale(&name));
        until_sold(&server, &name);
        members.run(leader);
    }
}

#[test]
fn a_change_made_after_the_leader_was_killed_arrives_by_another_member() {
    check(0);
}

#[test]
fn a_change_made_after_the_leader_was_killed_arrives_by_the_same_member() {
    check(1);
}
