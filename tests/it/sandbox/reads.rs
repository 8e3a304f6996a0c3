//! The reads: their shapes, pages and queries.

use outboxd::sandbox::*;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Bench, START, read};

const MESSAGES: &str = "/v2/acc_1/chats/chat-1/messages";

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().expect("data").iter().map(|one| one["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn a_fresh_account_is_an_ordinary_one() {
    let bench = Bench::start().await;
    let account = bench.fresh("/v2/accounts/acc_anna").await;
    assert_eq!(
        (&account["object"], &account["id"], &account["name"]),
        (&json!("Account"), &json!("acc_anna"), &json!("anna"))
    );
    assert_eq!((&account["provider"], &account["status"]), (&json!("linkedin"), &json!("running")));
    assert_eq!(account["metadata"]["products_connection_status"], json!({ "classic": "running" }));
    assert_eq!(account["is_locked"], false);
    assert!(account["application_id"].as_str().unwrap().starts_with("app_"));
    let created = account["created_at"].as_str().unwrap();
    assert!(created.len() == 24 && created.ends_with('Z'), "{created}");

    let inboxes = bench.fresh("/v2/acc_anna/inboxes").await;
    let expected = [
        "CLASSIC_PRIMARY",
        "CLASSIC_INMAIL",
        "CLASSIC_ARCHIVED",
        "SALES_NAVIGATOR_PRIMARY",
        "RECRUITER_PRIMARY",
    ];
    assert_eq!(ids(&inboxes), expected);
    assert_eq!(inboxes["data"][0], json!({ "object": "Inbox", "id": "CLASSIC_PRIMARY", "disabled": false }));
    assert_eq!(inboxes["total_count"], 5);

    let credits = "/v2/acc_anna/linkedin/inmail-credits";
    let expected = |credits: Value| json!({ "object": "InmailCredits", "credits": credits });
    assert_eq!(bench.fresh(credits).await, expected(json!({ "classic": 10 })));
    assert_eq!(bench.fresh(&format!("{credits}?service=")).await, expected(json!({ "classic": 10 })));
    assert_eq!(bench.fresh(&format!("{credits}?service=recruiter")).await, expected(json!({})));
    bench.sandbox.world().set_credits("acc_anna", Some(0), Some(5), None);
    assert_eq!(bench.fresh(credits).await, expected(json!({ "classic": 0, "sales_navigator": 5 })));
    assert_eq!(
        bench.fresh(&format!("{credits}?service=sales_navigator")).await,
        expected(json!({ "sales_navigator": 5 }))
    );
}

#[tokio::test]
async fn accounts_are_listed_by_name_in_pages() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    for (id, name, status) in
        [("acc_1", "Zoe", "running"), ("acc_2", "Ada", "errored"), ("acc_3", "Bob", "running")]
    {
        world.set_account(id, name, "linkedin", status, &[("classic", status)]);
    }
    world.disconnect("acc_3");
    world.restrict("acc_1");
    for path in ["/v2/accounts/", "/v2/accounts"] {
        let all = bench.fresh(path).await;
        assert_eq!(
            (ids(&all), &all["has_more"], &all["object"]),
            (vec!["acc_2", "acc_3", "acc_1"], &json!(false), &json!("Accounts"))
        );
        let statuses: Vec<&Value> = (0..3).map(|index| &all["data"][index]["status"]).collect();
        assert_eq!(statuses, ["errored", "disconnected", "running"]);
    }
    let page = async |query: &str| {
        let page = bench.fresh(&format!("/v2/accounts/?{query}")).await;
        (ids(&page).join(" "), page["has_more"].as_bool().unwrap())
    };
    assert_eq!(page("limit=2").await, ("acc_2 acc_3".into(), true));
    assert_eq!(page("limit=2&offset=2").await, ("acc_1".into(), false));
    assert_eq!(page("offset=3").await, (String::new(), false));
    assert_eq!(page("status=errored").await.0, "acc_2");
    assert_eq!(page("search=ZO").await.0, "acc_1");
    assert_eq!(page("search=acc_3&provider=linkedin&account_scope_id=none").await.0, "acc_3");
    assert_eq!(page("provider=whatsapp").await.0, "");
    let account = bench.fresh("/v2/accounts/acc_3").await;
    assert_eq!(account["metadata"]["products_connection_status"]["classic"], "disconnected");

    for (account, status, error_type) in
        [("acc_3", 401, "provider/invalid_authorization"), ("acc_1", 403, "api/account_restricted")]
    {
        let (refused, answer) = bench.get(&format!("/v2/{account}/inboxes")).await;
        assert_eq!((refused.as_u16(), &answer["type"]), (status, &json!(error_type)));
    }
    world.set_account("acc_2", "Ada", "linkedin", "disconnected", &[]);
    assert_eq!(bench.get("/v2/acc_2/inboxes").await.0, 401);

    let config = SandboxConfig { accounts: Some(vec!["acc_7".into()]), ..SandboxConfig::default() };
    let bench = Bench::with(config).await;
    bench.sandbox.world().disconnect("acc_8");
    assert_eq!(ids(&bench.fresh("/v2/accounts").await), ["acc_7"], "only what the configuration names");
    assert_eq!(bench.get("/v2/accounts/acc_8").await.0, 404);
}

