//! Finds unfilled template placeholders in a text (P7): `{{first_name}}`, `[NAME]`, an empty greeting, `Hi nan,`.
//!
//! The forms are those of the tools from which outreach teams export: double braces (Handlebars, Jinja, HubSpot,
//! lemlist), single braces (Python's `format`, Expandi), brackets (written by hand), `%NAME%` (ActiveCampaign),
//! `*|NAME|*` (Mailchimp), `${name}` (JavaScript), `<<name>>` (mail merge in word processors), `{Hi|Hello}` (a choice
//! that was not made). A single pair of braces or brackets counts as a placeholder only around the name of personal
//! data, because code, prices and notes use them too.

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

/// Minimum length, in letters, of a placeholder that looks like code: shorter names, such as `<name>` and `$name`, occur
/// in code.
const SHORTEST_IN_CODE: usize = 8;

/// A word in braces, brackets, angle brackets, guillemets, percent signs or other marks of templates.
static AROUND_A_WORD: LazyLock<Regex> = LazyLock::new(|| {
    let word = r"[\s#$!@=]*([A-Za-zÀ-ÿ][A-Za-zÀ-ÿ0-9_.\-'’ ]{1,30}?)\s*";
    let close = r"[A-Za-zÀ-ÿ][A-Za-zÀ-ÿ0-9_.\-]{1,30}";
    // What a template prints if there is no value, and how: `{name|there}`, `{name!r}`.
    let otherwise = r"(?:[|!][^{}\n]*)?";
    // Percent signs also occur around ordinary words, and brackets before the address of a link.
    let forms = [
        format!(r"[#$]?\{{{word}{otherwise}\}}"),
        format!(r"\[{word}\](?:[^(]|$)"),
        format!(r"<{{1,2}}{word}>{{1,2}}"),
        format!(r"«{word}»"),
        format!(r"[【［｛]{word}[】］｝]"),
        format!(r"%({close})%"),
        format!(r"%\(({close})\)s"),
        format!(r"#{{1,2}}({close})#{{1,2}}"),
        r"__([A-Z][A-Z0-9_]{1,30}?)__".to_owned(),
        r"\$([A-Za-z][A-Za-z_]{1,30})".to_owned(),
    ];
    pattern(&forms.join("|"))
});

/// Markers that only templates use, among them a choice between several words (`{Hi|Hello}`).
static TEMPLATE: LazyLock<Regex> = LazyLock::new(|| {
    let forms = [
        r"\{\{[^{}\n]*[^{}\s][^{}\n]*\}\}",
        r"\{%[^%\n]{1,80}%\}",
        r"\*\|[A-Za-z_:]{2,40}\|\*",
        r"<%[^%\n]{1,80}%>",
        r"\{[^{}|\n]+(?:\|[^{}|\n]*)+\}",
    ];
    pattern(&forms.join("|"))
});

/// Words for a missing value, as a pattern. Nan and Nil are given names.
const MISSING: &str = r"(?:nan|NaN|NAN|nil|NIL|(?i:null|none|undefined|n/a|#n/a|\(null\)|\[object \w+\]))";

/// A greeting with nothing, a word for a missing value, the name of a field or a formula in place of the name.
static GREETING: LazyLock<Regex> = LazyLock::new(|| {
    let greetings = "hi|hello|hey|dear|hallo|hoi|liebe|lieber|guten tag|guten morgen|sehr geehrter|sehr geehrte|bonjour|bonsoir|salut|cher|chère|\
         hola|querido|querida|estimado|estimada|buenos días|ciao|buongiorno|caro|cara|gentile|olá|oi|bom dia|boa tarde|prezado|prezada|beste|hej|hei|\
         dzień dobry|cześć|good morning|good afternoon|good evening|thanks|thank you";
    let titles = "mr|mrs|ms|mx|miss|dr|prof|herr|herrn|frau|m|mme|mlle|monsieur|madame|señor|señora|sr|sra|signor|signora|senhor|senhora|mevrouw|meneer|pan|pani";
    let fields = "first[ _-]?name|last[ _-]?name|full[ _-]?name|fname|name|vorname|nachname|prénom|prenom|nombre|nome|voornaam|x{3,}";
    let (space, end) = (r"[ \t\x{a0}\x{200b}]+", r"[ \t\x{a0}]*(?:[,!.:;]|$)");
    let name = r"[A-ZÀ-Þ][A-Za-zÀ-ÿ'’-]+";
    let endings = [
        format!(r"{space},"),
        format!(r"(?:{space}{name})?{space}{MISSING}{end}"),
        format!(r"{space}{MISSING}{space}{name}{end}"),
        format!(r"{space}(?i:{fields}){end}"),
        // The formula of a spreadsheet: `=A1`, `=PROPER(B2)`.
        format!(r"{space}=[+-]?(?:\$?[A-Z]{{1,3}}\$?[0-9]|[A-Z][A-Z0-9.]*\()"),
    ];
    let endings = endings.join("|");
    pattern(&format!(r"(?m)^[ \t]*(?i:{greetings})(?:{space}(?i:{titles})\.?){{0,2}}(?:{endings})"))
});

