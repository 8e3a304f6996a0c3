//! A table of people: finds the delimiter, reads the header and the rows, each with its line in the file.
//!
//! It refuses a file whose rows cannot be told apart (an unclosed quotation mark, a missing header), because every
//! later row would be read wrongly. A single row with too few or too many cells is refused alone.

use csv::{ReaderBuilder, StringRecord};

use crate::types::counted;

/// The column that the file of refused rows adds; ignored when that file is imported.
pub const REASON: &str = "refused_because";

/// Number of lines after which a row is taken for an unclosed quotation mark.
const MOST_LINES_OF_A_ROW: u64 = 100;

/// The lines before the header in the list of connections that LinkedIn exports.
const NOTES: [&str; 2] = ["Notes:", "When exporting your connection data"];

/// A table.
#[derive(Debug)]
pub struct Sheet {
    /// The character between two cells.
    pub delimiter: u8,
    /// The names of the columns, as the file writes them.
    pub header: Vec<String>,
    /// The rows that are not empty.
    pub rows: Vec<Row>,
}

/// A row.
#[derive(Debug, Clone)]
pub struct Row {
    /// The line in the file at which it begins, from 1.
    pub line: u64,
    /// The cells, without surrounding white space.
    pub cells: Vec<String>,
    /// What is wrong with the row as a whole.
    pub fault: Option<String>,
}

impl Sheet {
    /// Reads a table; `delimiter` is the one that the user named.
    ///
    /// # Errors
    /// Returns why the rows cannot be told apart.
    pub fn read(text: &str, delimiter: Option<u8>) -> Result<Self, String> {
        // Excel writes the delimiter into a line of its own.
        let named = named_delimiter(text.lines().next().unwrap_or_default());
        let (text, skipped) = match named {
            Some(_) => (text.split_once('\n').map_or("", |(_, rest)| rest), 1),
            None => (text, 0),
        };
        let delimiter = delimiter.or(named).unwrap_or_else(|| guess(text));
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut header: Option<Vec<String>> = None;
        let (mut rows, mut record, mut last) = (Vec::new(), StringRecord::new(), (0, 0));
        let mut place = Place { text: text.as_bytes(), byte: 0, line: 1 + skipped };
        loop {
            let more =
                reader.read_record(&mut record).map_err(|error| format!("cannot be read as CSV: {error}"))?;
            if !more {
                break;
            }
            let line = place.line_of(record.position().map_or(0, csv::Position::byte));
            let lines = record.iter().map(|cell| cell.matches('\n').count() as u64).sum::<u64>();
            if lines > MOST_LINES_OF_A_ROW {
                return Err(unclosed(line));
            }
            last = (line, lines);
            let cells: Vec<String> = record.iter().map(|cell| cell.trim().to_owned()).collect();
            match &header {
                _ if cells.iter().all(String::is_empty) => {}
                None if is_note(&cells) => {}
                None => header = Some(named_columns(cells, line)?),
                Some(names) => rows.push(Row::of(line, cells, names.len())),
            }
        }
        let is_open = last.1 > 0 && text.matches('"').count() % 2 == 1;
        if is_open {
            return Err(unclosed(last.0));
        }
        let header = header.ok_or("is empty; the first line must name the columns")?;
        Ok(Self { delimiter, header, rows })
    }

    /// Returns the name of the delimiter.
    pub fn delimiter_name(&self) -> String {
        match self.delimiter {
            b',' => "comma".to_owned(),
            b';' => "semicolon".to_owned(),
            b'\t' => "tab".to_owned(),
            other => format!("{:?}", char::from(other)),
        }
    }
}

impl Row {
    fn of(line: u64, mut cells: Vec<String>, columns: usize) -> Self {
        while cells.len() > columns && cells.last().is_some_and(String::is_empty) {
            cells.pop();
        }
        let many = cells.len();
        let fault = (many != columns).then(|| {
            let fix = "put quotation marks around a cell that contains the delimiter or a line end";
            let many = counted(many, "cell", "cells");
            format!("has {many}, and the header has {columns}; {fix}")
        });
        Self { line, cells, fault }
    }
}

/// Returns the delimiter that a first line such as `sep=;` or `"sep=;"` names.
fn named_delimiter(line: &str) -> Option<u8> {
    let line = line.trim_start();
    let bare = line.strip_prefix('"').and_then(|rest| rest.split_once('"')).map_or(line, |(bare, _)| bare);
    bare.strip_prefix("sep=")?.bytes().next().filter(|byte| *byte != b' ')
}

/// A place in the text, and its line.
struct Place<'a> {
    text: &'a [u8],
    byte: usize,
    line: u64,
}

impl Place<'_> {
    /// Moves on to the row that begins at `byte` or after the line ends there; returns its line.
    fn line_of(&mut self, byte: u64) -> u64 {
        let byte = usize::try_from(byte).unwrap_or(usize::MAX).min(self.text.len());
        let blank = self.text[byte..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = &self.text[self.byte.min(byte)..byte + blank];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.byte = byte + blank;
        self.line
    }
}

