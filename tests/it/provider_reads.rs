//! What the real client reads of the provider, against the sandbox: to the end of a list, never from a cache, and an
//! error instead of anything that is not certain (P2, P5 depend on it).
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use outboxd::clock::{Clock, SystemClock};
use outboxd::domain::message::{AccountId, ChatId, InboxId, UserId};
use outboxd::domain::observed::{Member, Pointer, Unread};
use outboxd::domain::outcome::{DownCause, Hold};
use outboxd::domain::person::Distance;
use outboxd::provider::{Pages, Paging, Provider, Unipile};
use outboxd::sandbox::{Endpoint, Fault, FaultKind, Profile, Sandbox, SandboxConfig};
use serde_json::{Value, json};

use crate::classify::client::{PATIENT, client};
use crate::classify::wire::{Peer, http};

/// Grants every page at once.
fn all() -> Pages {
    Arc::new(Counting::default())
}

/// Counts the pages that are requested.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Paging for Counting {
    fn next_page(&self) -> BoxFuture<'_, ()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}

const AWKWARD: &str = "2-a/b:c==%+ é?#";

async fn sandbox() -> (Sandbox, Unipile) {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.expect("a free port");
    let client = client(&sandbox.url(), PATIENT);
    (sandbox, client)
}

fn account() -> AccountId {
    AccountId::new("acc_1")
}

/// Waits until the sandbox would date a message later than now; returns the time before that.
async fn tick() -> Timestamp {
    let clock = SystemClock::new();
    let before = clock.now();
    while clock.now() == before {
        clock.sleep(Duration::from_micros(100)).await;
    }
    before
}

