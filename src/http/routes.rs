//! The routes of the API: what handles each, and what the document says about it. The order is that of docs/http.md.

use axum::routing::{delete, get, patch, post};
use serde_json::{Value, json};

use super::openapi::Route;
use super::{
    accounts, campaigns, commands, endpoints, events, forecast, health, hooks, messages, messages_in,
    metrics, notices, openapi_document, operations, people, policy, review, status, stops,
};
use crate::types::account::{Account, AccountZone, PauseRequest, Paused, ResumeRequest, Resumed};
use crate::types::campaign::Campaign;
use crate::types::command::{BulkAnswer, BulkRequest, Commanded, MessageEdit};
use crate::types::event::{Event, EventPage};
use crate::types::explanation::Explanation;
use crate::types::forecast::Forecast;
use crate::types::hook::{HookEnabled, HookList, ReplayRequest};
use crate::types::message::{Batch, Cancelled, ListedMessage, MessageDetail, NewMessage, Stored};
use crate::types::notice::Notices;
use crate::types::operations::{Audit, Backup, BackupRequest};
use crate::types::person::{EraseRequest, Erased, Person};
use crate::types::policy::{AccountPolicy, Budget, PolicyChange};
use crate::types::review::{Decided, DecisionForAllRequest, DecisionRequest};
use crate::types::status::{Ability, Alive, Readiness, Status};
use crate::types::stop::{GoRequest, Lifted, Stop, StopBatch, StopRequest, Stopped};
use crate::types::webhook::{RegisterRequest, Registered, Removed, TestRequest, Tested, WebhookList};

/// Returns every route.
pub(super) fn all() -> Vec<Route> {
    [messages_of(), people_of(), accounts_of(), stops_of(), whole(), events_of(), webhooks_of(), health_of()]
        .into_iter()
        .flatten()
        .collect()
}

fn messages_of() -> Vec<Route> {
    vec![
        Route::new("POST /v1/messages", post(messages_in::enqueue))
            .does("enqueue", "Queues messages.")
            .query("atomic", atomic(), "Store all rows or none; `person`: of each person.")
            .query("accounts", keep(), "`keep`: people who are in the campaign keep their account.")
            .header("Idempotency-Key", "The `dedupe_key` of a single message.")
            .takes_messages::<NewMessage>()
            .answers::<Stored>(201)
            .answers::<Stored>(200)
            .answers::<Batch>(200)
            .answers::<Batch>(422)
            .fails(409),
        Route::new("GET /v1/messages", get(messages::list))
            .does("list_messages", "Lists messages, newest first.")
            .queries(["account_id", "campaign", "chat_id", "person", "dedupe_key", "id_end"])
            .query("state", text(), "One state, or several separated by commas.")
            .query("reason", text(), "The stored reason: of a waiting message, that of its last change.")
            .query("since", time(), "Arrived at this time or later.")
            .query("until", time(), "Arrived before this time.")
            .query("limit", number(1, 500), "50 if left out.")
            .query("cursor", text(), "`next_cursor` of the page before.")
            .lists::<ListedMessage>(),
        Route::new("GET /v1/messages/{id}", get(messages::show))
            .does("show_message", "Returns a message with its text and attempts.")
            .answers::<MessageDetail>(200),
        Route::new("PATCH /v1/messages/{id}", patch(commands::edit))
            .does("edit", "Changes a message that waits or has ended without being sent.")
            .takes::<MessageEdit>()
            .answers::<Commanded>(200)
            .fails(409),
        Route::new("POST /v1/messages/bulk", post(commands::bulk))
            .does("bulk", "Carries out one command about many messages.")
            .takes::<BulkRequest>()
            .answers::<BulkAnswer>(200),
        Route::new("GET /v1/messages/{id}/explain", get(messages::explain))
            .does("explain", "Returns why a message waits.")
            .answers::<Explanation>(200),
        Route::new("POST /v1/messages/{id}/cancel", post(commands::cancel))
            .does("cancel", "Cancels a message.")
            .answers::<Cancelled>(200)
            .fails(409),
        Route::new("GET /v1/messages/{id}/review", get(review::show))
            .does("show_review", "Returns the possible decisions.")
            .answers::<MessageDetail>(200),
        Route::new("POST /v1/messages/{id}/review", post(review::decide))
            .does("decide", "Decides about a message in review.")
            .takes::<DecisionRequest>()
            .answers::<Decided>(200)
            .fails(409),
        Route::new("POST /v1/review", post(review::decide_all))
            .does("decide_all", "Decides about all in review for one reason.")
            .takes::<DecisionForAllRequest>()
            .answers::<Decided>(200),
    ]
}

