//! Finds what a template left unfilled in a text (P7): `{{first_name}}`, `[NAME]`, an empty greeting, `Hi nan,`.
//!
//! The forms are those of the tools that outreach teams export from: double braces (Handlebars, Jinja, HubSpot, lemlist), single
//! braces (Python's `format`, Expandi), brackets (written by hand), `%NAME%` (ActiveCampaign), `*|NAME|*` (Mailchimp), `${name}`
//! (JavaScript), `<<name>>` (mail merge in word processors). One pair of braces or brackets is taken for a placeholder only around
//! words that stand for a person's data, because code, prices and notes use them as well.

use std::sync::LazyLock;

use regex::Regex;

/// Words that stand for a person's data, in small letters and without what separates their parts.
const DATA: [&str; 60] = [
    "firstname",
    "lastname",
    "fullname",
    "surname",
    "givenname",
    "familyname",
    "middlename",
    "name",
    "fname",
    "lname",
    "company",
    "companyname",
    "organization",
    "organisation",
    "employer",
    "jobtitle",
    "title",
    "position",
    "role",
    "headline",
    "city",
    "location",
    "country",
    "industry",
    "school",
    "university",
    "website",
    "email",
    "phone",
    "linkedinurl",
    "profileurl",
    "sendername",
    "yourname",
    "myname",
    "recipient",
    "recipientname",
    "contactname",
    "candidatename",
    "leadname",
    "prospectname",
    "insertname",
    "insertcompany",
    "yourcompany",
    "vorname",
    "nachname",
    "firma",
    "unternehmen",
    "prenom",
    "prénom",
    "nom",
    "entreprise",
    "nombre",
    "apellido",
    "empresa",
    "nome",
    "cognome",
    "azienda",
    "voornaam",
    "achternaam",
    "bedrijf",
];

/// Between a single pair of angle brackets only longer words are taken for a placeholder: `<name>` stands in code as well.
const SHORTEST_IN_ANGLES: usize = 8;

/// Braces, brackets and the like around a word.
static AROUND_A_WORD: LazyLock<Regex> = LazyLock::new(|| {
    let word = r"[\s#]*([A-Za-zÀ-ÿ][A-Za-zÀ-ÿ0-9_.\- ]{1,30}?)\s*";
    let close = r"[A-Za-zÀ-ÿ][A-Za-zÀ-ÿ0-9_.\-]{1,30}";
    // Percentages stand around words as well, brackets before the address of a link.
    pattern(&format!(r"[#$]?\{{{word}\}}|\[{word}\](?:[^(]|$)|<{{1,2}}{word}>{{1,2}}|«{word}»|%({close})%"))
});

/// Marks that only templates use.
static TEMPLATE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\{\{[^{}\n]*[^{}\s][^{}\n]*\}\}|\{%[^%\n]{1,80}%\}|\*\|[A-Za-z_:]{2,40}\|\*"));

/// A greeting and a comma with nothing between them, or a word for a missing value.
static GREETING: LazyLock<Regex> = LazyLock::new(|| {
    let greetings = "hi|hello|hey|dear|hallo|hoi|liebe|lieber|guten tag|sehr geehrter herr|sehr geehrte frau|bonjour|salut|cher|chère|\
         hola|querido|querida|estimado|estimada|ciao|buongiorno|caro|cara|gentile|olá|oi|prezado|prezada|beste|hej|hei|dzień dobry|cześć";
    // Nan and Nil are names.
    let missing = r"nan|NaN|NAN|nil|NIL|(?i:null|none|undefined|n/a|#n/a|\(null\)|\[object object\])";
    pattern(&format!(
        r"(?m)^[ \t]*(?i:{greetings})(?:[ \t\x{{a0}}]+,|[ \t\x{{a0}}]+(?:{missing})[ \t]*(?:[,!.:;]|$))"
    ))
});

/// Texts that are nothing but a missing value. (`None` is an answer.)
const NO_TEXT: [&str; 8] = ["null", "NULL", "undefined", "nan", "NaN", "(null)", "<null>", "n/a"];

/// What spreadsheets and programs write in place of a value, and nobody means.
const NEVER_MEANT: [&str; 5] = ["[object Object]", "#N/A", "#REF!", "#VALUE!", "#NAME?"];

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a test compiles it")
}

/// The first thing in `text` that looks unfilled.
pub(super) fn find(text: &str) -> Option<String> {
    if NO_TEXT.contains(&text.trim()) {
        return Some(text.trim().to_owned());
    }
    let template =
        TEMPLATE.find(text).or_else(|| GREETING.find(text)).map(|found| found.as_str().trim().to_owned());
    let never = || NEVER_MEANT.iter().find(|word| text.contains(*word)).map(|word| (*word).to_owned());
    template.or_else(never).or_else(|| around_a_word(text))
}

fn around_a_word(text: &str) -> Option<String> {
    // Matches may overlap: `50% off, %NAME%`.
    let mut from = 0;
    while let Some(found) = AROUND_A_WORD.captures_at(text, from) {
        let whole = found.get(0)?;
        let word = found.iter().skip(1).flatten().next()?.as_str();
        let letters: String =
            word.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect();
        let in_angles = whole.as_str().starts_with('<') && !whole.as_str().starts_with("<<");
        let is_short = letters.chars().count() < SHORTEST_IN_ANGLES;
        // Guillemets are quotation marks: around one plain word they are no placeholder.
        let is_quoted = whole.as_str().starts_with('«') && !word.contains(['_', ' ']);
        let is_code = (in_angles && is_short) || is_quoted;
        if DATA.contains(&letters.as_str()) && !is_code {
            return Some(whole.as_str().to_owned());
        }
        from = whole.start() + whole.as_str().chars().next().map_or(1, char::len_utf8);
    }
    None
}

#[cfg(test)]
#[path = "placeholders_tests.rs"]
mod tests;
