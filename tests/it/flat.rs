//! Lists, pages and totals take the same time whatever else the queue holds, and are correct nevertheless.
//!
//! Work is counted in steps of SQLite's virtual machine, which are the same on every machine, not in time.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;

use outboxd::domain::message::{AccountId, Seq};
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::store::plans::{account_page, flat_statements, message_page};
use outboxd::store::{AccountFilter, AccountOrder, Attention, MessageFilter};
use rusqlite::{Connection, StatementStatus, params_from_iter};

use crate::queue::{Queue, account, at};

/// Inserts `rows` messages of `accounts` accounts: most are queued, each with a common campaign and its own chat, and
/// a few of each rare state are among the oldest.
fn fill(connection: &Connection, rows: u32, accounts: u32) {
    let sql = format!(
        "DROP TRIGGER messages_inserted; DROP TRIGGER messages_stored; \
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {accounts}) \
         INSERT INTO accounts (id, created_at) SELECT printf('acc_%06d', i), '2026-11-22T09:00:00.000Z' FROM n; \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         INSERT INTO messages (account_id, chat_id, text, state, reason, due_at, thread, lane, campaign, dedupe_key, run, reconcile_at, \
           sent_at, settled_by, created_at, updated_at) \
         SELECT printf('acc_%06d', i % {accounts}), 'c' || i, 'x', \
           CASE WHEN i < 20 THEN 'review' WHEN i < 40 THEN 'failed' WHEN i < 50 THEN 'uncertain' ELSE 'queued' END, 'turn', \
           '2026-11-22T09:00:00.000Z', 'chat:c' || i, '1 100 m -', iif(i % 10 = 0, 'rare' || (i / {rows}), 'spring'), 'k' || i, \
           (SELECT max(id) FROM runs), '2026-11-22T09:00:00.000Z', '2026-11-22T09:00:00.000Z', 'answer', \
           '2026-11-22T09:00:00.000Z', '2026-11-22T09:00:00.000Z' FROM n; \
         INSERT INTO counts (account_id, state, n) SELECT account_id, state, 0 FROM messages GROUP BY 1, 2; \
         UPDATE counts SET n = (SELECT count(*) FROM messages m WHERE m.account_id = counts.account_id AND m.state = counts.state)"
    );
    connection.execute_batch(&sql).unwrap();
}

/// Returns the steps that a statement takes, and how many rows it finds.
fn steps(connection: &Connection, sql: &str, values: &[&str]) -> (i32, usize) {
    let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let mut rows = statement.query(params_from_iter(values)).unwrap();
    let mut found = 0;
    while rows.next().unwrap().is_some() {
        found += 1;
    }
    drop(rows);
    (statement.get_status(StatementStatus::VmStep), found)
}

fn filter(states: &[StateName]) -> MessageFilter {
    MessageFilter { states: states.to_vec(), limit: 50, ..MessageFilter::default() }
}

/// Returns lists with few matches or none.
fn sparse() -> Vec<(&'static str, MessageFilter)> {
    let of_account =
        |states: &[StateName]| MessageFilter { account_id: Some(account("000001")), ..filter(states) };
    let late = at(3600);
    let labelled = |states: &[StateName]| MessageFilter { campaign: Some("spring".into()), ..filter(states) };
    vec![
        ("state, few", filter(&[StateName::Review, StateName::Failed])),
        ("state, none", filter(&[StateName::Expired, StateName::Rejected])),
        ("campaign, none", MessageFilter { campaign: Some("none".into()), ..filter(&[]) }),
        ("campaign and state, none", labelled(&[StateName::Sent])),
        ("campaign and state, few", labelled(&[StateName::Review])),
        ("chat, one", MessageFilter { chat_id: Some("c7".into()), ..filter(&[]) }),
        ("chat and state, none", MessageFilter { chat_id: Some("c7".into()), ..filter(&[StateName::Sent]) }),
        ("key, one", MessageFilter { dedupe_key: Some("k9".into()), ..filter(&[]) }),
        ("key, none", MessageFilter { dedupe_key: Some("none".into()), ..filter(&[StateName::Queued]) }),
        ("reason, none", MessageFilter { reason: Some(Reason::RetriesSpent), ..filter(&[]) }),
        ("person, none", MessageFilter { person: Some(vec!["unknown".into()]), ..filter(&[]) }),
        ("time, none", MessageFilter { since: Some(late), ..filter(&[]) }),
        ("time, all", MessageFilter { since: Some(at(-3600)), ..filter(&[]) }),
        ("time and account, none", MessageFilter { since: Some(late), until: Some(late), ..of_account(&[]) }),
        ("account and state, none", of_account(&[StateName::Sent])),
        ("account and state, few", of_account(&[StateName::Review, StateName::Failed])),
        ("account and reason, none", MessageFilter { reason: Some(Reason::RetriesSpent), ..of_account(&[]) }),
        (
            "person and campaign, none",
            MessageFilter { person: Some(vec!["unknown".into()]), ..labelled(&[]) },
        ),
        ("time and campaign, none", MessageFilter { since: Some(late), ..labelled(&[]) }),
        ("time and state, none", MessageFilter { since: Some(late), ..filter(&[StateName::Queued]) }),
        ("account, none", MessageFilter { account_id: Some(account("nobody")), ..filter(&[]) }),
    ]
}

