//! The filters of templates for what people's names look like in tables: `first_name`, `title`, `trim`.
//!
//! They return a missing value unchanged, so that `{{ name | first_name or "there" }}` works.

use minijinja::value::{Rest, Value};
use minijinja::{Environment, State};

use super::cells::{Missing, PRINTED, Printed};

/// Titles before a name, in lower case and without the full stop.
const TITLES: [&str; 26] = [
    "dr",
    "prof",
    "professor",
    "mr",
    "mrs",
    "ms",
    "miss",
    "mx",
    "sir",
    "herr",
    "frau",
    "ing",
    "dipl",
    "mag",
    "m",
    "mme",
    "mlle",
    "sr",
    "sra",
    "srta",
    "dott",
    "dottssa",
    "ir",
    "drs",
    "eng",
    "rev",
];

/// Words with which a family name of several words begins.
const PARTICLES: [&str; 14] =
    ["von", "van", "de", "der", "den", "del", "della", "di", "da", "dos", "la", "le", "ten", "zu"];

/// What follows a name of one word after a comma, in lower case, without being a given name.
const SUFFIXES: [&str; 12] =
    ["phd", "mba", "md", "esq", "jr", "sr", "msc", "bsc", "cpa", "pmp", "coach", "consultant"];

/// Adds the filters, and the tests that know missing values.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("first_name", |state: &State, value: &Value| match value.as_str() {
        Some(name) => first_name(name).map_or_else(|| nameless(state, name), Value::from),
        None => value.clone(),
    });
    environment.add_filter("title", |value: &Value| mapped(value, title));
    environment.add_filter("trim", |value: &Value| mapped(value, |text| text.trim().to_owned()));
    for name in ["default", "d"] {
        environment.add_filter(name, |value: &Value, other: Rest<Value>| match is_missing(value) {
            true => other.first().cloned().unwrap_or_else(|| Value::from("")),
            false => value.clone(),
        });
    }
    environment.add_test("defined", |value: &Value| !is_missing(value));
    environment.add_test("undefined", is_missing);
    environment.add_test("none", is_missing);
}

fn is_missing(value: &Value) -> bool {
    value.is_undefined() || value.is_none() || Missing::is(value)
}

/// Applies `map` to a text; returns everything else unchanged.
fn mapped(value: &Value, map: fn(&str) -> String) -> Value {
    value.as_str().map_or_else(|| value.clone(), |text| Value::from(map(text)))
}

/// Returns the missing first name of `name`.
fn nameless(state: &State, name: &str) -> Value {
    let reason =
        format!("{name:?} holds no first name; write one, or a default: {{{{ … | first_name or \"…\" }}}}");
    let printed = state.lookup(PRINTED).and_then(|row| row.downcast_object::<Printed>());
    Missing::value(reason, printed.unwrap_or_default())
}

/// Returns the first given name in a full name: `Jane` of `Dr. Jane Doe`, of `Jane Doe, Coach` and of `Doe, Jane`.
fn first_name(name: &str) -> Option<String> {
    let name = match name.split_once(',') {
        Some((family, given)) if is_family(family) && is_name(given) => given,
        Some((name, _)) => name,
        None => name,
    };
    let word = words(name).next()?;
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    // An initial is not a name to greet a person with.
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let is_initial = letters == 1 && word.is_ascii();
    (letters > 0 && !is_initial).then(|| word.to_owned())
}

/// Returns the words of a name without its titles.
fn words(name: &str) -> impl Iterator<Item = &str> {
    let is_title = |word: &str| {
        let letters: String = word.to_lowercase().chars().filter(|c| c.is_alphabetic()).collect();
        TITLES.contains(&letters.as_str()) && (word.ends_with('.') || letters.len() > 1)
    };
    name.split_whitespace()
        .filter(|word| word.chars().any(char::is_alphabetic))
        .skip_while(move |word| is_title(word))
}

/// Returns whether the part before a comma is a family name: one word, also after particles as in `van der Berg`.
fn is_family(text: &str) -> bool {
    words(text).skip_while(|word| PARTICLES.contains(word)).nth(1).is_none()
}

/// Returns whether the part after a comma is a given name, rather than a degree, an occupation or pronouns: `Jane`, not
/// `PhD`, `Coach` or `she/her`.
fn is_name(text: &str) -> bool {
    let text = text.trim();
    let is_degree = text.contains(['.', '/', '('])
        || text.chars().filter(|c| c.is_uppercase()).count() > 1 && !text.contains(' ');
    !text.is_empty() && !is_degree && !SUFFIXES.contains(&text.to_lowercase().as_str())
}

/// Capitalizes each word that is written in capitals or in small letters only: `Jean-Luc`, `O'Neil`, `McDonald`.
fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        let mixed = word.chars().any(char::is_uppercase) && word.chars().any(char::is_lowercase);
        let mut starts = true;
        for c in word.chars() {
            match (mixed, starts) {
                (true, _) => titled.push(c),
                (false, true) => titled.extend(c.to_uppercase()),
                (false, false) => titled.extend(c.to_lowercase()),
            }
            starts = matches!(c, '-' | '\'' | '’');
        }
    }
    titled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_is_found_in_a_full_name() {
        for (name, first) in [
            ("Jane Doe", Some("Jane")),
            ("Dr. Jane Doe", Some("Jane")),
            ("Prof. Dr. Jane Doe", Some("Jane")),
            ("Doe, Jane", Some("Jane")),
            ("Jane Doe, PhD", Some("Jane")),
            ("Jane Doe, M.B.A.", Some("Jane")),
            ("Jane Doe, Engineer at X", Some("Jane")),
            ("Jane Doe, Coach", Some("Jane")),
            ("Jane Doe, Esq", Some("Jane")),
            ("Jane Doe, Phd", Some("Jane")),
            ("Jane Doe, she/her", Some("Jane")),
            ("Dr. Jane Doe, Coach", Some("Jane")),
            ("Jane, Phd", Some("Jane")),
            ("Jane, she/her", Some("Jane")),
            ("Dr. Doe, Jane", Some("Jane")),
            ("van der Berg, Jan", Some("Jan")),
            ("🚀 Jane Doe", Some("Jane")),
            ("Jean-Luc Picard", Some("Jean-Luc")),
            ("J. Doe", None),
            ("李 明", Some("李")),
            ("José", Some("José")),
            ("", None),
            ("123", None),
        ] {
            assert_eq!(first_name(name).as_deref(), first, "{name}");
        }
    }

    #[test]
    fn titles_keep_names_that_are_written_right() {
        for (text, titled) in [
            ("JANE DOE", "Jane Doe"),
            ("jean-luc o'neil", "Jean-Luc O'Neil"),
            ("Ronald McDonald", "Ronald McDonald"),
            ("émile ZOLA", "Émile Zola"),
        ] {
            assert_eq!(title(text), titled);
        }
    }
}
