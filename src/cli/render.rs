//! Output of the commands: text and tables for a person, tabs and JSON for a program.
//!
//! Results go to standard output, remarks and errors to standard error. A closed output (`| head`) ends the command
//! quietly. External text may contain control characters, which could move a terminal's cursor: [`line()`] and
//! [`text()`] replace them. JSON is passed through unchanged, and indented only on a terminal.

use std::io::{self, ErrorKind, IsTerminal, Write};

use comfy_table::{LineStyle, Table, presets};

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

/// Formats names and values, one pair per line, with the values aligned.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {}\n", line(value))).collect()
}

/// Formats a table for a person.
pub(super) fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let rule = LineStyle::none().fill('─').junction('─');
    let mut table = Table::new();
    table.load_style(presets::NOTHING.header_separator(rule));
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| line(cell)));
    }
    // Two spaces between columns, none before the first.
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 1));
    });
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
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
