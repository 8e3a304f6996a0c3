//! A file with a table of people: its bytes become rows, and what was noticed about them is kept to be shown.

use super::decode::{decode, kind_of_file};
use super::sheet::Sheet;

/// A table, and what was noticed about its file.
#[derive(Debug)]
pub(crate) struct Table {
    /// The name of the file, to be shown.
    pub(crate) name: String,
    pub(crate) sheet: Sheet,
    /// The encoding, as shown to a person.
    pub(crate) encoding: String,
    /// Whether a spreadsheet needs a byte order mark to read the same characters in a file of ours.
    pub(crate) wants_bom: bool,
}

impl Table {
    /// Reads a file; `encoding` and `delimiter` are those that the user named.
    ///
    /// # Errors
    /// Returns why the file is not a table, with its name.
    pub(crate) fn read(
        name: String,
        bytes: &[u8],
        encoding: Option<&str>,
        delimiter: Option<u8>,
    ) -> Result<Self, String> {
        if let Some((what, fix)) = kind_of_file(bytes) {
            return Err(format!("{name} is {what}; {fix}"));
        }
        let told = |problem: String| format!("{name}: {problem}");
        let decoded = decode(bytes, encoding).map_err(told)?;
        let sheet = Sheet::read(&decoded.text, delimiter).map_err(told)?;
        Ok(Self { name, sheet, encoding: decoded.encoding, wants_bom: decoded.wants_bom })
    }

    /// Returns the delimiter that a person named: one character, or `tab`.
    ///
    /// # Errors
    /// Returns what to write instead.
    pub(crate) fn delimiter(text: &str) -> Result<u8, String> {
        match text {
            "tab" | "\\t" => Ok(b'\t'),
            _ => match text.as_bytes() {
                [one] if one.is_ascii_punctuation() || *one == b'\t' => Ok(*one),
                _ => Err("write one character, such as ; or tab".to_owned()),
            },
        }
    }
}
