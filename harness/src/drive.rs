//! Makes the plan happen: load and timeline at the same time, into observations.

mod cpu;
mod exec;
mod fault;
mod http;
pub mod load;
mod reload;
mod signal;
pub mod timeline;
pub mod upgrade;
