//! Which column holds what: by the names of the columns, with guesses that are shown, or as the user says.
//!
//! The fields are `user` (a user id, a profile's address or public identifier), `chat`, `account`, and the variables of
//! the templates. A name that could be meant by two columns is refused rather than guessed.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::cells::Cell;
use super::sheet::{REASON, Row, Sheet};
use super::template::Template;
use crate::domain::field_error::nearest;

/// Names of the column with the person, without separators, the best first: an id needs no look-up.
const USER: [&str; 24] = [
    "user",
    "userid",
    "usersids",
    "providerid",
    "unipileid",
    "linkedinproviderid",
    "linkedinid",
    "recipientid",
    "linkedinurl",
    "linkedinprofileurl",
    "linkedinprofile",
    "linkedin",
    "linkedinlink",
    "linkedinpublicurl",
    "personlinkedinurl",
    "personlinkedin",
    "contactlinkedinurl",
    "prospectlinkedinurl",
    "leadlinkedinurl",
    "profileurl",
    "profilelink",
    "publicidentifier",
    "publicid",
    "linkedinusername",
];
/// Those of them that hold public names: `jane` is not a user id there.
const PUBLIC_NAMES: [&str; 3] = ["publicidentifier", "publicid", "linkedinusername"];
const CHAT: [&str; 2] = ["chatid", "chat"];
/// `account` also names a company in sales tools: a guess counts only if the column holds ids of Unipile accounts.
const ACCOUNT: [&str; 4] = ["accountid", "unipileaccount", "unipileaccountid", "account"];

/// Other names of what templates usually call by the first one.
const SYNONYMS: [&[&str]; 6] = [
    &[
        "firstname",
        "givenname",
        "fname",
        "forename",
        "vorname",
        "prenom",
        "nombre",
        "nome",
        "voornaam",
        "imie",
        "fornamn",
    ],
    &[
        "lastname",
        "surname",
        "familyname",
        "lname",
        "nachname",
        "nomdefamille",
        "apellido",
        "apellidos",
        "cognome",
        "achternaam",
    ],
    &["fullname", "name", "contactname", "personname", "displayname"],
    &[
        "company",
        "companyname",
        "organization",
        "organisation",
        "employer",
        "currentcompany",
        "firma",
        "unternehmen",
        "entreprise",
        "empresa",
        "azienda",
        "bedrijf",
    ],
    &["jobtitle", "title", "position", "role", "currenttitle", "currentposition"],
    &["city", "town", "stadt", "ville", "ciudad"],
];

/// The columns of a table, by what they are used for.
#[derive(Debug, Default)]
pub struct Columns {
    /// The person.
    pub user: Option<usize>,
    /// The chat.
    pub chat: Option<usize>,
    /// The account.
    pub account: Option<usize>,
    /// Each variable of the templates and its column.
    variables: Vec<(String, usize)>,
    /// Each field whose column has another name, and that name.
    pub guesses: Vec<(String, String)>,
    /// The reasons of an earlier import.
    pub reason: Option<usize>,
}

impl Columns {
    /// Maps the columns; `named` are pairs of field and column from the user.
    ///
    /// # Errors
    /// Returns every field without a column, and every name that is not one.
    pub fn map(
        sheet: &Sheet,
        named: &[(String, String)],
        templates: &[&Template],
    ) -> Result<Self, Vec<String>> {
        let mut map = Mapping { sheet, named, faults: Vec::new(), guesses: Vec::new() };
        let user = map.field("user", &USER);
        let chat = if user.is_some() && !map.is_named("chat") { None } else { map.field("chat", &CHAT) };
        let account = map
            .field("account", &ACCOUNT)
            .filter(|place| map.is_named("account") || map.holds_accounts(*place));
        map.guesses.retain(|(field, _)| field != "account" || account.is_some());
        if user.is_none() && chat.is_none() && map.faults.is_empty() {
            let columns = sheet.header.join(", ");
            map.faults.push(format!(
                "no column names the person; say which one does, `--column user=COLUMN`, of: {columns}"
            ));
        }
        if user.is_some() && chat.is_some() {
            map.faults.push("`user` and `chat` exclude each other; name one of them".to_owned());
        }
        let mut variables = Vec::new();
        for template in templates {
            for variable in template.variables() {
                if variables.iter().any(|(known, _)| known == variable) {
                    continue;
                }
                match map.variable(variable) {
                    Some(place) => variables.push((variable.clone(), place)),
                    None => map.unknown(template.name(), variable),
                }
            }
        }
        map.unused(&variables);
        let reason = sheet.header.iter().position(|name| name == REASON);
        let Mapping { faults, guesses, .. } = map;
        match faults.is_empty() {
            true => Ok(Self { user, chat, account, variables, guesses, reason }),
            false => Err(faults),
        }
    }

    /// Returns the column of a field: `user`, `chat`, `account` or a variable of a template.
    pub(crate) fn of(&self, field: &str) -> Option<usize> {
        match field {
            "user" => self.user,
            "chat" => self.chat,
            "account" => self.account,
            variable => self.variables.iter().find(|(name, _)| name == variable).map(|(_, place)| *place),
        }
    }

    /// Returns whether the column with this name holds public names of profiles.
    pub(super) fn holds_public_names(name: &str) -> bool {
        PUBLIC_NAMES.contains(&squashed(name).as_str())
    }

    /// Returns the values of the templates' variables in a row.
    pub fn cells<'a>(&'a self, row: &'a Row) -> Vec<Cell<'a>> {
        let cell = |(name, place): &'a (String, usize)| Cell {
            name,
            text: row.cells.get(*place).map_or("", String::as_str),
        };
        self.variables.iter().map(cell).collect()
    }
}

