//! What needs a person, as `/` and `/health` show it: each trouble once, with what to do.

use super::command::{path, query};
use crate::http::notices;
use crate::types::account::Account;
use crate::types::notice::Notice;
use crate::types::status::Status;

/// The kinds that stop all sending for the reason `storage`.
const STORAGE: [&str; 2] = ["storage", "storage_locked"];

/// A line of the list.
pub(super) struct Needed {
    /// Whether it is the one thing to do next.
    pub(super) is_next: bool,
    /// The page about it, and the words of the link.
    pub(super) link: Option<(String, String)>,
    pub(super) what: String,
    pub(super) to_do: String,
}

impl Needed {
    /// Returns a line without anything to do.
    pub(super) fn plain(what: String) -> Self {
        Self { is_next: false, link: None, what, to_do: String::new() }
    }

    fn of(notice: &Notice, is_next: bool, in_review: u64) -> Self {
        let Notice { kind, account_id, what, to_do, .. } = notice;
        let link = match (kind.as_str(), account_id) {
            ("review", _) => Some(("/review".to_owned(), format!("{in_review} in review"))),
            (_, Some(account)) => Some((path("/accounts", &[account]), "the account".to_owned())),
            (_, None) => None,
        };
        Self { is_next, link, what: what.clone(), to_do: to_do.clone() }
    }
}

/// Returns the notices that need a person, what else prevents all sending, and the warnings.
pub(super) fn needed(status: &Status) -> Vec<Needed> {
    let next = notices::next(&status.notices);
    let open = status.notices.iter().filter(|notice| notice.needs_person);
    let in_review = status.queue.counts.get("review").copied().unwrap_or(0);
    let is_next = |notice: &Notice| next.is_some_and(|next| std::ptr::eq(next, notice));
    let mut found: Vec<Needed> = open.map(|notice| Needed::of(notice, is_next(notice), in_review)).collect();
    let unready = status.ready.as_ref().and_then(|ready| ready.send.unready.as_ref());
    // A pause with an end, and an API that failed just now, need no person and still stop everything.
    let has_notice = |reason: &str| {
        let is_of = |kind: &str| kind == reason || (reason == "storage" && STORAGE.contains(&kind));
        status.notices.iter().any(|notice| notice.needs_person && is_of(&notice.kind))
    };
    let unready = unready.filter(|unready| !has_notice(&unready.reason));
    found.extend(unready.map(|unready| Needed::plain(format!("nothing is sent: {}", unready.detail))));
    found.extend(status.warnings.iter().cloned().map(Needed::plain));
    found
}

/// Returns which of these accounts have messages in review, and which are down beyond the first ones, which are notices.
pub(super) fn of_accounts(accounts: &[Account], notices: &[Notice]) -> Vec<Needed> {
    let mut found = Vec::new();
    for account in accounts.iter().filter(|account| account.attention == "person") {
        let id = &account.id;
        let is_told = notices.iter().any(|notice| notice.account_id.as_ref() == Some(id));
        if let Some(down) = account.down.as_ref().filter(|_| !is_told) {
            let link = Some((path("/accounts", &[id]), "the account".to_owned()));
            let why = account.waits.why.as_deref().unwrap_or("It cannot send.");
            found.push(Needed { link, ..Needed::plain(format!("{id}: {why} ({})", down.problem)) });
        }
        let in_review = account.counts.get("review").copied().unwrap_or(0);
        if in_review > 0 {
            let these = query("/messages", &[("state", "review"), ("account_id", id)]);
            let link = Some((these, "these messages".to_owned()));
            found.push(Needed { link, ..Needed::plain(format!("{id}: {in_review} in review")) });
        }
    }
    found
}
