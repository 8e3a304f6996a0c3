//! Comments, messages and documents are written in plain words: these ones make a reader stop and translate. Tables of
//! documents are tables.

use super::{assert_none, document, root, sources};

/// Words to say in another way.
const RIDDLES: [&str; 9] =
    ["nobody", "somebody", "everybody", "whoever", "is told", "are told", "beside", "by itself", "is no "];

/// Where one of them is meant: the beginning of a path, and what the line holds.
const ALLOWED: [(&str, &str); 1] = [("tests/it/tidy/words.rs", "")];

fn documents() -> Vec<String> {
    let folder = std::fs::read_dir(root().join("docs")).expect("a folder");
    let names = folder.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut paths: Vec<String> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    paths.extend(["README.md", "ARCHITECTURE.md", "config/outboxd.toml"].map(str::to_owned));
    paths.sort();
    paths
}

fn riddle(line: &str) -> Option<&'static str> {
    let line = line.to_lowercase().replace("there is no ", "").replace("is no longer", "");
    let word = |c: char| c.is_alphanumeric() || c == '_';
    RIDDLES.into_iter().find(|mark| {
        line.match_indices(mark).any(|(at, found)| {
            let whole = |c: Option<char>| !c.is_some_and(word);
            let after = line[at + found.len()..].chars().next();
            whole(line[..at].chars().next_back()) && (found.ends_with(' ') || whole(after))
        })
    })
}

#[test]
fn comments_messages_and_documents_are_in_plain_words() {
    let mut texts: Vec<(String, String)> = ["src", "tests", "benches"]
        .into_iter()
        .flat_map(sources)
        .map(|source| {
            let is_source = source.path.starts_with("src/");
            // The literals of tests are data.
            let said = |line: &&str| line.contains("//") || (is_source && line.contains('"'));
            let lines: Vec<&str> =
                source.text.lines().map(|line| if said(&line) { line } else { "" }).collect();
            (source.path, lines.join("\n"))
        })
        .collect();
    texts.extend(documents().into_iter().map(|path| (path.clone(), document(&path))));
    let mut broken = Vec::new();
    for (path, text) in texts {
        for (index, line) in text.lines().enumerate() {
            let allowed = ALLOWED.iter().any(|(place, says)| path.starts_with(place) && line.contains(says));
            if let Some(mark) = riddle(line).filter(|_| !allowed) {
                broken.push(format!("{path}:{}: {mark:?} in {}", index + 1, line.trim()));
            }
        }
    }
    assert_none(&broken, "say who does what, in the words of the field");
}

#[test]
fn a_word_is_found_as_a_whole() {
    assert_eq!(riddle("/// Nobody asks."), Some("nobody"));
    assert_eq!(riddle("besides, nobody_knows"), None);
    assert_eq!(riddle("there is no queue, and `x` is no queue"), Some("is no "));
}

/// Returns the number of columns of a row of a table.
fn columns(row: &str) -> usize {
    let outside_code = row.trim().trim_matches('|').replace("\\|", "");
    outside_code.split('`').step_by(2).map(|text| text.matches('|').count()).sum::<usize>() + 1
}

/// With another number of columns in the line of dashes, a table is shown as plain text; with more in a row, their text is not
/// shown.
#[test]
fn every_row_of_a_table_has_as_many_columns_as_its_header() {
    let mut broken = Vec::new();
    for path in documents() {
        let text = document(&path);
        let mut header = None;
        for (index, line) in text.lines().enumerate() {
            let row = Some(line).filter(|line| line.starts_with('|'));
            header = row.map(|row| header.unwrap_or_else(|| columns(row)));
            if header.zip(row).is_some_and(|(header, row)| columns(row) != header) {
                broken.push(format!("{path}:{}: {line}", index + 1));
            }
        }
    }
    assert_none(&broken, "give each row of a table the columns of its header");
}
