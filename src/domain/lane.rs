//! A lane: messages of one account that are equal in everything that decides the order of sending, except age.
//!
//! Within a lane the oldest goes first; between lanes `policy/fair_share.rs` decides. SQL stores a lane as text
//! (`messages.lane`), so that an index finds the first message of each lane.

use super::field_error::{FieldError, FieldErrorCode};
use super::kind::Kind;

/// Everything except age that decides the order of sending.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Goes before everything that is not urgent.
    pub urgent: bool,
    /// Is sent outside the account's hours as well; only if urgent.
    pub ignore_hours: bool,
    /// -100 to 100; higher goes first.
    pub priority: i8,
    /// The kind of send.
    pub kind: Kind,
    /// The producer's label; campaigns take turns.
    pub campaign: Option<String>,
}

/// The largest priority; its negative is the smallest.
pub const PRIORITY: i8 = 100;

impl Lane {
    /// Returns the lane of an ordinary message of `kind`.
    pub fn of(kind: Kind) -> Self {
        Self { urgent: false, ignore_hours: false, priority: 0, kind, campaign: None }
    }

    /// Returns the text stored in SQL: `1 100 n - vip`. Urgent lanes and higher priorities sort first.
    pub fn text(&self) -> String {
        let urgent = if self.urgent { '0' } else { '1' };
        let priority = i16::from(PRIORITY) - i16::from(self.priority);
        let hours = if self.ignore_hours { 'h' } else { '-' };
        let campaign = self.campaign.as_deref().map_or(String::new(), |campaign| format!(" {campaign}"));
        format!("{urgent} {priority:03} {} {hours}{campaign}", letter(self.kind))
    }

    /// Parses the text that [`Lane::text`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        let urgent = parts.next()? == "0";
        let priority = i16::from(PRIORITY) - parts.next()?.parse::<i16>().ok()?;
        let kind = parts.next()?;
        let kind = Kind::ALL.into_iter().find(|known| kind.starts_with(letter(*known)))?;
        let ignore_hours = parts.next()? == "h";
        let campaign = parts.next().map(str::to_owned);
        Some(Self { urgent, ignore_hours, priority: i8::try_from(priority).ok()?, kind, campaign })
    }
}

/// Flags that let a message go before others, or let it repeat an earlier one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Precedence {
    /// -100 to 100; higher goes first.
    pub priority: i8,
    /// Goes before everything that is not urgent; caps, pace and suppression still apply.
    pub urgent: bool,
    /// Is sent outside the account's hours as well; only if urgent.
    pub ignore_hours: bool,
    /// The same text may start a chat with the same person again.
    pub allow_repeat: bool,
}

impl Precedence {
    /// Validates the values that a producer gave; a missing one takes its default.
    ///
    /// # Errors
    /// Returns the first value that is not valid.
    pub fn checked(
        priority: Option<i64>,
        urgent: Option<bool>,
        ignore_hours: Option<bool>,
        allow_repeat: Option<bool>,
    ) -> Result<Self, FieldError> {
        let asked = priority.unwrap_or_default();
        let range = -i64::from(PRIORITY)..=i64::from(PRIORITY);
        let Some(priority) = i8::try_from(asked).ok().filter(|_| range.contains(&asked)) else {
            let fix = format!("give a whole number from -{PRIORITY} to {PRIORITY}");
            return Err(FieldError::new(
                FieldErrorCode::InvalidValue,
                "priority",
                format!("is {asked}"),
                fix,
            ));
        };
        let [urgent, ignore_hours, allow_repeat] =
            [urgent, ignore_hours, allow_repeat].map(Option::unwrap_or_default);
        if ignore_hours && !urgent {
            let problem = "is for urgent messages only";
            let fix = "set `urgent` as well, or leave it out";
            return Err(FieldError::new(FieldErrorCode::Contradiction, "ignore_hours", problem, fix));
        }
        Ok(Self { priority, urgent, ignore_hours, allow_repeat })
    }
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::Message => 'm',
        Kind::NewChat => 'n',
        Kind::InMail => 'i',
        Kind::Forward => 'f',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_read_back_from_its_text() {
        for kind in Kind::ALL {
            for (urgent, ignore_hours, priority) in
                [(false, false, 0), (true, true, 100), (true, false, -100)]
            {
                for campaign in [None, Some(""), Some("vip list 2"), Some(" a")] {
                    let campaign = campaign.map(str::to_owned);
                    let lane = Lane { urgent, ignore_hours, priority, kind, campaign };
                    assert_eq!(Lane::parse(&lane.text()), Some(lane.clone()), "{}", lane.text());
                }
            }
        }
        assert_eq!(Lane::of(Kind::NewChat).text(), "1 100 n -");
        assert_eq!(Lane::parse("1 100 x -"), None);
    }

    #[test]
    fn what_lets_a_message_go_first_is_checked() {
        let checked = Precedence::checked;
        assert_eq!(checked(None, None, None, None), Ok(Precedence::default()));
        let all = Precedence { priority: -100, urgent: true, ignore_hours: true, allow_repeat: true };
        assert_eq!(checked(Some(-100), Some(true), Some(true), Some(true)), Ok(all));
        for asked in [101, -101, i64::MAX, i64::MIN] {
            assert_eq!(checked(Some(asked), None, None, None).unwrap_err().field, "priority");
        }
        let refused = checked(None, Some(false), Some(true), None).unwrap_err();
        assert_eq!((refused.field.as_str(), refused.code), ("ignore_hours", FieldErrorCode::Contradiction));
    }

    #[test]
    fn urgent_lanes_and_higher_priorities_sort_first() {
        let lane = |urgent, priority| Lane { urgent, priority, ..Lane::of(Kind::Message) }.text();
        assert!(lane(true, -100) < lane(false, 100));
        assert!(lane(false, 100) < lane(false, 7) && lane(false, 7) < lane(false, -3));
    }
}
