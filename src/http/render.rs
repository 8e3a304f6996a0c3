//! JSON output: renders messages, accounts and their wait statuses.
//!
//! The command line reads the same JSON; `docs/http.md` describes it.

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde_json::{Value, json};

use crate::domain::account::{Account, Down, Pause, Restored};
use crate::domain::reason::Actor;
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::engine::{Budget, Explanation, Gate, Until, WaitStatus};
use crate::store::{AccountView, AttemptView, Counts, EvidenceView, MessageView};

/// Renders a time, or null.
pub(super) fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(time_text(at)))
}

/// Returns the IANA name of a zone; a zone without one is UTC.
pub(super) fn zone(zone: &TimeZone) -> &str {
    zone.iana_name().filter(|name| *name != "Etc/Unknown").unwrap_or("UTC")
}

/// Renders the current state of a cap.
pub(super) fn budget(budget: &Budget) -> Value {
    json!({
        "cap": budget.cap.name(),
        "window": budget.cap.window.as_str(),
        "configured": budget.cap.most,
        "limit": budget.limit,
        "lowered_by": budget.lowered_by.map(|by| by.as_str()),
        "used": budget.used,
        "left": budget.left(),
        "frees_at": time(Some(budget.frees_at)),
    })
}

fn until(until: Option<Until>) -> (Value, Value) {
    match until {
        None => (Value::Null, Value::Null),
        Some(Until::At(at)) => (time(Some(at)), json!("time")),
        Some(Until::NotBefore(at)) => (time(Some(at)), json!("not_before")),
        Some(Until::Person) => (Value::Null, json!("person")),
    }
}

/// Returns why the message is in its state; for a sent message, how that is known.
fn why(message: &MessageView, wait_status: &WaitStatus) -> String {
    let ids = message.provider_message_ids.join(", ");
    match message.settled_by.as_deref() {
        Some("evidence") => {
            format!(
                "It reached the provider. No clear answer came; reading its chat back found it there as {ids}."
            )
        }
        Some("person") => "It was sent: a person looked and said so.".to_owned(),
        _ => wait_status.reason.sentence().to_owned(),
    }
}

fn standing_into(row: &mut Value, wait_status: WaitStatus) {
    let (at, waits_for) = until(wait_status.until);
    row["reason"] = json!(wait_status.reason.as_str());
    row["rule"] = json!(wait_status.rule);
    row["why"] = json!(wait_status.reason.sentence());
    row["actor"] = json!(wait_status.actor().as_str());
    row["until"] = at;
    row["waits_for"] = waits_for;
}

/// Renders a message without its text and attempts.
pub(super) fn message(message: &MessageView, wait_status: WaitStatus) -> Value {
    let mut row = json!({
        "id": message.id.to_string(),
        "account_id": message.account.id.as_str(),
        "chat_id": message.chat_id,
        "users_ids": message.users_ids,
        "inbox_id": message.inbox_id,
        "name": message.name,
        "specifics": message.specifics,
        "quote_id": message.quote_id,
        "forward": message.forward,
        "attachments": message.attachments,
        "typing": message.typing,
        "not_before": time(message.not_before),
        "expires_at": time(message.expires_at),
        "campaign": message.campaign,
        "priority": message.precedence.priority,
        "urgent": message.precedence.urgent,
        "ignore_hours": message.precedence.ignore_hours,
        "allow_repeat": message.precedence.allow_repeat,
        "stop_on_reply": message.stop_on_reply,
        "dedupe_key": message.dedupe_key,
        "state": message.state.as_str(),
        "error": message.error,
        "route": message.route,
        "sent_at": time(message.sent_at),
        "delivered_at": time(message.delivered_at),
        "read_at": time(message.read_at),
        "replied_at": time(message.replied_at),
        "settled_by": message.settled_by,
        "settled_at": time(message.settled_by.as_ref().map(|_| message.updated_at)),
        "reads": message.reads,
        "provider_message_ids": message.provider_message_ids,
        "created_at": time(Some(message.created_at)),
        "updated_at": time(Some(message.updated_at)),
    });
    let why = why(message, &wait_status);
    standing_into(&mut row, wait_status);
    row["why"] = json!(why);
    row
}

/// Renders one attempt, with the latest evidence about it.
pub(super) fn attempt(attempt: &AttemptView, known: &[EvidenceView]) -> Value {
    let last = known.iter().rfind(|one| one.attempt == attempt.number);
    json!({
        "number": attempt.number,
        "started_at": time(Some(attempt.started_at)),
        "ended_at": time(attempt.ended_at),
        "phase": attempt.phase,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "type": attempt.kind,
        "title": attempt.title,
        "detail": attempt.detail,
        "req_id": attempt.req_id,
        "gap_ms": attempt.gap_ms,
        "fingerprint": attempt.fingerprint,
        "evidence": last.map(evidence),
    })
}

