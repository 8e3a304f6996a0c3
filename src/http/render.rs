//! Fills the wire types of messages, accounts and their wait statuses.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::domain::account::Account;
use crate::domain::reason::Actor;
use crate::domain::state::StateName;
use crate::engine::{Budget, Explanation, Gate, Until, WaitStatus};
use crate::store::{AccountView, AttemptView, Counts, EvidenceView, MessageView};
use crate::types::account::{Cap, Hold, Pause};
use crate::types::explanation::{Closed, StoryLine};
use crate::types::message::{Attempt, Evidence, Message, UsersIds};
use crate::types::{self, Time};

/// Returns the IANA name of a zone; a zone without one is UTC.
pub(super) fn zone(zone: &TimeZone) -> &str {
    zone.iana_name().filter(|name| *name != "Etc/Unknown").unwrap_or("UTC")
}

/// Renders the current state of a cap.
pub(super) fn cap(budget: &Budget) -> Cap {
    Cap {
        cap: budget.cap.name().to_owned(),
        window: budget.cap.window.as_str().to_owned(),
        configured: budget.cap.most,
        limit: budget.limit,
        lowered_by: budget.lowered_by.map(|by| by.as_str().to_owned()),
        used: budget.used,
        left: budget.left(),
        frees_at: Some(budget.frees_at.into()),
    }
}

