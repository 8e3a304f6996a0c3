//! The transaction around calls as one call to SQLite's thread: intents and settlements, however many there are.
//!
//! Statement by statement, a transaction is up to ten calls to that thread; while many accounts send, the writer would wait for
//! these hops (docs/performance.md). No statement sees what another one returned, so each
//! asks the database what was granted or settled.

use std::sync::{Arc, LazyLock};

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::account_limits::{BEGIN_TURN, FORGET_TURNS};
use super::attempts::{
    BEGIN_ACCOUNT, BEGIN_ATTEMPT, BEGIN_MESSAGE, Begun, Intent, SETTLE_ACCOUNT, SETTLE_ATTEMPT,
    SETTLE_MESSAGE, Settlement, intents_json, settlements_json, verdict,
};
use crate::store::sqlite::rows::Result;

/// Condition for intents granted in this transaction: the message is `sending`, and its attempt is not yet written.
const GRANTED: &str = "EXISTS (SELECT 1 FROM messages m WHERE m.seq = j.value ->> 0 AND m.state = 'sending' \
       AND m.attempts = j.value ->> 1) \
     AND NOT EXISTS (SELECT 1 FROM attempts t WHERE t.seq = j.value ->> 0 AND t.number = j.value ->> 1)";

/// Condition for settlements that were not late: the message has just taken this outcome of this attempt.
const SETTLED: &str = "EXISTS (SELECT 1 FROM messages m WHERE m.seq = j.seq AND m.attempts = j.number \
       AND m.state = j.state AND m.updated_at = j.at)";

/// The transaction with settlements, with intents, with both. `?1` has the intents, `?2` the run, `$3` the
/// settlements: sqlx binds nothing to a lone `?3`, whose statement also has a first and a second parameter.
static SETTLE: LazyLock<Arc<str>> = LazyLock::new(|| transaction(&[settle()]));
static BEGIN: LazyLock<Arc<str>> = LazyLock::new(|| transaction(&[begin()]));
static SETTLE_AND_BEGIN: LazyLock<Arc<str>> = LazyLock::new(|| transaction(&[settle(), begin()]));

fn transaction(parts: &[String]) -> Arc<str> {
    format!("BEGIN IMMEDIATE; {}; COMMIT", parts.join("; ")).into()
}

fn settle() -> String {
    let message = SETTLE_MESSAGE.replace("RETURNING", "RETURNING 'settled',");
    let with_state = "value ->> 2 AS at, value ->> 3 AS state,";
    let attempt = SETTLE_ATTEMPT.replace("value ->> 2 AS at,", with_state);
    let all = format!("value ->> 0 AS seq, value ->> 1 AS number, {with_state} value ->> 18 AS id,");
    let account = SETTLE_ACCOUNT.replace("value ->> 18 AS id,", &all);
    format!("{message}; {attempt} AND {SETTLED}; {account} AND {SETTLED}").replace("?1", "$3")
}

fn begin() -> String {
    let granted = |sql: &str, end: &str| {
        let list = format!("FROM jsonb_each(?1){end}");
        sql.replace(&list, &format!("FROM jsonb_each(?1) AS j WHERE {GRANTED}{end}"))
    };
    let attempt = granted(BEGIN_ATTEMPT, "");
    let (account, turn) = (granted(BEGIN_ACCOUNT, ")"), granted(BEGIN_TURN, ")"));
    let message = BEGIN_MESSAGE.replace("RETURNING", "RETURNING 'begun',");
    [message, account, turn, FORGET_TURNS.to_owned(), attempt].join("; ")
}

/// Returns whether the transaction can be one call: an event about an account depends on what was settled.
pub(in crate::store) fn is_one_call<'a>(mut settlements: impl Iterator<Item = &'a Settlement>) -> bool {
    !settlements.any(Settlement::is_about_the_account)
}

/// Settles attempts and then writes intents, in a transaction of their own. Returns the result of each. The caller rolls
/// back on failure.
pub(in crate::store) async fn write(
    connection: &mut SqliteConnection,
    run: i64,
    settlements: &[&Settlement],
    intents: &[Intent],
) -> Result<(Vec<bool>, Vec<Begun>)> {
    let sql = match (settlements, intents) {
        ([], _) => &BEGIN,
        (_, []) => &SETTLE,
        _ => &SETTLE_AND_BEGIN,
    };
    // Built from constants; every value is bound.
    let query = sqlx::query_as(AssertSqlSafe(Arc::clone(sql)));
    let query = query.bind(intents_json(intents.iter())).bind(run).bind(settlements_json(settlements));
    let rows: Vec<(String, i64)> = query.fetch_all(connection).await?;
    let of = |which: &str| rows.iter().filter(|(what, _)| what == which).map(|(_, seq)| *seq).collect();
    let (settled, begun): (Vec<i64>, Vec<i64>) = (of("settled"), of("begun"));
    let settled = settlements.iter().map(|one| settled.contains(&one.seq.0)).collect();
    Ok((settled, intents.iter().map(|intent| verdict(intent, &begun)).collect()))
}
