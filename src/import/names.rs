//! Filters and tests that a template names and that do not exist. The template engine reports one when a row executes it,
//! which would refuse every row instead of the template.

use minijinja::{Environment, ErrorKind};

/// The marks between which a template has expressions or tags.
const MARKS: [(&str, &str); 3] = [("{#", "#}"), ("{{", "}}"), ("{%", "%}")];

/// Returns the first filter or test of `text` that `environment` does not know, and its line, from 1.
pub(super) fn unknown(environment: &Environment<'static>, text: &str) -> Option<(usize, String)> {
    let (mut at, mut is_raw) = (0, false);
    while let Some((start, open, close)) = next_tag(text, at) {
        let inner = &text[start + open.len()..];
        let length = if open == "{#" { inner.find(close) } else { end_of(inner, close) };
        let tag = &inner[..length.unwrap_or(inner.len())];
        at = start + open.len() + tag.len();
        let word = tag.trim_matches(['-', '+']).trim();
        match (open, word) {
            ("{%", "raw") => is_raw = true,
            ("{%", "endraw") => is_raw = false,
            ("{#", _) => {}
            _ if is_raw => {}
            _ => {
                let names = names(tag);
                let found = names.into_iter().find(|(_, name)| is_unknown(environment, name));
                if let Some((place, (what, name))) = found {
                    let before = &text[..start + open.len() + place];
                    let line = before.matches('\n').count() + 1;
                    return Some((line, format!("there is no {what} `{name}`")));
                }
            }
        }
    }
    None
}

/// Returns the next tag after `at`: its place and its marks.
fn next_tag(text: &str, at: usize) -> Option<(usize, &'static str, &'static str)> {
    let found =
        MARKS.iter().filter_map(|(open, close)| Some((at + text.get(at..)?.find(open)?, *open, *close)));
    found.min_by_key(|(start, ..)| *start)
}

/// Returns where a tag ends: at the mark that is not within quotation marks.
fn end_of(inner: &str, close: &str) -> Option<usize> {
    outside_quotes(inner).find(|(place, _)| inner[*place..].starts_with(close)).map(|(place, _)| place)
}

/// Returns the characters that are not within quotation marks.
fn outside_quotes(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quote, mut is_escaped) = (None, false);
    text.char_indices().filter(move |(_, c)| match quote {
        Some(_) if is_escaped => {
            is_escaped = false;
            false
        }
        Some(open) => {
            is_escaped = *c == '\\';
            quote = Some(open).filter(|open| open != c);
            false
        }
        None if matches!(c, '"' | '\'') => {
            quote = Some(*c);
            false
        }
        None => true,
    })
}

/// Returns the filters and tests that a tag names, each with its place.
fn names(tag: &str) -> Vec<(usize, (&'static str, &str))> {
    let mut found = Vec::new();
    let plain: Vec<(usize, char)> = outside_quotes(tag).collect();
    let word_at = |from: usize| {
        let rest = &tag[from..];
        let start = from + rest.len() - rest.trim_start().len();
        let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = tag[start..].find(|c| !is_of_word(c)).unwrap_or(tag.len() - start);
        (start, &tag[start..start + length])
    };
    let mut before = ' ';
    for (place, c) in plain {
        if c == '|' {
            let (start, name) = word_at(place + 1);
            found.push((start, ("filter", name)));
        } else if !before.is_alphanumeric() && !matches!(before, '_' | '.') && c.is_alphabetic() {
            let (_, word) = word_at(place);
            let (start, next) = word_at(place + word.len());
            match (word, next) {
                ("is", "not") => {
                    let (start, name) = word_at(start + next.len());
                    found.push((start, ("test", name)));
                }
                ("is", name) => found.push((start, ("test", name))),
                ("filter", name) if tag.trim_start_matches(['-', '+']).trim_start().starts_with("filter") => {
                    found.push((start, ("filter", name)));
                }
                _ => {}
            }
        }
        before = c;
    }
    found
}

/// Asks the engine, which knows a filter or a test only when it executes one.
fn is_unknown(environment: &Environment<'static>, (what, name): &(&'static str, &str)) -> bool {
    let probe = if *what == "filter" { format!("1|{name}") } else { format!("1 is {name}") };
    let asked = environment.compile_expression_owned(probe).and_then(|compiled| compiled.eval(()));
    asked.is_err_and(|error| matches!(error.kind(), ErrorKind::UnknownFilter | ErrorKind::UnknownTest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_or_a_test_that_does_not_exist_is_found_with_its_line() {
        let mut environment = Environment::new();
        super::super::filters::add(&mut environment);
        for (text, found) in [
            ("Hi\n{{ name | frist_name }}", Some((2, "there is no filter `frist_name`"))),
            ("{{ (a or b)|upper|shout }}", Some((1, "there is no filter `shout`"))),
            ("{% if a is nice %}x{% endif %}", Some((1, "there is no test `nice`"))),
            ("{% if a is not\nnice %}x{% endif %}", Some((2, "there is no test `nice`"))),
            ("{% if false %}{{ a | shout }}{% endif %}", Some((1, "there is no filter `shout`"))),
            ("{%- filter shout %}x{% endfilter %}", Some((1, "there is no filter `shout`"))),
            ("{{ a | first_name or \"b | c\" }} | d {{ 'it\\'s | x' }}", None),
            (
                "{# a | b #}{% raw %}{{ a | b }}{% endraw %}{{ a|default('x')|join(', ')|replace('a', 'b') }}",
                None,
            ),
            ("{% if a is defined and b is not none %}{{ this.is }}{{ \"%} | b\" }}{% endif %}", None),
            ("{% set filter = 1 %}{% for x in [1]|reverse %}{{ loop.index }}{% endfor %}", None),
        ] {
            let expected = found.map(|(line, what)| (line, what.to_owned()));
            assert_eq!(unknown(&environment, text), expected, "{text}");
        }
    }
}
