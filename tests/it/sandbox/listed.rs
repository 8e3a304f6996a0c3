//! The list of chats: its order, pages, filters, and what it refuses.

use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::*;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Bench, START};

const CHATS: &str = "/v2/acc_1/chats";

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().expect("data").iter().map(|one| one["id"].as_str().expect("an id")).collect()
}

/// Waits until the clock shows another millisecond, the resolution in which chats are ordered.
async fn tick() {
    let clock = SystemClock::new();
    let before = clock.now();
    while clock.now() == before {
        clock.sleep(Duration::from_micros(100)).await;
    }
}

#[tokio::test]
async fn the_chat_that_was_written_in_last_comes_first_and_pages_go_to_the_end() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    for number in 1..=45 {
        tick().await;
        world.add_message("acc_1", &format!("2-c/{number}=="), "m", "x", true);
    }
    tick().await;
    world.add_message("acc_1", "2-c/1==", "m2", "y", false);
    let first = bench.fresh(CHATS).await;
    assert_eq!((ids(&first).len(), &ids(&first)[..2]), (20, &["2-c/1==", "2-c/45=="][..]), "short pages");
    assert_eq!((&first["data"][0]["object"], &first["data"][0]["unread_count"]), (&json!("Chat"), &json!(1)));

    let mut seen: Vec<String> = Vec::new();
    let mut page = first;
    loop {
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        let cursor = cursor.replace('/', "%2F").replace('=', "%3D").replace(':', "%3A");
        // A chat that moves to the front is not seen a second time, and pushes no other chat off the next page.
        world.add_message("acc_1", "2-c/1==", &format!("m{}", seen.len()), "z", false);
        page = bench.fresh(&format!("{CHATS}?limit=15&cursor={cursor}")).await;
    }
    let mut once = seen.clone();
    once.sort();
    once.dedup();
    assert_eq!((seen.len(), once.len()), (45, 45), "each chat once: {seen:?}");
    assert_eq!(ids(&bench.fresh(&format!("{CHATS}?limit=1000")).await).len(), 45);
    assert_eq!(bench.last_call().endpoint, Endpoint::ListChats);
    assert_eq!(ids(&bench.fresh("/v2/acc_2/chats").await), [""; 0], "each account has its own");
}

#[tokio::test]
async fn chats_are_filtered_by_inbox_kind_time_folder_and_what_is_unread() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    let start = async |inbox: &str, users: Value| {
        tick().await;
        let path = format!("/v2/acc_1/inboxes/{inbox}/chats/send");
        let (status, answer) =
            bench.post(&path, json!({ "text": "hi", "users_ids": users, "name": "N" })).await;
        assert_eq!(status, 200, "{answer}");
        answer["chat_id"].as_str().expect("a chat").to_owned()
    };
    let one = start("CLASSIC_PRIMARY", json!("ada")).await;
    let group = start("CLASSIC_PRIMARY", json!(["bob", "eve"])).await;
    let recruiter = start("RECRUITER_PRIMARY", json!("joe")).await;
    let list = async |query: &str| {
        let page = bench.fresh(&format!("{CHATS}?{query}")).await;
        ids(&page).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list("").await, [&*recruiter, &*group, &*one]);
    assert_eq!(list("type=group").await, [&*group]);
    assert_eq!(list("type=1to1").await, [&*recruiter, &*one]);
    assert_eq!(list("type=channel").await, [""; 0]);
    let primary = bench.fresh("/v2/acc_1/inboxes/CLASSIC_PRIMARY/chats").await;
    assert_eq!(ids(&primary), [&*group, &*one]);
    let groups = bench.fresh("/v2/acc_1/inboxes/CLASSIC_PRIMARY/chats?type=group").await;
    assert_eq!((ids(&groups), &groups["data"][0]["name"]), (vec![&*group], &json!("N")));
    assert_eq!(ids(&bench.fresh("/v2/acc_1/inboxes/CLASSIC_ARCHIVED/chats").await), [""; 0]);

    let at = primary["data"][0]["last_message_timestamp"].as_str().expect("a time").to_owned();
    let (after, before) = (list(&format!("after={at}")).await, list(&format!("before={at}")).await);
    assert_eq!((after, before), (vec![recruiter.clone()], vec![one.clone()]), "exclusive");
    assert_eq!(list("after=2020-01-01T00:00:00.000Z").await.len(), 3);
    assert_eq!(list("before=2020-01-01T00:00:00.000Z").await, [""; 0]);

    assert_eq!(list("is_archived=true").await, [""; 0]);
    assert_eq!(list("is_archived=false").await.len(), 3);
    world.add_message("acc_1", &one, "in-1", "hello", false);
    world.add_message("acc_1", &one, "in-2", "are you there", false);
    assert_eq!(list("is_unread=true").await, [&*one]);
    assert_eq!(list("is_unread=false").await, [&*recruiter, &*group]);
    let chat = bench.fresh("/v2/acc_1/chats/2-chat%2F000001%3D%3D").await;
    assert_eq!(chat["unread_count"], 2);
    bench.post(START, json!({ "text": "yes", "users_ids": "ada" })).await;
    assert_eq!(list("is_unread=true").await, [""; 0], "whoever answers has read");
}

#[tokio::test]
async fn a_wrong_list_of_chats_is_refused_and_a_disabled_inbox_can_be_read() {
    let bench = Bench::start().await;
    bench.sandbox.world().set_inboxes("acc_1", [("CLASSIC_PRIMARY", true)]);
    let api = "api/invalid_parameters";
    let cases = [
        ("/v2/acc_1/chats?type=chat", 400, api, "type"),
        ("/v2/acc_1/chats?is_archived=1", 400, api, "is_archived"),
        ("/v2/acc_1/chats?is_unread=", 400, api, "is_unread"),
        ("/v2/acc_1/chats?limit=0", 400, api, "limit"),
        ("/v2/acc_1/chats?cursor=cur_7", 400, api, "cursor"),
        ("/v2/acc_1/chats?cursor=7:chat", 400, api, "cursor"),
        ("/v2/acc_1/chats?after=2026-01-01", 400, api, "after"),
        ("/v2/acc_1/chats?user_id=ada", 400, api, "user_id"),
        ("/v2/acc_1/chats?offset=0", 400, "provider/invalid_parameters", "cursor"),
        ("/v2/acc_1/inboxes/NOWHERE/chats", 404, "api/resource_not_found", "NOWHERE"),
    ];
    for (path, expected, error_type, word) in cases {
        let (status, answer) = bench.get(path).await;
        assert_eq!((status.as_u16(), &answer["type"]), (expected, &json!(error_type)), "{path}");
        assert!(answer["detail"].as_str().unwrap().contains(word), "{path} should say {word}: {answer}");
    }
    assert_eq!(bench.get("/v2/acc_1/inboxes/CLASSIC_PRIMARY/chats").await.0, 200);
    let posted = bench.request(Method::POST, "/v2/acc_1/chats").send().await.unwrap();
    assert_eq!(posted.status(), 405);
}
