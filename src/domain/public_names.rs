//! Public names of profiles: `jane-doe` of `https://www.linkedin.com/in/jane-doe`, and how they differ from user ids.

use unicode_normalization::UnicodeNormalization;

/// Marks a public name in place of a user id: `in/jane-doe`. The provider's own ids have no slash.
pub(super) const NAMED: &str = "in/";

/// Returns the public name in an id of the form `in/NAME`.
pub fn name_of(person: &str) -> Option<&str> {
    person.strip_prefix(NAMED)
}

/// Returns `in/NAME`, which replaces the user id until it is known.
pub fn named(name: &str) -> String {
    format!("{NAMED}{name}")
}

/// Normalises a public name for comparison: decodes percent-encoding, lower case, composed letters (macOS writes them
/// decomposed).
pub fn public_name(name: &str) -> String {
    percent_encoding::percent_decode_str(name.trim()).decode_utf8_lossy().to_lowercase().nfc().collect()
}

/// Returns the public name in the address of a profile.
pub fn name_in_address(address: &str) -> Option<String> {
    segment_after_in(address.trim()).map(public_name).filter(|name| !name.is_empty())
}

/// Returns the path of an address of LinkedIn, with or without a scheme.
pub(super) fn path_at_linkedin(value: &str) -> Option<&str> {
    let (host, path) = value
        .split_once("://")
        .map_or_else(|| value.strip_prefix("//").unwrap_or(value), |(_, rest)| rest)
        .split_once('/')?;
    let host = host.to_ascii_lowercase();
    (host == "linkedin.com" || host.ends_with(".linkedin.com")).then_some(path)
}

/// Returns what follows `in/` in the address of a LinkedIn profile, without query and fragment. Addresses of the mobile
/// site and those in e-mails have a word before it.
pub(super) fn segment_after_in(value: &str) -> Option<&str> {
    let path = path_at_linkedin(value)?.split(['?', '#']).next()?;
    let path = ["mwlite/", "comm/"].iter().find_map(|site| after(path, site)).unwrap_or(path);
    after(path, NAMED)?.split('/').next().filter(|name| !name.is_empty())
}

/// Returns what follows `start`, in letters of any case: LinkedIn reads `/IN/` as `/in/`.
pub(super) fn after<'a>(path: &'a str, start: &str) -> Option<&'a str> {
    let (begin, rest) = path.split_at_checked(start.len())?;
    begin.eq_ignore_ascii_case(start).then_some(rest)
}

/// Returns whether it can only be a name, such as `Müller`: user ids consist of ASCII.
pub(super) fn is_name_of_a_person(value: &str) -> bool {
    !value.is_ascii() && value.chars().all(|c| c.is_alphabetic() || "-'.".contains(c))
}

/// Returns whether it looks like `jane-doe` or `René-Doe-123`: LinkedIn's public names, in any letters. With fewer than two
/// words, it may be the id of another provider ([`possible_name`]).
pub(super) fn is_public_name(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let is_part = |part: &&str| !part.is_empty() && part.chars().all(is_of_a_name);
    let is_word =
        |part: &&&str| part.len() > 1 && part.chars().all(|c| is_of_a_name(c) && !c.is_ascii_digit());
    parts.iter().all(is_part) && parts.iter().filter(is_word).count() > 1 && !is_user_id_of_linkedin(value)
}

/// Returns the public name that a word may be, such as `janedoe` or `kim-7c2`: LinkedIn's names and the ids of other
/// providers look alike.
pub fn possible_name(word: &str) -> Option<String> {
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let is_word = letters >= 3 && word.chars().all(|c| c == '-' || is_of_a_name(c));
    (is_word && !is_user_id_of_linkedin(word)).then(|| public_name(word))
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || !c.is_ascii()
}

/// Returns whether it begins like the ids of LinkedIn's products, in any letters.
fn is_user_id_of_linkedin(value: &str) -> bool {
    let begin = value.get(..4).unwrap_or_default().to_ascii_lowercase();
    ["acoa", "acwa", "aema"].contains(&begin.as_str())
}
