//! A template: settings, and a text that is rendered for each row.
//!
//! Rendering is strict: an unknown variable is found before the first row, and a missing value refuses its row unless
//! the template says what to write instead. Fuel bounds what one row may cost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::Value as Json;

use super::cells::{Cell, Missing, PRINTED, Printed};
use super::front_matter::FrontMatter;
use super::{filters, names};

/// Instructions that one rendering may execute; a template of 8,000 characters needs a few hundred.
const FUEL: u64 = 100_000;
/// The name of the text among the compiled templates; the others are the texts of `specifics`, by their number.
const TEXT: &str = "text";

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    name: String,
    settings: FrontMatter,
    environment: Environment<'static>,
    specifics: Option<Json>,
    variables: BTreeSet<String>,
    is_empty: bool,
}

/// What a template renders to for one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The text of the message.
    pub text: String,
    /// Provider-specific options.
    pub specifics: Option<Json>,
}

impl Template {
    /// Parses the template `name`.
    ///
    /// # Errors
    /// Returns what is wrong with it, with its name and the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let (settings, body) = FrontMatter::split(text).map_err(|problem| format!("{name}, {problem}"))?;
        let body_line =
            text.len().checked_sub(body.len()).map_or(0, |start| text[..start].matches('\n').count());
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // A line that holds only a tag leaves no line.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("these are the usual delimiters"));
        environment.set_fuel(Some(FUEL));
        filters::add(&mut environment);
        let globals: Vec<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
        // Line ends of Windows would end lines of the message with a carriage return.
        let mut texts = vec![(TEXT.to_owned(), kept_line_ends(&body.replace("\r\n", "\n")))];
        let specifics = settings.specifics().map(|tree| numbered(tree, &mut texts));
        let mut variables = BTreeSet::new();
        for (key, text) in texts {
            let above = if key == TEXT { body_line } else { 0 };
            let added = environment.add_template_owned(key.clone(), text);
            added.map_err(|error| problem(name, above, &error))?;
            let compiled = environment.get_template(&key).map_err(|error| problem(name, above, &error))?;
            variables.extend(compiled.undeclared_variables(false));
            if let Some((line, unknown)) = names::unknown(&environment, compiled.source()) {
                return Err(format!(
                    "{name}, line {}: {unknown}; docs/campaigns.md has those that exist",
                    line + above
                ));
            }
        }
        variables.retain(|variable| !globals.contains(variable));
        let is_empty = body.trim().is_empty();
        Ok(Self { name: name.to_owned(), settings, environment, specifics, variables, is_empty })
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its settings.
    pub fn settings(&self) -> &FrontMatter {
        &self.settings
    }

    /// Returns the variables that it uses.
    pub fn variables(&self) -> &BTreeSet<String> {
        &self.variables
    }

    /// Returns whether it has no text.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Returns whether a setting of it is only for starting a chat.
    pub fn starts_a_chat(&self) -> bool {
        self.settings.starts_a_chat()
    }

    /// Renders the template for a row.
    ///
    /// # Errors
    /// Returns every reason for which the row is refused: missing values that would be printed, damaged characters,
    /// a text that costs too much.
    pub fn render(&self, cells: &[Cell<'_>]) -> Result<Rendered, Vec<String>> {
        let printed = Arc::new(Printed::default());
        let value = |cell: &Cell<'_>| match cell.is_missing() {
            true => Missing::value(cell.reason(&self.name), Arc::clone(&printed)),
            false => Value::from(cell.text),
        };
        let used: Vec<&Cell<'_>> = cells.iter().filter(|cell| self.variables.contains(cell.name)).collect();
        let mut reasons: Vec<String> = used.iter().filter_map(|cell| cell.damage()).collect();
        let mut context: BTreeMap<&str, Value> = used.iter().map(|cell| (cell.name, value(cell))).collect();
        context.insert(PRINTED, Value::from_dyn_object(Arc::clone(&printed)));
        let context = Value::from(context);
        let render =
            |key: &str| self.environment.get_template(key).and_then(|compiled| compiled.render(&context));
        let text = render(TEXT);
        let specifics = self.specifics.clone().map(|tree| filled(tree, &render)).transpose();
        reasons.extend(printed.reasons());
        match (text, specifics) {
            (Ok(text), Ok(specifics)) if reasons.is_empty() => Ok(Rendered { text, specifics }),
            (Err(error), _) | (_, Err(error)) => {
                // A missing value is the likely cause of an error after it.
                if reasons.is_empty() {
                    reasons.push(problem(&self.name, 0, &error));
                }
                Err(reasons)
            }
            _ => Err(reasons),
        }
    }
}

