//! The text of a file: notices byte order marks, UTF-8, UTF-16, Mac OS Roman and Windows-1252.
//!
//! A wrong guess would send `MÃ¼ller` to a person. Guesses are therefore reported, and bytes that the guess
//! cannot explain are refused.

use encoding_rs::{Encoding, MACINTOSH, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Number of bytes at the beginning of a file in which UTF-16 without a byte order mark is looked for.
const SNIFFED: usize = 4096;

/// A decoded file.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The text, without a byte order mark.
    pub text: String,
    /// The encoding, as shown to a person: `UTF-16LE`.
    pub encoding: String,
    /// Whether a spreadsheet needs a byte order mark to read the same characters in a file of ours.
    pub wants_bom: bool,
}

/// Returns what the file is if it cannot be a table as text: "an Excel workbook", and what to do.
pub fn kind_of_file(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let start = bytes.trim_ascii_start();
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let save = "save the sheet as CSV UTF-8 and import that file";
    let known: [(&[u8], &str, &str); 7] = [
        (b"PK\x03\x04", "an Excel workbook or another zip archive", save),
        (b"\xd0\xcf\x11\xe0", "an old Excel workbook", save),
        (
            b"SQLite format 3\0",
            "a SQLite database",
            "export its table as CSV: `sqlite3 -header -csv FILE 'SELECT …'`",
        ),
        (b"%PDF", "a PDF document", "export the table as CSV"),
        (
            b"[",
            "a JSON array",
            "`outboxd enqueue FILE` takes messages as JSON, one per line: `jq -c '.[]' FILE`",
        ),
        (b"{", "JSON", "`outboxd enqueue FILE` takes messages as JSON, one per line"),
        (b"<", "HTML or XML", "export the table as CSV"),
    ];
    let found = known.into_iter().find(|(mark, ..)| start.starts_with(mark));
    found.map(|(_, what, fix)| (what, fix))
}

/// Decodes a file; `named` is the encoding that the user named.
///
/// # Errors
/// Returns why the bytes are not text in the named or in any known encoding.
pub fn decode(bytes: &[u8], named: Option<&str>) -> Result<Decoded, String> {
    let forced = named.map(|name| {
        Encoding::for_label(name.as_bytes()).ok_or_else(|| {
            format!(
                "{name:?} is not a known encoding; write a name such as utf-8, windows-1252 or windows-1251"
            )
        })
    });
    let forced = forced.transpose()?;
    let marked = Encoding::for_bom(bytes);
    let (encoding, skip) = match (forced, marked) {
        (Some(encoding), Some((bom, length))) if encoding == bom => (encoding, length),
        (Some(encoding), _) => (encoding, 0),
        (None, Some(marked)) => marked,
        (None, None) => (guess(bytes), 0),
    };
    let rest = bytes.get(skip..).unwrap_or_default();
    let Some(text) = encoding.decode_without_bom_handling_and_without_replacement(rest) else {
        let place = std::str::from_utf8(rest).err().map_or(0, |error| error.valid_up_to());
        let line = 1 + rest[..place].iter().filter(|byte| **byte == b'\n').count();
        let name = encoding.name();
        return Err(format!(
            "line {line} is not text in {name}; save the file as UTF-8, or name its encoding with `--encoding NAME`"
        ));
    };
    if encoding == WINDOWS_1252
        && forced.is_none()
        && let Some(odd) = text.chars().find(|c| is_c1(*c))
    {
        return Err(format!(
            "is neither UTF-8 nor Windows-1252 (it holds the byte 0x{:02x}); save it as UTF-8, or name its encoding \
             with `--encoding NAME`",
            u32::from(odd)
        ));
    }
    if encoding == WINDOWS_1252
        && forced.is_none()
        && let Some(word) = mac_word(&text)
    {
        return Err(format!(
            "holds {word:?}, which is Mac OS Roman read as Windows-1252; save it as CSV UTF-8, or name its encoding with \
             `--encoding macintosh`, or `--encoding windows-1252` if the word is right"
        ));
    }
    // Excel's "CSV (Macintosh)" ends its lines like this.
    let text = if text.contains('\n') { text.into_owned() } else { text.replace('\r', "\n") };
    let bom = if marked.is_some() { " with a byte order mark" } else { "" };
    Ok(Decoded {
        text,
        encoding: format!("{}{bom}", shown(encoding)),
        wants_bom: marked.is_some() || encoding != UTF_8,
    })
}

