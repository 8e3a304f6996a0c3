//! The form of `/import`, as a browser posts it: the file, and what a person typed.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use multer::Multipart;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::super::command::command;
use super::super::error::PageError;
use super::uploads::TABLE_BYTES;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::http::AppState;
use crate::http::body;
use crate::http::error::ApiError;

/// Maximum size of everything else in the form, in bytes.
const TYPED_BYTES: usize = 1 << 20;
/// Maximum number of fields; 20 steps and 100 columns are far below it.
const MOST_FIELDS: usize = 400;
/// The beginning of the name of a field that says which column to use.
const COLUMN: &str = "column.";

/// What a person typed, which the page shows again.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Typed {
    pub(super) campaign: String,
    pub(super) accounts: String,
    pub(super) encoding: String,
    pub(super) delimiter: String,
    /// The fields for which a column is chosen, and its name.
    pub(super) columns: Vec<(String, String)>,
    pub(super) steps: Vec<TypedStep>,
    pub(super) not_before: String,
    pub(super) expires_at: String,
    pub(super) inbox: String,
    pub(super) priority: String,
    pub(super) allow_repeat: bool,
}

/// A message of the sequence, as a person typed it.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct TypedStep {
    pub(super) wait: String,
    pub(super) text: String,
}

/// A posted form.
#[derive(Debug, Default)]
pub(in super::super) struct Posted {
    /// The button.
    pub(super) button: String,
    /// The chosen file, with its name.
    pub(super) file: Option<(String, Bytes)>,
    /// The id of a file that was uploaded before.
    pub(super) upload: String,
    /// The fingerprint of what was shown when the button was pressed.
    pub(super) seen: String,
    pub(super) typed: Typed,
}

impl FromRequest<Arc<AppState>> for Posted {
    type Rejection = PageError;

    async fn from_request(request: Request, _state: &Arc<AppState>) -> Result<Self, PageError> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let boundary = multer::parse_boundary(kind.unwrap_or_default()).map_err(|_| unreadable())?;
        let body = body::whole(body, TABLE_BYTES + TYPED_BYTES, "").await;
        let body = body.map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => error,
        })?;
        let stream = futures_util::stream::iter([Ok::<Bytes, std::io::Error>(body)]);
        let mut parts = Multipart::new(stream, boundary);
        let mut posted = Self::default();
        let mut count = 0;
        while let Some(part) = parts.next_field().await.map_err(|_| unreadable())? {
            count += 1;
            if count > MOST_FIELDS {
                return Err(unreadable().into());
            }
            let name = part.name().unwrap_or_default().to_owned();
            if name == "file" {
                let chosen = part.file_name().filter(|name| !name.is_empty()).map(str::to_owned);
                let bytes = part.bytes().await.map_err(|_| unreadable())?;
                if bytes.len() > TABLE_BYTES {
                    return Err(too_large().into());
                }
                posted.file = chosen.map(|name| (name, bytes));
            } else {
                posted.add(&name, part.text().await.map_err(|_| unreadable())?);
            }
        }
        Ok(posted)
    }
}

fn unreadable() -> ApiError {
    let (problem, fix) = ("the form cannot be read", "go back and send it again");
    ApiError::invalid("", problem, fix)
}

fn too_large() -> ApiError {
    let problem = format!("is larger than {} MiB, and a page takes no more", TABLE_BYTES >> 20);
    let fix = "split it, or import it with `outboxd import`, which takes tables of any size";
    let refusal = FieldError::new(FieldErrorCode::TooLong, "the table", problem, fix);
    ApiError::one(StatusCode::PAYLOAD_TOO_LARGE, refusal)
}