/// Renders one piece of evidence about an attempt with an unknown outcome.
pub(super) fn evidence(evidence: &EvidenceView) -> Value {
    json!({
        "attempt": evidence.attempt,
        "at": time(Some(evidence.at)),
        "source": evidence.source,
        "finding": evidence.finding,
        "detail": evidence.detail,
    })
}

/// Renders the complete explanation of a message.
pub(super) fn explanation(
    message: &MessageView,
    explanation: &Explanation,
    (attempts, known): (&[AttemptView], &[EvidenceView]),
    expected: Option<[Timestamp; 3]>,
) -> Value {
    let mut row = json!({
        "id": message.id.to_string(),
        "account_id": message.account.id.as_str(),
        "state": message.state.as_str(),
        "error": message.error,
        "now": time(Some(explanation.now)),
        "queue_position": explanation.queue_position,
        "blocked_by": explanation.blocked_by.map(|id| id.to_string()),
        "zone": zone(&explanation.zone),
        "until_local": local(explanation.wait_status.until, &explanation.zone),
        "expected_at": time(expected.map(|[_, middle, _]| middle)),
        "expected_range": expected.map(|[first, _, last]| [time(Some(first)), time(Some(last))]),
        "sentence": sentence(message, explanation, known, expected),
        "story": story(message, attempts, known),
        "gates": gates(&explanation.gates),
    });
    standing_into(&mut row, explanation.wait_status.clone());
    row["why"] = json!(why(message, &explanation.wait_status));
    row
}

fn gates(gates: &[Gate]) -> Vec<Value> {
    let gate = |gate: &Gate| {
        let mut row = json!({ "gate": gate.reason.as_str(), "open": gate.closed.is_none() });
        if gate.closed.is_some() {
            let (at, waits_for) = until(gate.closed);
            row["until"] = at;
            row["waits_for"] = waits_for;
            row["why"] = json!(gate.reason.sentence());
            row["rule"] = json!(gate.rule);
        }
        row
    };
    gates.iter().map(gate).collect()
}

fn local(until: Option<Until>, zone: &TimeZone) -> Value {
    match until {
        Some(Until::At(at) | Until::NotBefore(at)) => json!(local_time(at, zone)),
        Some(Until::Person) | None => Value::Null,
    }
}

/// Formats a time in a zone; a local time that occurs twice is shown with its offset.
fn local_time(at: Timestamp, zone: &TimeZone) -> String {
    let zoned = at.to_zoned(zone.clone());
    let is_twice =
        matches!(zone.to_ambiguous_timestamp(zoned.datetime()).offset(), AmbiguousOffset::Fold { .. });
    let form = if is_twice { "%Y-%m-%d %H:%M:%S%:z" } else { "%Y-%m-%d %H:%M:%S" };
    format!("{} {}", zoned.strftime(form), self::zone(zone))
}

/// Returns one paragraph that a support ticket can quote.
fn sentence(
    message: &MessageView,
    explanation: &Explanation,
    known: &[EvidenceView],
    expected: Option<[Timestamp; 3]>,
) -> String {
    let mut text = format!("{}: {}", headline(message.state), why(message, &explanation.wait_status));
    if let Some(rule) = &explanation.wait_status.rule {
        text.push_str(&format!(" The rule: {rule}."));
    }
    match explanation.wait_status.until {
        Some(Until::At(at)) if at > explanation.now => {
            text.push_str(&format!(" It goes on at {}.", local_time(at, &explanation.zone)));
        }
        Some(Until::NotBefore(at)) => {
            text.push_str(&format!(" Not before {}.", local_time(at, &explanation.zone)));
        }
        Some(Until::At(_) | Until::Person) | None => {}
    }
    if let Some([_, middle, _]) = expected.filter(|[_, middle, _]| *middle > explanation.now) {
        let at = local_time(middle, &explanation.zone);
        text.push_str(&format!(" If nothing else comes up, it is sent at about {at}."));
    }
    if explanation.queue_position > 0 {
        let before = match explanation.queue_position {
            1 => "1 message goes".to_owned(),
            count => format!("{count} messages go"),
        };
        text.push_str(&format!(" {before} first."));
    }
    if let Some(id) = explanation.blocked_by {
        text.push_str(&format!(" It waits for message {id}."));
    }
    if let Some(route) = &message.route {
        text.push_str(&format!(" Its route: {route}."));
    }
    if let Some(sent_at) = message.sent_at {
        text.push_str(&format!(" That was at {}.", local_time(sent_at, &explanation.zone)));
    }
    let is_settled = matches!(message.settled_by.as_deref(), Some("evidence" | "person"));
    if let Some(last) = known.last().filter(|_| is_settled || message.state == StateName::Review) {
        let (at, who) = (local_time(last.at, &explanation.zone), who(last));
        let detail = last.detail.as_deref().unwrap_or(&last.finding);
        text.push_str(&format!(" {who} at {at}: {detail}."));
    }
    if let Some(error) = &message.error {
        text.push_str(&format!(" Last answer: {error}."));
    }
    if explanation.wait_status.actor() == Actor::Operator {
        text.push_str(" An operator must act.");
    }
    text
}

