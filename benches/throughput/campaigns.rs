//! 10,000 campaigns on one account: the time to read the candidates of a selection, with one campaign, with all of
//! them, and while all of them wait for a date.

use std::path::Path;

use outboxd::domain::message::{AccountId, ChatId, NewMessage, Target};
use outboxd::store::{EnqueueMode, Store, StoreOptions};

use crate::Figure;
use crate::scenes::time_of_selection;

const CAMPAIGNS: usize = 10_000;
const ROUNDS: usize = 5;

pub(crate) fn campaigns(folder: &Path, figures: &mut Vec<Figure>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    for (name, campaigns, waits) in [
        ("campaigns_1", 1, false),
        ("campaigns_10000", CAMPAIGNS, false),
        ("campaigns_10000_scheduled", CAMPAIGNS, true),
    ] {
        let rounds = runtime.block_on(async {
            let options = StoreOptions { path: folder.join(format!("{name}.db")), readers: 1 };
            let now: jiff::Timestamp = "2026-11-22T09:21:00Z".parse().expect("a time");
            let store = Store::open(&options, now).await.expect("open");
            for begin in (0..CAMPAIGNS).step_by(2000) {
                let message = |number: usize| NewMessage {
                    account_id: AccountId::new("acc_1"),
                    target: Target::Chat(ChatId::new(format!("chat_{number}"))),
                    extras: outboxd::domain::message::Extras::default(),
                    text: "Hello".to_owned(),
                    typing: None,
                    not_before: waits.then(|| now + std::time::Duration::from_secs(3600)),
                    expires_at: None,
                    campaign: Some(format!("campaign {}", number % campaigns)),
                    precedence: outboxd::domain::lane::Precedence::default(),
                    stop_on_reply: None,
                    step: None,
                    meta: None,
                    needs: None,
                    dedupe_key: None,
                };
                let messages = (begin..begin + 2000).map(message).collect();
                store.enqueue(messages, EnqueueMode::Each, now).await.expect("stored");
            }
            let mut rounds = Vec::new();
            for _ in 0..ROUNDS {
                rounds.push(time_of_selection(&store, now).await);
            }
            rounds
        });
        figures.push(Figure::median(name, rounds, "us", "under 5,000", |us| us < 5000.0));
    }
}