impl Posted {
    fn add(&mut self, name: &str, value: String) {
        let typed = &mut self.typed;
        let line = || value.trim().to_owned();
        match name {
            "do" => self.button = line(),
            "upload" => self.upload = line(),
            "seen" => self.seen = line(),
            "campaign" => typed.campaign = line(),
            "accounts" => typed.accounts = line(),
            "encoding" => typed.encoding = line(),
            "delimiter" => typed.delimiter = line(),
            "not_before" => typed.not_before = line(),
            "expires_at" => typed.expires_at = line(),
            "inbox" => typed.inbox = line(),
            "priority" => typed.priority = line(),
            "allow_repeat" => typed.allow_repeat = true,
            // Each step has both, the wait first.
            "wait" => typed.steps.push(TypedStep { wait: line(), text: String::new() }),
            "text" => {
                if let Some(step) = typed.steps.last_mut() {
                    step.text = value.replace("\r\n", "\n");
                }
            }
            other => {
                let field = other.strip_prefix(COLUMN).filter(|_| !value.is_empty());
                typed.columns.extend(field.map(|field| (field.to_owned(), value)));
            }
        }
    }
}

impl Typed {
    /// Returns the accounts.
    pub(super) fn accounts(&self) -> Vec<String> {
        let accounts = self.accounts.split([',', ' ', '\n']).map(str::trim);
        accounts.filter(|account| !account.is_empty()).map(str::to_owned).collect()
    }

    /// Returns a fingerprint of all of this and the file, so that the page queues only what it has shown.
    pub(super) fn fingerprint(&self, upload: &str) -> String {
        let text = serde_json::to_string(&(self, upload)).expect("texts are JSON");
        let hash = Sha256::digest(text);
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the command that does the same, with the messages in files.
    pub(super) fn command(&self, file: &str) -> String {
        let accounts = self.accounts().join(",");
        let mut words = vec!["import", file, "--campaign", &self.campaign];
        if !accounts.is_empty() {
            words.extend(["--account", &accounts]);
        }
        let names: Vec<String> = (1..=self.steps.len()).map(step_name).collect();
        for (number, (step, name)) in self.steps.iter().zip(&names).enumerate() {
            words.push("--step");
            words.extend((number > 0).then_some(step.wait.as_str()));
            words.push(name);
        }
        let columns: Vec<String> =
            self.columns.iter().map(|(field, column)| format!("{field}={column}")).collect();
        for column in &columns {
            words.extend(["--column", column]);
        }
        for (option, value) in [
            ("--encoding", &self.encoding),
            ("--delimiter", &self.delimiter),
            ("--not-before", &self.not_before),
            ("--expires-at", &self.expires_at),
            ("--inbox", &self.inbox),
            ("--priority", &self.priority),
        ] {
            if !value.is_empty() {
                words.extend([option, value]);
            }
        }
        words.extend(self.allow_repeat.then_some("--allow-repeat"));
        command(&words)
    }
}

/// Returns the name of the template of a step, from 1.
pub(super) fn step_name(number: usize) -> String {
    format!("step-{number}.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_says_what_the_form_says() {
        let step = |wait: &str, text: &str| TypedStep { wait: wait.to_owned(), text: text.to_owned() };
        let typed = Typed {
            campaign: "autumn 26".to_owned(),
            accounts: " acc_1, acc_2".to_owned(),
            columns: vec![("user".to_owned(), "LinkedIn URL".to_owned())],
            steps: vec![step("", "Hi"), step("3 days", "Again")],
            priority: "5".to_owned(),
            allow_repeat: true,
            ..Typed::default()
        };
        assert_eq!(
            typed.command("people.csv"),
            "outboxd import people.csv --campaign 'autumn 26' --account acc_1,acc_2 --step step-1.txt --step '3 days' \
             step-2.txt --column 'user=LinkedIn URL' --priority 5 --allow-repeat"
        );
        let other = Typed { priority: "6".to_owned(), ..typed.clone() };
        assert_ne!(typed.fingerprint("a"), other.fingerprint("a"));
        assert_ne!(typed.fingerprint("a"), typed.fingerprint("b"));
    }
}
