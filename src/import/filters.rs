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

/// Degrees, in lower case and letters only, that their letters do not tell from a name.
const DEGREES: &str = "phd mba md esq jr sr ii iii iv msc bsc cpa pmp cfa jd llm llb dds dvm mph mpa meng beng bcom \
    mcom mphil dphil med bed mres dba dipl cissp shrm sphr phr ing mag";

/// Occupations, in lower case, as people write them after their name.
const OCCUPATIONS: &str = "coach consultant consulting recruiter recruiting recruitment engineer engineering developer development \
    founder cofounder co-founder designer design manager management director investor advisor adviser lawyer attorney trainer \
    speaker author writer copywriter partner teacher researcher research banker broker realtor editor marketer marketing sales \
    entrepreneur analyst architect scientist strategist strategy specialist therapist psychologist economist journalist president \
    chairman owner freelancer freelance student professor lecturer nurse doctor physician accountant accounting auditor buyer \
    planner producer photographer executive leader leadership mentor expert instructor operations finance product software data \
    human talent people head chief senior junior lead associate assistant vice general managing business customer account \
    berater beraterin gründer gründerin geschäftsführer geschäftsführerin inhaber inhaberin ingenieur consultante directeur \
    directrice fondateur fondatrice director directora fundador fundadora consultor consultora abogado abogada";

/// Frequent first parts of family names of two words that are not given names, in lower case; those that end in `ez` are
/// found without this list.
const FAMILIES: &str = "garcía garcia díaz diaz ruiz muñoz munoz moreno navarro torres ramos serrano molina morales ortega castro \
    ortiz rubio medina herrera vargas castillo rojas flores aguilar mendoza guerrero delgado silva souza sousa \
    oliveira pereira ferreira almeida carvalho ribeiro rocha barbosa azevedo cardoso teixeira moreira correia cunha";

/// Adds the filters, and the tests that know missing values.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("first_name", |state: &State, value: &Value| match value.as_str() {
        Some(name) => first_name(name).map_or_else(|why| nameless(state, name, why), Value::from),
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
fn nameless(state: &State, name: &str, why: &str) -> Value {
    let reason = format!("{name:?} {why}; write one, or a default: {{{{ … | first_name or \"…\" }}}}");
    let printed = state.lookup(PRINTED).and_then(|row| row.downcast_object::<Printed>());
    Missing::value(reason, printed.unwrap_or_default())
}

/// Returns the first given name in a full name: `Jane` of `Dr. Jane Doe`, of `Jane Doe, Coach` and of `Doe, Jane`; or why
/// there is none, also if it may be on either side of a comma.
fn first_name(name: &str) -> Result<String, &'static str> {
    const NONE: &str = "holds no first name";
    let (before, after) = name.split_once(',').unwrap_or((name, ""));
    let given = after.split(',').find(|part| is_name(part, before));
    let name = match given {
        None => before,
        Some(given) if is_family(before) => given,
        // `Jane Doe, Sommelier` and `JANE DOE, XYZ` may be either.
        Some(given) if is_double_family(before, given) => given,
        Some(_) => return Err("may have its first name on either side of the comma"),
    };
    let word = words(name).next().ok_or(NONE)?;
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    // An initial is not a name to greet a person with.
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let is_initial = letters == 1 && word.is_ascii();
    if letters > 0 && !is_initial { Ok(word.to_owned()) } else { Err(NONE) }
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

/// Returns whether several words before a comma are certainly a family name, and not a full name with an occupation after
/// it: it begins with a name that is only a family name (`García López, Ana`).
fn is_double_family(before: &str, given: &str) -> bool {
    let first = words(before).next().unwrap_or_default().to_lowercase();
    // Patronymics such as `Fernández`; Inez is a given name.
    let is_patronymic = first.chars().count() > 4 && (first.ends_with("ez") || first.ends_with("éz"));
    let is_family = is_patronymic || FAMILIES.split_whitespace().any(|family| family == first);
    is_family && words(given).nth(1).is_none() && !is_in_capitals(given)
}

/// Returns whether a part after a comma is a given name, rather than a degree, an occupation or pronouns: `Jane`, not
/// `PhD`, `Coach` or `she/her`.
fn is_name(part: &str, before: &str) -> bool {
    let Some(first) = words(part).next() else { return false };
    let is_listed = |list: &str, word: &str| {
        let lower = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        list.split_whitespace().any(|listed| listed == lower)
    };
    let letters = first.chars().filter(|c| c.is_alphabetic()).count();
    // `M.B.A.` and `PhD`, but `J.` and `JoAnn`; capitals say nothing if the whole name is written in them.
    let is_degree = letters > 1
        && (first.contains('.')
            || first.ends_with(char::is_uppercase) && !is_in_capitals(first)
            || is_in_capitals(first) && !is_in_capitals(before)
            || is_listed(DEGREES, first));
    let is_occupation = words(part).any(|word| is_listed(OCCUPATIONS, word));
    // `Engineer at X`, `she/her`; letters without cases are no small ones.
    let is_phrase =
        part.contains(['/', '(', '&', '@']) || first.starts_with(char::is_lowercase) && !is_small(before);
    !is_degree && !is_occupation && !is_phrase
}

fn is_in_capitals(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)
}

/// Returns whether a text has small letters only.
fn is_small(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)
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
            ("Schmidt, Anna", Some("Anna")),
            ("García López, Ana", Some("Ana")),
            ("García López, Ana, MBA", Some("Ana")),
            ("García López, Ana María", None),
            ("Fernández Ruiz, Carmen", Some("Carmen")),
            ("Silva Costa, João", Some("João")),
            ("GARCÍA LÓPEZ, Ana", Some("Ana")),
            ("van der Berg Smit, Jan", None),
            ("Jane Doe, Sommelier", None),
            ("Jane Doe, Barista", None),
            ("Inez Doe, Sommelier", None),
            ("María López, Sommelier", None),
            ("Jane Doe, Berlin", None),
            ("JANE DOE, Sommelier", None),
            ("García, Ana María", Some("Ana")),
            ("Doe, Jane M.", Some("Jane")),
            ("Doe, J.", None),
            ("Doe, JoAnn", Some("JoAnn")),
            ("DOE, JANE", Some("JANE")),
            ("doe, jane", Some("jane")),
            ("Smith, John, Jr.", Some("John")),
            ("John Smith, Jr.", Some("John")),
            ("John Smith Jr.", Some("John")),
            ("Jane Doe, MBA, PMP", Some("Jane")),
            ("JANE DOE, MBA", Some("JANE")),
            ("Jane Doe, PhD, Recruiter", Some("Jane")),
            ("Jane Doe, Head of People", Some("Jane")),
            ("Jane Doe, SHRM-CP", Some("Jane")),
            ("Jane Doe,", Some("Jane")),
            ("🚀 Jane Doe", Some("Jane")),
            ("Jean-Luc Picard", Some("Jean-Luc")),
            ("J. Doe", None),
            ("李 明", Some("李")),
            ("José", Some("José")),
            ("", None),
            ("123", None),
        ] {
            assert_eq!(first_name(name).ok().as_deref(), first, "{name}");
        }
        let why = first_name("Jane Doe, Sommelier").unwrap_err();
        assert_eq!(why, "may have its first name on either side of the comma");
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