fn people_of() -> Vec<Route> {
    vec![
        Route::new("GET /v1/people/{id}", get(people::show))
            .does("show_person", "Returns everything about a person.")
            .answers::<Person>(200),
        Route::new("POST /v1/people/{id}/erase", post(people::erase))
            .does("erase_person", "Erases a person and suppresses them for ever.")
            .may_take::<EraseRequest>()
            .answers::<Erased>(200),
    ]
}

fn accounts_of() -> Vec<Route> {
    vec![
        Route::new("GET /v1/accounts", get(accounts::list))
            .does("list_accounts", "Lists accounts.")
            .query("sort", one_of(&["attention", "id"]), "`attention` if left out.")
            .query("attention", text(), "`person`, `waiting` or `none`; several separated by commas.")
            .query("limit", number(1, 500), "50 if left out.")
            .query("cursor", text(), "`next_cursor` of the page before.")
            .lists::<Account>(),
        Route::new("GET /v1/accounts/{id}", get(accounts::show))
            .does("show_account", "Returns an account.")
            .answers::<Account>(200),
        Route::new("GET /v1/accounts/{id}/zone", get(accounts::zone))
            .does("zone", "Returns the zone of an account.")
            .answers::<AccountZone>(200),
        Route::new("POST /v1/accounts/{id}/pause", post(accounts::pause))
            .does("pause", "Pauses an account.")
            .may_take::<PauseRequest>()
            .answers::<Paused>(200),
        Route::new("POST /v1/accounts/{id}/resume", post(accounts::resume))
            .does("resume", "Resumes an account.")
            .may_take::<ResumeRequest>()
            .answers::<Resumed>(200),
        Route::new("GET /v1/accounts/{id}/budget", get(policy::budget))
            .does("budget", "Returns what is left of the caps.")
            .answers::<Budget>(200),
        Route::new("GET /v1/accounts/{id}/policy", get(policy::show))
            .does("show_policy", "Returns the changed rules.")
            .answers::<AccountPolicy>(200),
        Route::new("PATCH /v1/accounts/{id}/policy", patch(policy::change))
            .does("change_policy", "Changes rules.")
            .takes::<PolicyChange>()
            .answers::<AccountPolicy>(200),
    ]
}

fn stops_of() -> Vec<Route> {
    vec![
        Route::new("POST /v1/pause", post(accounts::pause_everything))
            .does("pause_everything", "Pauses all sending.")
            .may_take::<PauseRequest>()
            .answers::<Paused>(200),
        Route::new("POST /v1/resume", post(accounts::resume_everything))
            .does("resume_everything", "Resumes sending.")
            .may_take::<ResumeRequest>()
            .answers::<Resumed>(200),
        Route::new("POST /v1/stops", post(stops::stop))
            .does("stop", "Stops sending to a person, into a chat or of a campaign.")
            .takes_one_or_several::<StopRequest>()
            .answers::<Stopped>(200)
            .answers::<StopBatch>(200),
        Route::new("GET /v1/stops", get(stops::list))
            .does("list_stops", "Lists stops in the order in which they were set.")
            .queries(["scope", "key", "account_id", "reason"])
            .query("limit", number(1, 500), "50 if left out.")
            .query("cursor", text(), "`next_cursor` of the page before.")
            .lists::<Stop>(),
        Route::new("POST /v1/go", post(stops::go))
            .does("go", "Lifts stops.")
            .takes::<GoRequest>()
            .answers::<Lifted>(200),
    ]
}

fn whole() -> Vec<Route> {
    let forecast = |route, handler| {
        Route::new(route, handler)
            .queries(["account_id", "campaign"])
            .query("days", number(1, 366), "The horizon; 30 if left out.")
            .answers::<Forecast>(200)
    };
    vec![
        Route::new("GET /v1/campaigns", get(campaigns::list))
            .does("list_campaigns", "Lists campaigns by name.")
            .query("limit", number(1, 100), "20 if left out.")
            .query("cursor", text(), "`next_cursor` of the page before.")
            .query("done_by", flag(), "Forecast when each is done.")
            .lists::<Campaign>(),
        Route::new("GET /v1/campaigns/{id}", get(campaigns::show))
            .does("show_campaign", "Returns what became of the messages of a campaign.")
            .query("done_by", flag(), "Forecast when it is done.")
            .answers::<Campaign>(200),
        Route::new("GET /v1/audit", get(operations::audit))
            .does("audit", "Returns what breaks a promise.")
            .answers::<Audit>(200),
        Route::new("POST /v1/backup", post(operations::backup))
            .does("backup", "Makes a backup.")
            .may_take::<BackupRequest>()
            .answers::<Backup>(200)
            .fails(409),
        forecast("GET /v1/forecast", get(forecast::forecast))
            .does("forecast", "Returns when the queue will be sent.")
            .fails(404),
        forecast("POST /v1/forecast", post(forecast::forecast_with))
            .does("forecast_with", "The same, with assumed messages.")
            .query("accounts", keep(), "`keep`: people who are in the campaign keep their account.")
            .query("atomic", by_person(), "`person`: each person gets all of the messages or none.")
            .takes_messages::<NewMessage>(),
        Route::new("GET /v1/status", get(status::status))
            .does("status", "Returns the state of the daemon.")
            .answers::<Status>(200),
        Route::new("GET /v1/notices", get(notices::notices))
            .does("notices", "Returns what a person must know or do, the most urgent first.")
            .answers::<Notices>(200),
    ]
}

