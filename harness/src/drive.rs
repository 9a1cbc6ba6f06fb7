//! Makes the plan happen: load and timeline at the same time, into observations.

pub mod load;
