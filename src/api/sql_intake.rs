//! The SQL door: rows that other programs INSERT into `messages` are noticed within milliseconds and judged like
//! everything else.
//!
//! What the table's own CHECKs and trigger can see was refused at the INSERT already; here a row becomes `queued`, or
//! `rejected` with its `error` filled in, so that its producer finds the reason where it put the message.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Doors, attachments};
use crate::domain::attachment::Blob;
use crate::domain::message::{AccountId, NewMessage};
use crate::domain::refusal::Refusal;
use crate::store::{Admission, ForeignInserts, Inserted, StoreError};

/// Rows judged in one transaction: few enough that a producer never waits for its next INSERT.
const ROWS: u32 = 500;
/// The pause after the queue failed.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Serves the SQL door until the engine is told to stop.
pub async fn run(doors: Arc<Doors>, mut inserts: ForeignInserts) {
    let clock = Arc::clone(doors.engine.clock());
    loop {
        let served = async { admit(&doors, inserts.next(ROWS, &clock).await?).await };
        tokio::select! {
            () = doors.engine.stopping() => return,
            served = served => if let Err(error) = served {
                tracing::error!(error = error.chain(), "rows of other programs cannot be taken in; trying again");
                inserts.look_again();
                clock.sleep(AFTER_ERROR).await;
            },
        }
    }
}

async fn admit(doors: &Doors, rows: Vec<Inserted>) -> Result<(), StoreError> {
    let now = doors.engine.now();
    let mut accounts: Vec<(AccountId, Timestamp)> = Vec::new();
    let mut admissions = Vec::with_capacity(rows.len());
    for row in &rows {
        admissions.push(match judge(doors, row) {
            Ok((message, blobs)) => {
                let due_at = message.not_before.map_or(now, |at| at.max(now));
                accounts.push((message.account_id.clone(), due_at));
                Admission::queue(row, &message, blobs, now, doors.recovered.stale_before)
            }
            Err(why) => {
                tracing::info!(arrival = row.arrival.0, why, "rejected a row of another program");
                Admission::reject(row, why, now)
            }
        });
    }
    doors.store.admit(admissions).await?;
    doors.engine.wake_at(accounts);
    Ok(())
}

/// The one validation; a row that expired while nobody looked is queued and then expires, as it would have.
fn judge(doors: &Doors, row: &Inserted) -> Result<(NewMessage, Vec<Blob>), String> {
    let mut draft = row.draft.clone()?;
    let told =
        |refusals: Vec<Refusal>| refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("; ");
    let mut blobs = Vec::new();
    if let Some(files) = row.attachments.clone() {
        let load = || attachments::load(files, attachments::Uploads::default(), &doors.attachments);
        (draft.attachments, blobs) = tokio::task::block_in_place(load).map_err(told)?;
    }
    let message = draft.validate(&doors.rules, row.created_at).map_err(told)?;
    Ok((message, blobs))
}
