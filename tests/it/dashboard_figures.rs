//! Figures that pages, the API and the command line share: sends by day, the warm-up, the curve of a campaign; and the
//! events page without script.
#![allow(clippy::unwrap_used, reason = "a test may")]

use jiff::SignedDuration;
use outboxd::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::cli_import::ran;
use crate::daemon::{TestEnv, eventually};
use crate::dashboard::{Browser, queued};

#[tokio::test]
async fn sends_by_day_and_the_warm_up_are_the_same_on_every_door() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_WARM_UP_RAMP", "20, 50");
    let env = env.set("OUTBOXD_POLICY_DEFAULT_CAPS_ALL", "100/24h");
    let daemon = env.serve().await;
    for chat in ["c1", "c2"] {
        let message = json!({ "account_id": "acc_1", "chat_id": chat, "text": "hi", "campaign": "autumn" });
        let id = daemon.enqueue(&message.to_string()).await;
        daemon.becomes(&id, "sent").await;
    }
    queued(&daemon, json!({ "chat_id": "c3", "text": "hi", "campaign": "autumn" })).await;
    let sent = |days: &Value| -> Vec<u64> {
        days.as_array().unwrap().iter().map(|day| day["sent"].as_u64().unwrap()).collect()
    };
    // A day may begin while the test runs.
    let account = daemon.get("/v1/accounts/acc_1").await.1;
    let days = sent(&account["sent_by_day"]);
    assert_eq!((days.len(), days.iter().sum::<u64>()), (7, 2), "{account}");
    let campaign = daemon.get("/v1/campaigns/autumn").await.1;
    assert_eq!(sent(&campaign["sent_by_day"]).iter().sum::<u64>(), 2, "{campaign}");
    let budget = daemon.get("/v1/accounts/acc_1/budget").await.1;
    assert_eq!(budget["warm_up"]["percent"], json!([20, 50]), "{budget}");
    let all = days.iter().map(u64::to_string).collect::<Vec<_>>();
    let by_day = format!("{} sent, today last", all.join(" "));
    let day = budget["warm_up"]["day"].as_u64().unwrap();
    for (line, told) in [
        (&["status", "acc_1"][..], by_day),
        (&["campaign", "show", "autumn"], "sent by day, the last first: 20".to_owned()),
        (&["budget", "acc_1"], format!("warm-up: day {day} of 2, ")),
    ] {
        let ran = ran(&env, line);
        assert!(ran.out.contains(&told), "{line:?} says {told}: {}", ran.out);
    }
    let browser = Browser::of(&env);
    for (path, shown) in [
        ("/", format!("Sent by day, today last: {}", all.join(", "))),
        ("/accounts/acc_1", format!("Today is day {day} of 2: ")),
        ("/campaigns/autumn", "Sent: from ".to_owned()),
    ] {
        let (_, page) = browser.page(path).await;
        assert!(page.contains(&shown), "{path} shows {shown}: {page}");
    }
}

#[tokio::test]
async fn the_overview_counts_the_answers_of_all_campaigns() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    for number in 0..12 {
        let message = json!({ "chat_id": format!("c{number}"), "text": "hi", "campaign": format!("campaign {number:02}") });
        queued(&daemon, message).await;
    }
    env.sql("UPDATE messages SET replied_at = '2026-11-22T08:00:00.000Z', revision = revision + 1");
    let browser = Browser::of(&env);
    let shown = "<dt>Answered in campaigns</dt><dd>12</dd>";
    let (_, page) = browser.page("/").await;
    assert!(page.contains(shown) && page.contains("More campaigns"), "{page}");
    let (_, page) = browser.page("/?campaigns=campaign%2009").await;
    assert!(page.contains(shown), "{page}");
}

