//! Makes hot updates happen in the middle of traffic and says with numbers what they cost.
//!
//! The rooms, in the order the data flows through them:
//!
//! `scenario` (the file) -> `plan` (what will happen, pure) -> `environment` (the target, started) ->
//! `drive` (load and timeline, at the same time) -> `observe` (what was seen, on disk) ->
//! `analyze` (pure) -> `verdict` (pure) -> `report` (pure renderers).

pub mod clock;
pub mod plan;

pub mod observe;
