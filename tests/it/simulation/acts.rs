//! What producers and operators do to a life; each act is noted for the checkers, before and after it is
//! acknowledged.

use std::time::Duration;

use outboxd::clock::Clock;
use outboxd::domain::attachment::Blob;
use outboxd::domain::message::{AccountId, MessageId, NewMessage};
use outboxd::domain::state::StateName;
use outboxd::engine::Until;
use outboxd::store::{
    Commanded, Decision, EnqueueMode, Enqueued, MessageFilter, PauseRequest, Paused, Reviewed, Scope,
};

use super::checkers::{Asked, Notes, Pause, SAID, said};
use super::life::Life;
use crate::queue;

/// Enqueues `message`, which has a key; repeats it if it was not acknowledged before.
pub(crate) async fn give(
    life: &Life<'_>,
    notes: &mut Notes,
    message: NewMessage,
    blobs: Vec<Blob>,
) -> MessageId {
    let key = message.dedupe_key.clone().expect("the judges know it by its key");
    let asked = Asked {
        key: key.clone(),
        account: message.account_id.to_string(),
        text: message.text.clone(),
        not_before: message.not_before,
        expires_at: message.expires_at,
        acknowledged: false,
        cancelled: None,
    };
    if !notes.asked.iter().any(|asked| asked.key == key) {
        notes.asked.push(asked);
    }
    let account = message.account_id.clone();
    let now = life.universe.clock.now();
    let verdicts = life.store.enqueue_with(vec![message], blobs, EnqueueMode::Each, now).await;
    let verdicts = verdicts.expect("the queue takes it");
    let (Enqueued::Accepted(id) | Enqueued::Duplicate(id)) = verdicts[0] else {
        panic!("{key}: {verdicts:?}")
    };
    let asked = notes.asked.iter_mut().find(|asked| asked.key == key).expect("it was noted");
    asked.acknowledged = true;
    life.handle().wake(account);
    id
}

/// Cancels a message, if it is not too late.
pub(crate) async fn cancel(life: &Life<'_>, notes: &mut Notes, key: &str, id: MessageId) {
    let now = life.universe.clock.now();
    let cancelled = queue::cancel(&life.store, id, now).await.expect("the queue answers");
    let never_left = match cancelled {
        Commanded::Done { was, .. } => matches!(was, StateName::New | StateName::Queued),
        Commanded::Unchanged(_) => true,
        Commanded::Refused { .. } | Commanded::Unknown => false,
    };
    if never_left {
        let now = life.universe.clock.monotonic();
        let asked = notes.asked.iter_mut().find(|asked| asked.key == key).expect("it was given");
        asked.cancelled.get_or_insert(now);
    }
    life.handle().wake_everything().await.expect("the queue answers");
}

/// Pauses an account, or everything.
pub(crate) async fn pause(life: &Life<'_>, notes: &mut Notes, account: Option<&str>, for_: Option<Duration>) {
    let now = life.universe.clock.now();
    let until = for_.map(|duration| now + duration);
    // The note of the event tells the checker that the pause has an end.
    let note = until.map(|_| "ends by itself".into());
    let request = PauseRequest { until, note, ..PauseRequest::default() };
    // The later pause replaces the earlier one. If the process dies meanwhile, either may hold.
    let from = life.universe.clock.monotonic();
    end_pauses(notes, account, from);
    if life.store.pause(scope(account), request, now).await.expect("the queue answers") == Paused::Unknown {
        return;
    }
    notes.pauses.push(Pause { account: account.map(str::to_owned), from, to: None, until });
    life.handle().wake_everything().await.expect("the queue answers");
}

/// Resumes an account, or everything.
pub(crate) async fn resume(life: &Life<'_>, notes: &mut Notes, account: Option<&str>) {
    // From the moment of the request, paused messages may go.
    end_pauses(notes, account, life.universe.clock.monotonic());
    let now = life.universe.clock.now();
    life.store.resume(scope(account), false, now).await.expect("the queue answers");
    life.handle().wake_everything().await.expect("the queue answers");
}

fn end_pauses(notes: &mut Notes, account: Option<&str>, at: Duration) {
    let same = |pause: &&mut Pause| pause.account.as_deref() == account && pause.to.is_none();
    notes.pauses.iter_mut().filter(same).for_each(|pause| pause.to = Some(at));
}