/// A word for a missing value where a company or a place belongs: `your work at nan.`
static AT_NOTHING: LazyLock<Regex> = LazyLock::new(|| {
    let end = r"[ \t\x{a0}]*(?:[,.!?;:)]|$)";
    pattern(&format!(
        r"(?m)\b(?:(?i:at) (?:nan|NaN|None|null|undefined)|(?i:bei|chez|bij|presso) (?:nan|NaN|undefined)){end}"
    ))
});

/// Texts that consist only of a missing value. (`None` is an answer.)
const NO_TEXT: [&str; 8] = ["null", "NULL", "undefined", "nan", "NaN", "(null)", "<null>", "n/a"];

/// Values that spreadsheets and programs write for an error or a missing value, and that no text contains on purpose.
pub(crate) const NEVER_MEANT: [&str; 33] = [
    "[object Object]",
    "[object Promise]",
    "#N/A",
    "#REF!",
    "#VALUE!",
    "#NAME?",
    "#DIV/0!",
    "#NULL!",
    "#NUM!",
    "#ERROR!",
    "#SPILL!",
    "#CALC!",
    "#WERT!",
    "#BEZUG!",
    "#ZAHL!",
    "#VALEUR!",
    "#NOM?",
    "#NOMBRE!",
    "#¡VALOR!",
    "#¿NOMBRE?",
    "#¡REF!",
    "#¡DIV/0!",
    "#¡NUM!",
    "#VALOR!",
    "#NOME?",
    "#NÚM!",
    "#VALORE!",
    "#RIF!",
    "#WAARDE!",
    "#VERW!",
    "#NAAM?",
    "#GETAL!",
    "=HYPERLINK(",
];

/// Whose data a placeholder names, before the name of the data: `[Your Name]`, `{lead_first_name}`.
const OWNERS: [&str; 13] = [
    "insert",
    "enter",
    "your",
    "candidate",
    "candidates",
    "contact",
    "contacts",
    "lead",
    "prospect",
    "recipient",
    "recipients",
    "user",
    "person",
];

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a test compiles it")
}

/// Returns the first unfilled placeholder of a built-in form in `text`.
fn find(text: &str) -> Option<String> {
    if NO_TEXT.contains(&text.trim()) {
        return Some(text.trim().to_owned());
    }
    let template = TEMPLATE.find(text).or_else(|| GREETING.find(text)).or_else(|| AT_NOTHING.find(text));
    let template = template.map(|found| found.as_str().trim().to_owned());
    let never = || NEVER_MEANT.iter().find(|word| text.contains(*word)).map(|word| (*word).to_owned());
    template.or_else(never).or_else(|| around_a_word(text))
}

/// Returns whether `word` names personal data: `first_name`, `contact.first_name`, `Insert Name Here`.
fn names_data(word: &str) -> bool {
    let whole = letters(word);
    let last = letters(word.rsplit('.').next().unwrap_or(word));
    let core = whole.strip_suffix("here").unwrap_or(&whole);
    let owned = OWNERS.iter().filter_map(|owner| core.strip_prefix(owner));
    [whole.as_str(), &last, core].into_iter().chain(owned).any(|name| DATA.contains(&name))
}

fn letters(word: &str) -> String {
    word.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect()
}

fn around_a_word(text: &str) -> Option<String> {
    // Matches may overlap: `50% off, %NAME%`.
    let mut from = 0;
    while let Some(found) = AROUND_A_WORD.captures_at(text, from) {
        let whole = found.get(0)?;
        let word = found.iter().skip(1).flatten().next()?.as_str();
        // Code has names after a dollar sign and in single angle brackets as well.
        let like_code = (whole.as_str().starts_with('<') && !whole.as_str().starts_with("<<"))
            || (whole.as_str().starts_with('$') && !whole.as_str().contains('{'));
        let is_short = letters(word).chars().count() < SHORTEST_IN_CODE;
        // Guillemets are quotation marks: a single plain word in them is not a placeholder.
        let is_quoted = whole.as_str().starts_with('«') && !word.contains(['_', ' ']);
        let is_code = (like_code && is_short) || is_quoted;
        if names_data(word) && !is_code {
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