fn unclosed(line: u64) -> String {
    format!(
        "line {line} has a quotation mark that is never closed; write a quotation mark inside a cell twice"
    )
}

/// Returns whether a row before the header is a note of LinkedIn's export.
fn is_note(cells: &[String]) -> bool {
    let is_alone = cells.iter().skip(1).all(String::is_empty);
    is_alone && cells.first().is_some_and(|cell| NOTES.iter().any(|note| cell.starts_with(note)))
}

/// Checks that the first row names columns.
fn named_columns(cells: Vec<String>, line: u64) -> Result<Vec<String>, String> {
    let data = |cell: &&String| cell.contains("://") || cell.starts_with("acc_") || cell.starts_with("ACoA");
    if let Some(cell) = cells.iter().find(data) {
        return Err(format!(
            "line {line} holds {cell:?}; the first line must name the columns, such as `linkedin_url`"
        ));
    }
    let cells = cells.into_iter().enumerate();
    Ok(cells
        .map(|(place, cell)| if cell.is_empty() { format!("column_{}", place + 1) } else { cell })
        .collect())
}

/// Returns the most frequent delimiter of the first line that is not blank.
fn guess(text: &str) -> u8 {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0), (b'|', 0)];
    for byte in line.bytes() {
        quoted ^= byte == b'"';
        if let Some((_, count)) = counts.iter_mut().find(|(delimiter, _)| !quoted && *delimiter == byte) {
            *count += 1;
        }
    }
    // The first of several that occur equally often.
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    counts.into_iter().find(|(_, count)| *count == most).map_or(b',', |(delimiter, _)| delimiter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_noticed() {
        for (text, delimiter) in [
            ("a,b\n1,2\n", b','),
            ("a;b,c;d\n1;2;3\n", b';'),
            ("\"a;b;c\",d\n1,2\n", b','),
            ("a\tb\n1\t2\n", b'\t'),
            ("sep=|\na|b\n1|2\n", b'|'),
            ("sep=\t\na;b\tc;d\n1\t2\n", b'\t'),
            ("sep=\t\r\na;b\tc;d\r\n1\t2\r\n", b'\t'),
            ("\"sep=;\"\na,b;c,d\n1;2\n", b';'),
            ("\"sep=;\",\r\na,b;c,d\r\n1;2\r\n", b';'),
            ("a\n1\n", b','),
        ] {
            assert_eq!(Sheet::read(text, None).unwrap().delimiter, delimiter, "{text:?}");
        }
        assert_eq!(Sheet::read("a,b;c\n1,2;3\n", Some(b';')).unwrap().header, ["a,b", "c"]);
    }

    #[test]
    fn the_notes_before_linkedins_list_of_connections_are_skipped() {
        let text = "Notes:\n\"When exporting your connection data, you may notice that, some\nare missing.\"\n\n\
            First Name,URL\nJane,https://www.linkedin.com/in/jane-doe\n";
        let sheet = Sheet::read(text, None).unwrap();
        assert_eq!((sheet.header.join("|"), sheet.rows[0].line), ("First Name|URL".to_owned(), 6));
        assert_eq!(
            Sheet::read("Notes:;\nFirst Name;URL\nA;b\n", None).unwrap().header,
            ["First Name", "URL"]
        );
    }

    #[test]
    fn rows_keep_their_line_and_empty_rows_are_skipped() {
        let text = "a, b \r\n1,\"two\nlines\"\r\n,\r\n\r\n 3 ,4\r\n5\r\n6,7,,\r\n8,9,10\r\n";
        let rows = Sheet::read(text, None).unwrap().rows;
        let shown: Vec<_> =
            rows.iter().map(|row| (row.line, row.cells.join("|"), row.fault.is_some())).collect();
        let row = |line, cells: &str, fault| (line, cells.to_owned(), fault);
        assert_eq!(
            shown,
            [
                row(2, "1|two\nlines", false),
                row(6, "3|4", false),
                row(7, "5", true),
                row(8, "6|7", false),
                row(9, "8|9|10", true)
            ]
        );
    }

    #[test]
    fn a_file_whose_rows_cannot_be_told_apart_is_refused() {
        let long = format!("a,b\n1,\"x\n{}", "2,3\n".repeat(200));
        for (text, told) in [
            ("a,b\n1,\"x\n2,3\n", "line 2 has a quotation mark that is never closed"),
            (long.as_str(), "line 2 has a quotation mark that is never closed"),
            ("", "is empty"),
            ("\n\n", "is empty"),
            ("Jane,https://www.linkedin.com/in/jane\n", "the first line must name the columns"),
        ] {
            let refused = Sheet::read(text, None).unwrap_err();
            assert!(refused.contains(told), "{text:?}: {refused}");
        }
        let inches = Sheet::read("a,b\n5\" pipe,2\n3,4\n", None).unwrap();
        assert_eq!(inches.rows[0].cells[0], "5\" pipe");
    }
}
