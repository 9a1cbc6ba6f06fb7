//! Pushes: the body of a request and its conditions -> a candidate and its terms.
//!
//! Reading is pure but for the time of it, so that any bytes can be tried on it: see [`parse`]. Deliberately
//! absent: who may push (the admin side asks for the token), and how an answer looks.

mod conditions;
mod difference;
mod tags;

use http::HeaderMap;

pub use self::{
    conditions::{Conditions, Error, Form},
    difference::Difference,
    tags::{Tag, Tags},
};
use crate::{
    reload::{Candidate, Published, Refused, Reload, Terms},
    state::{Datum, Generation, Mechanism, Origin},
};

/// A change that somebody sent, and on which conditions it is meant.
#[derive(Debug)]
pub struct Push {
    pub conditions: Conditions,
    pub candidate: Candidate,
}

/// What is served after a push.
#[derive(Debug)]
pub struct Pushed {
    pub generation: Generation,
    /// Something else is served than before; of a trial: something else would be.
    pub changed: bool,
    /// Of what is, or would be, served of its kind.
    pub digest: String,
    /// What a trial would change.
    pub difference: Option<Difference>,
}

/// Reads a whole request to change `datum`. A body with faults is a candidate with faults, which the writer
/// refuses like any other.
///
/// # Errors
/// Query or headers say something that is not understood, and must not be ignored.
pub fn parse(datum: Datum, query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Result<Push, Error> {
    Ok(Conditions::read(datum, query, headers)?.with("a push", body))
}

impl Conditions {
    /// The push of `body` on these conditions, by `sender`. Takes its time with a long body.
    #[must_use]
    pub fn with(self, sender: &str, body: &[u8]) -> Push {
        let origin = Origin::new(Mechanism::Push, sender);
        let candidate = match self.form {
            Form::Whole => Candidate::parse(self.datum, origin, body),
            Form::Delta => Candidate::delta(origin, body),
        };
        Push { conditions: self, candidate }
    }
}

impl Push {
    /// Offers it to the writer. It can be offered again while a swap goes on, see [`Refused::HandingOver`].
    ///
    /// # Errors
    /// It was refused.
    pub fn offer(&self, reload: &Reload) -> Result<Pushed, Refused> {
        let served = reload.cell().load();
        let mut expected = self.conditions.first_expected(served.generation);
        loop {
            let terms = Terms {
                expected,
                expected_digest: self.conditions.expected_digest.clone(),
                dry_run: self.conditions.dry_run,
                again: false,
            };
            let (Published { generation, changed }, digest) =
                match reload.offer_for_digest(self.candidate.clone(), &terms) {
                    Ok(outcome) => outcome,
                    // Of several generations it may be the next one now.
                    Err(Refused::Overtaken { served, .. }) if self.conditions.expects(served) => {
                        expected = Some(served);
                        continue;
                    }
                    Err(refused) => return Err(refused),
                };
            let differs = digest != served.digests.of(self.conditions.datum);
            let content = self.candidate.content.as_ref().ok().filter(|_| self.conditions.dry_run);
            let difference = content.map(|content| Difference::between(&served, content));
            let changed = if self.conditions.dry_run { differs } else { changed };
            return Ok(Pushed { generation, changed, digest, difference });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{reload::reason, seckill::UserId};

    fn started() -> Arc<Reload> {
        Reload::start(Vec::new(), Generation(4), Box::new(|_| Ok(()))).unwrap()
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_delta_is_made_in_what_is_served() {
        let reload = started();
        let offer = |query, body: &[u8]| {
            let push = parse(Datum::Blacklist, query, &headers(&[]), body).unwrap();
            push.offer(&reload)
        };
        let whole = offer(None, b"1\n2\n").unwrap();
        assert_eq!((whole.generation, whole.changed), (Generation(5), true));
        let delta = offer(Some("delta"), b"-1\n+3\n").unwrap();
        assert_eq!(delta.digest, reload.cell().load().digests.blacklist);
        let list = Arc::clone(&reload.cell().load().blacklist);
        assert!(list.contains(UserId(3)) && !list.contains(UserId(1)) && list.len() == 2);
        let history = reload.cell().history();
        assert_eq!(history.last().unwrap().digest, delta.digest, "that of the list, not that of the delta");
        assert!(offer(Some("delta"), b"3\n").is_err() && offer(None, b"+3\n").is_err());
    }

    #[test]
    fn one_of_several_generations_may_be_served() {
        let reload = started();
        let push = |tags, body: &[u8]| {
            let headers = headers(&[("if-match", tags)]);
            parse(Datum::Blacklist, None, &headers, body).unwrap().offer(&reload)
        };
        assert_eq!(push("\"3\", \"4\"", b"1").unwrap().generation, Generation(5));
        let refused = push("\"3\", \"4\"", b"2").unwrap_err();
        assert_eq!(reason(&refused), "failed to replace generation 4: 5 is served; read it and try again");
        assert_eq!(push("*", b"2").unwrap().generation, Generation(6));
        assert!(matches!(push("W/\"6\", \"06\"", b"3"), Err(Refused::Overtaken { .. })), "both are no match");
    }

    #[test]
    fn a_trial_tells_what_would_change_and_leaves_it() {
        let reload = started();
        let parsed =
            |body: &[u8]| parse(Datum::Cluster, Some("dry-run"), &headers(&[]), body).unwrap().offer(&reload);
        let tried = parsed(br#"{"log_level":"debug"}"#).unwrap();
        assert_eq!((tried.generation, tried.changed), (Generation(4), true));
        let told = serde_json::to_string(&tried.difference.unwrap()).unwrap();
        assert_eq!(told, r#"[{"place":"log_level","from":null,"to":"debug"}]"#);
        assert_eq!(reload.cell().load().generation, Generation(4));
        assert!(parsed(b"{").is_err());
    }
}