struct Mapping<'a> {
    sheet: &'a Sheet,
    named: &'a [(String, String)],
    faults: Vec<String>,
    guesses: Vec<(String, String)>,
}

impl Mapping<'_> {
    fn is_named(&self, field: &str) -> bool {
        self.named.iter().any(|(name, _)| name == field)
    }

    /// Returns the column that the user named for a field.
    fn named(&mut self, field: &str) -> Option<usize> {
        let named = self.named;
        let (_, column) = named.iter().find(|(name, _)| name == field)?;
        let header = &self.sheet.header;
        let exact = header.iter().position(|name| name == column);
        let found = exact.or_else(|| header.iter().position(|name| normal(name) == normal(column)));
        match found {
            Some(place) => self.guess(field, place),
            None => {
                let names: Vec<&str> = header.iter().map(String::as_str).collect();
                let near = nearest(column, &names).map(|near| format!("did you mean {near:?}?"));
                let fix = near.unwrap_or_else(|| format!("the columns are: {}", header.join(", ")));
                self.faults.push(format!("`--column {field}={column}` names no column; {fix}"));
            }
        }
        found
    }

    /// Returns the column with the first of these names that exists.
    fn field(&mut self, field: &str, names: &[&str]) -> Option<usize> {
        if self.is_named(field) {
            return self.named(field);
        }
        let place = names.iter().find_map(|name| self.only(field, name))?;
        self.guess(field, place);
        Some(place)
    }

    fn variable(&mut self, variable: &str) -> Option<usize> {
        if self.is_named(variable) {
            return self.named(variable);
        }
        let name = squashed(variable);
        let place = self.only(variable, &name).or_else(|| {
            let others = SYNONYMS.iter().find(|names| names.contains(&name.as_str()))?;
            others.iter().find_map(|other| self.only(variable, other))
        })?;
        self.guess(variable, place);
        Some(place)
    }

    /// Returns the column with this name; adds a problem if there are several.
    fn only(&mut self, field: &str, name: &str) -> Option<usize> {
        let header = &self.sheet.header;
        let mut found = (0..header.len()).filter(|place| squashed(&header[*place]) == name);
        let place = found.next()?;
        if let Some(second) = found.next() {
            let both = both(header, place, second);
            self.faults.push(format!("{both}; rename the one that is not `{field}`"));
        }
        Some(place)
    }

    /// Remembers a column whose name differs from the field's.
    fn guess(&mut self, field: &str, place: usize) {
        let column = &self.sheet.header[place];
        if column != field {
            self.guesses.push((field.to_owned(), column.clone()));
        }
    }

    fn holds_accounts(&self, place: usize) -> bool {
        let mut cells = self.sheet.rows.iter().filter_map(|row| row.cells.get(place));
        cells.any(|cell| cell.starts_with("acc_"))
    }

    fn unknown(&mut self, template: &str, variable: &str) {
        let known: Vec<String> = self.sheet.header.iter().map(|name| normal(name)).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let fix = match nearest(variable, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "name its column with `--column {variable}=COLUMN`, of: {}",
                self.sheet.header.join(", ")
            ),
        };
        self.faults.push(format!("{template} uses `{variable}`, and no column has that name; {fix}"));
    }

    /// Refuses names of `--column` that nothing uses.
    fn unused(&mut self, variables: &[(String, usize)]) {
        let mut known = vec!["user", "chat", "account"];
        known.extend(variables.iter().map(|(name, _)| name.as_str()));
        for (field, column) in self.named {
            if !known.contains(&field.as_str())
                && !self.faults.iter().any(|fault| fault.contains(&format!("`{field}`")))
            {
                let fix = match nearest(field, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("use one of: {}", known.join(", ")),
                };
                self.faults.push(format!("`--column {field}={column}`: nothing uses `{field}`; {fix}"));
            }
        }
    }
}

/// Says that two columns have the same name, or names that differ only in case and separators.
fn both(header: &[String], place: usize, second: usize) -> String {
    let (one, two) = (place + 1, second + 1);
    match (&header[place], &header[second]) {
        (name, other) if name == other => format!("columns {one} and {two} are both named {name:?}"),
        (name, other) => format!("column {one}, {name:?}, and column {two}, {other:?}, mean the same"),
    }
}

/// Returns the columns that name the person, the best first, if these are the names of columns.
///
/// # Errors
/// Returns the name that two columns share.
pub(super) fn person_columns(header: &[String]) -> Result<Vec<usize>, String> {
    let mut places = Vec::new();
    // A list of people may call it so; the table of an import needs the words for its templates.
    for name in USER.into_iter().chain(["person", "id"]) {
        let mut found = (0..header.len()).filter(|place| squashed(&header[*place]) == name);
        match (found.next(), found.next()) {
            (Some(place), None) => places.push(place),
            (Some(place), Some(second)) if places.is_empty() => {
                let both = both(header, place, second);
                return Err(format!("{both}; rename the one that does not name the person"));
            }
            _ => {}
        }
    }
    Ok(places)
}

/// Returns the name of a column as a variable in a template: `first_name` of `First Name`, `firstName` and `prénom` as
/// `prenom`.
pub fn normal(name: &str) -> String {
    let mut found = String::new();
    let mut was_small = false;
    for c in name.nfd().filter(|c| !is_combining_mark(*c)) {
        if c.is_alphanumeric() {
            if c.is_uppercase() && was_small {
                found.push('_');
            }
            found.extend(c.to_lowercase());
        } else if !found.is_empty() && !found.ends_with('_') {
            found.push('_');
        }
        was_small = c.is_lowercase();
    }
    found.trim_end_matches('_').to_owned()
}

/// Returns the name without separators, to compare names.
fn squashed(name: &str) -> String {
    normal(name).replace('_', "")
}

#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;
