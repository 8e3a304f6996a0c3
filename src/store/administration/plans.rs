//! The statements that must stay fast however long the queue is, for the test of their query plans.

use crate::store::transitions::{
    account_limits, admission, attempts, chat_reads, defer, insert, inserted, message_commands, repeats,
    resolving, suppressed, withdraw,
};
use crate::store::views::{accounts, candidates, gauges, ledger, message_page, queue, totals};
use crate::store::{AccountFilter, MessageFilter, Store, StoreError};

/// Returns the name and text of each statement.
pub fn hot_statements() -> Vec<(&'static str, String)> {
    let fixed = [
        ("begin_message", attempts::BEGIN_MESSAGE),
        ("begin_attempt", attempts::BEGIN_ATTEMPT),
        ("begin_account", attempts::BEGIN_ACCOUNT),
        ("return_retries", defer::RETURN_RETRIES),
        ("look_again", defer::LOOK_AGAIN),
        ("repeats", repeats::REPEATS),
        ("repeats_of_person", repeats::REPEATS_OF_PERSON),
        ("suppressed", suppressed::SUPPRESSED),
        ("begin_turn", account_limits::BEGIN_TURN),
        ("forget_turns", account_limits::FORGET_TURNS),
        ("settle_message", attempts::SETTLE_MESSAGE),
        ("settle_attempt", attempts::SETTLE_ATTEMPT),
        ("settle_account", attempts::SETTLE_ACCOUNT),
        ("insert_one", insert::INSERT_ONE),
        ("insert_many", insert::INSERT_MANY),
        ("inserted", inserted::INSERTED),
        ("admit", admission::ADMIT),
        ("defer_names", resolving::DEFER_NAMES),
        ("defer_needs", resolving::DEFER_NEEDS),
        ("inmails", defer::INMAILS),
        ("hold_inmails", defer::HOLD),
        ("release_inmails", defer::RELEASE),
        ("next_expiry", withdraw::NEXT_EXPIRY),
        ("expire", withdraw::EXPIRE),
        ("ledger", ledger::LEDGER),
        ("waiting_commands", message_commands::WAITING),
        ("chats_to_poll", chat_reads::DUE),
        ("other_chat", chat_reads::OTHER_CHAT),
    ];
    let fixed = fixed.into_iter().map(|(name, sql)| (name, sql.to_owned()));
    let [insert, insert_of_person] = &*insert::INSERT_CLEAR;
    let [admit, admit_of_person] = &*admission::ADMIT_CLEAR;
    let built = [
        ("candidates", candidates::candidates_sql()),
        ("insert_clear", insert.to_string()),
        ("insert_clear_of_person", insert_of_person.to_string()),
        ("admit_clear", admit.to_string()),
        ("admit_clear_of_person", admit_of_person.to_string()),
    ];
    built.into_iter().chain(fixed).collect()
}

/// Returns the statement that finds the rows of a page of messages, and the values to bind from `?2` on.
pub async fn message_page(
    store: &Store,
    filter: &MessageFilter,
) -> Result<(String, Vec<String>), StoreError> {
    Ok(message_page::page_sql(filter, store.page_index(filter).await?))
}

/// Returns the statement behind a page of accounts.
pub fn account_page(filter: &AccountFilter) -> String {
    accounts::page_sql(filter)
}

/// Returns the statements about one account or all accounts whose time must not depend on what else the queue
/// holds.
pub fn flat_statements() -> Vec<(&'static str, String)> {
    vec![
        ("account", accounts::view_sql(accounts::ONE)),
        ("totals", totals::totals_sql()),
        ("accounts_down", totals::DOWN.to_owned()),
        ("queued", queue::queued_sql()),
        ("gauges", gauges::GAUGES.to_owned()),
    ]
}
