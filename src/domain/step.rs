//! Steps: a message's place in a campaign for one person, and how long it waits after the step before it.
//!
//! `validate_step.rs` checks them, `policy/steps.rs` computes when a step is due, `store/transitions/steps.rs` keeps their order.

use jiff::Timestamp;

use super::parse_error::ParseError;

/// The last step that a campaign can have.
pub const LAST_STEP: u8 = 20;

/// The longest wait, in days.
const LONGEST_DAYS: u32 = 366;

const SECONDS_A_DAY: u32 = 86_400;

/// A message's place in its campaign for one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// 1 to [`LAST_STEP`].
    pub number: u8,
    /// How long it waits after the step before it was sent; `None` for step 1 only.
    pub wait: Option<StepWait>,
}

/// How long a step waits after the step before it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepWait {
    /// Civil days in the account's zone: the same time of day, that many days later.
    Days(u32),
    /// Seconds, whatever the clocks of the zone do meanwhile.
    Seconds(u32),
}

/// What a queued step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepWaiting {
    /// For the step before it to be sent; then for its own wait.
    Before(StepWait),
    /// For the end of its wait.
    Until(Timestamp),
}

impl StepWait {
    /// Parses `"3 days"`, `"36 hours"`, `"1 week"`, `"90 minutes"` or `"20 seconds"`.
    ///
    /// # Errors
    /// Returns the problem and the fix if it is not one of these, is 0, or is longer than 366 days.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let fix = "write a number and a unit, such as \"3 days\" or \"36 hours\"";
        let unclear = || ParseError::new(format!("is not a wait: {:?}", shortened(text)), fix);
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: u32 = number.parse().map_err(|_| unclear())?;
        let days = |days: Option<u32>| days.map(Self::Days);
        let seconds = |of: u32| number.checked_mul(of).map(Self::Seconds);
        let wait = match unit.trim_start().to_ascii_lowercase().as_str() {
            "d" | "day" | "days" => days(Some(number)),
            "w" | "week" | "weeks" => days(number.checked_mul(7)),
            "h" | "hour" | "hours" => seconds(3600),
            "m" | "min" | "minute" | "minutes" => seconds(60),
            "s" | "sec" | "second" | "seconds" => seconds(1),
            _ => return Err(unclear()),
        };
        match wait {
            Some(Self::Days(0) | Self::Seconds(0)) => {
                Err(ParseError::new("is 0", "let a person have at least a moment before the next step"))
            }
            Some(Self::Days(days)) if days <= LONGEST_DAYS => Ok(Self::Days(days)),
            Some(Self::Seconds(seconds)) if seconds <= LONGEST_DAYS * SECONDS_A_DAY => {
                Ok(Self::Seconds(seconds))
            }
            _ => Err(ParseError::new(format!("is longer than {LONGEST_DAYS} days"), "give a shorter wait")),
        }
    }

    /// Returns the text that [`StepWait::parse`] reads, in the largest whole unit.
    pub fn text(self) -> String {
        let (number, unit) = match self {
            Self::Days(days) => (days, "day"),
            Self::Seconds(seconds) if seconds.is_multiple_of(3600) => (seconds / 3600, "hour"),
            Self::Seconds(seconds) if seconds.is_multiple_of(60) => (seconds / 60, "minute"),
            Self::Seconds(seconds) => (seconds, "second"),
        };
        format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_number_and_a_unit() {
        let cases = [
            ("3 days", StepWait::Days(3), "3 days"),
            ("1 day", StepWait::Days(1), "1 day"),
            ("2 Weeks", StepWait::Days(14), "14 days"),
            (" 36 hours ", StepWait::Seconds(36 * 3600), "36 hours"),
            ("90m", StepWait::Seconds(5400), "90 minutes"),
            ("20 s", StepWait::Seconds(20), "20 seconds"),
            ("366 days", StepWait::Days(366), "366 days"),
        ];
        for (text, wait, written) in cases {
            assert_eq!(StepWait::parse(text), Ok(wait), "{text}");
            assert_eq!(wait.text(), written);
            assert_eq!(StepWait::parse(&wait.text()), Ok(wait), "{written}");
        }
        for text in [
            "",
            "days",
            "3",
            "three days",
            "-1 days",
            "1.5 days",
            "3 days ago",
            "0 days",
            "367 days",
            "99999999 weeks",
            "9999 hours",
        ] {
            assert!(StepWait::parse(text).is_err(), "{text}");
        }
    }
}
