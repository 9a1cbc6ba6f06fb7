//! Reads a TOML document and reports all of its faults at once, each with file, line and a hint.
//!
//! A [`Document`] is parsed into a tree in which every value knows its place. A [`Section`] is a cursor
//! over one table: it hands out checked values, records a fault for each that is not what was asked for,
//! and remembers which keys were asked for, so that [`Section::finish`] can name the unknown ones.
//! Reading goes on after a fault, with whatever default the caller has; [`Document::finish`] tells at the
//! end whether anything may be used.
//!
//! Deliberately absent: deserialisation into types (serde stops at the first fault), writing, and any
//! file access.

mod document;
mod fault;
mod nearest;
mod section;

pub use document::Document;
pub use fault::{Fault, Faults};
pub use nearest::nearest;
pub use section::{Entry, Section};

#[cfg(test)]
mod tests;
