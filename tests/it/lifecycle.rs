//! The states and the reasons are defined in several places: the code, the schema and the documents must agree.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;

use outboxd::domain::reason::Reason;
use outboxd::domain::state::{MOVES, StateName};

use crate::queue::Queue;

const SCHEMA: &str = include_str!("../../migrations/0001_queue.sql");
const LIFECYCLE: &str = include_str!("../../docs/lifecycle.md");
const REASONS: &str = include_str!("../../docs/reasons.md");

type Move = (String, String);

fn moves_of_the_code() -> BTreeSet<Move> {
    MOVES.iter().map(|(from, _, to)| (from.as_str().to_owned(), to.as_str().to_owned())).collect()
}

/// Returns the texts in single quotes.
fn quoted(sql: &str) -> Vec<&str> {
    sql.split('\'').skip(1).step_by(2).collect()
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, after) = text.split_once(begin).unwrap_or_else(|| panic!("{begin:?} is gone"));
    after.split_once(end).unwrap_or_else(|| panic!("no {end:?} after {begin:?}")).0
}

/// Returns the cells of every row of the tables in `text` whose first cell is code.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with("| `"));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn the_trigger_allows_the_moves_of_the_code_and_no_other() {
    let cases = between(SCHEMA, "AND NOT CASE OLD.state", "ELSE 0 END");
    let pairs: Vec<Move> = cases
        .split("WHEN ")
        .skip(1)
        .flat_map(|case| {
            let words = quoted(case);
            let moves: Vec<Move> =
                words[1..].iter().map(|to| (words[0].to_owned(), (*to).to_owned())).collect();
            moves
        })
        .collect();
    assert_eq!(pairs.len(), MOVES.len(), "a move stands there twice");
    assert_eq!(pairs.into_iter().collect::<BTreeSet<_>>(), moves_of_the_code());
}

#[test]
fn the_check_knows_the_states_of_the_code_in_their_order() {
    let list = between(SCHEMA, "state        TEXT NOT NULL DEFAULT 'new' CHECK (state IN", "),");
    assert_eq!(quoted(list), StateName::ALL.map(StateName::as_str));
}

#[test]
fn the_diagram_shows_exactly_the_moves() {
    let diagram = between(LIFECYCLE, "```mermaid\nstateDiagram-v2\n", "```");
    let mut shown = Vec::new();
    let (mut begins, mut ends) = (BTreeSet::new(), BTreeSet::new());
    for line in diagram.lines() {
        let (pair, label) = line.split_once(" : ").unwrap_or((line, ""));
        let (from, to) = pair.trim().split_once(" --> ").unwrap_or_else(|| panic!("no arrow: {line}"));
        match (from, to) {
            ("[*]", begin) => drop(begins.insert(begin)),
            (end, "[*]") => drop(ends.insert(end)),
            (from, to) => shown.push((from, label, to)),
        }
    }
    let moves: Vec<_> = MOVES.iter().map(|(from, what, to)| (from.as_str(), *what, to.as_str())).collect();
    assert_eq!(shown, moves, "the diagram and the code differ");
    assert_eq!(begins, BTreeSet::from(["new", "queued"]));
    let finals = StateName::ALL.into_iter().filter(|state| state.is_final()).map(StateName::as_str);
    assert_eq!(ends, finals.collect());
}

#[test]
fn the_tables_explain_each_state_and_each_move_once() {
    let (states, moves) = LIFECYCLE.split_once("## What each move means to you").unwrap();
    let told: Vec<(&str, &str)> = rows(states).iter().map(|row| (row[0].trim_matches('`'), row[1])).collect();
    let expected = StateName::ALL.map(|state| (state.as_str(), if state.is_final() { "yes" } else { "no" }));
    assert_eq!(told, expected);
    for (state, row) in StateName::ALL.into_iter().zip(rows(states)) {
        let can = state.may_become(StateName::Cancelled);
        assert_eq!(row[3].starts_with("yes"), can, "{}: {}", row[0], row[3]);
    }
    let told: Vec<(&str, &str)> =
        rows(moves).iter().map(|row| (row[0].trim_matches('`'), row[1].trim_matches('`'))).collect();
    let expected: Vec<_> = MOVES.iter().map(|(from, _, to)| (from.as_str(), to.as_str())).collect();
    assert_eq!(told, expected);
}

#[test]
fn the_page_of_reasons_holds_every_reason_and_nothing_else() {
    let told: Vec<(&str, &str, &str)> =
        rows(REASONS).iter().map(|row| (row[0].trim_matches('`'), row[1], row[2])).collect();
    let expected: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| (reason.as_str(), reason.sentence(), reason.actor().as_str()))
        .collect();
    assert_eq!(told, expected);
    for row in rows(REASONS) {
        assert!(row.len() == 4 && !row[3].is_empty(), "{row:?} says what to do");
        assert!(row[2] == "none" || !row[3].starts_with("Nothing."), "{} must do something", row[2]);
    }
}

/// Tests the trigger itself, not only its text: tries every pair of states.
#[tokio::test]
async fn the_database_refuses_every_other_move() {
    let queue = Queue::new().await;
    let connection = queue.sql();
    // Without the insert trigger a row can be created in any state.
    for (from, to) in StateName::ALL.into_iter().flat_map(|from| StateName::ALL.map(|to| (from, to))) {
        let sql = format!(
            "BEGIN; DROP TRIGGER messages_insert; \
             INSERT INTO messages (account_id, chat_id, text, state, due_at, thread, lane, sent_at, settled_by, reconcile_at) \
             VALUES ('acc_1', 'c', 'x', '{}', '2026-11-22T09:00:00.000Z', 'chat:c', '1 100 m -', '2026-11-22T09:00:00.000Z', 'answer', \
               '2026-11-22T09:00:00.000Z'); \
             UPDATE messages SET revision = revision + 1, state = '{}';",
            from.as_str(),
            to.as_str()
        );
        let moved = connection.execute_batch(&sql);
        connection.execute_batch("ROLLBACK").unwrap();
        let allowed = from == to || from.may_become(to);
        assert_eq!(moved.is_ok(), allowed, "{from:?} to {to:?}: {moved:?}");
        if let Err(error) = moved {
            let text = error.to_string();
            assert!(text.starts_with("outboxd: ") && text.contains("docs/lifecycle.md"), "{text}");
        }
    }
}
