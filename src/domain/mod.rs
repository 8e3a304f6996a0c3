//! Domain types: messages, accounts, states, reasons, outcomes and policies.
//!
//! Every module may use this one; it uses no other, and has no I/O, no clock, no async and no wire format. The edges
//! (HTTP, SQL, command line, Unipile's JSON) have their own wire types and convert them to these once.

/// Defines an enum of which each variant has one word, in SQL, in JSON, in the configuration or at Unipile.
macro_rules! words {
    ($(#[$of_enum:meta])* pub enum $name:ident { $($(#[$of_variant:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$of_enum])*
        pub enum $name { $($(#[$of_variant])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of their definition.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// Returns the word of the variant.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Returns the variant with this word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|variant| variant.as_str() == word)
            }
        }
    };
}

pub(crate) use words;

pub mod account;
pub mod account_snapshot;
pub mod attachment;
pub mod calendar;
pub mod caps;
pub mod command;
pub mod content_encoding;
pub mod endpoint;
pub mod event;
pub mod field_error;
pub mod heard;
pub mod hook;
pub mod ids;
pub mod json;
pub mod kind;
pub mod lane;
pub mod message;
pub mod meta;
pub mod need;
pub mod observed;
pub mod outcome;
pub mod parse_error;
pub mod person;
pub mod placeholders;
pub mod policy;
mod public_names;
pub mod reason;
pub mod reply_patterns;
pub mod rule_text;
pub mod specifics;
pub mod state;
pub mod step;
pub mod stop;
pub mod token;
pub mod validate;
mod validate_step;
mod validate_times;
pub mod waiting;

/// Formats a time as every table, answer and log shows it: UTC, RFC 3339, whole milliseconds, fixed width.
///
/// Because of the fixed width, sorting the text sorts by time.
pub fn time_text(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

/// Rounds `at` down to whole milliseconds, the precision of every stored time.
pub fn whole_milliseconds(at: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// Parses an RFC 3339 time. Many programs write the last two days of the year 9999 for "never"; these lie beyond the
/// last time that can be expressed in every zone, and are read as that time.
pub fn parse_time(text: &str) -> Option<jiff::Timestamp> {
    use jiff::fmt::temporal::Pieces;
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let pieces = Pieces::parse(text).ok()?;
    let is_whole = pieces.time().is_some() && pieces.to_numeric_offset().is_some();
    let last = whole_milliseconds(jiff::Timestamp::MAX);
    (is_whole && pieces.date() >= jiff::civil::date(9999, 12, 30)).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_last_year_is_a_time() {
        let read = |text: &str| parse_time(text).map(time_text);
        let last = Some("9999-12-30T22:00:00.999Z".to_owned());
        for text in [
            "9999-12-31T23:59:59.999Z",
            "9999-12-31T23:59:59Z",
            "9999-12-31T00:00:00+00:00",
            "9999-12-30T23:00:00-08:00",
        ] {
            assert_eq!(read(text), last, "{text}");
        }
        assert_eq!(read("9999-12-29T00:00:00Z").as_deref(), Some("9999-12-29T00:00:00.000Z"));
        for text in
            ["9999-12-31", "9999-12-31T23:59:59", "9999-12-32T00:00:00Z", "9999-12-31T25:00:00Z", "never"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
