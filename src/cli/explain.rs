//! `outboxd explain`: shows why a message waits or stopped.
//!
//! The sentence and the ordered list of rules come from the daemon, so that a support ticket quotes the daemon; this
//! command derives nothing itself. Times are in the account's zone.

use jiff::tz::TimeZone;

use super::client::{Client, segment};
use super::exit::{Exit, Failure};
use super::read::One;
use super::{render, times};
use crate::types::explanation::{Closed, Explanation};
use crate::types::{Time, WaitStatus};

/// Shows why a message waits or stopped.
pub(super) async fn explain(client: &Client, one: One) -> Result<Exit, Failure> {
    let id = client.whole_id(&one.id).await?;
    let answer = client.get(&format!("/v1/messages/{}/explain", segment(&id)), &[]).await?;
    answer.show(one.json, |explanation: Explanation| explanation.text())
}

impl Explanation {
    fn text(&self) -> String {
        let WaitStatus { reason, actor, until, waits_for, .. } = &self.waits;
        let zone = times::zone(self.zone.as_deref());
        let full = |at: Time| times::full_in(Some(at), &zone);
        let until = match (waits_for.as_deref(), *until) {
            (Some("person"), _) => Some("a person acts".to_owned()),
            (waits_for, Some(at)) => {
                let how = match waits_for {
                    Some("not_before") => "not before ",
                    Some("expiry") => "it expires at ",
                    _ => "",
                };
                Some(format!("{how}{}, {}", full(at), times::distance(*at, *self.now)))
            }
            (_, None) => None,
        };
        let facts = [
            ("message", Some(self.id.clone())),
            ("account", Some(self.account_id.clone())),
            ("state", Some(self.state.clone())),
            ("reason", reason.clone()),
            ("until", until),
            ("who acts", actor.clone()),
            ("position", (self.queue_position > 0).then(|| self.queue_position.to_string())),
            ("blocked by", self.blocked_by.clone()),
            ("asked", Some(full(self.now))),
        ];
        let known = render::known(facts);
        let gates = if self.gates.is_empty() { String::new() } else { format!("\n{}", self.gates(&zone)) };
        format!("{}\n\n{}{gates}", render::line(&self.sentence), render::pairs(&known))
    }

    /// Lists the rules in order; `>` marks the first closed one, which decides.
    fn gates(&self, zone: &TimeZone) -> String {
        let width = self.gates.iter().map(|gate| gate.gate.len()).max().unwrap_or(0);
        let binding = self.gates.iter().position(|gate| !gate.open);
        let mut shown = String::from("rules, in the order in which they are asked:\n");
        for (index, gate) in self.gates.iter().enumerate() {
            let mark = if Some(index) == binding { '>' } else { ' ' };
            let name = render::line(&gate.gate);
            let row = match gate.open {
                true => format!("{mark} {name:width$}  open"),
                false => {
                    let closed = gate.closed.as_ref().map(|closed| closed.text(zone));
                    format!("{mark} {name:width$}  closed{}", closed.unwrap_or_default())
                }
            };
            shown += &format!("{row}\n");
        }
        shown
    }
}

impl Closed {
    fn text(&self, zone: &TimeZone) -> String {
        let until = match (self.waits_for.as_deref(), self.until) {
            (Some("person"), _) => " until a person acts".to_owned(),
            (Some("not_before"), Some(at)) => format!(", not before {}", times::full_in(Some(at), zone)),
            (_, Some(at)) => format!(" until {}", times::full_in(Some(at), zone)),
            (_, None) => String::new(),
        };
        format!("{until}. {}", render::line(&self.why))
    }
}
