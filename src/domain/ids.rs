//! Validates ids, for HTTP, SQL and the command line alike: trims them, and refuses what cannot be an id (P7).
//!
//! Spreadsheets and templates leave words such as `NULL` or `{{id}}` in place of a missing value, and people paste
//! the address of a profile. Used unchanged, each of these is a wasted call, or a message to the wrong person.

use super::field_error::{FieldError, FieldErrorCode};
use super::public_names::{
    NAMED, after, is_name_of_a_person, is_public_name, path_at_linkedin, segment_after_in,
};
pub use super::public_names::{name_in_address, name_of, named, possible_name, public_name};

/// Longest accepted id, label or key, in bytes. Unipile publishes no limit; the longest id seen is under 200.
pub const MAX_ID_BYTES: usize = 512;

/// The kind of object that an id identifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdOf {
    /// A person, by user id or by public name.
    Person,
    /// A Unipile account.
    Account,
    /// A chat, an inbox or a message: opaque.
    Other,
}

/// Words that spreadsheets and programs write for a missing value, in lower case.
const MISSING: [&str; 28] = [
    "null",
    "undefined",
    "none",
    "nan",
    "-nan",
    "nat",
    "nil",
    "n/a",
    "#n/a",
    "na",
    "<na>",
    "\\n",
    "<null>",
    "(null)",
    "(none)",
    "(empty)",
    "(blank)",
    "true",
    "false",
    "-",
    "--",
    "\u{2013}",
    "\u{2014}",
    "?",
    "tbd",
    "tba",
    "unknown",
    "private",
];

const NO_PROFILE_FIX: &str = "give the user id, such as ACoA…, which Unipile's Get a User Profile tells for it, or the address of the profile, linkedin.com/in/…";

const PROFILE_FIX: &str = "give the user id, such as ACoA…, which Unipile's Get a User Profile tells for it, or set people.resolve = true";

/// Trims and validates an id.
pub(super) fn id(field: &str, value: &str, of: IdOf) -> Result<String, FieldError> {
    let value = value.trim();
    let refuse =
        |problem: String, fix: &str| Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix));
    label(field, value)?;
    filled_in(field, value)?;
    if field.eq_ignore_ascii_case(value) || (of == IdOf::Person && value.eq_ignore_ascii_case("user_id")) {
        return refuse(format!("is {value:?}, the name of a column"), "leave the header of the table out");
    }
    if is_formula(value) {
        let fix = "export the results of the formulas, not the formulas";
        return refuse(format!("is {value:?}, a formula of a spreadsheet"), fix);
    }
    whole(field, value)?;
    match of {
        IdOf::Person => {
            let key = person_or_name(field, value)?;
            // What an address held in its middle, or percent-encoded, is at the end now, or plain.
            whole(field, &key)?;
            filled_in(field, &key)?;
            Ok(key)
        }
        IdOf::Account => plain(field, value),
        IdOf::Other if value.contains("://") || path_at_linkedin(value).is_some() => {
            refuse(format!("is {value:?}, an address"), "give the id as Unipile returns it")
        }
        IdOf::Other => match value.chars().find(|c| c.is_whitespace()) {
            Some(space) => refuse(format!("holds {space:?}, which no id does"), "give one id"),
            None => Ok(value.to_owned()),
        },
    }
}

/// Refuses an id that was shortened.
fn whole(field: &str, value: &str) -> Result<(), FieldError> {
    if value.contains('\u{2026}') || value.ends_with("...") {
        let problem = format!("is {value:?}, an id that was shortened");
        let fix = "give the whole id: tables on a terminal shorten ids, `--json` does not";
        return Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix));
    }
    Ok(())
}

/// Validates a key: a label that is neither white space nor a word for a missing value. Rows that share such a key
/// would count as repeats of one message.
///
/// # Errors
/// Returns why the value is not valid.
pub(super) fn key(field: &str, value: &str) -> Result<(), FieldError> {
    label(field, value.trim())?;
    label(field, value)?;
    filled_in(field, value.trim())
}

/// Refuses what spreadsheets, programs and templates leave in place of a value.
///
/// # Errors
/// Returns why the value is none.
pub(super) fn filled_in(field: &str, value: &str) -> Result<(), FieldError> {
    let refuse =
        |problem: String, fix: &str| Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix));
    let small = value.to_lowercase();
    let is_spreadsheet_error = value.starts_with('#') && value.ends_with(['!', '?']);
    if MISSING.contains(&small.as_str()) || is_spreadsheet_error || small.starts_with("[object ") {
        return refuse(
            format!("is {value:?}, which means a missing value"),
            "give the value, or leave the row out",
        );
    }
    let wrapped = [('{', '}'), ('[', ']'), ('<', '>'), ('%', '%')].iter().any(|(open, close)| {
        value.starts_with(*open) && value.ends_with(*close) && !value.contains(['"', ','])
    });
    let marks = ["{{", "}}", "${", "#{", "{%", "<%", "<<", "%%"];
    if wrapped || marks.iter().any(|mark| value.contains(mark)) {
        let problem = format!("is {value:?}, a placeholder that was not filled in");
        return refuse(problem, "fill it in, or leave the row out");
    }
    Ok(())
}

