//! Whether a chat may be started from an inbox, according to the account's inboxes that Unipile reports.
//!
//! `engine/preflight.rs` calls this before a message starts a chat.

use crate::domain::message::InboxId;
use crate::domain::observed::ObservedInbox;

/// How the id of a product's primary inbox ends. Only these start chats; the others are views (Unipile's pages on
/// LinkedIn messaging).
const PRIMARY: &str = "_PRIMARY";
/// How the ids of company pages' inboxes begin; company pages answer and never start a chat.
const COMPANY: &str = "COMPANY";

/// Returns why no chat can be started from `wanted`, with the inboxes that would do; `None` if one can be, or if no
/// inbox is known.
pub fn objection(wanted: &InboxId, inboxes: &[ObservedInbox]) -> Option<String> {
    if inboxes.is_empty() {
        return None;
    }
    let found = inboxes.iter().find(|inbox| inbox.id == *wanted);
    let what = match found {
        None => "does not exist on this account",
        Some(_) if is_company(wanted) => "belongs to a company page, and company pages cannot start chats",
        Some(_) if !is_primary(wanted) => "is not a primary inbox, and only those start chats",
        Some(inbox) if inbox.disabled => "is disabled at present",
        Some(_) => return None,
    };
    let good =
        inboxes.iter().filter(|inbox| !inbox.disabled && is_primary(&inbox.id) && !is_company(&inbox.id));
    let good: Vec<&str> = good.map(|inbox| inbox.id.as_str()).collect();
    let fix = match good.as_slice() {
        [] => "no inbox of this account can start a chat now".to_owned(),
        [one] => format!("use {one}"),
        several => format!("use one of: {}", several.join(", ")),
    };
    Some(format!("`inbox_id` {wanted} {what}; {fix}"))
}

fn is_primary(id: &InboxId) -> bool {
    id.as_str().ends_with(PRIMARY)
}

fn is_company(id: &InboxId) -> bool {
    id.as_str().starts_with(COMPANY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inboxes(list: &[(&str, bool)]) -> Vec<ObservedInbox> {
        list.iter()
            .map(|(id, disabled)| ObservedInbox { id: InboxId::new(*id), disabled: *disabled })
            .collect()
    }

    #[test]
    fn only_an_enabled_primary_inbox_that_is_no_companys_starts_chats_and_the_others_name_it() {
        let all = [
            ("CLASSIC_PRIMARY", false),
            ("CLASSIC_INMAIL", false),
            ("SALES_NAVIGATOR_PRIMARY", true),
            ("RECRUITER_PRIMARY", false),
            ("COMPANY_7_PRIMARY", false),
        ];
        let cases = [
            ("CLASSIC_PRIMARY", None),
            ("RECRUITER_PRIMARY", None),
            ("CLASSIC_INMAIL", Some("is not a primary inbox")),
            ("SALES_NAVIGATOR_PRIMARY", Some("is disabled")),
            ("COMPANY_7_PRIMARY", Some("company pages cannot start chats")),
            ("ELSEWHERE", Some("does not exist")),
        ];
        for (id, expected) in cases {
            let said = objection(&InboxId::new(id), &inboxes(&all));
            assert_eq!(said.is_some(), expected.is_some(), "{id}: {said:?}");
            if let (Some(said), Some(expected)) = (said, expected) {
                assert!(said.contains(expected) && said.contains(id), "{said}");
                assert!(said.ends_with("use one of: CLASSIC_PRIMARY, RECRUITER_PRIMARY"), "{said}");
            }
        }
    }

    #[test]
    fn where_nothing_is_known_nothing_is_refused_and_where_nothing_would_do_it_says_so() {
        let wanted = InboxId::new("CLASSIC_PRIMARY");
        assert_eq!(objection(&wanted, &[]), None);
        let said = objection(&wanted, &inboxes(&[("CLASSIC_PRIMARY", true)])).unwrap();
        assert!(
            said.ends_with("is disabled at present; no inbox of this account can start a chat now"),
            "{said}"
        );
        let said = objection(&wanted, &inboxes(&[("OTHER_PRIMARY", false)])).unwrap();
        assert!(said.ends_with("use OTHER_PRIMARY"), "{said}");
    }
}
