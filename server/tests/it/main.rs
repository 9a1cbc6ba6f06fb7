//! The server as a process: real binaries, real sockets, real signals.

mod client;
mod failures;
mod handover;
mod life;
mod scripted;
mod server;
mod strategies;
