//! How many webhooks were received and refused since the start, for `status`.
//!
//! A refused webhook is otherwise invisible: with the wrong secret it looks as if no person ever answered.

use jiff::{SignedDuration, Timestamp};

/// How long a refusal is worth a warning.
const LATELY: SignedDuration = SignedDuration::from_hours(24);

/// The counts since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Webhooks that were verified and are stored, including repeated ones.
    pub received: u64,
    /// How many of them were stored before.
    pub duplicates: u64,
    /// When the last of them came.
    pub last_at: Option<Timestamp>,
    /// What was refused.
    pub refused: Refused,
    /// Stored webhooks that could not be interpreted; `None` while there is none.
    pub unreadable: Option<Unreadable>,
    /// The last refusal that no verified webhook has followed.
    unresolved: Option<Unresolved>,
}

/// Counts of refused webhooks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// The header is missing or malformed.
    pub unsigned: u64,
    /// The signature is wrong.
    pub signature: u64,
    /// When the last wrong signature came.
    pub last_signature_at: Option<Timestamp>,
    /// The signature is right and its time is outside the tolerance.
    pub stale: u64,
    /// When the last one of these came.
    pub last_stale_at: Option<Timestamp>,
    /// The body is compressed, or the signature is right and the body is not an event.
    pub body: u64,
    /// The body was longer than allowed.
    pub too_large: u64,
    /// The body broke off, or did not come in time, or before the daemon needed the connection or stopped.
    pub incomplete: u64,
    /// The queue could not be written; Unipile sends these again.
    pub not_stored: u64,
}

/// Webhooks that were stored and could not be interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// How many.
    pub count: u64,
    /// When the last one was met.
    pub last_at: Timestamp,
    /// The type of the last one.
    pub kind: String,
    /// Why the last one could not be read.
    pub why: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unresolved {
    WrongSignature(Timestamp),
    Stale(Timestamp),
    Encoded(Timestamp),
}

impl Tally {
    /// Counts a wrong signature; returns whether it is the first since the last right one.
    pub(super) fn wrong_signature(&mut self, now: Timestamp) -> bool {
        self.refused.signature += 1;
        self.refused.last_signature_at = Some(now);
        !matches!(
            self.unresolved.replace(Unresolved::WrongSignature(now)),
            Some(Unresolved::WrongSignature(_))
        )
    }

    /// Counts a stale signature; returns whether it is the first since the last timely one.
    pub(super) fn stale(&mut self, now: Timestamp) -> bool {
        self.refused.stale += 1;
        self.refused.last_stale_at = Some(now);
        !matches!(self.unresolved.replace(Unresolved::Stale(now)), Some(Unresolved::Stale(_)))
    }

    /// Counts a compressed body; returns whether it is the first since the last right webhook.
    pub(super) fn encoded(&mut self, now: Timestamp) -> bool {
        self.refused.body += 1;
        !matches!(self.unresolved.replace(Unresolved::Encoded(now)), Some(Unresolved::Encoded(_)))
    }

    /// Notes that a signature was right and timely.
    pub(super) fn verified(&mut self) {
        self.unresolved = None;
    }

    /// Counts a stored webhook.
    pub(super) fn stored(&mut self, is_new: bool, now: Timestamp) {
        self.received += 1;
        self.duplicates += u64::from(!is_new);
        self.last_at = Some(now);
    }

    /// Counts a stored webhook that could not be interpreted.
    pub(super) fn unreadable(&mut self, kind: &str, why: &'static str, now: Timestamp) {
        let count = self.unreadable.as_ref().map_or(0, |unreadable| unreadable.count) + 1;
        self.unreadable = Some(Unreadable { count, last_at: now, kind: kind.to_owned(), why });
    }

    /// Returns what could not be interpreted, if that happened lately.
    pub fn unreadable_lately(&self, now: Timestamp) -> Option<Unreadable> {
        self.unreadable.clone().filter(|unreadable| now.duration_since(unreadable.last_at) < LATELY)
    }

    /// Returns what an operator must do about refused webhooks, if some were refused lately and none was right since.
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let (at, why) = match self.unresolved? {
            Unresolved::WrongSignature(at) => {
                (at, "the signature is wrong; is webhooks.secret the endpoint's?")
            }
            Unresolved::Stale(at) => (
                at,
                "their time is further from this machine's clock than webhooks.tolerance; is the clock right?",
            ),
            Unresolved::Encoded(at) => {
                (at, "their bodies are compressed; does the proxy before webhooks.listen compress requests?")
            }
        };
        (now.duration_since(at) < LATELY).then(|| format!("Unipile's webhooks are refused: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_764_201_600 + 3600 * hours).unwrap()
    }

    #[test]
    fn a_wrong_signature_is_warned_of_until_one_is_right_or_a_day_has_passed() {
        let mut tally = Tally::default();
        assert_eq!(tally.warning(at(0)), None);
        assert!(tally.wrong_signature(at(0)) && !tally.wrong_signature(at(1)));
        assert!(tally.warning(at(2)).unwrap().contains("is webhooks.secret the endpoint's?"));
        assert_eq!(tally.warning(at(26)), None);
        tally.verified();
        tally.stored(true, at(2));
        assert_eq!(tally.warning(at(2)), None);
        assert!(tally.stale(at(3)), "and the next one is the first again");
        assert!(tally.warning(at(3)).unwrap().contains("is the clock right?"));
        assert!(tally.encoded(at(3)) && !tally.encoded(at(4)));
        assert!(tally.warning(at(4)).unwrap().contains("does the proxy before webhooks.listen compress"));
        assert_eq!((tally.received, tally.duplicates, tally.last_at), (1, 0, Some(at(2))));
        assert_eq!((tally.refused.signature, tally.refused.last_signature_at), (2, Some(at(1))));
    }
}