fn events_of() -> Vec<Route> {
    vec![
        Route::new("GET /v1/events", get(events::events))
            .does("list_events", "Returns a page of events, or streams them as server-sent events.")
            .query("after", json!({ "type": "integer", "minimum": 0 }), "The last event that was seen.")
            .query("type", text(), "Types separated by commas; `message.*` means all that begin so.")
            .queries(["account_id", "campaign", "message_id"])
            .query("texts", json!({ "type": "boolean" }), "With the text and the `meta` of messages.")
            .query("limit", number(1, 500), "100 if left out; not for a stream.")
            .header("Last-Event-ID", "The last event that was seen; replaces `after` in a stream.")
            .answers::<EventPage>(200)
            .streams::<Event>(),
        Route::new("GET /v1/hooks", get(hooks::list))
            .does("list_hooks", "Lists the receivers of events.")
            .answers::<HookList>(200),
        Route::new("POST /v1/hooks/{id}/enable", post(hooks::enable))
            .does("enable_hook", "Lets a receiver go on at once.")
            .answers::<HookEnabled>(200),
        Route::new("POST /v1/hooks/{id}/replay", post(hooks::replay))
            .does("replay_hook", "Delivers events again, from one on.")
            .takes::<ReplayRequest>()
            .answers::<HookEnabled>(200),
    ]
}

fn webhooks_of() -> Vec<Route> {
    vec![
        Route::new("GET /v1/webhooks", get(endpoints::list))
            .does("list_webhooks", "Lists the endpoints, what came in, and Unipile's log of its deliveries.")
            .answers::<WebhookList>(200),
        Route::new("POST /v1/webhooks/endpoint", post(endpoints::register))
            .does("register_webhooks", "Creates the endpoint at Unipile, or changes it.")
            .takes::<RegisterRequest>()
            .answers::<Registered>(200)
            .fails(409),
        Route::new("DELETE /v1/webhooks/endpoint", delete(endpoints::remove))
            .does("remove_webhooks", "Deletes the endpoint at Unipile and forgets it.")
            .answers::<Removed>(200)
            .fails(409),
        Route::new("POST /v1/webhooks/test", post(endpoints::test))
            .does("test_webhooks", "Posts a test delivery and says what came back.")
            .may_take::<TestRequest>()
            .answers::<Tested>(200)
            .fails(409),
    ]
}

fn health_of() -> Vec<Route> {
    vec![
        Route::new("GET /healthz", get(health::healthz))
            .does("healthz", "Writes a row to the queue.")
            .ignores_parameters()
            .answers::<Alive>(200),
        Route::new("GET /readyz", get(health::readyz))
            .does("readyz", "Returns whether it can accept and send.")
            .ignores_parameters()
            .answers::<Readiness>(200)
            .answers::<Readiness>(503),
        Route::new("GET /readyz/take-in", get(health::can_take_in))
            .does("can_take_in", "Returns whether it can accept.")
            .ignores_parameters()
            .answers::<Ability>(200)
            .answers::<Ability>(503),
        Route::new("GET /readyz/send", get(health::can_send))
            .does("can_send", "Returns whether it can send.")
            .ignores_parameters()
            .answers::<Ability>(200)
            .answers::<Ability>(503),
        Route::new("GET /metrics", get(metrics::metrics))
            .does("metrics", "Returns the metrics in the text format of Prometheus.")
            .ignores_parameters()
            .answers_text(),
        Route::new("GET /openapi.json", get(openapi_document))
            .does("openapi", "Returns this document.")
            .answers_with(200, json!({ "type": "object" })),
    ]
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn by_person() -> Value {
    one_of(&["false", "person"])
}

fn atomic() -> Value {
    one_of(&["true", "false", "person"])
}

fn keep() -> Value {
    one_of(&["keep"])
}

fn one_of(values: &[&str]) -> Value {
    json!({ "type": "string", "enum": values })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

fn number(least: u32, most: u32) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}