/// Returns the encoding of bytes without a byte order mark.
fn guess(bytes: &[u8]) -> &'static Encoding {
    let start = &bytes[..bytes.len().min(SNIFFED)];
    let zeros = |offset: usize| start.iter().skip(offset).step_by(2).filter(|byte| **byte == 0).count();
    // In UTF-16, one half of each Latin letter and delimiter is zero.
    let many = start.len() / 8;
    match (zeros(0), zeros(1)) {
        (even, odd) if odd > many && even <= many / 4 => UTF_16LE,
        (even, odd) if even > many && odd <= many / 4 => UTF_16BE,
        _ if std::str::from_utf8(bytes).is_ok() => UTF_8,
        _ if bytes.contains(&b'\r') && !bytes.contains(&b'\n') => MACINTOSH,
        _ => WINDOWS_1252,
    }
}

/// Returns a word with a letter that Windows-1252 shows for another one of Mac OS Roman: `MŸller`, `JŠger`, `RenŽ`, `Jšrg`.
fn mac_word(text: &str) -> Option<&str> {
    const SIGNS: [char; 10] = ['Ÿ', 'Š', 'Ž', 'Œ', '†', '‡', 'ˆ', '‰', '§', '¿'];
    // A capital after a small letter, also at the end of a word.
    const CAPITALS: [char; 4] = ['Ÿ', 'Š', 'Ž', 'Œ'];
    let is_of_mac = |word: &&str| {
        word.char_indices().any(|(place, sign)| {
            let (before, after) = (&word[..place], &word[place + sign.len_utf8()..]);
            let is_inside = before.ends_with(|c: char| c.is_ascii_alphabetic())
                && after.starts_with(|c: char| c.is_ascii_lowercase());
            let is_capital_at_end = before.ends_with(|c: char| c.is_ascii_lowercase())
                && !after.starts_with(|c: char| c.is_alphabetic());
            SIGNS.contains(&sign) && is_inside
                || CAPITALS.contains(&sign) && is_capital_at_end
                || sign == 'š' && is_first_vowel(before, after)
        })
    };
    text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"')).find(is_of_mac)
}

/// Returns whether a letter is the only vowel that the first syllable of a word can have, such as `ö` in `Jörg` and `Köln`.
/// In Slavic names a vowel comes before or after `š`, or an `r` or `l` that is a syllable: `Dušan`, `Polšnik`, `Kršnik`.
fn is_first_vowel(before: &str, after: &str) -> bool {
    let is_consonant = |c: char| c.is_ascii_alphabetic() && !"aeiouyAEIOUY".contains(c);
    let begin = before.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    let is_syllable = begin.len() > 1 && begin.ends_with(['r', 'l']);
    !begin.is_empty()
        && !is_syllable
        && begin.chars().all(is_consonant)
        && after.starts_with(|c: char| c.is_ascii_lowercase() && is_consonant(c))
}

/// Returns whether `c` is a control character that Windows-1252 leaves undefined.
fn is_c1(c: char) -> bool {
    ('\u{80}'..='\u{9f}').contains(&c)
}