/// Returns whether it is a formula that a spreadsheet did not replace by its result: `=A1`, `=HYPERLINK("…")`. `=)` and
/// `=>` are not.
pub(crate) fn is_formula(value: &str) -> bool {
    let after = value.trim_start_matches('\'').strip_prefix('=').and_then(|rest| rest.chars().next());
    after.is_some_and(|c| c.is_alphanumeric() || "\"'($+-{@#_".contains(c))
}

/// Trims and validates the id of a Unipile account.
pub(crate) fn account(field: &str, value: &str) -> Result<String, FieldError> {
    let id = id(field, value, IdOf::Account)?;
    let problem = match id.strip_prefix("acc_") {
        Some("") => "names no account after `acc_`",
        Some(_) => return Ok(id),
        None => "does not begin with `acc_`",
    };
    let fix = "name the Unipile account that sends, `acc_…`";
    Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix))
}

/// Validates the id of an inbox.
pub(crate) fn inbox(field: &str, value: &str) -> Result<String, FieldError> {
    id(field, value, IdOf::Other)
}

/// Trims and validates the id of a recipient. `resolves`: a public name is accepted, but not for a member of a group.
pub(super) fn recipient(
    field: &str,
    value: &str,
    resolves: bool,
    is_member: bool,
) -> Result<String, FieldError> {
    let id = person_key(field, value)?;
    let Some(name) = name_of(&id).filter(|_| !resolves || is_member) else { return Ok(id) };
    let fix = if resolves { "give the user ids of the members of a group" } else { PROFILE_FIX };
    let value = value.trim();
    let problem = match is_public_name(value) {
        true => format!("is {value:?}, which looks like the public name of a profile"),
        false => format!("is {value:?}, which names the profile {name:?}"),
    };
    Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix))
}

/// Trims and validates what names a person: a user id, a URN or the address of a profile that contains one, or a public
/// name. Returns the user id, or the public name as `in/jane-doe`.
pub fn person_key(field: &str, value: &str) -> Result<String, FieldError> {
    id(field, value, IdOf::Person)
}

fn person_or_name(field: &str, value: &str) -> Result<String, FieldError> {
    let refuse =
        |problem: String, fix: &str| Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix));
    let last = value.rsplit(':').next().filter(|id| id.len() < value.len());
    if let Some(id) = last.filter(|id| id.starts_with("ACoA")) {
        return plain(field, id);
    }
    if value.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("urn:")) {
        return refuse(format!("is {value:?}, a URN without the user id"), NO_PROFILE_FIX);
    }
    let path = value.strip_prefix('/').unwrap_or(value);
    let named = segment_after_in(value).or_else(|| after(path, NAMED));
    match named.map(|name| name.trim_end_matches('/')) {
        Some(id) if id.starts_with("ACoA") => plain(field, id),
        Some(name) => {
            let name = public_name(name);
            label(field, &name)?;
            if name.contains('/') {
                return refuse(
                    format!("is {value:?}, which names more than a profile"),
                    "name the profile alone, in/…",
                );
            }
            plain(field, &name).map(|name| format!("{NAMED}{name}"))
        }
        None if value.contains("://") || path_at_linkedin(value).is_some() => {
            refuse(format!("is {value:?}, an address without a profile"), NO_PROFILE_FIX)
        }
        None if is_public_name(value) => {
            plain(field, &public_name(value)).map(|name| format!("{NAMED}{name}"))
        }
        None if is_number_of_spreadsheet(value) => {
            let fix =
                "give the id as text: format the column as text, or read it without turning it into numbers";
            refuse(format!("is {value:?}, a number that a spreadsheet or a program has rewritten"), fix)
        }
        None if value == "ACoA" => {
            refuse(format!("is {value:?}, the beginning of a user id"), NO_PROFILE_FIX)
        }
        None if is_other_address(value) => {
            refuse(format!("is {value:?}, an e-mail address, a phone number or a handle"), NO_PROFILE_FIX)
        }
        None if !value.starts_with("ACoA") && value.to_ascii_lowercase().starts_with("acoa") => {
            let fix = "give the id as Unipile returns it: capital and small letters differ";
            refuse(format!("is {value:?}, a user id in other letters"), fix)
        }
        None if is_name_of_a_person(value) || value.to_ascii_lowercase().contains("linkedin.com") => {
            plain(field, value)
                .and_then(|_| refuse(format!("is {value:?}, which is not a user id"), NO_PROFILE_FIX))
        }
        None => plain(field, value),
    }
}

