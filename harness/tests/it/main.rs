//! The harness as its users meet it: one binary, a module per part.

mod bench;
mod broken;
mod calibrate;
mod clients;
mod command;
mod external;
mod interrupt;
mod leaks;
mod load;
mod modes;
mod patience;
mod programs;
mod reference;
mod replay;
mod scenarios;
mod scripted_http2;
mod scripted_target;
mod services;
mod stopped;
mod taxonomy;
mod tls;