#[tokio::test]
async fn a_sent_message_can_be_read_back() {
    let bench = Bench::start().await;
    let files = json!([
        { "content": "Zm9v", "content_type": "image/png", "filename": "a.png" },
        { "content": "Zm9v", "content_type": "audio/ogg", "filename": "a.ogg", "voice_note": true },
        { "content": "Zm9v", "content_type": "image/png", "filename": "b.png", "send_mode": "file" },
    ]);
    let specifics = json!({ "linkedin": { "sales_navigator": { "subject": "An offer" } } });
    let body =
        json!({ "text": "Hello 👋", "users_ids": "ada", "attachments": files, "specifics": specifics });
    let inbox = "/v2/acc_1/inboxes/SALES_NAVIGATOR_PRIMARY/chats/send";
    assert_eq!(bench.post(inbox, body).await.0, 200);
    let chat = "/v2/acc_1/chats/2-chat%2F000001%3D%3D";
    let quote = json!({ "text": "and", "quote_id": "2-msg:000001==" });
    assert_eq!(bench.post(&format!("{chat}/messages/send"), quote).await.0, 200);

    let page = bench.fresh(&format!("{chat}/messages")).await;
    assert_eq!((ids(&page), page.get("next_cursor")), (vec!["2-msg:000002==", "2-msg:000001=="], None));
    let message = &page["data"][1];
    assert_eq!((&message["object"], &message["text"]), (&json!("Message"), &json!("Hello 👋")));
    assert_eq!((&message["is_sender"], &message["chat_id"]), (&json!(true), &json!("2-chat/000001==")));
    assert_eq!(message["sender_id"], bench.fresh("/v2/accounts/acc_1").await["user_id"]);
    assert_eq!(message["specifics"], json!({ "subject": "An offer" }));
    let kinds: Vec<&Value> = (0..3).map(|index| &message["attachments"][index]["type"]).collect();
    assert_eq!(kinds, ["img", "audio", "file"]);
    assert_eq!(
        (&message["attachments"][0]["file_size"], message["attachments"][0].get("filename")),
        (&json!(3), None)
    );
    assert_eq!(message["attachments"][1]["voice_note"], true);
    assert_eq!(message["attachments"][2]["filename"], "b.png");
    let quoted = &page["data"][0]["quoted"];
    assert_eq!(
        (&quoted["object"], &quoted["id"], &quoted["text"]),
        (&json!("QuotedMessage"), &json!("2-msg:000001=="), &json!("Hello 👋"))
    );
    let one = bench.fresh(&format!("{chat}/messages/2-msg%3A000001%3D%3D")).await;
    assert_eq!(&one, message);
    assert_eq!(bench.last_call().endpoint, Endpoint::GetMessage);

    let view = bench.fresh(chat).await;
    assert_eq!(
        (&view["object"], &view["id"], &view["type"]),
        (&json!("Chat"), &json!("2-chat/000001=="), &json!("1to1"))
    );
    assert_eq!(
        (&view["user_id"], &view["is_readonly"], &view["restrictions"]),
        (&json!("ada"), &json!(false), &json!([]))
    );
    assert_eq!(view["last_message"]["text"], "and");
    assert_eq!(view["last_message_timestamp"], page["data"][0]["timestamp"]);
    let lookup = bench.fresh("/v2/acc_1/users/ada/chat").await;
    let found =
        json!({ "chat_id": "2-chat/000001==", "inbox_id": "SALES_NAVIGATOR_PRIMARY", "has_history": true });
    assert_eq!(lookup, json!({ "object": "ChatLookup", "data": [found] }));
    assert_eq!(bench.fresh("/v2/acc_1/users/bob/chat").await, json!({ "object": "ChatLookup", "data": [] }));
    assert_eq!(bench.delivered(), 2, "a read delivers nothing");
}