/// Returns the user id in what the provider shows of a person: an id, or a URN that ends in it. Anything else stays as it
/// is.
pub fn shown_user(value: &str) -> String {
    let id = person_key("sender_id", value).ok().filter(|id| name_of(id).is_none());
    id.unwrap_or_else(|| value.trim().to_owned())
}

/// Returns whether it is an e-mail address, a phone number or a handle (`@jane`). Ids of WhatsApp are a number before the
/// sign: `4917012345678@s.whatsapp.net`.
fn is_other_address(value: &str) -> bool {
    let is_phone = value.strip_prefix('+').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let is_mail = value.split_once('@').is_some_and(|(name, _)| {
        !name.chars().all(|c| c.is_ascii_digit() || "-:".contains(c)) || name.is_empty()
    });
    is_phone || is_mail
}

/// Returns whether it is a number with a fraction or an exponent, such as `123456.0` or `1.23457E+11`.
fn is_number_of_spreadsheet(value: &str) -> bool {
    let is_written_so = value.contains('.') || value.contains("e+") || value.contains("E+");
    is_written_so && value.starts_with(|c: char| c.is_ascii_digit()) && value.parse::<f64>().is_ok()
}

/// Refuses characters that separate ids from each other, and those that only templates and patterns have.
fn plain(field: &str, value: &str) -> Result<String, FieldError> {
    const SEPARATORS: &str = ",;|\u{ff0c}\u{ff1b}\u{3001}";
    const OTHERS: &str = "\"'`{}[]<>()\\$*^!";
    let separator =
        value.chars().find(|c| c.is_whitespace() || SEPARATORS.contains(*c) || OTHERS.contains(*c));
    let Some(separator) = separator else { return Ok(value.to_owned()) };
    let problem = format!("holds {separator:?}, which no id does");
    let fix = if field == "users_ids" { "give one id; those of a group are an array" } else { "give one id" };
    Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix))
}

/// Validates a label or key: not empty, at most [`MAX_ID_BYTES`] long, no control characters.
pub(crate) fn label(field: &str, value: &str) -> Result<(), FieldError> {
    if value.is_empty() {
        return Err(FieldError::new(
            FieldErrorCode::MissingField,
            field,
            "is empty",
            "give a value, or leave it out",
        ));
    }
    if value.len() > MAX_ID_BYTES {
        let problem = format!("holds {} bytes, {MAX_ID_BYTES} are allowed", value.len());
        return Err(FieldError::new(FieldErrorCode::TooLong, field, problem, "shorten it"));
    }
    if matches!(value, "." | "..") {
        // In the path of a call it would be a relative path segment, not an id.
        let fix = "give the id as Unipile returns it";
        return Err(FieldError::new(FieldErrorCode::InvalidValue, field, "is not an id", fix));
    }
    if value.chars().any(|c| c.is_control() || is_invisible(c)) {
        let problem = "holds a control or an invisible character";
        return Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, "remove it"));
    }
    Ok(())
}

/// Trims and validates the label of a campaign.
pub(crate) fn campaign(field: &str, value: &str) -> Result<String, FieldError> {
    let value = value.trim();
    if matches!(value, "." | "..") {
        let fix = "choose another label: this one would be a folder in a path";
        let problem = format!("is {value:?}");
        return Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix));
    }
    label(field, value).map(|()| value.to_owned())
}

/// Returns whether `c` is a zero-width character or a mark of writing direction: a name with one is not what it looks
/// like.
pub fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
    )
}

/// Names the first character of a text that changes what the text is: a control character, an override of the writing
/// direction, or the mark for a letter that could not be read.
pub(crate) fn misleading(text: &str) -> Option<String> {
    let is_bad = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}')
            || matches!(c, '\u{202d}' | '\u{202e}' | '\u{fffd}')
    };
    let (at, c) = text.char_indices().find(|(_, c)| is_bad(*c))?;
    let line = 1 + text[..at].matches('\n').count();
    Some(match c {
        '\0' => "holds a NUL character".to_owned(),
        c if c.is_control() => format!("holds the control character U+{:04X} in line {line}", u32::from(c)),
        '\u{fffd}' => format!("holds U+FFFD in line {line}, in place of a letter that a conversion lost"),
        c => format!("holds U+{:04X} in line {line}, which reverses the text after it", u32::from(c)),
    })
}

#[cfg(test)]
#[path = "ids_tests.rs"]
mod tests;
