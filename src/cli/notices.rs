//! `outboxd notices`: what a person must know or do, the most urgent first.
//!
//! Nothing is printed if there is none, so that a script can mail the output only when there is some.

use clap::Args;

use super::client::Client;
use super::exit::{Exit, Failure};
use super::{Json, render, times};
use crate::types::notice::{self as types, Notice};

/// `outboxd notices`.
#[derive(Debug, Args)]
pub(super) struct Notices {
    #[command(flatten)]
    json: Json,
}

/// Shows the notices.
pub(super) async fn notices(client: &Client, asked: Notices) -> Result<Exit, Failure> {
    let answer = client.get("/v1/notices", &[]).await?;
    let text = |one: &Notice| format!("{}  to do: {}\n", one.text(), render::line(&one.to_do));
    answer.show(asked.json, |found: types::Notices| found.data.iter().map(text).collect())
}

impl Notice {
    /// Formats the kind, what is wrong and since when, as one line.
    pub(super) fn text(&self) -> String {
        let since = self.since.map(|at| format!(", since {}", times::full(Some(at)))).unwrap_or_default();
        render::line(&format!("{}: {}{since}", self.kind, self.what)) + "\n"
    }
}
