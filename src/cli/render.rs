//! Output of the commands: text and tables for a person, tabs and JSON for a program.
//!
//! Results go to standard output, remarks and errors to standard error. A closed output (`| head`) ends the command
//! quietly. External text may contain control characters, which could move a terminal's cursor: [`line()`] and
//! [`text()`] replace them. JSON is passed through unchanged, and indented only on a terminal.

use std::io::{self, ErrorKind, IsTerminal, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, LineStyle, Table, Width, presets};

use super::exit::Failure;

/// Returns whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes `text` unchanged to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::reader_gone()),
        Err(error) => {
            Err(Failure::unexpected(anyhow::Error::new(error).context("standard output cannot be written")))
        }
    }
}

/// Writes a line to standard error. A write error is ignored.
pub(super) fn note(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Writes JSON and a line end: unchanged for a program, indented for a person.
pub(super) fn json(document: &str) -> Result<(), Failure> {
    let document = document.trim_end();
    match is_terminal() {
        true => print(&format!("{}\n", indented(document))),
        false => print(&format!("{document}\n")),
    }
}

/// Indents the JSON in `document`, one value per line; keeps the order of keys and the form of numbers.
fn indented(document: &str) -> String {
    let mut shown = String::new();
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut characters = document.chars().peekable();
    while let Some(c) = characters.next() {
        if quoted {
            shown.push(c);
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '{' | '[' => {
                shown.push(c);
                while characters.next_if(|next| next.is_whitespace()).is_some() {}
                if let Some(close) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    shown.push(close);
                } else {
                    depth += 1;
                    line_end(&mut shown, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line_end(&mut shown, depth);
                shown.push(c);
            }
            ',' => {
                shown.push(c);
                line_end(&mut shown, depth);
            }
            ':' => shown.push_str(": "),
            c if c.is_whitespace() => {}
            c => {
                quoted = c == '"';
                shown.push(c);
            }
        }
    }
    shown
}

fn line_end(shown: &mut String, depth: usize) {
    shown.push('\n');
    shown.extend(std::iter::repeat_n("  ", depth));
}

/// Returns `text` as one line, without control characters.
pub(super) fn line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Returns the lines of `text`, each indented and without control characters.
pub(super) fn text(text: &str) -> String {
    text.lines().map(|row| format!("  {}\n", line(row))).collect()
}

/// Leaves out the names without a value.
pub(super) fn known<T, const N: usize>(pairs: [(&'static str, Option<T>); N]) -> Vec<(&'static str, T)> {
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Formats names and values, one pair per line, with the values aligned.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {}\n", line(value))).collect()
}

/// Formats a table for a person, within the width of the terminal: if it is too wide, ids of messages are shortened to
/// their end, then other ids in their middle, and what is still too wide is wrapped.
pub(super) fn table(header: &[String], rows: &[Vec<String>]) -> String {
    within(header, rows, width())
}

/// Formats a table whose rows have a shorter form, which is used if the whole one is too wide for the terminal.
pub(super) fn table_or_brief(header: &[String], whole: &[Vec<String>], brief: &[Vec<String>]) -> String {
    let width = width();
    let [.., narrowest] = LONGEST_WORDS;
    let shortest = |row: &Vec<String>| row.iter().map(|cell| shortened(cell, narrowest)).collect();
    let rows = match whole_width(header, &whole.iter().map(shortest).collect::<Vec<_>>()) <= width {
        true => whole,
        false => brief,
    };
    within(header, rows, width)
}

fn within(header: &[String], rows: &[Vec<String>], width: usize) -> String {
    let lines: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| line(cell)).collect()).collect();
    let shortened = |longest: usize| -> Vec<Vec<String>> {
        let row = |row: &Vec<String>| row.iter().map(|cell| shortened(cell, longest)).collect();
        lines.iter().map(row).collect()
    };
    let mut tries = std::iter::once(lines.clone()).chain(LONGEST_WORDS.into_iter().map(shortened));
    let [.., narrowest] = LONGEST_WORDS;
    match tries.find(|rows| whole_width(header, rows) <= width) {
        Some(rows) => aligned(header, &rows, None),
        None => {
            let rows = shortened(narrowest);
            let broken: Vec<Vec<String>> =
                rows.iter().map(|row| row.iter().map(|cell| broken(cell)).collect()).collect();
            aligned(header, &broken, Some(width))
        }
    }
}

/// Breaks long codes such as `account_disconnected` between two of their words.
fn broken(cell: &str) -> String {
    let longest = LONGEST_WORDS[LONGEST_WORDS.len() - 2];
    let word = |word: &str| {
        let middle = word.len() / 2;
        let place = word.match_indices('_').map(|(at, _)| at + 1).min_by_key(|at| at.abs_diff(middle));
        match place.filter(|_| word.len() > longest) {
            Some(at) => format!("{}\n{}", &word[..at], &word[at..]),
            None => word.to_owned(),
        }
    };
    cell.split(' ').map(word).collect::<Vec<String>>().join(" ")
}

/// Returns how wide a table is in which nothing is wrapped, with the rule below its header.
fn whole_width(header: &[String], rows: &[Vec<String>]) -> usize {
    let length = |row: &[String], column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
    let widest = |column| rows.iter().map(|row| length(row, column)).fold(length(header, column), usize::max);
    (0..header.len()).map(widest).sum::<usize>() + (2 * header.len()).saturating_sub(1)
}

/// Length of the id of a message, and of the end of one that names it on a terminal.
pub(super) const WHOLE_ID: usize = 36;
pub(super) const SHORT_ID: usize = 8;

/// How long ids may be, if a table is too wide; the first shortens only the ids of messages.
const LONGEST_WORDS: [usize; 5] = [usize::MAX, 24, 16, 12, 9];

/// The space inside what is not wrapped, such as the date and the time of day of a brief time.
const UNBROKEN: char = '\u{a0}';
/// Longer words than a brief time are wrapped, whatever spaces they have; with the space after it.
const LONGEST_UNBROKEN: usize = 10;

/// Returns the width of the terminal, in columns; of what is not one, as much as a table needs.
fn width() -> usize {
    if !is_terminal() {
        return usize::MAX;
    }
    let given =
        std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|&columns| columns > 0);
    let found = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    given.or_else(found).unwrap_or(80)
}

/// Returns whether a word is an id rather than a word of a language or a time.
fn is_id(word: &str) -> bool {
    word.contains(|c: char| c.is_ascii_digit()) && word.contains(|c: char| c.is_ascii_alphabetic())
}

/// Shortens the words of a cell: the id of a message to its end, which is enough to name it, other ids to `longest`.
fn shortened(cell: &str, longest: usize) -> String {
    let word = |word: &str| match word.chars().count() {
        WHOLE_ID if word.parse::<uuid::Uuid>().is_ok() => word.chars().skip(WHOLE_ID - SHORT_ID).collect(),
        length if length > longest && is_id(word) => {
            let (begin, end) = ((longest - 1) / 2, longest / 2);
            word.chars().take(begin).chain(['…']).chain(word.chars().skip(length - end)).collect()
        }
        _ => word.to_owned(),
    };
    cell.split(' ').map(word).collect::<Vec<String>>().join(" ")
}

fn aligned(header: &[String], rows: &[Vec<String>], width: Option<usize>) -> String {
    let rule = LineStyle::none().fill('─').junction('─');
    let mut table = Table::new();
    table.load_style(presets::NOTHING.header_separator(rule));
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    if let Some(width) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
    for (place, column) in table.column_iter_mut().enumerate() {
        // Two spaces between columns, none before the first.
        column.set_padding((0, 1));
        let words = rows.iter().filter_map(|row| row.get(place)).flat_map(|cell| cell.split(' '));
        let unbroken = words.filter(|word| word.contains(UNBROKEN)).map(|word| word.chars().count() + 1);
        let unbroken = unbroken.filter(|width| *width <= LONGEST_UNBROKEN).max();
        if let Some(unbroken) = unbroken.and_then(|width| u16::try_from(width).ok()) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(unbroken)));
        }
    }
    table.lines().map(|line| format!("{}\n", line.replace(UNBROKEN, " ").trim_end())).collect()
}

