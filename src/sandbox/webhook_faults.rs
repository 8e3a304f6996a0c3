//! What goes wrong with webhooks: which events, how often, and how.
//!
//! Added by tests through `World::add_webhook_fault` and from outside through `POST /sandbox/webhooks/faults`; applied
//! by `webhooks` to events that at least one endpoint receives. Unlike a request, an event meets every fault that
//! matches it, so that a test can combine them. A fault lasts through the retries of its event.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::ledger::milliseconds;

/// A fault of certain webhook events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookFault {
    /// Account whose events it applies to; `None` means any account.
    #[serde(default)]
    pub account: Option<String>,
    /// Type of the events that it applies to, such as `message.new`; `None` means any that its kind fits.
    #[serde(default)]
    pub event: Option<String>,
    /// Number of events that it applies to; `None` means all of them.
    #[serde(default)]
    pub times: Option<u32>,
    /// Number of matching events that pass first.
    #[serde(default)]
    pub skip: u32,
    /// What goes wrong.
    pub kind: WebhookFaultKind,
}

/// What goes wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFaultKind {
    /// Sends the event this many further times, under the same id.
    Repeat(u32),
    /// Sends the event a second time under another id.
    TwoIds,
    /// Holds the event until the next event of the same endpoint, and sends it after that one.
    Reorder,
    /// Sends the event only after this time; later events overtake it.
    #[serde(rename = "delay_ms")]
    Delay(#[serde(with = "milliseconds")] Duration),
    /// Signs with another secret.
    WrongSignature,
    /// Signs as one hour ago.
    StaleSignature,
    /// Leaves the header out.
    MissingSignature,
    /// Changes the form of `is_sender` in messages.
    IsSender(IsSenderForm),
    /// Lets a receipt carry exactly these fields: `message_id`, `id` (of the message), `chat_id`, `user_id`,
    /// `timestamp`. Without this fault it carries `message_id` and `chat_id`.
    Receipt(Vec<String>),
    /// Adds `account_provider`, `account_name` and `webhook_id` to the event.
    ExtraFields,
    /// Applies a JSON merge patch (RFC 7396) to the event: `{"type": "message.invented"}`.
    Patch(Value),
}

/// A form of `is_sender`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IsSenderForm {
    /// 0 or 1.
    Number,
    /// No such field.
    Absent,
    /// `false` in every message, even one of the account itself.
    AlwaysFalse,
}

impl WebhookFault {
    /// Creates a fault that applies once, to the next event that its kind fits.
    pub fn new(kind: WebhookFaultKind) -> Self {
        Self { account: None, event: None, times: Some(1), skip: 0, kind }
    }

    /// Gives the next event a type that the API's description does not have.
    pub fn unknown_type() -> Self {
        Self::new(WebhookFaultKind::Patch(json!({ "type": "message.invented" })))
    }

    /// Limits receipts to these fields.
    pub fn receipt(fields: &[&str]) -> Self {
        Self::new(WebhookFaultKind::Receipt(fields.iter().map(|field| (*field).to_owned()).collect()))
    }

