//! A list of people to suppress: one per line, or a table with a column that names the person.
//!
//! `outboxd suppress import` gives the daemon what it returns. A value that names no person is refused with its line:
//! stored, it would look like a suppression and protect no one.

use super::columns::{Columns, person_columns};
use super::decode::{decode, kind_of_file};
use super::sheet::Sheet;

/// A value of the list.
#[derive(Debug, PartialEq)]
pub(crate) struct Listed {
    /// The line in the file, from 1.
    pub(crate) line: u64,
    /// The person, or why the value names none.
    pub(crate) person: Result<String, String>,
    /// What a line of `outboxd suppress export` says besides.
    pub(crate) exported: Option<Exported>,
}

/// What the list itself says of an entry.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Exported {
    pub(crate) is_chat: bool,
    pub(crate) account: Option<String>,
    pub(crate) note: Option<String>,
}

impl Listed {
    fn new(line: u64, person: Result<String, String>) -> Self {
        Self { line, person, exported: None }
    }
}

/// Returns the people in a file, whose encoding is noticed as that of the table of an import.
///
/// # Errors
/// Returns why the file holds no such list.
pub(crate) fn listed_in(bytes: &[u8]) -> Result<Vec<Listed>, String> {
    if let Some((what, _)) = kind_of_file(bytes) {
        return Err(format!("it is {what}; save the list as CSV, or with one id per line"));
    }
    let decoded = decode(bytes, None)
        .map_err(|problem| problem.replace(", or name its encoding with `--encoding NAME`", ""))?;
    listed(&decoded.text)
}

/// Returns the people in a text; blank lines are skipped.
///
/// # Errors
/// Returns why no column of the table names the person, or its rows cannot be told apart.
pub(crate) fn listed(text: &str) -> Result<Vec<Listed>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(exported) = of_export(text) {
        return Ok(exported);
    }
    // Excel's "CSV (Macintosh)" ends lines with CR alone.
    let with_lines = if text.contains('\n') { None } else { Some(text.replace('\r', "\n")) };
    let text = with_lines.as_deref().unwrap_or(text);
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let cells: Vec<String> = first.split([',', ';', '\t', '|']).map(unquoted).collect();
    let has_header = match person_columns(&cells)?.is_empty() {
        false => true,
        true => cells.len() > 1 && !cells.iter().any(|cell| names_person(cell)),
    };
    if has_header { of_table(text) } else { Ok(of_lines(text)) }
}

/// Returns the entries that `outboxd suppress export` wrote, if the text has only these.
fn of_export(text: &str) -> Option<Vec<Listed>> {
    let mut entries = Vec::new();
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split('\t').collect();
        let (scope, key, account, note) = match cells[..] {
            [scope @ ("person" | "chat"), key, account, "suppressed", _until, _since, note, _by] => {
                (scope, key, account, note)
            }
            _ => return None,
        };
        let exported = Exported {
            is_chat: scope == "chat",
            account: Some(account).filter(|account| *account != "all").map(str::to_owned),
            note: Some(note).filter(|note| !note.is_empty()).map(str::to_owned),
        };
        entries.push(Listed { line: number, person: Ok(key.to_owned()), exported: Some(exported) });
    }
    (!entries.is_empty()).then_some(entries)
}

