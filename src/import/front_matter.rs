//! What a template says about its message besides the text: TOML between two lines of `---` at its beginning.
//!
//! ```text
//! ---
//! product = "sales_navigator"
//! subject = "{{ company }}"
//! attachments = ["role.pdf"]
//! ---
//! Hi {{ first_name }}, …
//! ```

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The settings of a template. Texts in `subject`, `signature` and `specifics` are templates as well.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontMatter {
    /// Send as an InMail of LinkedIn itself, which costs a credit.
    #[serde(default)]
    pub inmail: bool,
    /// The product with which the chat is started: `sales_navigator` or `recruiter`.
    product: Option<String>,
    subject: Option<String>,
    signature: Option<String>,
    /// The provider-specific options themselves, as in docs/messages.md.
    specifics: Option<Map<String, Value>>,
    /// Files to attach, relative to the folder of the template.
    #[serde(default)]
    pub attachments: Vec<String>,
    /// How to show the files: `native` or `file`.
    pub send_mode: Option<String>,
    /// The file is a voice note.
    pub voice_note: Option<bool>,
    /// Show the typing indicator or not.
    pub typing: Option<bool>,
}

impl FrontMatter {
    /// Splits a template into its settings and its text.
    pub(super) fn split(text: &str) -> Result<(Self, &str), String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.split_inclusive('\n');
        let is_mark = |line: &str| line.trim_end() == "---";
        let Some(first) = lines.next().filter(|line| is_mark(line)) else {
            return Ok((Self::default(), text));
        };
        let mut end = first.len();
        for line in lines {
            if is_mark(line) {
                let found: Self = toml::from_str(&text[first.len()..end]).map_err(|error| {
                    let line = error
                        .span()
                        .map_or(0, |span| text[first.len()..][..span.start].matches('\n').count());
                    format!("line {}: {}", line + 2, error.message())
                })?;
                found.check()?;
                return Ok((found, &text[end + line.len()..]));
            }
            end += line.len();
        }
        Err("line 1: the settings begin with `---` and have no second line of `---` at their end".to_owned())
    }

    fn check(&self) -> Result<(), String> {
        let short =
            self.inmail || self.product.is_some() || self.subject.is_some() || self.signature.is_some();
        match self.product.as_deref() {
            _ if short && self.specifics.is_some() => {
                Err("`specifics` cannot be combined with `inmail`, `product`, `subject` or `signature`; write all of it \
                     in `specifics`"
                    .to_owned())
            }
            Some(_) if self.inmail => {
                Err("`inmail` cannot be combined with `product`; it is for LinkedIn itself".to_owned())
            }
            Some("sales_navigator" | "recruiter") | None if self.product.is_some() && self.subject.is_none() => {
                Err("`subject` is missing; both products need one".to_owned())
            }
            Some("recruiter") if self.signature.is_none() => {
                Err("`signature` is missing; Recruiter needs one".to_owned())
            }
            Some("sales_navigator") if self.signature.is_some() => {
                Err("`signature` is for `product = \"recruiter\"`; leave it out".to_owned())
            }
            Some("sales_navigator" | "recruiter") => Ok(()),
            Some(other) => {
                Err(format!("`product` is {other:?}; write \"sales_navigator\" or \"recruiter\", or leave it out"))
            }
            None if self.subject.is_some() || self.signature.is_some() => {
                Err("`subject` needs `product = \"sales_navigator\"` or `product = \"recruiter\"`; messages and InMails of \
                     LinkedIn itself have none"
                    .to_owned())
            }
            None => Ok(()),
        }
    }

    /// Returns whether a setting is only for starting a chat.
    pub(super) fn starts_a_chat(&self) -> bool {
        self.inmail || self.product.is_some() || self.specifics.is_some()
    }

    /// Returns the provider-specific options, with their texts not yet rendered.
    pub(super) fn specifics(&self) -> Option<Value> {
        if self.inmail {
            return Some(json!({ "linkedin": { "classic": { "inmail": true } } }));
        }
        if let Some(product) = &self.product {
            let mut options = Map::new();
            for (name, text) in [("subject", &self.subject), ("signature", &self.signature)] {
                options.extend(text.as_ref().map(|text| (name.to_owned(), Value::from(text.as_str()))));
            }
            return Some(json!({ "linkedin": { product: options } }));
        }
        self.specifics.clone().map(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stand_between_two_marks() {
        let (settings, text) = FrontMatter::split(
            "---\r\nproduct = \"recruiter\"\nsubject = \"S\"\nsignature = \"G\"\n---\r\nHi\n---\n",
        )
        .unwrap();
        assert_eq!(text, "Hi\n---\n");
        let options = json!({"linkedin": {"recruiter": {"subject": "S", "signature": "G"}}});
        assert_eq!(settings.specifics(), Some(options));
        let (settings, text) = FrontMatter::split("\u{feff}Hi\n---\n").unwrap();
        assert_eq!((settings.specifics(), text), (None, "Hi\n---\n"));
        let (settings, _) =
            FrontMatter::split("---\n[specifics.linkedin.classic]\ncompany_topic = \"CAREERS\"\n---\n")
                .unwrap();
        assert_eq!(
            settings.specifics(),
            Some(json!({"linkedin": {"classic": {"company_topic": "CAREERS"}}}))
        );
    }

    #[test]
    fn wrong_settings_are_named() {
        for (text, told) in [
            ("---\nsubjct = \"x\"\n---\n", "subjct"),
            ("---\n\nsubject = x\n---\n", "line 3"),
            ("---\nsubject = \"x\"\n---\n", "needs `product"),
            ("---\nproduct = \"recruiter\"\nsubject = \"x\"\n---\n", "`signature` is missing"),
            ("---\nproduct = \"sales_navigator\"\n---\n", "`subject` is missing"),
            ("---\nproduct = \"sales\"\nsubject = \"x\"\n---\n", "\"sales\""),
            ("---\nproduct = \"recruiter\"\ninmail = true\n---\n", "cannot be combined"),
            ("---\ninmail = true\n[specifics]\n---\n", "cannot be combined"),
            ("---\nHi\n", "no second line"),
        ] {
            let refused = FrontMatter::split(text).unwrap_err();
            assert!(refused.contains(told), "{text:?}: {refused}");
        }
    }
}