fn until(until: Option<Until>) -> (Option<Time>, Option<String>) {
    let (at, waits_for) = match until {
        None => return (None, None),
        Some(Until::At(at)) => (Some(at), "time"),
        Some(Until::NotBefore(at)) => (Some(at), "not_before"),
        Some(Until::Person) => (None, "person"),
    };
    (at.map(Time), Some(waits_for.to_owned()))
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

/// Returns when a message expires, if that is before it can go: `until` is that time then.
fn expires_first(until: Option<Until>, expires_at: Option<Timestamp>) -> Option<Timestamp> {
    let Some(Until::At(at)) = until else { return None };
    expires_at.filter(|expires_at| *expires_at == at)
}

/// Renders what `message` waits for, which may be only that it expires.
fn wait_of(message: &MessageView, wait: WaitStatus) -> types::WaitStatus {
    types::WaitStatus { why: Some(why(message, &wait)), ..wait_status(wait) }
}

fn wait_status(wait_status: WaitStatus) -> types::WaitStatus {
    let (until, waits_for) = until(wait_status.until);
    let waits_for = if wait_status.is_expiry { Some("expiry".to_owned()) } else { waits_for };
    types::WaitStatus {
        reason: Some(wait_status.reason.as_str().to_owned()),
        why: Some(wait_status.reason.sentence().to_owned()),
        actor: Some(wait_status.actor().as_str().to_owned()),
        rule: wait_status.rule,
        until,
        waits_for,
    }
}

/// Renders a message without its text and attempts.
pub(super) fn message(message: MessageView, wait: WaitStatus) -> Message {
    let waits = wait_of(&message, wait);
    Message {
        id: message.id.to_string(),
        account_id: Some(message.account.id.as_str().to_owned()),
        chat_id: message.chat_id,
        users_ids: message.users_ids.map(UsersIds::Several),
        inbox_id: message.inbox_id,
        name: message.name,
        specifics: message.specifics,
        quote_id: message.quote_id,
        forward: message.forward,
        attachments: message.attachments,
        typing: message.typing,
        not_before: message.not_before.map(Time),
        expires_at: message.expires_at.map(Time),
        campaign: message.campaign,
        priority: message.precedence.priority.into(),
        urgent: message.precedence.urgent,
        ignore_hours: message.precedence.ignore_hours,
        allow_repeat: message.precedence.allow_repeat,
        stop_on_reply: message.stop_on_reply,
        step: message.step,
        wait: message.wait,
        meta: message.meta,
        needs: message.needs.map(|need| need.as_str().to_owned()),
        dedupe_key: message.dedupe_key,
        state: message.state.as_str().to_owned(),
        error: message.error,
        route: message.route,
        sent_at: message.sent_at.map(Time),
        delivered_at: message.delivered_at.map(Time),
        read_at: message.read_at.map(Time),
        replied_at: message.replied_at.map(Time),
        pruned_at: message.pruned_at.map(Time),
        settled_at: message.settled_by.as_ref().map(|_| message.updated_at.into()),
        settled_by: message.settled_by,
        reads: message.reads.into(),
        provider_message_ids: message.provider_message_ids,
        created_at: Some(message.created_at.into()),
        updated_at: Some(message.updated_at.into()),
        waits,
    }
}

/// Renders one attempt, with the latest evidence about it.
pub(super) fn attempt(attempt: AttemptView, known: &[EvidenceView]) -> Attempt {
    let last = known.iter().rfind(|one| one.attempt == attempt.number);
    Attempt {
        number: attempt.number,
        started_at: attempt.started_at.into(),
        ended_at: attempt.ended_at.map(Time),
        phase: attempt.phase,
        outcome: attempt.outcome,
        status: attempt.status,
        kind: attempt.kind,
        title: attempt.title,
        detail: attempt.detail,
        req_id: attempt.req_id,
        gap_ms: attempt.gap_ms,
        fingerprint: attempt.fingerprint,
        evidence: last.map(evidence),
    }
}

/// Renders one piece of evidence about an attempt with an unknown outcome.
pub(super) fn evidence(evidence: &EvidenceView) -> Evidence {
    let EvidenceView { attempt, at, source, finding, detail } = evidence.clone();
    Evidence { attempt, at: at.into(), source, finding, detail }
}

/// Renders the complete explanation of a message.
pub(super) fn explanation(
    message: &MessageView,
    explanation: &Explanation,
    (attempts, known): (&[AttemptView], &[EvidenceView]),
    expected: Option<[Timestamp; 3]>,
) -> types::explanation::Explanation {
    types::explanation::Explanation {
        id: message.id.to_string(),
        account_id: message.account.id.as_str().to_owned(),
        state: message.state.as_str().to_owned(),
        error: message.error.clone(),
        now: explanation.now.into(),
        queue_position: explanation.queue_position,
        blocked_by: explanation.blocked_by.map(|id| id.to_string()),
        zone: Some(zone(&explanation.zone).to_owned()),
        until_local: local(explanation.wait_status.until, &explanation.zone),
        expected_at: expected.map(|[_, middle, _]| middle.into()),
        expected_range: expected.map(|[first, _, last]| [first.into(), last.into()]),
        sentence: sentence(message, explanation, known, expected),
        story: story(message, attempts, known),
        gates: explanation.gates.iter().map(gate).collect(),
        waits: wait_of(message, explanation.wait_status.clone()),
    }
}

fn gate(gate: &Gate) -> types::explanation::Gate {
    let (until, waits_for) = until(gate.closed);
    let why = gate.reason.sentence().to_owned();
    let closed = gate.closed.map(|_| Closed { until, waits_for, why, rule: gate.rule.clone() });
    types::explanation::Gate { gate: gate.reason.as_str().to_owned(), open: closed.is_none(), closed }
}

fn local(until: Option<Until>, zone: &TimeZone) -> Option<String> {
    match until {
        Some(Until::At(at) | Until::NotBefore(at)) => Some(local_time(at, zone)),
        Some(Until::Person) | None => None,
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
    text.push_str(&until_when(message, explanation));
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

/// Returns the sentence that says when the message goes on.
fn until_when(message: &MessageView, explanation: &Explanation) -> String {
    let (until, full) = (explanation.wait_status.until, |at| local_time(at, &explanation.zone));
    let expires_at = message.expires_at.filter(|_| message.waiting.is_some());
    match (until, expires_first(until, expires_at)) {
        (_, Some(at)) => format!(" It expires at {}, before it can go.", full(at)),
        (Some(Until::At(at)), None) if at > explanation.now => format!(" It goes on at {}.", full(at)),
        (Some(Until::NotBefore(at)), None) if message.state == StateName::Uncertain => {
            format!(" Its chat is read at {}.", full(at))
        }
        (Some(Until::NotBefore(at)), None) => format!(" Not before {}.", full(at)),
        (Some(Until::Person), None) => expires_at.map_or_else(String::new, |at| {
            format!(" It expires at {} if it has not gone by then.", full(at))
        }),
        (Some(Until::At(_)) | None, None) => String::new(),
    }
}

/// Returns the history of the message, in order of time.
fn story(message: &MessageView, attempts: &[AttemptView], known: &[EvidenceView]) -> Vec<StoryLine> {
    let line = |at: Timestamp, what: String| StoryLine { at: at.into(), what };
    let mut lines = vec![line(message.created_at, "it was put in".to_owned())];
    for attempt in attempts {
        let number = attempt.number;
        lines.push(line(attempt.started_at, format!("call {number} began")));
        if let Some(ended_at) = attempt.ended_at {
            let outcome = attempt.outcome.as_deref().unwrap_or("unknown").replace('_', " ");
            let kind = attempt.kind.as_deref().map(|kind| format!(" ({kind})")).unwrap_or_default();
            lines.push(line(ended_at, format!("call {number} ended: {outcome}{kind}")));
        }
        for one in known.iter().filter(|one| one.attempt == number) {
            let detail = one.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            let finding = one.finding.replace('_', " ");
            lines.push(line(one.at, format!("{} about call {number}: {finding}{detail}", who(one))));
        }
    }
    if message.waiting.is_none() {
        let state = headline(message.state).to_lowercase();
        lines.push(line(message.updated_at, format!("{state}: {}", message.reason.sentence())));
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
pub(super) fn counts(counts: &Counts) -> BTreeMap<String, u64> {
    counts.0.iter().map(|(state, n)| (state.as_str().to_owned(), *n)).collect()
}

/// Renders a pause that is in force at `now`.
pub(super) fn pause(pause: Option<&crate::domain::account::Pause>, now: Timestamp) -> Option<Pause> {
    pause.filter(|pause| pause.holds(now)).map(Into::into)
}

/// Renders an account, with the reason why it sends nothing now if something waits.
pub(super) fn account(
    view: &AccountView,
    wait: Option<WaitStatus>,
    now: Timestamp,
) -> types::account::Account {
    let account = &view.account;
    let hold = account.hold.filter(|hold| hold.until > now);
    types::account::Account {
        id: account.id.as_str().to_owned(),
        standing: account_word(account, now).to_owned(),
        attention: view.attention.as_str().to_owned(),
        waits: wait.map(wait_status).unwrap_or_default(),
        paused: pause(account.pause.as_ref(), now),
        down: account.down.as_ref().map(Into::into),
        hold: hold
            .map(|hold| Hold { reason: hold.reason.as_str().to_owned(), until: Some(hold.until.into()) }),
        next_call_at: account.next_call_at.map(Time),
        last_call_at: account.last_call_at.map(Time),
        last_sent_at: view.last_sent_at.map(Time),
        oldest_due_at: view.oldest_due_at.map(Time),
        counts: counts(&view.counts),
        last_error: view.last_error.clone(),
        cap: None,
        zone: None,
        sent_by_day: Vec::new(),
        unipile: None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_whose_wait_ends_when_it_expires_does_not_go_then() {
        let [at, later] = ["2026-11-22T12:00:00Z", "2026-11-22T13:00:00Z"].map(|at| at.parse().unwrap());
        assert_eq!(expires_first(Some(Until::At(at)), Some(at)), Some(at));
        assert_eq!(expires_first(Some(Until::At(at)), Some(later)), None);
        assert_eq!(expires_first(Some(Until::NotBefore(at)), Some(later)), None);
        assert_eq!(expires_first(Some(Until::Person), Some(at)), None);
        assert_eq!(expires_first(Some(Until::At(at)), None), None);
    }
}
