//! The ways into the queue that are not an enqueue, and the ways out that are not a send: rows of other programs are
//! admitted or rejected, messages are cancelled and expire (P5, P7).

use outboxd::domain::message::{MessageId, NewMessage};
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::store::{Admission, Begun, Commanded, Inserted};

use crate::queue::{Queue, account, at, cancel, failed, retry, review, sent, to_chat};

fn insert(queue: &Queue, columns: &str, values: &str) -> i64 {
    let sql = format!("INSERT INTO messages (account_id, text, {columns}) VALUES ('acc_1', 'hi', {values})");
    let connection = queue.sql();
    connection.execute(&sql, []).unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.last_insert_rowid()
}

/// Validates a row and returns its admission or rejection.
fn admission(row: &Inserted, now: jiff::Timestamp) -> Admission {
    let rules = outboxd::domain::validate::ValidationLimits {
        max_text_chars: 100,
        known_accounts: None,
        placeholders: outboxd::domain::placeholders::Placeholders::default(),
        resolve_people: false,
    };
    let judged = match row.draft.clone() {
        Ok(draft) => draft.validate(&rules, now).map_err(|refusals| refusals[0].to_string()),
        Err(why) => Err(why),
    };
    match judged {
        Ok(message) => Admission::queue(row, message, Vec::new(), now, None),
        Err(why) => Admission::reject(row, why, now),
    }
}

#[tokio::test]
async fn a_row_of_another_program_is_seen_oldest_first_and_queued_once() {
    let queue = Queue::new().await;
    insert(&queue, "chat_id, not_before", "'c', '2999-01-01T00:00:00.000Z'");
    insert(&queue, "users_ids, inbox_id", "'[\"u\"]', ''");
    insert(&queue, "chat_id", "'c'");
    assert_eq!(queue.store.accounts().await.unwrap().len(), 0, "nobody has looked yet");
    assert_eq!(queue.store.account_ids(None, true, 10).await.unwrap(), []);

    assert_eq!(queue.store.inserted(1).await.unwrap().len(), 1, "at most as many as were asked for");
    let rows = queue.store.inserted(10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seq.0).collect::<Vec<_>>(), [1, 2, 3]);
    let now = rows[2].created_at + std::time::Duration::from_secs(1);
    let admissions: Vec<Admission> = rows.iter().map(|row| admission(row, now)).collect();
    assert_eq!(queue.store.admit(admissions.clone()).await.unwrap(), 3);
    assert_eq!(queue.store.admit(admissions).await.unwrap(), 0, "judged already");
    assert_eq!(queue.store.inserted(10).await.unwrap().len(), 0);

    let created = outboxd::domain::time_text(rows[1].created_at);
    assert_eq!(
        queue.lines("SELECT state, reason, thread, due_at, run FROM messages ORDER BY seq")[..2],
        [
            "queued|scheduled|chat:c|2999-01-01T00:00:00.000Z|1".to_owned(),
            format!("queued|turn|user:u|{created}|1")
        ]
    );
    assert_eq!(queue.store.account_ids(None, true, 10).await.unwrap(), [account("1")]);
    queue.check();
}

#[tokio::test]
async fn a_row_that_only_the_daemon_can_judge_is_rejected_with_the_reason_in_words() {
    let queue = Queue::new().await;
    insert(&queue, "chat_id, expires_at", "'c', '2001-01-01T00:00:00.000Z'");
    insert(&queue, "chat_id", "'..'");
    insert(&queue, "users_ids", "'NULL'");
    let rows = queue.store.inserted(10).await.unwrap();
    let now = rows[0].created_at;
    let admissions = rows.iter().map(|row| admission(row, now)).collect();
    assert_eq!(queue.store.admit(admissions).await.unwrap(), 3);
    assert_eq!(
        queue.lines("SELECT state, reason, error, due_at FROM messages ORDER BY seq"),
        [
            "rejected|invalid|`expires_at` has passed: 2001-01-01T00:00:00.000Z; give a time in the future|-",
            "rejected|invalid|`chat_id` is not an id; give the id as Unipile returns it|-",
            "rejected|invalid|`users_ids` is \"NULL\", which means a missing value; give the value, or leave the row out|-",
        ]
    );
    assert_eq!(queue.value("SELECT count(*) FROM accounts"), "0", "a rejected row makes no account");
    let filter = outboxd::store::MessageFilter { limit: 9, ..Default::default() };
    let page = queue.store.messages(&filter, now).await.unwrap();
    assert_eq!(page.messages.len(), 3, "a rejected row without an account can be read");
    assert!(page.messages.iter().all(|message| message.account.id == account("1")));
    queue.check();
}

