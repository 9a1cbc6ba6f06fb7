//! The table of activities in MySQL: a row for each event, with its document as `activities.json` has it.
//!
//! Read as a whole and compared with what was there before; a sale has few events. MySQL that is away at the start
//! has nothing yet, and the last good copy is served; at any other time it is a fault.

use super::{Look, Version};
use crate::{
    config::MysqlSettings,
    reload::Candidate,
    state::{Datum, Mechanism, Origin},
    stores::ActivityTable,
    telemetry::chain,
};

/// The table, and the connection to it.
#[derive(Debug)]
pub(super) struct Table(ActivityTable);

impl Table {
    pub(super) fn new(settings: &MysqlSettings) -> Self {
        Self(ActivityTable::new(settings))
    }

    pub(super) async fn look(&mut self, datum: Datum, origin: Origin, known: Option<&Version>) -> Look {
        match self.0.read().await {
            Ok(None) => Look::Absent,
            Ok(Some(text)) => {
                let version = Version::of_text(text.as_bytes());
                if known == Some(&version) {
                    return Look::Same;
                }
                let parsing = move || Box::new(Candidate::parse(datum, origin, text.as_bytes()));
                match tokio::task::spawn_blocking(parsing).await {
                    Ok(candidate) => Look::Found { candidate, version },
                    Err(_) => Look::unsettled("the look was cut short"),
                }
            }
            Err(error) if origin.mechanism == Mechanism::Start => {
                tracing::warn!(%datum, place = origin.place, error = chain(&error), "mysql is away");
                Look::Absent
            }
            Err(error) => Look::failed(datum, origin, format!("failed to {}", chain(&error)), known),
        }
    }
}