async fn post(sandbox: &Sandbox, path: &str, body: Value) -> Value {
    let request = reqwest::Client::new().post(format!("{}{path}", sandbox.url())).json(&body);
    let answer = request.header("X-API-KEY", "sandbox-key").send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

/// Asserts that every call since the ledger was cleared requested a fresh answer; returns their number.
fn all_fresh(sandbox: &Sandbox) -> usize {
    let calls = sandbox.world().calls();
    assert!(calls.iter().all(|call| call.cache_control.as_deref() == Some("no-cache")), "{calls:?}");
    calls.len()
}

#[tokio::test]
async fn messages_are_read_to_the_end_of_the_time_asked_for() {
    let (sandbox, client) = sandbox().await;
    let world = sandbox.world();
    world.add_message("acc_1", AWKWARD, "old", "long ago", true);
    let since = tick().await;
    for number in 0..230 {
        world.add_message("acc_1", AWKWARD, &format!("m{number}"), "hi", number % 2 == 0);
    }
    let found = client.messages_since(account(), ChatId::new(AWKWARD), since, all()).await.unwrap();
    assert_eq!(
        (found.len(), found[0].id.as_str(), found[229].id.as_str()),
        (230, "m229", "m0"),
        "newest first"
    );
    assert_eq!((found[0].is_sender, found[1].is_sender), (Some(false), Some(true)));
    assert!(found.iter().all(|message| message.at > since && message.text == "hi"));
    assert_eq!(all_fresh(&sandbox), 3, "pages of a hundred");
    // H13: each page after the first waits for its own permit.
    let pages = Arc::new(Counting::default());
    let counted: Pages = Arc::clone(&pages) as Pages;
    client.messages_since(account(), ChatId::new(AWKWARD), since, counted).await.unwrap();
    assert_eq!((pages.0.load(Ordering::Relaxed), sandbox.world().call_count()), (2, 6));
    let path = &world.calls()[2].path;
    assert!(
        path.starts_with("/v2/acc_1/chats/2-a%2Fb%3Ac%3D%3D%25%2B%20%C3%A9%3F%23/messages?after="),
        "{path}"
    );

    let later = SystemClock::new().now() + Duration::from_secs(60);
    assert_eq!(client.messages_since(account(), ChatId::new(AWKWARD), later, all()).await.unwrap(), []);
}

#[tokio::test]
async fn a_message_shows_its_files_its_quote_and_its_source() {
    let (sandbox, client) = sandbox().await;
    let files = json!([
        { "content": "Zm9v", "content_type": "application/pdf", "filename": "cv.pdf" },
        { "content": "Zm9vYg==", "content_type": "image/png", "filename": "a.png" },
    ]);
    let send = "/v2/acc_1/chats/c/messages/send";
    let id = |answer: Value| answer["message_id"].as_str().unwrap().to_owned();
    let first = id(post(&sandbox, send, json!({ "text": "look", "attachments": files })).await);
    post(&sandbox, send, json!({ "text": "and", "quote_id": first })).await;
    let forward =
        format!("/v2/acc_1/chats/c/messages/{}/forward", first.replace(':', "%3A").replace('=', "%3D"));
    post(&sandbox, &forward, json!({ "chat_id": "c" })).await;

    let found =
        client.messages_since(account(), ChatId::new("c"), Timestamp::UNIX_EPOCH, all()).await.unwrap();
    let [forwarded, quoting, message] = &found[..] else { panic!("{found:?}") };
    let files: Vec<_> =
        message.attachments.iter().map(|file| (file.filename.as_deref(), file.size)).collect();
    assert_eq!(files, [(Some("cv.pdf"), Some(3)), (None, Some(4))], "only documents tell their name");
    let types: Vec<_> = message.attachments.iter().map(|file| file.content_type.as_deref()).collect();
    assert_eq!(types, [Some("application/pdf"), Some("image/png")]);
    let source = || Some(Pointer { id: Some(first.clone()), text: Some("look".into()) });
    assert_eq!((&quoting.quote, &quoting.forward), (&source(), &None));
    assert_eq!((&forwarded.quote, &forwarded.forward), (&None, &source()));
    assert!(found.iter().all(|message| message.is_sender == Some(true)));
    assert!(found.iter().all(|message| !message.is_deleted && !message.is_edited));
    sandbox.world().delete_message("acc_1", "c", &first);
    let found =
        client.messages_since(account(), ChatId::new("c"), Timestamp::UNIX_EPOCH, all()).await.unwrap();
    assert_eq!(found.iter().map(|message| message.is_deleted).collect::<Vec<_>>(), [false, false, true]);
}

#[tokio::test]
async fn groups_are_read_until_one_is_too_old_from_one_inbox_or_from_all() {
    let (sandbox, client) = sandbox().await;
    let group = json!({ "text": "hi", "users_ids": ["a", "b"], "name": "Team" });
    let inbox = |inbox: &str| format!("/v2/acc_1/inboxes/{inbox}/chats/send");
    post(&sandbox, &inbox("CLASSIC_PRIMARY"), group.clone()).await;
    let since = tick().await;
    for _ in 0..101 {
        post(&sandbox, &inbox("CLASSIC_PRIMARY"), group.clone()).await;
    }
    post(&sandbox, &inbox("RECRUITER_PRIMARY"), group).await;
    post(&sandbox, &inbox("CLASSIC_PRIMARY"), json!({ "text": "hi", "users_ids": "ada" })).await;
    sandbox.world().clear_ledger();

    let primary = InboxId::new("CLASSIC_PRIMARY");
    let found = client.groups_since(account(), Some(primary.clone()), since, all()).await.unwrap();
    assert_eq!(found.len(), 101, "neither the old one, nor the one elsewhere, nor a chat of two");
    assert_eq!(found[0].name.as_deref(), Some("Team"));
    let member = |id: &str| Member { id: UserId::new(id), public_identifier: None };
    assert_eq!(found[0].members, Some(vec![member("a"), member("b")]), "without the account itself");
    assert!(found.iter().all(|group| group.last_message_at.unwrap() > since));
    assert_eq!(all_fresh(&sandbox), 2, "two pages");
    assert_eq!(client.groups_since(account(), None, since, all()).await.unwrap().len(), 102);
    sandbox.world().clear_ledger();
    let later = SystemClock::new().now() + Duration::from_secs(60);
    assert_eq!(client.groups_since(account(), Some(primary), later, all()).await.unwrap(), []);
    assert_eq!(all_fresh(&sandbox), 1, "the first one that is too old is the end");
}

#[tokio::test]
async fn a_profile_is_read_by_id_and_by_public_name() {
    let (sandbox, client) = sandbox().await;
    let world = sandbox.world();
    let profile = Profile { can_send_inmail: Some(false), ..Profile::named("Jane-Doe", "Jane Doe") };
    world.set_profile("ACoA1", profile);
    for id in ["ACoA1", "in/jane-doe"] {
        let found = client.profile(account(), UserId::new(id)).await.unwrap();
        assert_eq!(found.user_id, UserId::new("ACoA1"));
        assert_eq!(found.public_identifier.as_deref(), Some("jane-doe"));
        assert_eq!(found.profile_url.as_deref(), Some("https://www.linkedin.com/in/Jane-Doe"));
        assert_eq!(found.name.as_deref(), Some("Jane Doe"));
        assert_eq!(
            (found.distance, found.can_send_inmail, found.is_open_profile),
            (Some(Distance::Second), Some(false), None)
        );
    }
    let calls = world.calls();
    assert_eq!(calls.last().unwrap().path, "/v2/acc_1/users/jane-doe");
    let unread = client.profile(account(), UserId::new("in/no-one")).await.unwrap_err();
    assert_eq!((unread.problem.status, unread.problem.is_final()), (Some(400), true));
    assert_eq!(all_fresh(&sandbox), 3);
}

#[tokio::test]
async fn chats_inboxes_credits_and_the_account_are_what_is_true_now() {
    let (sandbox, client) = sandbox().await;
    let (world, user) = (sandbox.world(), UserId::new(AWKWARD));
    let chats = async || client.chats_with(account(), user.clone()).await.unwrap();
    let inboxes = async || {
        let inboxes = client.inboxes(account(), all()).await.unwrap();
        inboxes.into_iter().map(|inbox| (inbox.id.to_string(), inbox.disabled)).collect::<Vec<_>>()
    };
    let credits = async || client.inmail_credits(account()).await.unwrap();
    // The first round fills the cache of the service, which does not learn of the changes below.
    assert_eq!(chats().await, []);
    assert_eq!((inboxes().await.len(), inboxes().await[0].clone()), (5, ("CLASSIC_PRIMARY".into(), false)));
    assert_eq!(credits().await, [("classic".to_owned(), 10)].into());
    world.add_chat_with_user("acc_1", AWKWARD, "old");
    world.add_chat_with_user("acc_1", AWKWARD, "new/one");
    world.set_inboxes("acc_1", [("RECRUITER_PRIMARY", true)]);
    world.set_credits("acc_1", Some(0), None, Some(7));
    assert_eq!(chats().await, [ChatId::new("new/one"), ChatId::new("old")], "the latest first");
    assert_eq!(inboxes().await, [("RECRUITER_PRIMARY".to_owned(), true)]);
    assert_eq!(credits().await, [("classic".to_owned(), 0), ("recruiter".to_owned(), 7)].into());
    all_fresh(&sandbox);

    world.set_account(
        "acc_1",
        "Ada",
        "linkedin",
        "partial",
        &[("classic", "running"), ("company", "errored")],
    );
    let found = client.account(account()).await.unwrap();
    assert_eq!(
        (found.name.as_deref(), &*found.provider, &*found.status),
        (Some("Ada"), "linkedin", "partial")
    );
    let products = [("classic", "running"), ("company", "errored")];
    assert_eq!(found.products, products.map(|(name, status)| (name.to_owned(), status.to_owned())).into());
    assert!(!found.is_locked);
}

/// Returns how a read of messages failed: its kind and what it stops.
async fn failure(client: &Unipile) -> (String, Option<DownCause>, Option<Hold>) {
    let read = client.messages_since(account(), ChatId::new("c"), Timestamp::UNIX_EPOCH, all()).await;
    let Unread { problem, down, hold } = read.expect_err("a failure");
    (problem.kind, down, hold)
}

/// An answer in the error format of the API.
fn error(status: u16, error_type: &str) -> Fault {
    Fault::new(FaultKind::Error {
        status,
        error_type: error_type.into(),
        title: "No".into(),
        detail: "refused".into(),
        retry_after: None,
        delivered: false,
    })
}

#[tokio::test]
async fn each_failure_says_what_it_stops_and_shows_nothing() {
    let (sandbox, client) = sandbox().await;
    let faults = [
        (
            Fault::api_429(30),
            "api/too_many_requests",
            None,
            Some(Hold::Account(Some(Duration::from_secs(30)))),
        ),
        (Fault::provider_429(), "provider/too_many_requests", None, None),
        (Fault::internal_error(false), "api/internal_error", None, None),
        (Fault::gateway(502, false), "outboxd/untyped_answer", None, None),
        (Fault::disconnected(), "provider/invalid_authorization", Some(DownCause::Disconnected), None),
        (Fault::restricted(), "api/account_restricted", Some(DownCause::Restricted), None),
        (
            error(401, "api/insufficient_permissions"),
            "api/insufficient_permissions",
            Some(DownCause::Key),
            None,
        ),
        // The key lacks a right for this read, which says nothing about sends.
        (error(403, "api/insufficient_permissions"), "api/insufficient_permissions", None, None),
        (Fault::new(FaultKind::Cut { delivered: false }), "outboxd/no_answer", None, None),
        (Fault::new(FaultKind::HalfAnswer { delivered: true }), "outboxd/broken_answer", None, None),
        (Fault::gateway(200, false), "outboxd/untyped_success", None, None),
    ];
    for (fault, kind, down, hold) in faults {
        sandbox.fault(fault.clone().at(Endpoint::ListMessages));
        let before = sandbox.world().call_count();
        assert_eq!(failure(&client).await, (kind.to_owned(), down, hold), "{fault:?}");
        assert_eq!(sandbox.world().call_count(), before + 1, "{fault:?}: nothing is repeated");
    }
    assert!(client.messages_since(account(), ChatId::new("c"), Timestamp::UNIX_EPOCH, all()).await.is_ok());
    let nowhere =
        client.messages_since(account(), ChatId::new("missing"), Timestamp::UNIX_EPOCH, all()).await;
    assert_eq!(nowhere.unwrap_err().problem.kind, "provider/resource_not_found");

    let latency = FaultKind::Latency { before_delivery: Duration::from_secs(3600) };
    sandbox.fault(Fault::new(latency).at(Endpoint::ListMessages));
    let hasty = self::client(&sandbox.url(), Duration::from_millis(50));
    assert_eq!(failure(&hasty).await, ("outboxd/timeout".to_owned(), None, None));
    sandbox.stop().await;
    assert_eq!(failure(&client).await, ("outboxd/cannot_connect".to_owned(), None, Some(Hold::Api)));
}

#[tokio::test]
async fn a_list_that_breaks_off_on_a_later_page_is_no_list() {
    let (sandbox, client) = sandbox().await;
    for number in 0..150 {
        sandbox.world().add_message("acc_1", "c", &format!("m{number}"), "hi", true);
    }
    sandbox.fault(Fault::gateway(504, false).at(Endpoint::ListMessages).after(1));
    assert_eq!(failure(&client).await.0, "outboxd/untyped_answer");
    let endless = Peer::answering(&http("200 OK", "", r#"{"data":[],"next_cursor":"on"}"#)).await;
    assert_eq!(failure(&self::client(&endless.url, PATIENT)).await.0, "outboxd/too_many_pages");
    assert_eq!(endless.requests().len(), 50, "and it is not read for ever");
    assert!(endless.requests()[1].contains("&cursor=on "), "{}", endless.requests()[1]);
}

#[tokio::test]
async fn an_answer_out_of_a_cache_is_refused() {
    let good = r#"{"data":[]}"#;
    for (headers, expected) in [
        ("x-cache: HIT\r\n", Some("outboxd/stale_answer")),
        ("X-Cache: hit, MISS\r\nage: 0\r\n", Some("outboxd/stale_answer")),
        ("x-cache: MISS\r\n", None),
        ("", None),
    ] {
        let peer = Peer::answering(&http("200 OK", headers, good)).await;
        let client = client(&peer.url, PATIENT);
        let read = client.messages_since(account(), ChatId::new("c"), Timestamp::UNIX_EPOCH, all()).await;
        assert_eq!(read.err().map(|unread| unread.problem.kind).as_deref(), expected, "{headers:?}");
        assert!(peer.requests()[0].to_lowercase().contains("cache-control: no-cache"));
    }
}

#[tokio::test]
async fn an_answer_of_another_shape_is_an_error_that_repeats_nobodys_words() {
    let secret = "a private word";
    let error = r#"{"object":"Error","type":"api/internal_error","status":500,"data":[]}"#;
    let bodies: &[(&str, &str)] = &[
        ("messages", ""),
        ("messages", "<html>hello</html>"),
        ("messages", error),
        ("messages", "[]"),
        ("messages", "{}"),
        ("messages", r#"{"data":{}}"#),
        ("messages", r#"{"data":[{"id":"m","text":"a private word"}]}"#),
        ("messages", r#"{"data":[{"id":"m","text":"a private word","timestamp":"yesterday"}]}"#),
        ("messages", r#"{"data":[{"text":"a private word","timestamp":"2026-01-01T00:00:00.000Z"}]}"#),
        ("chats", r#"{"object":"ChatLookup","data":[{"id":"a private word"}]}"#),
        ("groups", r#"{"data":[{"name":"a private word"}]}"#),
        ("groups", r#"{"data":[{"id":"c","last_message_timestamp":"a private word"}]}"#),
        ("inboxes", r#"{"data":["a private word"]}"#),
        ("credits", r#"{"object":"InmailCredits"}"#),
        ("credits", r#"{"credits":[5]}"#),
        ("account", r#"{"object":"Account","name":"a private word"}"#),
        ("account", error),
        ("account", r#"{"status":"ok"}"#),
        ("account", r#"{"status":"login_required","name":"a private word"}"#),
    ];
    for (read, body) in bodies {
        let peer = Peer::answering(&http("200 OK", "", body)).await;
        let client = client(&peer.url, PATIENT);
        let (since, chat) = (Timestamp::UNIX_EPOCH, ChatId::new("c"));
        let unread = match *read {
            "messages" => client.messages_since(account(), chat, since, all()).await.err(),
            "chats" => client.chats_with(account(), UserId::new("u")).await.err(),
            "groups" => client.groups_since(account(), None, since, all()).await.err(),
            "inboxes" => client.inboxes(account(), all()).await.err(),
            "credits" => client.inmail_credits(account()).await.err(),
            _ => client.account(account()).await.err(),
        };
        let problem = unread.unwrap_or_else(|| panic!("{read}: {body} is taken for an answer")).problem;
        // An answer without any field of Unipile's objects comes from something else.
        let is_object =
            ["\"object\"", "\"data\"", "\"id\"", "\"credits\""].iter().any(|field| body.contains(field));
        let kind = if is_object { "outboxd/unexpected_success" } else { "outboxd/untyped_success" };
        assert_eq!(problem.kind, kind, "{read}: {body}");
        assert!(!problem.to_string().contains(secret), "{problem}");
    }
}

#[tokio::test]
async fn what_is_optional_may_be_missing() {
    let body = r#"{"data":[{"id":"m","timestamp":"2026-01-01T00:00:00.000Z"},
        {"id":"e","timestamp":"2026-01-01T00:00:00Z","is_sender":true,"is_event":true}],"next_cursor":null}"#;
    let peer = Peer::answering(&http("200 OK", "", body)).await;
    let found = client(&peer.url, PATIENT)
        .messages_since(account(), ChatId::new("c"), Timestamp::UNIX_EPOCH, all())
        .await;
    let found = found.unwrap();
    let senders: Vec<_> = found.iter().map(|message| message.is_sender).collect();
    assert_eq!(senders, [None, Some(false)], "who says nothing is nobody, and an event is not ours");
    let peer = Peer::answering(&http("200 OK", "", r#"{"id":"c","data":[{"id":"c"}]}"#)).await;
    let groups = client(&peer.url, PATIENT)
        .groups_since(account(), None, SystemClock::new().now(), all())
        .await
        .unwrap();
    assert_eq!(groups[0].last_message_at, None, "a group that does not say when is looked into");
    assert_eq!(groups[0].members, None);
    assert!(peer.requests()[1].starts_with("GET /v2/acc_1/chats/c "), "its people are looked up");
    let peer =
        Peer::answering(&http("200 OK", "", r#"{"object":"Account","status":"invented","is_locked":true}"#))
            .await;
    let found = client(&peer.url, PATIENT).account(account()).await.unwrap();
    assert_eq!((found.name, &*found.provider, &*found.status, found.is_locked), (None, "", "invented", true));
}

/// Returns the members of the only group of a list.
async fn members(chat: Value) -> Option<Vec<String>> {
    let body = json!({ "data": [chat], "id": "c" }).to_string();
    let peer = Peer::answering(&http("200 OK", "", &body)).await;
    let groups = client(&peer.url, PATIENT).groups_since(account(), None, Timestamp::UNIX_EPOCH, all()).await;
    let members = groups.unwrap().remove(0).members?;
    Some(members.into_iter().map(|member| member.id.to_string()).collect())
}

#[tokio::test]
async fn a_group_is_known_only_if_all_of_its_people_are_told() {
    let person = |id: &str, is_self: bool| json!({ "object": "GroupParticipant", "is_self": is_self, "user": { "id": id, "public_identifier": "p" } });
    let chat = |participants: Value, count: Option<u64>| match count {
        Some(count) => json!({ "id": "c", "participants": participants, "participants_count": count }),
        None => json!({ "id": "c", "participants": participants }),
    };
    let known = |ids: &[&str]| Some(ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
    let three = || json!([person("me", true), person("a", false), person("b", false)]);
    assert_eq!(members(chat(three(), None)).await, known(&["a", "b"]));
    assert_eq!(members(chat(three(), Some(3))).await, known(&["a", "b"]));
    assert_eq!(members(chat(three(), Some(4))).await, None, "one is missing");
    let others = || json!([person("a", false), person("b", false)]);
    assert_eq!(members(chat(others(), Some(3))).await, known(&["a", "b"]), "the account is left out");
    assert_eq!(members(chat(others(), Some(4))).await, None);
    assert_eq!(members(chat(json!([{ "id": "a" }, { "id": "b" }]), None)).await, known(&["a", "b"]));
    assert_eq!(members(chat(json!([person("a", false), {}]), None)).await, None);
    assert_eq!(members(chat(json!([]), None)).await, None);
}

/// The provider's clock, by the `Date` of its own answers.
#[tokio::test]
async fn the_providers_time_is_that_of_its_answers() {
    let (sandbox, fresh) = sandbox().await;
    assert_eq!(fresh.time(), None, "nothing was answered yet");
    fresh.inboxes(account(), all()).await.unwrap();
    let time = fresh.time().unwrap();
    let now = SystemClock::new().now();
    assert!(time.earliest <= now && now <= time.latest + Duration::from_secs(1), "{time:?}, {now}");
    assert!(time.latest.duration_since(time.earliest) < jiff::SignedDuration::from_secs(3), "{time:?}");
    drop(sandbox);

    let good = r#"{"data":[]}"#;
    let date = "date: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    let then: Timestamp = "2015-10-21T07:28:00Z".parse().unwrap();
    for (status, headers, body, expected) in [
        ("200 OK", date.to_owned(), good, Some(then)),
        ("200 OK", String::new(), good, None),
        ("200 OK", "date: yesterday\r\n".to_owned(), good, None),
        ("200 OK", format!("{date}age: 60\r\n"), good, None),
        ("200 OK", format!("{date}age: 0\r\n"), good, Some(then)),
        ("200 OK", format!("{date}x-cache: HIT\r\n"), good, None),
        ("200 OK", date.to_owned(), "<html>", None),
        ("502 Bad Gateway", date.to_owned(), "<html>", None),
    ] {
        let peer = Peer::answering(&http(status, &headers, body)).await;
        let client = client(&peer.url, PATIENT);
        let _it_may_fail = client.inboxes(account(), all()).await;
        let told = client.time();
        assert_eq!(told.is_some(), expected.is_some(), "{status} {headers} {body}");
        if let Some((time, then)) = told.zip(expected) {
            let after = time.earliest.duration_since(then);
            assert!(!after.is_negative() && after < jiff::SignedDuration::from_secs(30), "{time:?}");
        }
    }
}
