//! The harness as its users meet it: one binary, a module per part.

mod external;
mod interrupt;
mod load;
mod reference;
mod scenarios;
mod scripted_target;