#[tokio::test]
async fn a_list_with_few_matches_or_none_takes_the_same_steps_among_1_000_and_20_000_rows() {
    let mut measured: Vec<Vec<(i32, usize)>> = Vec::new();
    for rows in [1_000, 20_000] {
        let queue = Queue::new().await;
        let connection = queue.sql();
        fill(&connection, rows, 2);
        let mut of_each = Vec::new();
        for (_, filter) in sparse() {
            let (sql, values) = message_page(&queue.store, &filter).await.unwrap();
            // `?1` is the time, which only the list around the page needs.
            let time = (!values.is_empty()).then_some("now");
            let values: Vec<&str> = time.into_iter().chain(values.iter().map(String::as_str)).collect();
            of_each.push(steps(&connection, &sql, &values));
        }
        measured.push(of_each);
    }
    for (place, (name, _)) in sparse().iter().enumerate() {
        let [(few, found), (many, found_too)] = [measured[0][place], measured[1][place]];
        assert_eq!(found, found_too, "{name}");
        assert!(many <= few + few / 4 + 20, "{name}: {few} steps among 1,000 rows, {many} among 20,000");
    }
}

#[tokio::test]
async fn a_page_of_accounts_and_one_account_take_the_same_steps_among_10_and_10_000_accounts() {
    let page = |order, after| AccountFilter { attention: Vec::new(), order, after, limit: 5 };
    let nobody = AccountFilter { attention: vec![Attention::None], ..page(AccountOrder::Id, None) };
    let mut statements = vec![
        ("by attention".to_owned(), account_page(&page(AccountOrder::Attention, None)), ""),
        ("by id".to_owned(), account_page(&page(AccountOrder::Id, None)), ""),
        ("that need nobody".to_owned(), account_page(&nobody), ""),
    ];
    for (name, sql) in flat_statements() {
        statements.push((
            name.to_owned(),
            sql.replace("?2", "0").replace("?3", "5").replace("?4", "''"),
            "acc_000003",
        ));
    }
    let mut measured: Vec<Vec<(i32, usize)>> = Vec::new();
    for accounts in [10, 10_000] {
        let queue = Queue::new().await;
        let connection = queue.sql();
        fill(&connection, accounts * 4, accounts);
        let of = |(_, sql, value): &(String, String, &str)| {
            steps(&connection, sql, if sql.contains("?1") { std::slice::from_ref(value) } else { &[] })
        };
        measured.push(statements.iter().map(of).collect());
    }
    for (place, (name, ..)) in statements.iter().enumerate() {
        let [(few, _), (many, _)] = [measured[0][place], measured[1][place]];
        assert!(many <= few * 2 + 150, "{name}: {few} steps among 10 accounts, {many} among 10,000");
    }
}

/// Draws a number from 0 to `below`, exclusive.
fn draw(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 33).unwrap() % below
}

const STATES: [&str; 7] = ["queued", "sent", "failed", "cancelled", "review", "expired", "rejected"];