#[tokio::test]
async fn a_user_may_have_several_chats() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    world.add_chat_with_user("acc_1", "ada", "old");
    world.add_chat_with_user("acc_1", "ada", "new");
    world.add_message("acc_1", "old", "m", "hi", false);
    let lookup = bench.fresh("/v2/acc_1/users/ada/chat").await;
    let row = |chat: &str, history: bool| json!({ "chat_id": chat, "inbox_id": "CLASSIC_PRIMARY", "has_history": history });
    assert_eq!(lookup["data"], json!([row("new", false), row("old", true)]));
    let (_, answer) = bench.post(START, json!({ "text": "x", "users_ids": "ada" })).await;
    assert_eq!(answer["chat_id"], "new");
}

#[tokio::test]
async fn messages_come_newest_first_in_pages() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    for number in 1..=25 {
        world.add_message("acc_1", "chat-1", &format!("m{number}"), "x", number % 5 == 0);
    }
    let first = bench.fresh(MESSAGES).await;
    assert_eq!((ids(&first).len(), ids(&first)[0]), (20, "m25"), "a page is short unless one asks");
    world.add_message("acc_1", "chat-1", "m26", "x", false);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = bench.fresh(&format!("{MESSAGES}?cursor={cursor}")).await;
    assert_eq!((ids(&second), second.get("next_cursor")), (vec!["m5", "m4", "m3", "m2", "m1"], None));
    assert_eq!(ids(&bench.fresh(&format!("{MESSAGES}?limit=2")).await), ["m26", "m25"]);
    assert_eq!(bench.fresh(&format!("{MESSAGES}?limit=1000")).await["data"].as_array().unwrap().len(), 26);
    let mine = bench.fresh("/v2/accounts/acc_1").await["user_id"].as_str().unwrap().to_owned();
    let sent = bench.fresh(&format!("{MESSAGES}?user_id={mine}&limit=2")).await;
    assert_eq!((ids(&sent), sent["next_cursor"].is_string()), (vec!["m25", "m20"], true));

    let time = first["data"][3]["timestamp"].as_str().unwrap();
    let within = async |query: String| {
        let page = bench.fresh(&format!("{MESSAGES}?limit=100&{query}")).await;
        page["data"].as_array().unwrap().iter().all(|one| match &query {
            query if query.starts_with("after") => one["timestamp"].as_str().unwrap() > time,
            _ => one["timestamp"].as_str().unwrap() < time,
        })
    };
    assert!(within(format!("after={time}")).await, "exclusive");
    assert!(within(format!("before={}", time.replace(':', "%3A"))).await, "exclusive");
    let page = bench.fresh(&format!("{MESSAGES}?after=2020-01-01T00:00:00.000Z&limit=100")).await;
    assert_eq!(ids(&page).len(), 26);

    world.add_message("acc_1", "chat-1", "m1", "edited", false);
    assert_eq!(bench.fresh(&format!("{MESSAGES}/m1")).await["text"], "edited");
    assert_eq!(bench.fresh(&format!("{MESSAGES}?limit=100")).await["data"].as_array().unwrap().len(), 26);
}

