//! Everything that needs the whole crate: one binary, a module for each subject.

mod load;
mod scenarios;
mod scripted_target;