/// Draws a filter, and the same filter as conditions that check each row.
fn draw_filter(seed: &mut u64) -> (MessageFilter, String) {
    let mut conditions = vec!["true".to_owned()];
    let mut filter =
        MessageFilter { limit: 1 + u32::try_from(draw(seed, 40)).unwrap(), ..MessageFilter::default() };
    if draw(seed, 2) == 0 {
        let id = format!("acc_{}", draw(seed, 4));
        conditions.push(format!("account_id = '{id}'"));
        filter.account_id = Some(AccountId::new(id));
    }
    if draw(seed, 2) == 0 {
        let campaign = ["spring", "autumn", "none"][draw(seed, 3)];
        conditions.push(format!("campaign = '{campaign}'"));
        filter.campaign = Some(campaign.into());
    }
    if draw(seed, 3) == 0 {
        let chat = format!("c{}", draw(seed, 7));
        conditions.push(format!("chat_id = '{chat}'"));
        filter.chat_id = Some(chat);
    }
    if draw(seed, 6) == 0 {
        let key = format!("k{}", draw(seed, 330));
        conditions.push(format!("dedupe_key = '{key}'"));
        filter.dedupe_key = Some(key);
    }
    let states: BTreeSet<&str> = (0..draw(seed, 4)).map(|_| STATES[draw(seed, STATES.len())]).collect();
    if !states.is_empty() {
        let words: Vec<String> = states.iter().map(|state| format!("'{state}'")).collect();
        conditions.push(format!("state IN ({})", words.join(", ")));
        filter.states = states.iter().map(|state| StateName::parse(state).unwrap()).collect();
    }
    if draw(seed, 2) == 0 {
        let before = i64::try_from(draw(seed, 320)).unwrap();
        conditions.push(format!("seq < {before}"));
        filter.before = Some(Seq(before));
    }
    (filter, conditions.join(" AND "))
}

#[tokio::test]
async fn every_filter_finds_what_looking_at_each_row_finds() {
    let queue = Queue::new().await;
    let connection = queue.sql();
    let mut seed = 20_261_122;
    for number in 0..300 {
        let campaign = ["NULL", "'spring'", "'autumn'"][draw(&mut seed, 3)];
        let state = STATES[draw(&mut seed, STATES.len())];
        let sql = format!(
            "INSERT INTO messages (account_id, chat_id, text, state, reason, due_at, thread, lane, campaign, dedupe_key, run, sent_at, settled_by) \
             VALUES ('acc_{}', 'c{}', 'x', '{state}', 'turn', '2026-11-22T09:00:00.000Z', 't', '1 100 m -', {campaign}, 'k{number}', \
               (SELECT max(id) FROM runs), '2026-11-22T09:00:00.000Z', 'answer')",
            draw(&mut seed, 3),
            draw(&mut seed, 6)
        );
        connection.execute_batch(&sql).unwrap();
    }
    for round in 0..400 {
        let (filter, conditions) = draw_filter(&mut seed);
        let sql = format!("SELECT seq FROM messages WHERE {conditions} ORDER BY seq DESC");
        let all = queue.lines(&sql);
        let page = queue.store.messages(&filter, at(0)).await.unwrap();
        let found: Vec<String> = page.messages.iter().map(|message| message.seq.0.to_string()).collect();
        let wanted = usize::try_from(filter.limit).unwrap().min(all.len());
        assert_eq!(found, all[..wanted], "round {round}: {filter:?}");
        let next = page.next.map(|seq| seq.0.to_string());
        assert_eq!(next, (all.len() > wanted).then(|| all[wanted - 1].clone()), "round {round}: {filter:?}");
    }
}

const MOVES: [(&str, &str); 9] = [
    ("new", "queued"),
    ("new", "rejected"),
    ("queued", "sending"),
    ("queued", "cancelled"),
    ("queued", "review"),
    ("sending", "sent"),
    ("sending", "uncertain"),
    ("uncertain", "review"),
    ("review", "queued"),
];

