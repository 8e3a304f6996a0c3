//! Tests of when a chat is read again, and how that ends.

use super::*;
use crate::policy::evidence::{Unsure, Why};

const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}

fn unsure() -> Finding {
    let (chat_id, message_id) = (ChatId::new("c"), "m".to_owned());
    Finding::CannotTell(Unsure { why: Why::Before, chat_id, message_id, at: at(-5) })
}

fn reconcile(absent: Absent) -> ReconcilePolicy {
    let after = [60, 180, 600, 1800].map(Duration::from_secs).to_vec();
    ReconcilePolicy { after, absent }
}

/// Returns every read of a message as seconds since the call, and how the schedule ends.
fn schedule(
    reconcile: &ReconcilePolicy,
    mut finding: impl FnMut(u32) -> Option<Finding>,
    resends: u32,
) -> String {
    let mut now = after(at(0), reconcile.after[0]);
    let mut printed = Vec::new();
    for reads in 0..20 {
        printed.push((now.as_second() - NOW).to_string());
        match next_step(Tries { reads, resends }, finding(reads), reconcile, now) {
            NextStep::Again { reconcile_at, .. } => now = reconcile_at,
            NextStep::Sent { .. } => return format!("{} sent", printed.join(" ")),
            NextStep::Queue => return format!("{} queued", printed.join(" ")),
            NextStep::Review(reason) => return format!("{} {}", printed.join(" "), reason.as_str()),
        }
    }
    panic!("it never ends: {printed:?}");
}

#[test]
fn the_schedule_ends_and_only_the_last_read_proves_absence() {
    let absent = |_| Some(Finding::Absent);
    let (review, resend) = (reconcile(Absent::Review), reconcile(Absent::Resend));
    assert_eq!(schedule(&review, absent, 0), "60 180 600 1800 not_in_chat");
    assert_eq!(schedule(&resend, absent, 0), "60 180 600 1800 queued");
    assert_eq!(schedule(&resend, absent, 1), "60 180 600 1800 not_in_chat", "once only");
    assert_eq!(schedule(&review, |_| Some(Finding::Partly), 0), "60 180 600 1800 partly_in_chat");
    assert_eq!(schedule(&resend, |_| Some(unsure()), 0), "60 180 600 1800 cannot_tell");
    // A read that failed proves nothing: the last one must have shown the chat.
    let last_fails = |reads| if reads == 3 { None } else { Some(Finding::Absent) };
    assert_eq!(schedule(&resend, last_fails, 0), "60 180 600 1800 3000 queued");
    let ends = "60 180 600 1800 3000 4200 5400 6600 chat_unreadable";
    assert_eq!(schedule(&resend, |_| None, 0), ends);
}

#[test]
fn a_schedule_of_one_read_is_one() {
    let once = ReconcilePolicy { after: vec![Duration::from_secs(5)], ..reconcile(Absent::Resend) };
    assert_eq!(schedule(&once, |_| Some(Finding::Absent), 0), "5 queued");
    assert_eq!(schedule(&once, |_| None, 0), "5 10 15 20 25 chat_unreadable");
}