/// Keeps the line end after a tag that does not have the line for itself: `Hi{% if name %} {{ name }}{% endif %}`.
///
/// The engine drops the line end after every tag, which is meant only for lines that hold nothing else; `+%}` keeps it.
fn kept_line_ends(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (content, end) = line.strip_suffix('\n').map_or((line, ""), |content| (content, "\n"));
        let is_alone = content.trim_start().starts_with("{%") && content.matches("{%").count() == 1;
        match content.strip_suffix("%}") {
            Some(rest) if !is_alone && !rest.ends_with(['-', '+']) => kept += &format!("{rest}+%}}"),
            _ => kept += content,
        }
        kept += end;
    }
    kept
}

/// Replaces each text by the number under which it is compiled.
fn numbered(tree: Json, texts: &mut Vec<(String, String)>) -> Json {
    match tree {
        Json::String(text) => {
            let key = texts.len().to_string();
            texts.push((key.clone(), text));
            Json::String(key)
        }
        Json::Array(items) => items.into_iter().map(|item| numbered(item, texts)).collect(),
        Json::Object(map) => map.into_iter().map(|(name, value)| (name, numbered(value, texts))).collect(),
        other => other,
    }
}

/// Replaces each number by what its text renders to.
fn filled(tree: Json, render: &impl Fn(&str) -> Result<String, Error>) -> Result<Json, Error> {
    Ok(match tree {
        Json::String(key) => Json::String(render(&key)?),
        Json::Array(items) => {
            Json::Array(items.into_iter().map(|item| filled(item, render)).collect::<Result<_, _>>()?)
        }
        Json::Object(map) => {
            let pairs = map.into_iter().map(|(name, value)| filled(value, render).map(|value| (name, value)));
            Json::Object(pairs.collect::<Result<_, _>>()?)
        }
        other => other,
    })
}

