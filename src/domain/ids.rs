//! Ids at every door, by one function: trimmed, and refused where they cannot be one (P7).
//!
//! Spreadsheets and templates leave words such as `NULL` or `{{id}}` where a value is missing; people paste the address of
//! a profile. Called as they are, each of these is a wasted call, or a message to somebody else.

use super::field_error::{FieldError, FieldErrorCode};

/// Longest id, label or key that is taken, in bytes. Unipile publishes none; the longest id seen is under 200.
pub const MAX_ID_BYTES: usize = 512;

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdOf {
    /// A recipient, who has a public name and an address as well.
    Person,
    /// An account.
    Account,
    /// A chat, an inbox, a message: opaque.
    Other,
}

/// What spreadsheets and programs write where there is no value, in small letters.
pub(super) const MISSING: [&str; 15] = [
    "null",
    "undefined",
    "none",
    "nan",
    "nil",
    "n/a",
    "#n/a",
    "na",
    "#ref!",
    "#value!",
    "#name?",
    "<null>",
    "(null)",
    "[object object]",
    "-",
];

const PROFILE_FIX: &str = "give the user id, such as ACoA…, which Unipile's Get a User Profile tells for it";

/// An id without the white space around it.
///
/// # Errors
/// Why it cannot be an id.
pub(super) fn id(field: &str, value: &str, of: IdOf) -> Result<String, FieldError> {
    let value = value.trim();
    let refuse =
        |problem: String, fix: &str| Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix));
    label(field, value)?;
    if MISSING.contains(&value.to_lowercase().as_str()) {
        return refuse(
            format!("is {value:?}, which stands for a missing value"),
            "give the id, or leave the row out",
        );
    }
    if ["{{", "}}", "${", "{%", "<<", "%%"].iter().any(|mark| value.contains(mark)) {
        let problem = format!("is {value:?}, a placeholder that was not filled in");
        return refuse(problem, "fill it in, or leave the row out");
    }
    match of {
        IdOf::Person => person(field, value),
        IdOf::Account => plain(field, value),
        IdOf::Other if value.contains("://") => {
            refuse(format!("is {value:?}, an address"), "give the id as Unipile tells it")
        }
        IdOf::Other => Ok(value.to_owned()),
    }
}

/// The id of a recipient: what a profile's address or URN names is taken where it holds the id.
fn person(field: &str, value: &str) -> Result<String, FieldError> {
    let refuse =
        |problem: String| Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, PROFILE_FIX));
    let named = value.strip_prefix("urn:li:").and_then(|urn| urn.rsplit(':').next());
    let named = named.or_else(|| profile_name(value));
    match named {
        Some(id) if id.starts_with("ACoA") => plain(field, id),
        Some(_) if value.starts_with("urn:") => refuse(format!("is {value:?}, a URN without the user id")),
        Some(_) => refuse(format!("is {value:?}, the address of a profile")),
        None if value.contains("://") => refuse(format!("is {value:?}, an address")),
        None if is_public_name(value) => {
            refuse(format!("is {value:?}, which looks like the public name of a profile"))
        }
        None => plain(field, value),
    }
}

/// The name in the address of a LinkedIn profile, with or without its scheme and what follows.
fn profile_name(value: &str) -> Option<&str> {
    let (host, path) = value.split_once("://").map_or(value, |(_, rest)| rest).split_once('/')?;
    let is_linkedin = host == "linkedin.com" || host.ends_with(".linkedin.com");
    let name = path.split(['?', '#']).next()?.split('/').nth(1)?;
    is_linkedin.then_some(name)
}

/// Whether it looks like `jane-doe` or `jane-doe-123`: small letters and hyphens, as LinkedIn makes public names of.
fn is_public_name(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let is_small =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_word = |part: &&&str| part.len() > 1 && part.chars().all(|c| c.is_ascii_lowercase());
    parts.iter().all(|part| is_small(part)) && parts.iter().filter(is_word).count() > 1
}

/// Without what separates ids from each other.
fn plain(field: &str, value: &str) -> Result<String, FieldError> {
    let separator = value.chars().find(|c| c.is_whitespace() || matches!(c, ',' | ';' | '"'));
    let Some(separator) = separator else { return Ok(value.to_owned()) };
    let problem = format!("holds {separator:?}, which no id does");
    let fix = "give one id; those of a group are an array";
    Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix))
}

/// A label or key: not empty, not endless, no control characters.
///
/// # Errors
/// Why it cannot be one.
pub(super) fn label(field: &str, value: &str) -> Result<(), FieldError> {
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
        // It would be one step up in the path of the call, not an id.
        let fix = "give the id as Unipile tells it";
        return Err(FieldError::new(FieldErrorCode::InvalidValue, field, "is no id", fix));
    }
    if value.chars().any(|c| c.is_control() || is_invisible(c)) {
        let problem = "holds a control or an invisible character";
        return Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, "remove it"));
    }
    Ok(())
}

/// Zero-width characters and marks of writing direction: a name that holds one is not what it looks like.
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_an_id_is_not_part_of_it() {
        for given in ["ACoAx", "ACoAx ", " ACoAx", "ACoAx\u{a0}", "\tACoAx\r\n"] {
            assert_eq!(id("users_ids", given, IdOf::Person).unwrap(), "ACoAx", "{given:?}");
        }
        assert_eq!(id("account_id", "acc_1 ", IdOf::Account).unwrap(), "acc_1");
        assert!(id("users_ids", "   ", IdOf::Person).unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn what_stands_for_a_missing_value_is_refused() {
        for given in ["NULL", "null", "undefined", "None", "#N/A", "nan", "NaN", "[object Object]", "N/A"] {
            let refused = id("users_ids", given, IdOf::Person).unwrap_err().to_string();
            assert!(refused.contains("missing value"), "{given}: {refused}");
        }
        for given in ["{{ $json.id }}", "${id}", "<<id>>"] {
            let refused = id("chat_id", given, IdOf::Other).unwrap_err().to_string();
            assert!(refused.contains("placeholder"), "{given}: {refused}");
        }
        for given in ["ACoA1,ACoA2", "ACoA1 ACoA2", "ACoA1;ACoA2"] {
            assert!(
                id("users_ids", given, IdOf::Person).unwrap_err().to_string().contains("one id"),
                "{given}"
            );
        }
    }

    #[test]
    fn profiles_are_understood_or_refused_with_the_way_out() {
        for given in [
            "https://www.linkedin.com/in/foo/",
            "linkedin.com/in/foo?utm=x",
            "https://de.linkedin.com/in/jane-doe",
            "foo-bar-123",
            "jane-doe",
            "urn:li:member:12345",
        ] {
            let refused = id("users_ids", given, IdOf::Person).unwrap_err().to_string();
            assert!(refused.contains("Get a User Profile"), "{given}: {refused}");
        }
        for given in ["urn:li:fsd_profile:ACoAx", "https://www.linkedin.com/in/ACoAx/", "ACoAx"] {
            assert_eq!(id("users_ids", given, IdOf::Person).unwrap(), "ACoAx", "{given}");
        }
        for given in ["usr_7", "user-1", "123456", "33612345678@s.whatsapp.net", "ACoAA-b_c", "U02-AB"] {
            assert_eq!(id("users_ids", given, IdOf::Person).unwrap(), given);
        }
    }
}