#[tokio::test]
async fn a_wrong_read_is_refused_and_the_parameter_named() {
    let bench = Bench::start().await;
    let api = "api/invalid_parameters";
    let cases = [
        ("/v2/acc_1/inboxes?limit=5", api, "limit"),
        ("/v2/acc_1/linkedin/inmail-credits?service=premium", api, "service"),
        ("/v2/acc_1/linkedin/inmail-credits?product=classic", api, "product"),
        ("/v2/accounts/?cursor=x", api, "cursor"),
        ("/v2/accounts/?limit=0", api, "limit"),
        ("/v2/accounts/?offset=-1", api, "offset"),
        ("/v2/accounts/?limit=5&limit=6", api, "limit is given twice"),
        ("/v2/accounts/account_1", api, "account_id"),
        ("/v2/accounts/acc_1?full=1", api, "full"),
        ("/v2/acc_1/users/ada/chat?inbox_id=x", api, "inbox_id"),
        ("/v2/acc_1/chats/chat-1?full=1", api, "full"),
        ("/v2/acc_1/chats/chat-1/messages/m?full=1", api, "full"),
        ("/v2/acc_1/chats/chat-1/messages?since=1", api, "since"),
        ("/v2/acc_1/chats/chat-1/messages?limit=many", api, "limit"),
        ("/v2/acc_1/chats/chat-1/messages?cursor=5", api, "cursor"),
        ("/v2/acc_1/chats/chat-1/messages?after=yesterday", api, "after"),
        ("/v2/acc_1/chats/chat-1/messages?after=2026-01-01T00:00:00Z", api, "after"),
        ("/v2/acc_1/chats/chat-1/messages?before=2026-01-01T00:00:00.000000Z", api, "before"),
        ("/v2/acc_1/chats/chat-1/messages?before=2026-01-01T00:00:00.000%2B00:00", api, "before"),
        ("/v2/acc_1/chats/chat-1/messages?offset=0", "provider/invalid_parameters", "cursor"),
    ];
    for (path, error_type, word) in cases {
        let (status, answer) = bench.get(path).await;
        assert_eq!((status.as_u16(), &answer["type"]), (400, &json!(error_type)), "{path}");
        assert!(answer["detail"].as_str().unwrap().contains(word), "{path} should say {word}: {answer}");
    }
    let nowhere = [
        ("/v2/acc_1/chats/missing-1", "provider/resource_not_found"),
        ("/v2/acc_1/chats/missing-1/messages", "provider/resource_not_found"),
        ("/v2/acc_1/chats/chat-1/messages/m1", "provider/resource_not_found"),
        ("/v2/acc_1/users/missing-1", "provider/resource_not_found"),
    ];
    for (path, error_type) in nowhere {
        let (status, answer) = bench.get(path).await;
        assert_eq!((status.as_u16(), &answer["type"]), (404, &json!(error_type)), "{path}");
    }
    let request = bench.request(Method::GET, MESSAGES).json(&json!({}));
    assert_eq!(read(request.send().await.unwrap()).await.0, 400, "a read has no body");
    let request = bench.http.get(format!("{}/v2/accounts/", bench.sandbox.url()));
    assert_eq!(read(request.send().await.unwrap()).await.0, 401, "a read needs the key");
    let (status, page) = bench.get(MESSAGES).await;
    assert_eq!((status.as_u16(), &page["data"]), (200, &json!([])), "any chat is there");
}

/// D21: the fields that Unipile's SDK requires of a chat, a picture, a video and a sound (its generated models).
#[tokio::test]
async fn chats_and_files_have_every_field_that_the_vendors_sdk_requires() {
    let bench = Bench::start().await;
    let files = json!([
        { "content": "Zm9v", "content_type": "image/png", "filename": "a.png" },
        { "content": "Zm9v", "content_type": "video/mp4", "filename": "a.mp4", "metadata": { "duration": 4 } },
        { "content": "Zm9v", "content_type": "audio/ogg", "filename": "a.ogg" },
        { "content": "Zm9v", "content_type": "application/pdf", "filename": "a.pdf" },
    ]);
    let group = json!({ "text": "x", "users_ids": ["ada", "bob"], "name": "Team", "attachments": files });
    assert_eq!(bench.post(START, group).await.0, 200);
    assert_eq!(bench.post(START, json!({ "text": "x", "users_ids": "eve" })).await.0, 200);
    let required = |value: &Value, fields: &[&str]| {
        let missing: Vec<&&str> = fields.iter().filter(|field| value.get(**field).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?} are missing: {value}");
    };
    let chats = bench.fresh("/v2/acc_1/chats").await;
    let [direct, group] = [&chats["data"][0], &chats["data"][1]];
    for chat in [direct, group] {
        let fields = [
            "object",
            "id",
            "name",
            "muted_until",
            "is_group",
            "is_1to1",
            "is_channel",
            "type",
            "is_pinned",
            "is_readonly",
            "is_archived",
            "folders",
            "unread_count",
            "provider",
        ];
        required(chat, &fields);
        assert_eq!(
            (&chat["is_channel"], &chat["is_pinned"], &chat["provider"]),
            (&json!(false), &json!(false), &json!("linkedin"))
        );
    }
    assert_eq!((direct.get("participants"), &group["participants_count"]), (None, &json!(3)));
    let people = group["participants"].as_array().unwrap();
    let told: Vec<_> =
        people.iter().map(|one| (one["user"]["id"].as_str().unwrap(), one["is_self"] == true)).collect();
    assert_eq!(told, [("user-of-acc_1", true), ("ada", false), ("bob", false)]);
    for one in people {
        required(one, &["object", "is_self", "is_admin", "user"]);
        assert_eq!((&one["object"], &one["user"]["object"]), (&json!("GroupParticipant"), &json!("User")));
    }
    let path =
        format!("/v2/acc_1/chats/{}", group["id"].as_str().unwrap().replace('/', "%2F").replace('=', "%3D"));
    assert_eq!(&bench.fresh(&path).await, group, "alone as in a list");

    let message = bench.fresh(&format!("{path}/messages")).await["data"][0].clone();
    let files = message["attachments"].as_array().unwrap();
    for file in files {
        required(file, &["object", "id", "type", "mimetype", "url", "is_inline"]);
    }
    assert_eq!(files[0]["sticker"], false);
    required(&files[1]["size"], &["height", "width"]);
    assert_eq!((&files[1]["gif"], &files[1]["duration"]), (&json!(false), &json!(4)));
    assert_eq!((&files[2]["voice_note"], &files[3]["filename"]), (&json!(false), &json!("a.pdf")));
}

