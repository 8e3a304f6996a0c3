//! Validates ids, for HTTP, SQL and the command line alike: trims them, and refuses what cannot be an id (P7).
//!
//! Spreadsheets and templates leave words such as `NULL` or `{{id}}` in place of a missing value, and people paste
//! the address of a profile. Used unchanged, each of these is a wasted call, or a message to the wrong person.

use super::field_error::{FieldError, FieldErrorCode};

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

/// Marks a public name in place of a user id: `in/jane-doe`. The provider's own ids have no slash.
const NAMED: &str = "in/";

const NO_PROFILE_FIX: &str = "give the user id, such as ACoA…, which Unipile's Get a User Profile tells for it, or the address of the profile, linkedin.com/in/…";

const PROFILE_FIX: &str = "give the user id, such as ACoA…, which Unipile's Get a User Profile tells for it, or set people.resolve = true";

/// Trims and validates an id.
///
/// # Errors
/// Returns why the value cannot be an id.
pub(super) fn id(field: &str, value: &str, of: IdOf) -> Result<String, FieldError> {
    let value = value.trim();
    let refuse =
        |problem: String, fix: &str| Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix));
    label(field, value)?;
    if MISSING.contains(&value.to_lowercase().as_str()) {
        return refuse(
            format!("is {value:?}, which means a missing value"),
            "give the id, or leave the row out",
        );
    }
    if ["{{", "}}", "${", "{%", "<<", "%%"].iter().any(|mark| value.contains(mark)) {
        let problem = format!("is {value:?}, a placeholder that was not filled in");
        return refuse(problem, "fill it in, or leave the row out");
    }
    match of {
        IdOf::Person => person_or_name(field, value),
        IdOf::Account => plain(field, value),
        IdOf::Other if value.contains("://") => {
            refuse(format!("is {value:?}, an address"), "give the id as Unipile returns it")
        }
        IdOf::Other => Ok(value.to_owned()),
    }
}

/// Trims and validates the id of a Unipile account.
///
/// # Errors
/// Returns why the value cannot be one.
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

/// Trims and validates the id of a recipient. `resolves`: a public name is accepted, but not for a member of a group.
///
/// # Errors
/// Returns why the value cannot be a recipient.
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
///
/// # Errors
/// Returns why the value cannot name a person.
pub fn person_key(field: &str, value: &str) -> Result<String, FieldError> {
    id(field, value, IdOf::Person)
}

fn person_or_name(field: &str, value: &str) -> Result<String, FieldError> {
    let refuse =
        |problem: String, fix: &str| Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix));
    if let Some(id) = value.strip_prefix("urn:li:").and_then(|urn| urn.rsplit(':').next()) {
        return match id.starts_with("ACoA") {
            true => plain(field, id),
            false => refuse(format!("is {value:?}, a URN without the user id"), NO_PROFILE_FIX),
        };
    }
    let named = segment_after_in(value).or_else(|| value.strip_prefix(NAMED));
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
        None if value.starts_with("urn:") => {
            refuse(format!("is {value:?}, a URN without the user id"), NO_PROFILE_FIX)
        }
        None if value.contains("://") || path_at_linkedin(value).is_some() => {
            refuse(format!("is {value:?}, an address without a profile"), NO_PROFILE_FIX)
        }
        None if is_public_name(value) => Ok(format!("{NAMED}{value}")),
        None => plain(field, value),
    }
}

/// Returns the user id in what the provider shows of a person: an id, or a URN that ends in it. Anything else stays as it
/// is.
pub fn shown_user(value: &str) -> String {
    let id = person_key("sender_id", value).ok().filter(|id| name_of(id).is_none());
    id.unwrap_or_else(|| value.trim().to_owned())
}

/// Returns the public name in an id of the form `in/NAME`.
pub fn name_of(person: &str) -> Option<&str> {
    person.strip_prefix(NAMED)
}

/// Returns `in/NAME`, which replaces the user id until it is known.
pub fn named(name: &str) -> String {
    format!("{NAMED}{name}")
}

/// Normalises a public name for comparison: decodes percent-encoding, lower case.
pub fn public_name(name: &str) -> String {
    percent_encoding::percent_decode_str(name.trim()).decode_utf8_lossy().to_lowercase()
}

/// Returns the public name in the address of a profile.
pub fn name_in_address(address: &str) -> Option<String> {
    segment_after_in(address.trim()).map(public_name).filter(|name| !name.is_empty())
}

/// Returns the path of an address of LinkedIn, with or without a scheme.
fn path_at_linkedin(value: &str) -> Option<&str> {
    let (host, path) = value.split_once("://").map_or(value, |(_, rest)| rest).split_once('/')?;
    let host = host.to_ascii_lowercase();
    (host == "linkedin.com" || host.ends_with(".linkedin.com")).then_some(path)
}

/// Returns what follows `in/` in the address of a LinkedIn profile, without query and fragment.
fn segment_after_in(value: &str) -> Option<&str> {
    let path = path_at_linkedin(value)?.split(['?', '#']).next()?;
    path.strip_prefix(NAMED)?.split('/').next().filter(|name| !name.is_empty())
}

/// Returns whether it looks like `jane-doe` or `jane-doe-123`: lower-case letters and hyphens, LinkedIn's public
/// names.
fn is_public_name(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let is_small =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_word = |part: &&&str| part.len() > 1 && part.chars().all(|c| c.is_ascii_lowercase());
    parts.iter().all(|part| is_small(part)) && parts.iter().filter(is_word).count() > 1
}