#[tokio::test]
async fn a_row_that_was_cancelled_before_anybody_looked_is_not_admitted() {
    let queue = Queue::new().await;
    insert(&queue, "chat_id", "'c'");
    let rows = queue.store.inserted(10).await.unwrap();
    let id: MessageId = queue.value("SELECT id FROM messages").parse().unwrap();
    let cancelled = cancel(&queue.store, id, at(1)).await.unwrap();
    assert!(matches!(cancelled, Commanded::Done { was: StateName::New, .. }), "{cancelled:?}");
    assert_eq!(queue.store.admit(vec![admission(&rows[0], rows[0].created_at)]).await.unwrap(), 0);
    assert_eq!(queue.state(id).await, (StateName::Cancelled, Reason::Cancelled));
    queue.check();
}

#[tokio::test]
async fn cancelling_works_until_the_call_is_on_its_way() {
    let queue = Queue::new().await;
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(queue.enqueue(to_chat(&format!("c{n}"), "x"), at(n)).await);
    }
    let [queued, retrying, in_review, done, refused, expiring, sending] = ids[..] else { panic!("seven") };
    queue.attempt(retrying, 1, retry(at(500))).await;
    queue.attempt(in_review, 1, review()).await;
    queue.attempt(done, 1, sent()).await;
    queue.attempt(refused, 1, failed()).await;
    let connection = queue.sql();
    let sql =
        "UPDATE messages SET revision = revision + 1, expires_at = '2026-11-22T09:00:50.000Z' WHERE id = ?1";
    connection.execute(sql, [expiring.to_string()]).unwrap();
    queue.store.expire(at(60)).await.unwrap();
    assert_eq!(queue.begin(sending, 1, at(90)).await, Begun::Granted);

    let done_from = |was| Commanded::Done {
        was,
        state: StateName::Cancelled,
        accounts: vec![account("1")],
        others: Vec::new(),
    };
    let too_late = |state| Commanded::Refused { state, errors: Vec::new(), existing: None };
    let cases = [
        (queued, done_from(StateName::Queued)),
        (retrying, done_from(StateName::Queued)),
        (in_review, done_from(StateName::Review)),
        (done, too_late(StateName::Sent)),
        (refused, too_late(StateName::Failed)),
        (expiring, too_late(StateName::Expired)),
        (sending, too_late(StateName::Sending)),
        (queued, Commanded::Unchanged(StateName::Cancelled)),
        (MessageId(uuid::Uuid::nil()), Commanded::Unknown),
    ];
    for (id, expected) in cases {
        let before = queue.lines("SELECT * FROM messages ORDER BY seq");
        let verdict = match cancel(&queue.store, id, at(600)).await.unwrap() {
            Commanded::Refused { state, .. } => too_late(state),
            other => other,
        };
        assert_eq!(verdict, expected, "{id}");
        let changed = queue.lines("SELECT * FROM messages ORDER BY seq") != before;
        assert_eq!(changed, matches!(verdict, Commanded::Done { .. }), "{verdict:?}");
    }
    queue.check();
}

#[tokio::test]
async fn what_is_not_sent_before_its_expiry_expires_at_that_very_moment() {
    let queue = Queue::new().await;
    let expiring = |account_id: &str, seconds| NewMessage {
        account_id: account(account_id),
        expires_at: Some(at(seconds)),
        ..to_chat("c", "x")
    };
    let first = queue.enqueue(expiring("1", 10), at(0)).await;
    let second = queue.enqueue(expiring("2", 20), at(0)).await;
    let last = queue.enqueue(expiring("3", 300), at(0)).await;
    let never = queue.enqueue(to_chat("c", "x"), at(0)).await;
    assert_eq!(queue.store.next_expiry().await.unwrap(), Some(at(10)));
    assert_eq!(queue.store.expire(at(10) - std::time::Duration::from_millis(1)).await.unwrap(), []);
    let mut concerned = queue.store.expire(at(20)).await.unwrap();
    concerned.sort_unstable();
    assert_eq!(concerned, [account("1"), account("2")]);
    for id in [first, second] {
        assert_eq!(queue.state(id).await, (StateName::Expired, Reason::Expired));
    }
    assert_eq!(queue.store.next_expiry().await.unwrap(), Some(at(300)));
    queue.attempt(last, 1, sent()).await;
    assert_eq!(queue.store.next_expiry().await.unwrap(), None, "what is sent expires no more");
    assert_eq!(queue.store.expire(at(9999)).await.unwrap(), []);
    assert_eq!(queue.state(never).await.0, StateName::Queued);
    queue.check();
}