#[tokio::test]
async fn what_people_write_by_hand_is_shown_and_is_no_delivery() {
    let bench = Bench::start().await;
    let tell = async |method: Method, path: &str, body: Value| {
        bench.own(method, &format!("/sandbox/accounts/acc_1/{path}"), &body.to_string()).await.0
    };
    let group = json!({ "chat_id": "g", "users_ids": ["ada", "bob"], "name": "Team" });
    assert_eq!(tell(Method::PUT, "chats", group).await, 204);
    assert_eq!(bench.fresh("/v2/acc_1/chats/g").await["participants_count"], 3);
    let file = json!({ "content": "Zm9v", "content_type": "application/pdf", "filename": "a.pdf" });
    for message in [
        json!({ "chat_id": "g", "id": "m2", "text": "two", "is_sender": true, "quote_id": "m1", "attachments": [file] }),
        json!({ "chat_id": "g", "id": "m1", "text": "one", "is_sender": true, "timestamp": "2026-01-01T00:00:00.000Z",
            "forward": { "chat_id": "c", "message_id": "f" }, "is_deleted": true, "is_edited": true, "subject": "S" }),
    ] {
        assert_eq!(tell(Method::POST, "messages", message).await, 204);
    }
    let page = bench.fresh("/v2/acc_1/chats/g/messages").await;
    assert_eq!(ids(&page), ["m2", "m1"], "in the order of their times");
    let [second, first] = [&page["data"][0], &page["data"][1]];
    assert_eq!(
        (&second["quoted"]["id"], &second["attachments"][0]["filename"]),
        (&json!("m1"), &json!("a.pdf"))
    );
    assert_eq!((&first["is_deleted"], &first["is_edited"]), (&json!(true), &json!(true)));
    assert_eq!((&first["forwarded"]["id"], &first["specifics"]["subject"]), (&json!("f"), &json!("S")));
    assert_eq!(first["timestamp"], "2026-01-01T00:00:00.000Z");
    bench.sandbox.world().delete_message("acc_1", "g", "m2");
    assert_eq!(bench.fresh("/v2/acc_1/chats/g/messages").await["data"][0]["is_deleted"], true);
    assert_eq!(bench.delivered(), 0);
    for (path, body) in [
        ("chats", json!({ "chat_id": "g", "users_ids": [7] })),
        ("chats", json!({ "chat_id": "g", "users_ids": ["a", "b"], "user_id": "a" })),
        ("messages", json!({ "chat_id": "g", "id": "m", "text": "x", "timestamp": "yesterday" })),
    ] {
        let method = if path == "chats" { Method::PUT } else { Method::POST };
        assert_eq!(tell(method, path, body.clone()).await, 400, "{body}");
    }
}