    /// Limits the fault to events of `account`.
    pub fn on(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// Limits the fault to events of the type `event`.
    pub fn at(mut self, event: impl Into<String>) -> Self {
        self.event = Some(event.into());
        self
    }

    /// Applies the fault to `times` events.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Applies the fault to every matching event until faults are cleared.
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// Lets `skip` matching events pass first.
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    fn matches(&self, account: &str, event: &str) -> bool {
        let is_receipt = event.starts_with("message.receipt.");
        let fits = match self.kind {
            WebhookFaultKind::Receipt(_) => is_receipt,
            WebhookFaultKind::IsSender(_) => ["message.new", "message.update"].contains(&event),
            _ => true,
        };
        fits && self.account.as_deref().is_none_or(|only| only == account)
            && self.event.as_deref().is_none_or(|only| only == event)
    }
}

/// Returns what the matching `faults` do to this event. Removes used-up faults.
pub(super) fn take(faults: &mut Vec<WebhookFault>, account: &str, event: &str) -> Vec<WebhookFaultKind> {
    faults.retain(|fault| fault.times != Some(0));
    let mut taken = Vec::new();
    for fault in faults.iter_mut().filter(|fault| fault.matches(account, event)) {
        if fault.skip > 0 {
            fault.skip -= 1;
            continue;
        }
        fault.times = fault.times.map(|times| times - 1);
        taken.push(fault.kind.clone());
    }
    faults.retain(|fault| fault.times != Some(0));
    taken
}

/// Changes `body`, an event whose receipt has all its fields, as `kinds` say.
pub(super) fn reshape(body: &mut Value, kinds: &[WebhookFaultKind]) {
    let is_receipt = body["type"].as_str().is_some_and(|name| name.starts_with("message.receipt."));
    if is_receipt {
        let usual = vec!["message_id".to_owned(), "chat_id".to_owned()];
        let fields = kinds.iter().rev().find_map(|kind| match kind {
            WebhookFaultKind::Receipt(fields) => Some(fields.clone()),
            _ => None,
        });
        limit_receipt(&mut body["payload"], &fields.unwrap_or(usual));
    }
    for kind in kinds {
        match kind {
            WebhookFaultKind::IsSender(form) => reform_is_sender(&mut body["payload"], *form),
            WebhookFaultKind::ExtraFields => {
                let account = body["account_id"].as_str().unwrap_or_default().trim_start_matches("acc_");
                let extra =
                    json!({ "account_provider": "LINKEDIN", "account_name": account, "webhook_id": "wh_1" });
                merge(body, &extra);
            }
            WebhookFaultKind::Patch(patch) => merge(body, patch),
            _ => {}
        }
    }
}

/// Leaves only `fields` in the payload of a receipt.
fn limit_receipt(payload: &mut Value, fields: &[String]) {
    let Value::Object(map) = payload else { return };
    if let Some(id) = map.get("message_id").cloned() {
        map.insert("id".to_owned(), id);
    }
    map.retain(|name, _| fields.contains(name));
}

fn reform_is_sender(payload: &mut Value, form: IsSenderForm) {
    let Value::Object(map) = payload else { return };
    let is_sender = map.get("is_sender").and_then(Value::as_bool).unwrap_or(false);
    match form {
        IsSenderForm::Number => _ = map.insert("is_sender".to_owned(), json!(u8::from(is_sender))),
        IsSenderForm::Absent => _ = map.remove("is_sender"),
        IsSenderForm::AlwaysFalse => _ = map.insert("is_sender".to_owned(), json!(false)),
    }
}

/// Applies `patch` to `target` (RFC 7396): `null` removes a field, objects merge, anything else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (name, value) in patch {
        match value {
            Value::Null => _ = map.remove(name),
            value => merge(map.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_adds_replaces_and_removes() {
        let mut event = json!({ "type": "a", "payload": { "id": 1, "text": "x" } });
        merge(
            &mut event,
            &json!({ "type": "b", "payload": { "text": null, "is_sender": 1 }, "more": { "a": 2 } }),
        );
        assert_eq!(event, json!({ "type": "b", "payload": { "id": 1, "is_sender": 1 }, "more": { "a": 2 } }));
    }

    #[test]
    fn a_fault_meets_only_events_that_its_kind_fits_and_is_used_up() {
        let mut faults = vec![
            WebhookFault::new(WebhookFaultKind::IsSender(IsSenderForm::Absent)),
            WebhookFault::new(WebhookFaultKind::TwoIds).on("acc_2").always(),
            WebhookFault::new(WebhookFaultKind::Repeat(2)).after(1),
        ];
        let mut met = |account, event| take(&mut faults, account, event).len();
        assert_eq!(met("acc_1", "message.receipt.read"), 0, "the repeat lets one event pass");
        assert_eq!(met("acc_1", "message.new"), 2);
        assert_eq!(met("acc_1", "message.new"), 0);
        assert_eq!(met("acc_2", "message.new"), 1);
        assert_eq!(met("acc_2", "message.new"), 1);
    }
}