fn of_table(text: &str) -> Result<Vec<Listed>, String> {
    let sheet = Sheet::read(text, None)?;
    let places = person_columns(&sheet.header)?;
    let Some(best) = places.first().copied() else {
        return Err(format!(
            "no column names the person; name it `user_id`, `provider_id`, `linkedin_url`, `profile_url` or \
             `public_identifier`, or give one id or profile address per line. The columns are: {}",
            sheet.header.join(", ")
        ));
    };
    let cell = |cells: &[String], place: usize| cells.get(place).filter(|cell| !cell.is_empty()).cloned();
    let rows = sheet.rows.into_iter().map(|row| {
        // Only columns that mean the person: another may hold the address of the list's owner.
        let named = places.iter().find_map(|place| Some((*place, cell(&row.cells, *place)?)));
        let person = match (row.fault, named) {
            // The cells of the first column are right even if a later one is split.
            (Some(fault), None) => Err(fault),
            (Some(fault), Some((place, _))) if place > 0 => Err(fault),
            (_, Some((place, cell)))
                if Columns::holds_public_names(&sheet.header[place]) && !cell.contains(['/', ':']) =>
            {
                Ok(format!("in/{cell}"))
            }
            (_, Some((place, cell))) if place != best && !is_unmistakable(&cell) => Err(format!(
                "`{}` is empty, and {cell:?} in `{}` may be something else",
                sheet.header[best], sheet.header[place]
            )),
            (_, Some((_, cell))) => person(&cell),
            (_, None) => {
                let column = &sheet.header[best];
                Err(format!("`{column}` is empty, and no other column of the person has a value"))
            }
        };
        Listed::new(row.line, person)
    });
    Ok(rows.collect())
}

/// Returns the people of each line: every cell that cannot be anything else, or the first one.
fn of_lines(text: &str) -> Vec<Listed> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let listed = |(line, number): (&str, u64)| -> Vec<Listed> {
        let cells: Vec<String> = line.split([',', ';', '\t', '|']).map(unquoted).collect();
        let first = || cells.first().map(|cell| person(cell)).into_iter().collect();
        let named: Vec<_> = cells.iter().filter(|cell| is_unmistakable(cell)).cloned().map(Ok).collect();
        let people = if named.is_empty() { first() } else { named };
        people.into_iter().map(|person| Listed::new(number, person)).collect()
    };
    lines.flat_map(listed).collect()
}

fn unquoted(cell: &str) -> String {
    cell.trim().trim_matches('"').trim().to_owned()
}

fn person(value: &str) -> Result<String, String> {
    match names_person(value) {
        true => Ok(value.to_owned()),
        false => Err(format!(
            "{value:?} is not a user id, a URN or a profile address, such as ACoA… or https://www.linkedin.com/in/jane-doe"
        )),
    }
}

/// Returns whether the value can be a user id, a URN, a public name or the address of a profile. The daemon checks it
/// further.
fn names_person(value: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c == '-';
    let is_e_mail = value.split_once('@').is_some_and(|(name, _)| name.contains(char::is_alphabetic));
    let is_id = value.contains(|c: char| c.is_ascii_digit()) && !value.contains(char::is_whitespace);
    let is_public_name = value.contains('-') && value.chars().all(is_letter);
    is_unmistakable(value) || !is_e_mail && (is_id || is_public_name)
}