/// Formats rows for a program: tabs between cells and no header, ready for `cut`, `wc` and `xargs`.
pub(super) fn tabbed(rows: &[Vec<String>]) -> String {
    rows.iter().map(|row| row.iter().map(|cell| line(cell)).collect::<Vec<_>>().join("\t") + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_not_changed() {
        let document = r#"{"b":[1.50,{"a \" {,}":"x\\"}],"a":{}, "c":[ ],"d":null}"#;
        let shown = indented(document);
        let lines = [
            "{",
            "  \"b\": [",
            "    1.50,",
            "    {",
            "      \"a \\\" {,}\": \"x\\\\\"",
            "    }",
            "  ],",
            "  \"a\": {},",
            "  \"c\": [],",
            "  \"d\": null",
            "}",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn nothing_from_outside_moves_the_cursor() {
        assert_eq!(line("a\u{1b}[2J\tb\nc"), "a [2J b c");
        assert_eq!(text("a\u{7}\nb"), "  a \n  b\n");
        assert_eq!(tabbed(&[vec!["a\tb".to_owned(), "c".to_owned()]]), "a b\tc\n");
    }

    #[test]
    fn pairs_stand_below_each_other() {
        assert_eq!(
            pairs(&[("id", "1".to_owned()), ("account", "acc_1".to_owned())]),
            "id       1\naccount  acc_1\n"
        );
    }
}
