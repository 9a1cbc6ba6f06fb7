//! A flash-sale service that takes every kind of hot update while it serves.
//!
//! Control plane and data plane meet only at the snapshot; the life of the process (phases, upgrade,
//! drain) is a third room that neither of them enters.

pub mod background;
pub mod clock;
pub mod config;
pub mod datum;
#[cfg(debug_assertions)]
mod faults;
pub mod hex;

pub mod carried;
pub mod etcd;
pub mod nodes;
pub mod seckill;
pub mod sources;
pub mod state;

pub mod reload;

pub mod secrets;
pub mod stores;

pub mod tasks;

pub mod lifecycle;

pub mod effective;

pub mod identity;
pub mod telemetry;

pub mod exchange;
pub mod publish;

pub mod http;

pub mod cli;