/// Returns whether the value is a user id, a URN or the address of a profile, by its form.
fn is_unmistakable(value: &str) -> bool {
    let begins =
        |start: &str| value.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start));
    let is_address = value.to_ascii_lowercase().contains("linkedin.com/");
    is_address || begins("urn:li:") || begins("in/") || value.starts_with("ACoA")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(text: &str) -> Vec<(u64, Option<String>)> {
        listed(text).unwrap().into_iter().map(|row| (row.line, row.person.ok())).collect()
    }

    fn row(line: u64, person: &str) -> (u64, Option<String>) {
        (line, Some(person.to_owned()))
    }

    #[test]
    fn a_list_is_read_in_the_encodings_of_an_import() {
        let text = "user_id,name\r\nACoA1,M\u{fc}ller\r\nACoA2,Ann\r\n";
        let utf_16 = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(order).collect()
        };
        let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let cr_only = text.replace("\r\n", "\r").into_bytes();
        for bytes in
            [utf_16(u16::to_le_bytes), utf_16(u16::to_be_bytes), latin, cr_only, b"ACoA1\rACoA2\r".to_vec()]
        {
            let found = listed_in(&bytes).unwrap();
            let people: Vec<_> = found.iter().map(|one| one.person.as_deref()).collect();
            assert_eq!(people, [Ok("ACoA1"), Ok("ACoA2")], "{bytes:?}");
        }
        let refused = listed_in(b"PK\x03\x04 and so on").unwrap_err();
        assert!(refused.starts_with("it is an Excel workbook"), "{refused}");
    }

    #[test]
    fn a_list_has_one_person_per_line() {
        let text = "\u{feff}user_id,name\n\"ACoA1\",\"Doe, Jane\"\n\nACoA2,x\nACoA3,y\r\n";
        assert_eq!(people(text), [row(2, "ACoA1"), row(4, "ACoA2"), row(5, "ACoA3")]);
        assert_eq!(people("id\n17\n"), [row(2, "17")]);
        let all = "ACoA1\njane-doe\nin/jane\n https://www.linkedin.com/in/zoe/ \nurn:li:fsd_profile:ACoAx\nACoA2 ;x\nusr_7\n";
        let keys =
            ["ACoA1", "jane-doe", "in/jane", "https://www.linkedin.com/in/zoe/", "urn:li:fsd_profile:ACoAx"];
        let rows = keys.into_iter().chain(["ACoA2", "usr_7"]).zip(1..).map(|(key, line)| row(line, key));
        assert_eq!(people(all), rows.collect::<Vec<_>>());
    }

    #[test]
    fn the_column_of_a_table_is_found() {
        let text = "first_name,last_name,linkedin_url\nJane,Doe,https://www.linkedin.com/in/jane-doe\nZoe,Roe,\nAnn,Poe,Ann\n";
        assert_eq!(people(text), [row(2, "https://www.linkedin.com/in/jane-doe"), (3, None), (4, None)]);
        let text = "linkedin_url;provider_id;name\nin/jane;;Jane\nin/zoe;ACoA2;Zoe\n";
        assert_eq!(people(text), [row(2, "in/jane"), row(3, "ACoA2")]);
        assert_eq!(people("Name;Public Identifier\nJane;jane\n"), [row(2, "in/jane")]);
        assert_eq!(people("\"id\";\"Profile URL\"\n1;in/jane\n"), [row(2, "in/jane")]);
    }

    /// The address in another column may be that of the list's owner.
    #[test]
    fn only_the_columns_of_the_person_are_read() {
        let text = "provider_id,owner,profile_url,public_identifier\nACoA1,in/me,,\n,in/me,in/zoe,\n,in/me,,ann\n,in/me,,\n";
        assert_eq!(people(text), [row(2, "ACoA1"), row(3, "in/zoe"), row(4, "in/ann"), (5, None)]);
        let refused = listed(text).unwrap().pop().unwrap().person.unwrap_err();
        assert_eq!(refused, "`provider_id` is empty, and no other column of the person has a value");
        // The number of a row is none.
        assert_eq!(people("linkedin_url,id\n,17\nin/jane,18\n"), [(2, None), row(3, "in/jane")]);
    }

    #[test]
    fn no_person_of_a_line_is_left_out() {
        assert_eq!(people("ACoA1,ACoA2\n"), [row(1, "ACoA1"), row(1, "ACoA2")]);
        let text = "Jane;ACoA3\n17,Doe\n";
        assert_eq!(people(text), [row(1, "ACoA3"), row(2, "17")]);
    }

    #[test]
    fn what_names_no_person_is_refused() {
        let refused = listed("first_name,last_name\nJane,Doe\n").unwrap_err();
        assert!(
            refused.contains("no column names the person") && refused.contains("linkedin_url"),
            "{refused}"
        );
        assert_eq!(
            people("Jane\nACoA1\njane@example.com\nJane 7\n"),
            [(1, None), row(2, "ACoA1"), (3, None), (4, None)]
        );
        assert!(listed("linkedin_url,LinkedIn URL\na,b\n").unwrap_err().contains("mean the same"));
    }
}