fn scope(account: Option<&str>) -> Scope {
    account.map_or(Scope::Everything, |id| Scope::Account(AccountId::new(id)))
}

/// Decides each message in review, knowing what arrived: what arrived is sent, what did not is sent again or, with
/// `drops`, is dropped.
pub(crate) async fn review(life: &Life<'_>, drops: bool) {
    let waiting =
        format!("SELECT m.id, m.account_id, {SAID} FROM messages m WHERE m.state = 'review' ORDER BY m.seq");
    let all_in = |states: &str| {
        format!(
            "SELECT m.id, m.account_id, {SAID} FROM messages m WHERE m.account_id = ?1 AND m.state IN ({states})"
        )
    };
    let (all_sent, all_open) = (all_in("'sent'"), all_in("'sending', 'uncertain'"));
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let read = |sql: &str, values: &[&str]| -> Vec<(String, String, String)> {
        life.universe.carrier.rows(sql, values, row)
    };
    const WAITS: &str = "SELECT count(*) FROM messages WHERE id = ?1 AND state = 'review'";
    for (id, account, what) in read(&waiting, &[]) {
        // If a step before it was just dropped, it is no longer there to decide.
        if life.universe.carrier.count(WAITS, &[&id]) == 0 {
            continue;
        }
        let count = |sql: &str| read(sql, &[&account]).iter().filter(|(_, _, said)| *said == what).count();
        let (sent, open) = (count(&all_sent), count(&all_open));
        let deliveries = life.universe.carrier.world.deliveries();
        let arrived = deliveries.iter().filter(|one| one.account_id == account && said(one) == what).count();
        // What arrived may be another message with the same words, whose outcome is not known yet.
        if (sent + 1..=sent + open).contains(&arrived) {
            continue;
        }
        // A message that was never called cannot have arrived.
        let called = life.universe.carrier.count("SELECT attempts FROM messages WHERE id = ?1", &[&id]) > 0;
        let decision = match called && arrived > sent {
            true => Decision::Sent,
            false if drops => Decision::Drop,
            false => Decision::Resend,
        };
        let now = life.universe.clock.now();
        let id: MessageId = id.parse().expect("an id");
        let reviewed = life.store.review(id, decision, None, now).await.expect("the queue answers");
        assert!(matches!(reviewed, Reviewed::Done { .. }), "{id}: {reviewed:?}");
    }
    life.handle().wake_everything().await.expect("the queue answers");
}

/// Checks the explanation of every waiting message: why it waits, and until when or for whom (P6).
pub(crate) async fn explain(life: &Life<'_>, notes: &mut Notes) {
    let filter = MessageFilter {
        states: vec![StateName::Queued, StateName::Uncertain, StateName::Review],
        limit: 1000,
        ..Default::default()
    };
    let now = life.universe.clock.now();
    let page = life.store.messages(&filter, now).await.expect("the queue answers");
    for view in &page.messages {
        let wait_status = life.handle().explain(view).await.expect("the queue answers").wait_status;
        let waits_in_the_past = matches!(wait_status.until, Some(Until::At(at) | Until::NotBefore(at)) if at < now && view.state == StateName::Queued);
        if waits_in_the_past || (wait_status.until.is_none() && wait_status.reason.as_str().is_empty()) {
            notes.unexplained.push(format!("{} in {:?} at {now}: {wait_status:?}", view.id, view.state));
        }
    }
}

/// Returns the number of messages that are neither in a final state nor in review.
pub(crate) fn unfinished(life: &Life<'_>) -> i64 {
    const SQL: &str =
        "SELECT count(*) FROM messages WHERE state IN ('new', 'queued', 'sending', 'uncertain')";
    count(life, SQL)
}

/// Returns the number of messages in review.
pub(crate) fn in_review(life: &Life<'_>) -> i64 {
    count(life, "SELECT count(*) FROM messages WHERE state = 'review'")
}

fn count(life: &Life<'_>, sql: &str) -> i64 {
    life.universe.carrier.count(sql, &[])
}

/// Lets everything settle, with a review once in `every`; returns whether it did within `looks`.
pub(crate) async fn finish(life: &Life<'_>, every: Duration, looks: usize) -> bool {
    for _ in 0..looks {
        if in_review(life) > 0 {
            review(life, false).await;
        } else if unfinished(life) == 0 {
            return true;
        }
        life.pass_quickly(every).await;
    }
    unfinished(life) == 0 && in_review(life) == 0
}