#[tokio::test]
async fn the_overview_tells_when_campaigns_are_done_and_why_messages_wait() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let later = "2036-01-01T00:00:00Z";
    let soon = SystemClock::new().now() + SignedDuration::from_hours(48);
    for (campaign, not_before) in [("later", later), ("soon", soon.to_string().as_str())] {
        let message = json!({ "account_id": "acc_2", "chat_id": campaign, "text": "hi", "campaign": campaign,
            "not_before": not_before });
        daemon.enqueue(&message.to_string()).await;
    }
    for step in [1, 2] {
        let wait = if step == 1 { Value::Null } else { json!("1 day") };
        let message = json!({ "users_ids": "U1", "text": format!("step {step}"), "campaign": "later", "step": step, "wait": wait });
        queued(&daemon, message).await;
    }
    let browser = Browser::of(&env);
    // The forecast is made for the first page, and shown when it is done.
    let mut page = String::new();
    let is_forecast = eventually(async || {
        page = browser.page("/").await.1;
        page.contains("data-label=\"Done by\"><time")
    });
    assert!(is_forecast.await, "{page}");
    let own_reason = "<a href=\"/messages?reason=step_before\">these messages</a>";
    assert!(page.contains(own_reason) && page.contains("up to "), "{page}");
    let done_by = |campaign: &str| {
        let row = page.split("<tr>").find(|row| row.contains(&format!("/campaigns/{campaign}\"")));
        row.and_then(|row| row.split("data-label=\"Done by\">").nth(1))
            .unwrap_or_else(|| panic!("{page}"))
            .to_owned()
    };
    let [soon, later] = ["soon", "later"].map(done_by);
    assert!(soon.starts_with("<time") && later.starts_with('-'), "{soon}; {later}");
}

#[tokio::test]
async fn events_are_filtered_and_the_newest_is_first() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let message =
        json!({ "account_id": "acc_1", "chat_id": "c1", "text": "the secret words", "campaign": "a" });
    let sent = daemon.enqueue(&message.to_string()).await;
    daemon.becomes(&sent, "sent").await;
    let other = queued(&daemon, json!({ "account_id": "acc_2", "chat_id": "c2", "text": "hi" })).await;
    let browser = Browser::of(&env);
    let (_, page) = browser.page("/events").await;
    let place = |what: &str| page.find(what).unwrap_or_else(|| panic!("{what}: {page}"));
    assert!(place(&other) < place(&sent) && !page.contains("the secret words"), "{page}");
    assert!(page.contains("data-stream=\"/v1/events?after="), "{page}");
    for (query, shows, hides) in [
        ("account_id=acc_2", &other, &sent),
        ("campaign=a&type=", &sent, &other),
        ("type=message.sent", &sent, &other),
    ] {
        let (_, page) = browser.page(&format!("/events?{query}")).await;
        assert!(page.contains(shows.as_str()) && !page.contains(hides.as_str()), "{query}: {page}");
    }
    let (status, refused) = browser.page("/events?type=message.snt").await;
    assert!(status == 400 && refused.contains("did you mean `message.sent`?"), "{status}: {refused}");
}

#[tokio::test]
async fn a_page_that_repeats_itself_rests_and_a_person_sees_it_as_it_is() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let browser = Browser::of(&env);
    let repeat_of = async |shown: &str| {
        let request = browser.client.get("http://localhost/messages").header("outboxd-repeat", shown);
        request.send().await.unwrap()
    };
    let repeat = async || repeat_of("none").await.text().await.unwrap();
    // Until its rest ends, the page that shows the last rendering gets no body.
    let gets_no_body = crate::daemon::eventually(async || {
        let first = repeat_of("none").await;
        let rendering = first.headers()["outboxd-rendering"].to_str().unwrap().to_owned();
        let (status, body) = (first.status(), first.text().await.unwrap());
        assert!(status == 200 && body.contains("<main"), "{body}");
        let again = repeat_of(&rendering).await;
        again.status() == 204 && again.text().await.unwrap().is_empty()
    });
    assert!(gets_no_body.await);
    let first = repeat().await;
    let id = queued(&daemon, json!({ "chat_id": "c1", "text": "hi" })).await;
    assert!(!first.contains(&id) && browser.page("/messages").await.1.contains(&id));
    let seen = crate::daemon::eventually(async || repeat().await.contains(&id));
    assert!(seen.await, "its rest ends");
}