/// Returns the history of the message, in order of time.
fn story(message: &MessageView, attempts: &[AttemptView], known: &[EvidenceView]) -> Vec<Value> {
    let line = |at: Option<Timestamp>, what: String| json!({ "at": time(at), "what": what });
    let mut lines = vec![line(Some(message.created_at), "it was put in".to_owned())];
    for attempt in attempts {
        let number = attempt.number;
        lines.push(line(Some(attempt.started_at), format!("call {number} began")));
        if let Some(ended_at) = attempt.ended_at {
            let outcome = attempt.outcome.as_deref().unwrap_or("unknown").replace('_', " ");
            let kind = attempt.kind.as_deref().map(|kind| format!(" ({kind})")).unwrap_or_default();
            lines.push(line(Some(ended_at), format!("call {number} ended: {outcome}{kind}")));
        }
        for one in known.iter().filter(|one| one.attempt == number) {
            let detail = one.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            let finding = one.finding.replace('_', " ");
            lines.push(line(Some(one.at), format!("{} about call {number}: {finding}{detail}", who(one))));
        }
    }
    if message.waiting.is_none() {
        let state = headline(message.state).to_lowercase();
        lines.push(line(Some(message.updated_at), format!("{state}: {}", message.reason.sentence())));
    }
    lines
}

/// Returns the source of a piece of evidence, as the beginning of a sentence.
fn who(evidence: &EvidenceView) -> &'static str {
    match evidence.source.as_str() {
        "person" => "A person said",
        _ => "Read back",
    }
}

fn headline(state: StateName) -> &'static str {
    match state {
        StateName::New => "New",
        StateName::Queued => "Waiting",
        StateName::Sending => "Being sent",
        StateName::Uncertain => "Uncertain",
        StateName::Review => "Waiting for a person",
        StateName::Sent => "Sent",
        StateName::Failed => "Failed",
        StateName::Cancelled => "Cancelled",
        StateName::Expired => "Expired",
        StateName::Rejected => "Rejected",
    }
}

/// Renders the number of messages in each state; omits states without messages.
pub(super) fn counts(counts: &Counts) -> Value {
    counts.0.iter().map(|(state, n)| (state.as_str().to_owned(), json!(n))).collect()
}

/// Renders a pause that is in force at `now`, or null.
pub(super) fn pause(pause: Option<&Pause>, now: Timestamp) -> Value {
    match pause.filter(|pause| pause.holds(now)) {
        Some(Pause { since, until, note }) => {
            json!({ "since": time(Some(*since)), "until": time(*until), "note": note })
        }
        None => Value::Null,
    }
}

/// Renders why the queue is held as a copy, or null.
pub(super) fn restored(restored: Option<&Restored>) -> Value {
    match restored {
        Some(Restored { since, why }) => json!({ "since": time(Some(*since)), "why": why }),
        None => Value::Null,
    }
}

/// Renders why an account or the key cannot send, or null.
pub(super) fn down(down: Option<&Down>) -> Value {
    match down {
        Some(Down { cause, since, problem }) => {
            json!({ "cause": cause.as_str(), "since": time(Some(*since)), "problem": problem })
        }
        None => Value::Null,
    }
}

/// Renders an account, with the reason why it sends nothing now if something waits.
pub(super) fn account(view: &AccountView, wait_status: Option<WaitStatus>, now: Timestamp) -> Value {
    let account = &view.account;
    let hold = account.hold.filter(|hold| hold.until > now);
    let mut row = json!({
        "id": account.id.as_str(),
        "standing": account_word(account, now),
        "attention": view.attention.as_str(),
        "reason": null, "why": null, "actor": null, "until": null, "waits_for": null,
        "paused": pause(account.pause.as_ref(), now),
        "down": down(account.down.as_ref()),
        "hold": hold.map(|hold| json!({ "reason": hold.reason.as_str(), "until": time(Some(hold.until)) })),
        "next_call_at": time(account.next_call_at),
        "last_call_at": time(account.last_call_at),
        "last_sent_at": time(view.last_sent_at),
        "oldest_due_at": time(view.oldest_due_at),
        "counts": counts(&view.counts),
        "last_error": view.last_error,
    });
    if let Some(wait_status) = wait_status {
        standing_into(&mut row, wait_status);
    }
    row
}

fn account_word(account: &Account, now: Timestamp) -> &'static str {
    if account.down.is_some() {
        "down"
    } else if account.pause.as_ref().is_some_and(|pause| pause.holds(now)) {
        "paused"
    } else if account.hold.is_some_and(|hold| hold.until > now) {
        "resting"
    } else {
        "active"
    }
}