/// Returns an error of the template engine with its place.
fn problem(name: &str, above: usize, error: &Error) -> String {
    let place = error.line().map(|line| format!(", line {}", line + above)).unwrap_or_default();
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.kind() {
        ErrorKind::OutOfFuel => {
            format!("{name}{place}: takes too long to render; remove loops over large numbers")
        }
        _ => format!("{name}{place}: {detail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells<'a>(given: &[(&'a str, &'a str)]) -> Vec<Cell<'a>> {
        given.iter().map(|(name, text)| Cell { name, text }).collect()
    }

    fn rendered(template: &str, given: &[(&str, &str)]) -> Result<String, String> {
        let template = Template::parse("hello.txt", template).unwrap();
        template.render(&cells(given)).map(|rendered| rendered.text).map_err(|reasons| reasons.join(" + "))
    }

    #[test]
    fn values_are_filled_in_as_they_are() {
        for (template, text) in [
            ("Hi {{ first_name }},\r\n\r\nhow is {{ company }}?\r\n", "Hi Zoë,\n\nhow is A & <B>?"),
            ("{% if company %}\nYou work at {{ company }}.\n{% endif %}\nBye", "You work at A & <B>.\nBye"),
            (
                "Hi{% if company %} all{% endif %}\nBye{% if empty %} x{% endif %}\n\nEnd",
                "Hi all\nBye\n\nEnd",
            ),
            ("{{ full | first_name }} {{ full | title }}", "Jane Jane Doe"),
            ("{{ first_name or 'there' }}{{ empty or ' there' }}", "Zoë there"),
            ("{{ empty | default('you') }}{{ nan | default('!') }}", "you!"),
            ("{{ (empty | title) or 'you' }}{{ initial | first_name or ' too' }}", "you too"),
            ("{% if empty %}x{{ empty }}{% endif %}{{ 'y' if empty is defined else 'n' }}", "n"),
        ] {
            let given = [
                ("first_name", "Zoë"),
                ("company", "A & <B>"),
                ("full", "JANE DOE"),
                ("empty", ""),
                ("nan", "nan"),
                ("initial", "J. Doe"),
            ];
            let text = text.replace("Jane Jane Doe", "JANE Jane Doe");
            assert_eq!(rendered(template, &given), Ok(text), "{template}");
        }
    }

    #[test]
    fn a_missing_value_that_would_be_printed_refuses_the_row() {
        for template in [
            "Hi {{ x }},",
            "{{ 'Hi ' ~ x }}",
            "{{ x | upper }}",
            "{{ x | title }}",
            "{{ [x] | join(', ') }}",
            "{{ [x] }}",
            "{{ {'a': x} }}",
            "{% set y = x %}{{ y }}",
            "{% if x != '' %}at {{ x }}{% endif %}",
            "{{ x | replace('a', 'b') }}",
        ] {
            for (text, told) in
                [("", "`x` is empty; fill it in"), ("NULL", "\"NULL\", which means a missing value")]
            {
                let refused = rendered(template, &[("x", text)]).unwrap_err();
                assert!(refused.contains(told), "{template}: {refused}");
            }
        }
        let refused = rendered("Hi {{ x | first_name }}", &[("x", "J. Doe")]).unwrap_err();
        assert!(refused.contains("\"J. Doe\" holds no first name"), "{refused}");
        let refused = rendered("Hi {{ x }} {{ y }}", &[("x", ""), ("y", "M\u{fffd}ller")]).unwrap_err();
        assert!(refused.contains("`x` is empty") && refused.contains("characters are lost"), "{refused}");
    }

    #[test]
    fn a_template_is_checked_before_the_first_row() {
        for (template, told) in [
            ("Hi\n{{ first_name", "hello.txt, line 2: "),
            ("---\ntyping = true\n---\nHi\n{% if %}", "hello.txt, line 5: "),
            ("{{ x | no_such_filter }}", "no_such_filter"),
            ("{% include 'x' %}", "include"),
        ] {
            let refused =
                Template::parse("hello.txt", template).map(|template| template.render(&cells(&[("x", "y")])));
            let refused = match refused {
                Err(refused) => refused,
                Ok(rendered) => rendered.unwrap_err().join(""),
            };
            assert!(refused.contains(told), "{template}: {refused}");
        }
        let template =
            Template::parse("a", "{{ a }}{% for i in range(3) %}{{ i }}{{ b.c }}{% endfor %}").unwrap();
        assert_eq!(template.variables().iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b"]);
        let endless =
            rendered("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}", &[]);
        assert!(endless.unwrap_err().contains("takes too long"));
    }

    #[test]
    fn subjects_are_templates_too() {
        let text = "---\nproduct = \"sales_navigator\"\nsubject = \"{{ company }}\"\n---\nHi\n";
        let template = Template::parse("hello.txt", text).unwrap();
        let rendered = template.render(&cells(&[("company", "Acme")])).unwrap();
        assert_eq!(rendered.text, "Hi");
        let subject = rendered.specifics.unwrap();
        assert_eq!(subject["linkedin"]["sales_navigator"]["subject"], "Acme");
        let refused = template.render(&cells(&[("company", "")])).unwrap_err();
        assert!(refused[0].contains("`company` is empty"));
    }
}
