//! A cell of a table as a value in a template, which notices that it is empty and printed all the same.
//!
//! A missing value counts as false (`{{ first_name or "there" }}`, `{% if company %}`) and prints nothing, but the
//! row is refused when it was printed. That holds for every way in which a template can print a value: filters,
//! concatenation, lists.

use std::fmt;
use std::sync::{Arc, Mutex};

use encoding_rs::WINDOWS_1252;
use minijinja::value::{Object, ObjectRepr, Value};

use crate::domain::ids::is_formula;
use crate::domain::placeholders::NEVER_MEANT;

/// Values that spreadsheets and programs write for a missing one. Case matters: Nan and Nil are given names.
const MISSING: [&str; 27] = [
    "nan",
    "NaN",
    "NAN",
    "null",
    "NULL",
    "Null",
    "undefined",
    "None",
    "none",
    "NONE",
    "nil",
    "NIL",
    "n/a",
    "N/A",
    "na",
    "NA",
    "NaT",
    "<NA>",
    "\\N",
    "(none)",
    "(empty)",
    "(blank)",
    "--",
    "\u{2014}",
    "<null>",
    "(null)",
    "-",
];

/// Errors of spreadsheets that could be words of a text, but not a whole cell.
const ERRORS: [&str; 9] = [
    "#NV",
    "#N/D",
    "#GETTING_DATA",
    "#FIELD!",
    "#BLOCKED!",
    "#CONNECT!",
    "#UNKNOWN!",
    "#BUSY!",
    "Loading...",
];

/// Returns whether it is an error of a spreadsheet with a number: `Err:502`.
fn is_numbered_error(text: &str) -> bool {
    let number = text.strip_prefix("Err:").filter(|number| !number.is_empty());
    number.is_some_and(|number| number.chars().all(|c| c.is_ascii_digit()))
}

/// A cell, with the name of its variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell<'a> {
    /// The name in templates.
    pub name: &'a str,
    /// The text.
    pub text: &'a str,
}

impl Cell<'_> {
    /// Returns whether the cell holds no value.
    pub fn is_missing(&self) -> bool {
        let is_error = || ERRORS.contains(&self.text) || is_numbered_error(self.text);
        self.text.is_empty() || MISSING.contains(&self.text) || NEVER_MEANT.contains(&self.text) || is_error()
    }

    /// Returns what is wrong with the characters of the cell: those of a template or a formula, or damaged on their way
    /// into the file.
    pub fn damage(&self) -> Option<String> {
        let Self { name, text } = self;
        if ["{{", "}}", "{%"].iter().any(|mark| text.contains(mark)) {
            return Some(format!("`{name}` is {text:?}, which was not filled in; fill it in"));
        }
        if is_formula(text) {
            return Some(format!(
                "`{name}` is {text:?}, a formula; export the results of the formulas, not the formulas"
            ));
        }
        if text.contains('\u{fffd}') {
            return Some(format!(
                "`{name}` is {text:?}, in which characters are lost; export the table as UTF-8"
            ));
        }
        let right = twice_encoded(text)?;
        Some(format!(
            "`{name}` is {text:?}, which is {right:?} in a wrong encoding; export the table as UTF-8"
        ))
    }

    /// Returns why a row with this missing value is refused, and what to do.
    pub(super) fn reason(&self, template: &str) -> String {
        let Self { name, text } = self;
        let problem = match text.is_empty() {
            true => "is empty".to_owned(),
            false => format!("is {text:?}, which means a missing value"),
        };
        format!("`{name}` {problem}; fill it in, or write a default in {template}: {{{{ {name} or \"…\" }}}}")
    }
}

/// Returns the text that was encoded as UTF-8 and then read as Windows-1252, such as `Müller` for `MÃ¼ller`.
fn twice_encoded(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let (bytes, _, is_lossy) = WINDOWS_1252.encode(text);
    if is_lossy {
        return None;
    }
    String::from_utf8(bytes.into_owned()).ok().filter(|right| right != text)
}

/// What was printed in one rendering although it was missing: the reason for each, once.
#[derive(Debug, Default)]
pub(super) struct Printed(Mutex<Vec<String>>);

/// The name under which a rendering finds its [`Printed`]; no column can have it.
pub(super) const PRINTED: &str = " printed";

impl Printed {
    /// Returns the reasons.
    pub(super) fn reasons(&self) -> Vec<String> {
        self.0.lock().expect("nothing panics while holding it").clone()
    }
}

impl Object for Printed {}

/// A missing value in a template.
pub(super) struct Missing {
    reason: String,
    printed: Arc<Printed>,
}

impl Missing {
    /// Returns a missing value; `reason` is why the row is refused if a template prints it.
    pub(super) fn value(reason: String, printed: Arc<Printed>) -> Value {
        Value::from_object(Self { reason, printed })
    }

    /// Returns whether `value` is missing.
    pub(super) fn is(value: &Value) -> bool {
        value.downcast_object_ref::<Self>().is_some()
    }

    fn print(&self) {
        let mut reasons = self.printed.0.lock().expect("nothing panics while holding it");
        if !reasons.contains(&self.reason) {
            reasons.push(self.reason.clone());
        }
    }
}

impl fmt::Debug for Missing {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print();
        Ok(())
    }
}

impl Object for Missing {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_write_for_a_missing_value_is_one_and_names_are_not() {
        for text in [
            "",
            "NULL",
            "nan",
            "<NA>",
            "NaT",
            "\\N",
            "#N/A",
            "#DIV/0!",
            "#ERROR!",
            "(blank)",
            "\u{2014}",
            "#REF!",
            "#NAME?",
            "#SPILL!",
            "#WERT!",
            "#¿NOMBRE?",
            "#NV",
            "Err:502",
        ] {
            assert!(Cell { name: "x", text }.is_missing(), "{text}");
        }
        for text in ["Nan", "Nil", "Na", "Jane", "0", "N", "True", "#1", "#1!", "#Hiring!", "Err"] {
            assert!(!Cell { name: "x", text }.is_missing(), "{text}");
        }
    }

    #[test]
    fn a_formula_in_place_of_its_result_is_noticed() {
        for text in ["=HYPERLINK(\"x\")", "=A1", "=$B$2&\" \"&C2", "=+A1", "'=A1", "=\"Jane\""] {
            assert!(
                Cell { name: "x", text }.damage().is_some_and(|damage| damage.contains("formula")),
                "{text}"
            );
        }
        for text in ["=)", "=> Berlin", "== Acme ==", "=", "a=b", "1+1=2"] {
            assert_eq!(Cell { name: "x", text }.damage(), None, "{text}");
        }
    }

    #[test]
    fn damaged_characters_are_noticed_and_names_are_not() {
        for text in ["{{first_name}}", "Jane}}", "MÃ¼ller", "JosÃ©", "Itâ€™s", "M\u{fffd}ller", "=A1"]
        {
            assert!(Cell { name: "x", text }.damage().is_some(), "{text}");
        }
        for text in
            ["Müller", "José", "Zoë", "It’s", "Ã", "São João", "Łukasz", "李", "Ølgaard €5", "Анна", "x"]
        {
            assert_eq!(Cell { name: "x", text }.damage(), None, "{text}");
        }
    }
}
