//! How people in the sandbox behave: when they receive and read a message, and what they answer.
//!
//! Set by tests through `World::set_person` and from outside through `PUT /sandbox/people/{user_id}`; `publish` acts
//! on it for every message that an account writes to them. A behaviour applies to messages that arrive after it was
//! set.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;
use serde::Serialize;
use serde_json::Value;

use super::strict::{Fields, Invalid};

/// What a person does with each message from an account. The default receives it at once and stays silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Behaviour {
    /// Time until a device of theirs receives it; `None` means never.
    #[serde(rename = "delivered_after_ms", serialize_with = "optional_milliseconds")]
    pub delivered_after: Option<Duration>,
    /// Time until they read it; `None` means never, unless they answer.
    #[serde(rename = "reads_after_ms", serialize_with = "optional_milliseconds")]
    pub reads_after: Option<Duration>,
    /// What they answer.
    pub answer: Option<Answer>,
}

/// An answer to every message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Time from the message to its answer.
    #[serde(rename = "after_ms", serialize_with = "milliseconds")]
    pub after: Duration,
    /// Text of the answer.
    pub text: String,
    /// Whether a program answers, so that the message stays unread.
    pub is_automatic: bool,
}

/// A language in which people ask to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English, `en`.
    English,
    /// German, `de`.
    German,
    /// French, `fr`.
    French,
    /// Spanish, `es`.
    Spanish,
    /// Italian, `it`.
    Italian,
    /// Portuguese, `pt`.
    Portuguese,
    /// Dutch, `nl`.
    Dutch,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 7] = [
        Self::English,
        Self::German,
        Self::French,
        Self::Spanish,
        Self::Italian,
        Self::Portuguese,
        Self::Dutch,
    ];

    /// Returns the code of the language, as ISO 639-1 has it.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Italian => "it",
            Self::Portuguese => "pt",
            Self::Dutch => "nl",
        }
    }

    /// Returns how a person asks in this language not to be written to.
    pub fn opt_out(self) -> &'static str {
        match self {
            Self::English => "Please stop writing to me.",
            Self::German => "Bitte schreiben Sie mir nicht mehr.",
            Self::French => "Merci de ne plus m'écrire.",
            Self::Spanish => "Por favor, no me escriba más.",
            Self::Italian => "Per favore, non mi scriva più.",
            Self::Portuguese => "Por favor, não me escreva mais.",
            Self::Dutch => "Stuur mij alstublieft geen berichten meer.",
        }
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { delivered_after: Some(Duration::ZERO), reads_after: None, answer: None }
    }
}

impl Behaviour {
    /// Returns a person who receives messages and does nothing.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Returns a person whose devices are off: messages never reach them.
    pub fn unreachable() -> Self {
        Self { delivered_after: None, ..Self::default() }
    }

    /// Returns a person who reads every message `after` this time.
    pub fn reads(after: Duration) -> Self {
        Self { reads_after: Some(after), ..Self::default() }
    }

    /// Returns a person who answers every message with `text`.
    pub fn answers(after: Duration, text: impl Into<String>) -> Self {
        Self::default().and_answers(after, text)
    }

    /// Returns a person whose mailbox answers that they are away, until a date if there is one.
    pub fn out_of_office(after: Duration, until: Option<Date>) -> Self {
        let text = match until {
            Some(date) => format!(
                "Thank you for your message. I am out of the office until {} and will answer when I am back.",
                date.strftime("%-d %B %Y")
            ),
            None => "Thank you for your message. I am out of the office with limited access to my messages."
                .to_owned(),
        };
        Self { answer: Some(Answer { after, text, is_automatic: true }), ..Self::default() }
    }

    /// Returns a person who asks not to be written to.
    pub fn opts_out(after: Duration, language: Language) -> Self {
        Self::answers(after, language.opt_out())
    }

    /// Lets the person also answer every message with `text`.
    pub fn and_answers(self, after: Duration, text: impl Into<String>) -> Self {
        Self { answer: Some(Answer { after, text: text.into(), is_automatic: false }), ..self }
    }
}

/// The behaviours that were set.
#[derive(Debug, Default)]
pub(super) struct People {
    /// Behaviour of users without their own.
    pub(super) others: Behaviour,
    pub(super) by_user: BTreeMap<String, Behaviour>,
}

impl People {
    /// Returns how `user` behaves.
    pub(super) fn behaviour(&self, user: &str) -> &Behaviour {
        self.by_user.get(user).unwrap_or(&self.others)
    }
}

/// Parses a behaviour. At most one of `answer`, `out_of_office` and `opts_out` may be given.
pub(super) fn read(body: &Value) -> Result<Behaviour, Invalid> {
    let known = ["delivered_after_ms", "reads_after_ms", "answer", "out_of_office", "opts_out"];
    let fields = Fields::of(body, "", &known)?;
    let given = ["answer", "out_of_office", "opts_out"].iter().filter(|name| is_given(&fields, name)).count();
    if given > 1 {
        return Err(Invalid(
            "answer, out_of_office and opts_out exclude each other: send one of them".to_owned(),
        ));
    }
    let mut behaviour = answering(&fields)?;
    if let Some(value) = fields.get("delivered_after_ms") {
        behaviour.delivered_after =
            if value.is_null() { None } else { Some(after(&fields, "delivered_after_ms")?) };
    }
    if is_given(&fields, "reads_after_ms") {
        behaviour.reads_after = Some(after(&fields, "reads_after_ms")?);
    }
    Ok(behaviour)
}

fn answering(fields: &Fields<'_>) -> Result<Behaviour, Invalid> {
    if is_given(fields, "answer")
        && let Some(answer) = fields.optional_object("answer", &["after_ms", "text", "is_automatic"])?
    {
        let is_automatic = answer.optional_boolean("is_automatic")?.unwrap_or(false);
        let text = answer.string("text")?.to_owned();
        let answer = Answer { after: after(&answer, "after_ms")?, text, is_automatic };
        return Ok(Behaviour { answer: Some(answer), ..Behaviour::default() });
    }
    if is_given(fields, "out_of_office")
        && let Some(away) = fields.optional_object("out_of_office", &["after_ms", "until"])?
    {
        let until = away.optional_string("until")?.map(|text| {
            text.parse::<Date>().map_err(|_| {
                Invalid(format!("out_of_office.until must be a date like 2026-12-24, not {text:?}"))
            })
        });
        return Ok(Behaviour::out_of_office(after(&away, "after_ms")?, until.transpose()?));
    }
    if is_given(fields, "opts_out")
        && let Some(opts_out) = fields.optional_object("opts_out", &["after_ms", "language"])?
    {
        let code = opts_out.optional_string("language")?.unwrap_or("en");
        let language = Language::ALL.into_iter().find(|language| language.code() == code);
        let codes = || Language::ALL.map(Language::code).join(", ");
        let language = language
            .ok_or_else(|| Invalid(format!("opts_out.language must be one of {}, not {code:?}", codes())))?;
        return Ok(Behaviour::opts_out(after(&opts_out, "after_ms")?, language));
    }
    Ok(Behaviour::default())
}

fn is_given(fields: &Fields<'_>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null())
}

fn after(fields: &Fields<'_>, name: &str) -> Result<Duration, Invalid> {
    fields.integer(name, 0..=31_536_000_000).map(Duration::from_millis)
}

fn milliseconds<S: serde::Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    super::ledger::milliseconds::serialize(value, to)
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn optional_milliseconds<S: serde::Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => milliseconds(value, to),
        None => to.serialize_none(),
    }
}
