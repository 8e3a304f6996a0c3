//! What the verbs write: text and tables for a person, tabs and JSON for a program.
//!
//! Standard output is what was asked for, standard error what is said about it. A reader that goes away (`| head`) ends
//! the command quietly. What came from outside may hold control characters, which could move a terminal's cursor:
//! [`line()`] and [`text()`] take their power from them. JSON is passed on as it came, indented only on a terminal.

use std::io::{self, ErrorKind, IsTerminal, Write};

use comfy_table::{LineStyle, Table, presets};

use super::exit::Failure;

/// Whether a person sees standard output directly.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes `text` to standard output, as it is.
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

/// Writes a line to standard error. That nobody reads it is no failure.
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

/// `document`, which is JSON, with a line for each value; order and numbers stay as they are.
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

/// `text` on one line, without power over a terminal.
pub(super) fn line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// `text` with its lines, each indented, without power over a terminal.
pub(super) fn text(text: &str) -> String {
    text.lines().map(|row| format!("  {}\n", line(row))).collect()
}

/// Names and values, a line each, the values below each other.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {}\n", line(value))).collect()
}

/// A table for a person.
pub(super) fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let rule = LineStyle::none().fill('─').junction('─');
    let mut table = Table::new();
    table.load_style(presets::NOTHING.header_separator(rule));
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| line(cell)));
    }
    // Two spaces between two columns, none before the first.
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 1));
    });
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Rows for a program: a tab between two cells, no header, so that `cut`, `wc` and `xargs` need no help.
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