/// Refuses characters that separate ids from each other.
fn plain(field: &str, value: &str) -> Result<String, FieldError> {
    let separator = value.chars().find(|c| c.is_whitespace() || matches!(c, ',' | ';' | '"'));
    let Some(separator) = separator else { return Ok(value.to_owned()) };
    let problem = format!("holds {separator:?}, which no id does");
    let fix = "give one id; those of a group are an array";
    Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix))
}

/// Validates a label or key: not empty, at most [`MAX_ID_BYTES`] long, no control characters.
///
/// # Errors
/// Returns why the value is not valid.
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
///
/// # Errors
/// Returns why the value is not valid.
pub(crate) fn campaign(field: &str, value: &str) -> Result<String, FieldError> {
    let value = value.trim();
    label(field, value).map(|()| value.to_owned())
}

/// Returns whether `c` is a zero-width character or a mark of writing direction: a name with one is not what it looks
/// like.
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Names the first character of a text that no one can see and that changes what the text is: a control character, or
/// an override of the writing direction.
pub(super) fn misleading(text: &str) -> Option<String> {
    let is_bad = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}') || matches!(c, '\u{202d}' | '\u{202e}')
    };
    let (at, c) = text.char_indices().find(|(_, c)| is_bad(*c))?;
    let line = 1 + text[..at].matches('\n').count();
    Some(match c {
        '\0' => "holds a NUL character".to_owned(),
        c if c.is_control() => format!("holds the control character U+{:04X} in line {line}", u32::from(c)),
        c => format!("holds U+{:04X} in line {line}, which reverses the text after it", u32::from(c)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_an_id_is_not_part_of_it() {
        for given in ["ACoAx", "ACoAx ", " ACoAx", "ACoAx\u{a0}", "\tACoAx\r\n"] {
            assert_eq!(recipient("users_ids", given, false, false).unwrap(), "ACoAx", "{given:?}");
        }
        assert_eq!(id("account_id", "acc_1 ", IdOf::Account).unwrap(), "acc_1");
        assert!(recipient("users_ids", "   ", false, false).unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn white_space_around_a_campaign_is_not_part_of_it() {
        for given in ["c d", " c d ", "c d\u{a0}", "\tc d\r\n"] {
            assert_eq!(campaign("campaign", given).unwrap(), "c d", "{given:?}");
        }
        assert!(campaign("campaign", " \u{a0}").unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn what_stands_for_a_missing_value_is_refused() {
        for given in ["NULL", "null", "undefined", "None", "#N/A", "nan", "NaN", "[object Object]", "N/A"] {
            let refused = recipient("users_ids", given, false, false).unwrap_err().to_string();
            assert!(refused.contains("missing value"), "{given}: {refused}");
        }
        for given in ["{{ $json.id }}", "${id}", "<<id>>"] {
            let refused = id("chat_id", given, IdOf::Other).unwrap_err().to_string();
            assert!(refused.contains("placeholder"), "{given}: {refused}");
        }
        for given in ["ACoA1,ACoA2", "ACoA1 ACoA2", "ACoA1;ACoA2"] {
            assert!(
                recipient("users_ids", given, false, false).unwrap_err().to_string().contains("one id"),
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
            let refused = recipient("users_ids", given, false, false).unwrap_err().to_string();
            assert!(refused.contains("Get a User Profile"), "{given}: {refused}");
        }
        // Nothing can be resolved from an address of another kind.
        for given in ["https://www.linkedin.com/sales/lead/ACwAA1,NAME_SEARCH,x", "urn:li:member:12345"] {
            let refused = recipient("users_ids", given, true, false).unwrap_err().to_string();
            assert!(!refused.contains("people.resolve") && refused.contains("/in/"), "{given}: {refused}");
        }
        for (given, key) in [
            ("https://www.linkedin.com/in/foo/", "in/foo"),
            ("linkedin.com/in/foo?utm=x", "in/foo"),
            ("https://de.LinkedIn.com/in/Jane-Doe/details/skills/#x", "in/jane-doe"),
            ("https://www.linkedin.com/in/ren%C3%A9-7", "in/rené-7"),
            ("in/Foo/", "in/foo"),
            (" foo-bar-123 ", "in/foo-bar-123"),
            ("urn:li:fsd_profile:ACoAx", "ACoAx"),
            ("in/ACoAx", "ACoAx"),
            ("ACoAx", "ACoAx"),
            ("123456", "123456"),
        ] {
            assert_eq!(person_key("key", given).unwrap(), key, "{given}");
        }
        for given in [
            "https://www.linkedin.com/company/acme",
            "www.linkedin.com/sales/lead/x",
            "https://example.com/in/foo",
            "https://www.linkedin.com/in/",
            "urn:li:member:12345",
            "in/",
            "in/a b",
            "in/a/b",
            "NULL",
        ] {
            assert!(person_key("key", given).is_err(), "{given}");
        }
        for given in ["urn:li:fsd_profile:ACoAx", "https://www.linkedin.com/in/ACoAx/", "ACoAx"] {
            assert_eq!(recipient("users_ids", given, false, false).unwrap(), "ACoAx", "{given}");
        }
        for given in ["usr_7", "user-1", "123456", "33612345678@s.whatsapp.net", "ACoAA-b_c", "U02-AB"] {
            assert_eq!(recipient("users_ids", given, false, false).unwrap(), given);
        }
    }
}