/// Returns the name as people write it.
fn shown(encoding: &'static Encoding) -> String {
    match encoding.name() {
        "windows-1252" => "Windows-1252".to_owned(),
        "macintosh" => "Mac OS Roman".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf_16(text: &str, big: bool) -> Vec<u8> {
        let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn the_encoding_is_noticed() {
        let text = "name,city\r\nZoë Müller,Köln\r\n";
        let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        for (bytes, encoding) in [
            (text.as_bytes().to_vec(), "UTF-8"),
            (format!("\u{feff}{text}").into_bytes(), "UTF-8 with a byte order mark"),
            (utf_16(&format!("\u{feff}{text}"), false), "UTF-16LE with a byte order mark"),
            (utf_16(&format!("\u{feff}{text}"), true), "UTF-16BE with a byte order mark"),
            (utf_16(text, false), "UTF-16LE"),
            (utf_16(text, true), "UTF-16BE"),
            (latin, "Windows-1252"),
        ] {
            let decoded = decode(&bytes, None).unwrap();
            assert_eq!((decoded.text.as_str(), decoded.encoding.as_str()), (text, encoding));
        }
    }

    #[test]
    fn bytes_that_no_guess_explains_are_refused() {
        let refused = decode(b"name\n\xcd\xe0\x90\xff\xf0\n", None).unwrap_err();
        assert!(refused.contains("0x90") && refused.contains("--encoding"), "{refused}");
        assert_eq!(decode(b"name\n\xc0\xed\xed\xe0\n", Some("windows-1251")).unwrap().text, "name\nАнна\n");
        let refused = decode(b"a\nb\xff\n", Some("utf-8")).unwrap_err();
        assert!(refused.starts_with("line 2 is not text in UTF-8"), "{refused}");
        assert!(decode(b"a", Some("latin-17")).unwrap_err().contains("not a known encoding"));
    }

    #[test]
    fn what_excel_writes_on_a_mac_is_noticed_or_refused() {
        let decoded = decode(b"name,city\rJ\x9arg M\x9fller,K\x9aln\r", None).unwrap();
        let expected = ("name,city\nJörg Müller,Köln\n", "Mac OS Roman");
        assert_eq!((decoded.text.as_str(), decoded.encoding.as_str()), expected);
        let other_ends = b"name,city\r\nJ\x9arg M\x9fller,K\x9aln\r\n";
        let refused = decode(other_ends, None).unwrap_err();
        assert!(refused.contains("Jšrg") && refused.contains("--encoding macintosh"), "{refused}");
        assert_eq!(decode(other_ends, Some("macintosh")).unwrap().text, "name,city\r\nJörg Müller,Köln\r\n");
        for word in
            [&b"J\x9arg"[..], b"K\x9aln", b"Bj\x9arn", b"M\x9aller", b"Ren\x8e", b"Andr\x8e-Marc", b"Gr\x9fn"]
        {
            let text = [b"name,city\r\n", word, b",Bonn\r\n"].concat();
            let refused = decode(&text, None).unwrap_err();
            assert!(refused.contains("--encoding macintosh"), "{refused}");
        }
        // Words of Windows-1252.
        for text in [
            &b"Vr\x9anik Tom\x9ai\xe8 \x8aimun Ale\x9a P\x9aenica Kr\x9anik Pol\x9anik\n"[..],
            b"\x8ei\x9eka Mu\x9a\x9eka KR\x8aKO Ho\x9aek Jan\x9aa\n",
            b"Du\x9aan \x8ei\x9eek\n",
            b"C\x8cUR s\x9cur O\x92Brien\n",
            b"caf\xe9 \xa7 5\n",
        ] {
            assert_eq!(decode(text, None).unwrap().encoding, "Windows-1252");
        }
    }

    #[test]
    fn other_files_are_named_as_what_they_are() {
        for (bytes, what) in [
            (&b"PK\x03\x04..."[..], "Excel"),
            (b" [{\"text\": 1}]", "JSON array"),
            (b"{\"text\": 1}\n", "JSON"),
            (b"\xef\xbb\xbf{\"text\": 1}\n", "JSON"),
            (b"SQLite format 3\0", "SQLite"),
            (b"<html>", "HTML"),
        ] {
            assert!(kind_of_file(bytes).is_some_and(|(name, _)| name.contains(what)), "{what}");
        }
        assert_eq!(kind_of_file(b"first_name,last_name\n"), None);
    }
}
