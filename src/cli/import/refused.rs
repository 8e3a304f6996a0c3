//! The file of refused rows next to the table.
//!
//! It is written under another name and renamed, so that it is whole or not there. An existing file is never
//! overwritten, because someone may be mending it: the next number is used, unless the content is the same.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::import::{RefusedRows, Table, refused_file};

/// Writes the refused rows next to `file`; returns the name.
pub(super) fn write(file: &Path, table: &Table, refused: &RefusedRows) -> io::Result<PathBuf> {
    let content = refused_file(table, refused)?;
    let (stem, mut number) = stem(file);
    loop {
        let name = match number {
            1 => PathBuf::from(format!("{stem}.refused.csv")),
            _ => PathBuf::from(format!("{stem}.refused-{number}.csv")),
        };
        match fs::read(&name) {
            Ok(there) if there == content => return Ok(name),
            Ok(_) => number += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let part = PathBuf::from(format!("{}.part", name.display()));
                fs::write(&part, &content)?;
                fs::rename(&part, &name)?;
                return Ok(name);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Returns the name without the ending of such a file, and the number of the next one.
fn stem(file: &Path) -> (String, u32) {
    let name = if file == Path::new("-") { "people.csv".to_owned() } else { file.display().to_string() };
    let numbered = name.strip_suffix(".csv").and_then(|name| {
        let (stem, rest) = name.rsplit_once(".refused")?;
        let number = if rest.is_empty() { Some(1) } else { rest.strip_prefix('-')?.parse().ok() };
        Some((stem.to_owned(), number?))
    });
    numbered.map_or((name, 1), |(stem, number)| (stem, number + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_count_on() {
        for (file, stem_of, number) in [
            ("people.csv", "people.csv", 1),
            ("a/people.csv.refused.csv", "a/people.csv", 2),
            ("people.csv.refused-2.csv", "people.csv", 3),
            ("people.txt", "people.txt", 1),
            ("-", "people.csv", 1),
        ] {
            assert_eq!(stem(Path::new(file)), (stem_of.to_owned(), number), "{file}");
        }
    }
}