/// Adds a message, sets an account down or up, or moves a message to another state.
fn act(connection: &Connection, seed: &mut u64) {
    let id = draw(seed, 5); // the last account has no row until its first message
    match draw(seed, 4) {
        0 => {
            let sql =
                format!("INSERT INTO messages (account_id, chat_id, text) VALUES ('acc_{id}', 'c', 'x')");
            connection.execute_batch(&sql).unwrap();
        }
        1 => {
            let down = ["NULL", "'disconnected'"][draw(seed, 2)];
            let sql = format!(
                "UPDATE accounts SET down_cause = {down}, down_at = '2026-11-22T09:00:00.000Z' WHERE id = 'acc_{id}'"
            );
            connection.execute_batch(&sql).unwrap();
        }
        _ => {
            let (from, to) = MOVES[draw(seed, MOVES.len())];
            let sql = format!(
                "UPDATE messages SET revision = revision + 1, state = '{to}', due_at = '2026-11-22T09:00:00.000Z', thread = 't', lane = '1 100 m -', \
                   reconcile_at = '2026-11-22T09:00:00.000Z', sent_at = '2026-11-22T09:00:00.000Z', settled_by = 'answer' \
                 WHERE seq = (SELECT seq FROM messages WHERE account_id = 'acc_{id}' AND state = '{from}' LIMIT 1) \
                   AND NOT ('{to}' = 'sending' AND EXISTS (SELECT 1 FROM messages WHERE account_id = 'acc_{id}' AND state = 'sending'))"
            );
            connection.execute_batch(&sql).unwrap();
        }
    }
}

#[tokio::test]
async fn totals_and_attention_follow_every_move() {
    let queue = Queue::new().await;
    let connection = queue.sql();
    for id in 0..4 {
        let sql =
            format!("INSERT INTO accounts (id, created_at) VALUES ('acc_{id}', '2026-11-22T09:00:00.000Z')");
        connection.execute_batch(&sql).unwrap();
    }
    let mut seed = 7;
    for round in 0..600 {
        act(&connection, &mut seed);
        if round == 300 {
            connection
                .execute_batch(
                    "INSERT INTO accounts (id, created_at) VALUES ('acc_4', '2026-11-22T09:00:00.000Z')",
                )
                .unwrap();
        }
        let counted = queue.lines("SELECT state, count(*) FROM messages GROUP BY state ORDER BY state");
        let kept =
            queue.lines("SELECT what, n FROM totals WHERE what <> 'accounts' AND n <> 0 ORDER BY what");
        assert_eq!(kept, counted, "round {round}");
        let wrong = queue.lines(
            "SELECT a.id, a.attention FROM accounts a WHERE a.attention <> CASE \
               WHEN a.down_cause IS NOT NULL OR EXISTS (SELECT 1 FROM messages m WHERE m.account_id = a.id AND m.state = 'review') THEN 0 \
               WHEN EXISTS (SELECT 1 FROM messages m WHERE m.account_id = a.id AND m.state IN ('new', 'queued', 'sending', 'uncertain')) THEN 1 \
               ELSE 2 END",
        );
        assert_eq!(wrong, Vec::<String>::new(), "round {round}");
    }
    assert_eq!(queue.value("SELECT n FROM totals WHERE what = 'accounts'"), "5");
}

#[tokio::test]
async fn pages_of_accounts_hold_each_account_once_in_the_order_that_is_asked_for() {
    let queue = Queue::new().await;
    let connection = queue.sql();
    fill(&connection, 60, 23);
    connection.execute_batch("INSERT INTO accounts (id, created_at) VALUES ('acc_idle', '2026-11-22T09:00:00.000Z'), ('acc_a', '2026-11-22T09:00:00.000Z')").unwrap();
    for (order, sql) in [
        (AccountOrder::Attention, "SELECT id FROM accounts ORDER BY attention, id"),
        (AccountOrder::Id, "SELECT id FROM accounts ORDER BY id"),
    ] {
        for attention in [vec![], vec![Attention::Person], vec![Attention::Person, Attention::None]] {
            let ranks: Vec<&str> =
                attention.iter().map(|one| if *one == Attention::Person { "0" } else { "2" }).collect();
            let only = if ranks.is_empty() {
                String::new()
            } else {
                format!(" WHERE attention IN ({})", ranks.join(","))
            };
            let all = queue.lines(&sql.replace(" ORDER", &format!("{only} ORDER")));
            for limit in [1, 4, 25, 100] {
                let (mut seen, mut after) = (Vec::new(), None);
                loop {
                    let filter = AccountFilter { attention: attention.clone(), order, after, limit };
                    let page = queue.store.account_page(&filter).await.unwrap();
                    assert!(page.accounts.len() <= usize::try_from(limit).unwrap());
                    seen.extend(page.accounts.iter().map(|view| view.account.id.to_string()));
                    let Some(next) = page.next else { break };
                    after = Some(next);
                }
                assert_eq!(seen, all, "{order:?}, {attention:?}, pages of {limit}");
            }
        }
    }
}
