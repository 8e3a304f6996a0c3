//! The command line and the addresses that belong to a thing on a page.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters that are percent-encoded in a path or a query.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Returns `outboxd` with these words, each quoted for a shell if it needs to be.
pub(super) fn command(words: &[&str]) -> String {
    let mut line = "outboxd".to_owned();
    for word in words {
        line.push(' ');
        line.push_str(&quoted(word));
    }
    line
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Returns a path below `start` with `segments`, each encoded as one segment.
pub(super) fn path(start: &str, segments: &[&str]) -> String {
    let mut path = start.to_owned();
    for segment in segments {
        path.push('/');
        path.push_str(&encoded(segment));
    }
    path
}

/// Returns `start` with a query; leaves out empty values.
pub(super) fn query(start: &str, parameters: &[(&str, &str)]) -> String {
    let given: Vec<String> = parameters
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    if given.is_empty() { start.to_owned() } else { format!("{start}?{}", given.join("&")) }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_split_or_run_is_quoted() {
        assert_eq!(command(&["pause", "acc_1"]), "outboxd pause acc_1");
        assert_eq!(command(&["go", "--campaign", "it's $x"]), r"outboxd go --campaign 'it'\''s $x'");
        assert_eq!(command(&["pause", ""]), "outboxd pause ''");
    }

    #[test]
    fn an_id_stays_one_segment_and_one_value() {
        assert_eq!(path("/people", &["in/jane d", "stop"]), "/people/in%2Fjane%20d/stop");
        assert_eq!(query("/messages", &[("campaign", "a&b"), ("state", "")]), "/messages?campaign=a%26b");
        assert_eq!(query("/messages", &[]), "/messages");
    }
}
