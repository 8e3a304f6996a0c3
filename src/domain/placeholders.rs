//! Finds unfilled template placeholders in a text (P7): `{{first_name}}`, `[NAME]`, an empty greeting, `Hi nan,`.
//!
//! The forms are those of the tools from which outreach teams export: double braces (Handlebars, Jinja, HubSpot,
//! lemlist), single braces (Python's `format`, Expandi), brackets (written by hand), `%NAME%` (ActiveCampaign),
//! `*|NAME|*` (Mailchimp), `${name}` (JavaScript), `<<name>>` (mail merge in word processors). A single pair of
//! braces or brackets counts as a placeholder only around the name of personal data, because code, prices and notes
//! use them too.

use std::sync::LazyLock;

use regex::Regex;

/// What the configuration adds to the built-in forms (`limits.placeholders`, `limits.placeholders_meant`).
#[derive(Debug, Clone, Default)]
pub struct Placeholders {
    /// Further placeholders.
    more: Option<Regex>,
    /// Found placeholders that are meant.
    meant: Option<Regex>,
}

impl PartialEq for Placeholders {
    fn eq(&self, other: &Self) -> bool {
        let text = |regex: &Option<Regex>| regex.as_ref().map(|regex| regex.as_str().to_owned());
        text(&self.more) == text(&other.more) && text(&self.meant) == text(&other.meant)
    }
}

impl Eq for Placeholders {}

impl Placeholders {
    /// Combines the built-in forms with regular expressions of the configuration.
    pub fn new(more: Option<Regex>, meant: Option<Regex>) -> Self {
        Self { more, meant }
    }

    /// Returns the first unfilled placeholder in `text`.
    pub(super) fn find(&self, text: &str) -> Option<String> {
        let mut text = text.to_owned();
        loop {
            let more =
                self.more.as_ref().and_then(|more| more.find(&text)).map(|found| found.as_str().to_owned());
            let found = more.or_else(|| find(&text))?;
            if !self.meant.as_ref().is_some_and(|meant| meant.is_match(&found)) || found.is_empty() {
                return Some(found);
            }
            // A word in its place, so that the greeting before it does not look empty.
            text = text.replace(&found, "x");
        }
    }
}

/// Names of personal data, in lower case and without separators between their parts.
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

/// Minimum length, in letters, of a placeholder in single angle brackets: shorter names, such as `<name>`, occur in
/// code.
const SHORTEST_IN_ANGLES: usize = 8;

/// A word in braces, brackets, angle brackets, guillemets or percent signs.
static AROUND_A_WORD: LazyLock<Regex> = LazyLock::new(|| {
    let word = r"[\s#]*([A-Za-zÀ-ÿ][A-Za-zÀ-ÿ0-9_.\- ]{1,30}?)\s*";
    let close = r"[A-Za-zÀ-ÿ][A-Za-zÀ-ÿ0-9_.\-]{1,30}";
    // Percent signs also occur around ordinary words, and brackets before the address of a link.
    pattern(&format!(r"[#$]?\{{{word}\}}|\[{word}\](?:[^(]|$)|<{{1,2}}{word}>{{1,2}}|«{word}»|%({close})%"))
});

/// Markers that only templates use.
static TEMPLATE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\{\{[^{}\n]*[^{}\s][^{}\n]*\}\}|\{%[^%\n]{1,80}%\}|\*\|[A-Za-z_:]{2,40}\|\*"));

/// A greeting followed by a comma with nothing in between, or by a word for a missing value.
static GREETING: LazyLock<Regex> = LazyLock::new(|| {
    let greetings = "hi|hello|hey|dear|hallo|hoi|liebe|lieber|guten tag|sehr geehrter herr|sehr geehrte frau|bonjour|salut|cher|chère|\
         hola|querido|querida|estimado|estimada|ciao|buongiorno|caro|cara|gentile|olá|oi|prezado|prezada|beste|hej|hei|dzień dobry|cześć";
    // Nan and Nil are given names.
    let missing = r"nan|NaN|NAN|nil|NIL|(?i:null|none|undefined|n/a|#n/a|\(null\)|\[object object\])";
    pattern(&format!(
        r"(?m)^[ \t]*(?i:{greetings})(?:[ \t\x{{a0}}]+,|[ \t\x{{a0}}]+(?:{missing})[ \t]*(?:[,!.:;]|$))"
    ))
});

/// Texts that consist only of a missing value. (`None` is an answer.)
const NO_TEXT: [&str; 8] = ["null", "NULL", "undefined", "nan", "NaN", "(null)", "<null>", "n/a"];

/// Values that spreadsheets and programs write for an error or a missing value, and that no text contains on purpose.
const NEVER_MEANT: [&str; 5] = ["[object Object]", "#N/A", "#REF!", "#VALUE!", "#NAME?"];

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a test compiles it")
}

/// Returns the first unfilled placeholder of a built-in form in `text`.
fn find(text: &str) -> Option<String> {
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
        // Guillemets are quotation marks: a single plain word in them is not a placeholder.
        let is_quoted = whole.as_str().starts_with('«') && !word.contains(['_', ' ']);
        let is_code = (in_angles && is_short) || is_quoted;
        if DATA.contains(&letters.as_str()) && !is_code {
            // The pattern looks at the character after a bracket.
            let end = whole.as_str().find(']').filter(|_| whole.as_str().starts_with('['));
            return Some(whole.as_str()[..end.map_or(whole.len(), |end| end + 1)].to_owned());
        }
        from = whole.start() + whole.as_str().chars().next().map_or(1, char::len_utf8);
    }
    None
}

#[cfg(test)]
#[path = "placeholders_tests.rs"]
mod tests;
