//! The server as a process: real binaries, real sockets, real signals.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "clippy knows test functions, but not the helpers of an integration test"
)]

mod activation;
mod backlog;
mod carried;
mod catalogue;
mod cli;
mod client;
mod daemon;
#[cfg(debug_assertions)]
mod deadlines;
mod edges;
mod etcd;
mod etcd_members;
mod etcd_process;
mod failures;
#[cfg(debug_assertions)]
mod faults;
mod goaway;
mod handover;
mod kept;
mod life;
mod listeners;
mod nodes;
mod pid_file;
mod push;
mod reload;
mod rollback;
mod scripted;
mod server;
mod service_losses;
mod service_processes;
mod services;
mod slow_readers;
mod sources;
mod stops;
mod stores;
mod strategies;
mod streams;
mod thousands;
mod two_servers;
