//! The OpenAPI document: it names the routes that there are, and answers look as it says.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};

use outboxd::sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv};

/// Returns the routes in the document, such as `GET /v1/status`.
fn documented(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap().iter();
    let routes = paths.flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    routes.collect()
}

/// Returns the routes in the headings of docs/http.md.
fn described() -> BTreeSet<String> {
    let text = include_str!("../../docs/http.md");
    let headings = text.lines().filter(|line| line.starts_with("## "));
    let spans = headings.flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.filter(|span| span.contains(" /")).map(str::to_owned).collect()
}

async fn call(daemon: &Daemon, client: &reqwest::Client, route: &str, body: &str) -> (u16, Value) {
    let (method, path) = route.split_once(' ').unwrap();
    match method {
        "GET" => daemon.get(path).await,
        "PATCH" => daemon.patch(path, body).await,
        "POST" => daemon.post(path, body).await,
        _ => {
            let request = client.request(method.parse().unwrap(), format!("http://outboxd{path}"));
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_router_the_document_and_its_description_name_the_same_routes() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let (_, document) = daemon.get("/openapi.json").await;
    let (documented, described) = (documented(&document), described());
    assert_eq!(documented, described, "docs/http.md has a heading for each route");
    let paths: BTreeSet<&str> = documented.iter().map(|route| route.split_once(' ').unwrap().1).collect();
    let mut routed = BTreeSet::new();
    for path in paths {
        for method in ["GET", "POST", "PATCH", "PUT", "DELETE"] {
            let asked = format!("{method} {}", path.replace("{id}", "acc_1"));
            let (_, answer) = call(&daemon, &env.client(), &asked, "").await;
            let code = answer["error"]["code"].as_str();
            if !matches!(code, Some("method_not_allowed" | "no_such_path")) {
                routed.insert(format!("{method} {path}"));
            }
        }
    }
    assert_eq!(routed, documented, "the document has each route of the router");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_has_the_query_parameters_that_the_daemon_knows() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let (_, document) = daemon.get("/openapi.json").await;
    for route in documented(&document) {
        let (method, path) = route.split_once(' ').unwrap();
        let parameters = document["paths"][path][method.to_lowercase()]["parameters"].as_array().unwrap();
        let query = parameters.iter().filter(|parameter| parameter["in"] == "query");
        let names: BTreeSet<&str> = query.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        if names.is_empty() {
            continue;
        }
        let (_, answer) = call(&daemon, &env.client(), &format!("{route}?no_such_parameter=1"), "").await;
        let fix = answer["error"]["fix"].as_str().unwrap();
        let known: BTreeSet<&str> = fix.trim_start_matches("use one of: ").split(", ").collect();
        assert_eq!(names, known, "{route}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_says_which_bodies_are_required_and_who_may_be_refused() {
    let env = TestEnv::new().await;
    std::fs::write(env.path("outboxd.toml"), "[outbound.command.crm]\nrun = [\"/bin/true\"]\n").unwrap();
    let daemon = env.serve().await;
    let message =
        r#"{"account_id": "acc_1", "chat_id": "c1", "text": "t", "not_before": "2099-01-01T00:00:00Z"}"#;
    let id = daemon.enqueue(message).await;
    let (_, document) = daemon.get("/openapi.json").await;
    for route in documented(&document) {
        let (method, path) = route.split_once(' ').unwrap();
        let operation = &document["paths"][path][method.to_lowercase()];
        for status in ["401", "403"] {
            assert!(operation["responses"][status].is_object(), "{route} {status}");
        }
        if operation["requestBody"].is_null() {
            continue;
        }
        let of = match path.split('/').nth(2).unwrap() {
            "accounts" => "acc_1",
            "hooks" => "crm",
            "people" => "ACoA1",
            _ => &id,
        };
        let (status, answer) = call(&daemon, &env.client(), &route.replace("{id}", of), "").await;
        assert!(operation["responses"]["415"].is_object(), "{route}");
        let is_required = operation["requestBody"]["required"] == json!(true);
        assert_eq!(matches!(status, 400 | 422), is_required, "{route}: {status} {answer}");
    }
    // A generated client sends a token where it has one; the sockets need none.
    let token = &document["components"]["securitySchemes"]["token"];
    assert_eq!((&token["type"], &token["scheme"]), (&json!("http"), &json!("bearer")));
    assert_eq!(document["security"], json!([{ "token": [] }, {}]));
    let parameters = document["paths"]["/v1/messages"]["post"]["parameters"].as_array().unwrap();
    let values = |name: &str| {
        let found = parameters.iter().find(|parameter| parameter["name"] == name);
        found.unwrap()["schema"]["enum"].as_array().unwrap().clone()
    };
    assert_eq!(values("accounts"), [json!("keep")]);
    for value in values("atomic") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(daemon.post(&format!("/v1/messages?atomic={value}"), "[]").await.0, 200, "{value}");
    }
    assert!(values("atomic").contains(&json!("person")));
}

/// Returns how `value` differs from `schema`: a field that is missing or unknown, or a wrong type.
fn mismatches(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let schema = resolved(document, schema);
    let forms = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array);
    if let Some(forms) = forms {
        let all: Vec<_> = forms.iter().map(|form| mismatches(document, form, value, at)).collect();
        return all.into_iter().min_by_key(Vec::len).unwrap();
    }
    if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
        return vec![format!("{at}: {value} is not one of {words:?}")];
    }
    let (mut known, mut required) = (BTreeMap::new(), BTreeSet::new());
    fields(document, schema, &mut known, &mut required);
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::Null if known.is_empty() => return Vec::new(),
        Value::Null => vec![json!("object")],
        one => vec![one.clone()],
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.contains(&json!(found)) {
        return vec![format!("{at} is {found} and should be {types:?}")];
    }
    match value {
        Value::Array(items) => {
            let check = |item| mismatches(document, &schema["items"], item, &format!("{at}[]"));
            items.iter().flat_map(check).collect()
        }
        Value::Object(object) => {
            let missing = required.iter().filter(|name| !object.contains_key(**name));
            let mut wrong: Vec<String> = missing.map(|name| format!("{at}.{name} is missing")).collect();
            for (name, value) in object {
                let at = format!("{at}.{name}");
                match known.get(name.as_str()).copied().or_else(|| schema.get("additionalProperties")) {
                    Some(schema) => wrong.extend(mismatches(document, schema, value, &at)),
                    None if known.is_empty() => {}
                    None => wrong.push(format!("{at} is not in the document")),
                }
            }
            wrong
        }
        _ => Vec::new(),
    }
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(name) => document.pointer(name.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// Collects the fields of an object and of all that it is made of.
fn fields<'a>(
    document: &'a Value,
    schema: &'a Value,
    known: &mut BTreeMap<&'a str, &'a Value>,
    required: &mut BTreeSet<&'a str>,
) {
    let schema = resolved(document, schema);
    let properties = schema["properties"].as_object().into_iter().flatten();
    known.extend(properties.map(|(name, schema)| (name.as_str(), schema)));
    required.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fields(document, part, known, required);
    }
    for part in schema["anyOf"].as_array().into_iter().flatten() {
        fields(document, part, known, &mut BTreeSet::new());
    }
}

const GOOD: &str = r#"{"account_id": "acc_1", "chat_id": "c4", "text": "Hi", "not_before": "2099-01-01T00:00:00Z", "dedupe_key": "k4"}"#;
const OTHER: &str = r#"{"account_id": "acc_1", "chat_id": "c4", "text": "Ho", "dedupe_key": "k4"}"#;
const BATCH: &str = r#"[{"account_id": "acc_1", "users_ids": "u5", "text": "Hi", "not_before": "2099-01-01T00:00:00Z", "dedupe_key": "k5"},
    {"account_id": "acc_1", "chat_id": "c4", "text": "Hi", "not_before": "2099-01-01T00:00:00Z", "dedupe_key": "k4"},
    {"account_id": "acc_1", "chat_id": "c4", "text": "Ho", "dedupe_key": "k4"}, {}]"#;

/// Requests to every route: the route, its id or query, and a body. `sent`, `review` and `waiting` are messages, and
/// `LONG` is a body of 3 MiB.
const ASKED: &[(&str, &str, &str)] = &[
    ("GET /openapi.json", "", ""),
    ("GET /metrics", "", ""),
    ("GET /v1/notices", "", ""),
    ("POST /v1/messages", "", GOOD),
    ("POST /v1/messages", "", GOOD),
    ("POST /v1/messages", "", OTHER),
    ("POST /v1/messages", "", "{}"),
    ("POST /v1/messages", "?atomic=true", BATCH),
    ("POST /v1/messages", "", BATCH),
    ("POST /v1/messages", "", "["),
    ("GET /v1/messages", "", ""),
    ("GET /v1/messages/{id}", "sent", ""),
    ("GET /v1/messages/{id}", "review", ""),
    ("GET /v1/messages/{id}", "none", ""),
    ("GET /v1/messages/{id}", "%FF", ""),
    ("POST /v1/messages/{id}/review", "review", "LONG"),
    ("GET /v1/messages/{id}/explain", "sent", ""),
    ("GET /v1/messages/{id}/explain", "waiting", ""),
    ("GET /v1/messages/{id}/review", "review", ""),
    ("POST /v1/messages/{id}/review", "review", r#"{"decision": "drop", "dry_run": true}"#),
    ("POST /v1/messages/{id}/review", "sent", r#"{"decision": "drop"}"#),
    ("POST /v1/review", "", r#"{"decision": "drop", "reason": "outcome_unknown", "dry_run": true}"#),
    ("GET /v1/forecast", "", ""),
    ("GET /v1/forecast", "?account_id=acc_1", ""),
    ("POST /v1/forecast", "", BATCH),
    ("GET /v1/accounts", "", ""),
    ("POST /v1/accounts/{id}/pause", "acc_1", r#"{"for": "1h"}"#),
    ("GET /v1/accounts/{id}", "acc_1", ""),
    ("POST /v1/accounts/{id}/resume", "acc_1", ""),
    ("GET /v1/accounts/{id}/zone", "acc_1", ""),
    ("GET /v1/accounts/{id}/budget", "acc_1", ""),
    ("PATCH /v1/accounts/{id}/policy", "acc_1", r#"{"caps.all": "50/24h"}"#),
    ("PATCH /v1/accounts/{id}/policy", "acc_1", r#"{"caps": 1}"#),
    ("GET /v1/accounts/{id}/policy", "acc_1", ""),
    ("GET /v1/accounts/{id}/budget", "acc_1", ""),
    ("POST /v1/stops", "", r#"{"scope": "person", "key": "ACoA1", "note": "called"}"#),
    (
        "POST /v1/stops",
        "",
        r#"[{"scope": "chat", "key": "c9", "account_id": "acc_1", "for": "1h"}, {"scope": "all"}]"#,
    ),
    ("POST /v1/stops", "", r#"{"scope": "person"}"#),
    ("GET /v1/stops", "", ""),
    ("GET /v1/campaigns", "", ""),
    ("GET /v1/campaigns/{id}", "spring", ""),
    ("GET /v1/people/{id}", "u5", ""),
    ("GET /v1/people/{id}", "ACoA1", ""),
    ("GET /v1/people/{id}", "a%20b", ""),
    ("POST /v1/people/{id}/erase", "ACoA9", r#"{"note": "x"}"#),
    ("POST /v1/go", "", r#"{"scope": "person", "key": "ACoA1"}"#),
    ("POST /v1/pause", "", r#"{"note": "lunch"}"#),
    ("GET /v1/messages/{id}/explain", "waiting", ""),
    ("GET /readyz", "", ""),
    ("GET /readyz/send", "", ""),
    ("GET /v1/status", "", ""),
    ("POST /v1/resume", "", ""),
    ("GET /readyz", "", ""),
    ("GET /readyz/send", "", ""),
    ("GET /readyz/take-in", "", ""),
    ("GET /healthz", "", ""),
    ("GET /v1/status", "?x=1", ""),
    ("PATCH /v1/messages/{id}", "waiting", r#"{"priority": 3, "campaign": null}"#),
    ("POST /v1/webhooks/endpoint", "", r#"{"url": "https://hooks.example.com/webhooks/unipile"}"#),
    ("POST /v1/webhooks/endpoint", "", r#"{"url": "http://hooks.example.com/"}"#),
    ("GET /v1/webhooks", "", ""),
    ("POST /v1/webhooks/test", "", r#"{"local": true}"#),
    ("DELETE /v1/webhooks/endpoint", "", ""),
    ("DELETE /v1/webhooks/endpoint", "", ""),
    ("PATCH /v1/messages/{id}", "waiting", r#"{"account_id": "acc_2"}"#),
    ("PATCH /v1/messages/{id}", "sent", r#"{"priority": 3}"#),
    ("POST /v1/messages/bulk", "", r#"{"command": "hold", "state": "queued,sent"}"#),
    ("POST /v1/messages/bulk", "", r#"{"command": "retry", "ids": ["x"], "dry_run": true}"#),
    ("POST /v1/messages/bulk", "", r#"{"command": "edit", "ids": [], "edit": {"text": null}}"#),
    ("POST /v1/messages/{id}/cancel", "waiting", ""),
    ("POST /v1/messages/{id}/cancel", "sent", ""),
    ("GET /v1/hooks", "", ""),
    ("POST /v1/hooks/{id}/enable", "mail", ""),
    ("POST /v1/hooks/{id}/enable", "none", ""),
    ("POST /v1/hooks/{id}/replay", "mail", r#"{"from": 1}"#),
    ("POST /v1/hooks/{id}/replay", "mail", "{}"),
    ("POST /v1/hooks/{id}/replay", "mail", r#"{"from": 0}"#),
    ("GET /v1/events", "?after=0", ""),
    ("GET /v1/events", "?texts=true&type=stop.*", ""),
    ("GET /v1/events", "?after=99999999", ""),
    ("GET /v1/audit", "", ""),
    ("POST /v1/backup", "", r#"{"name": "copy.db"}"#),
    ("POST /v1/backup", "", r#"{"name": "copy.db"}"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_fields_that_the_document_names() {
    let env = TestEnv::new().await.hasty().reconciling("");
    let env = env.set("OUTBOXD_WEBHOOKS_LISTEN", "127.0.0.1:0").set("OUTBOXD_WEBHOOKS_SECRET", "whsec_1");
    std::fs::write(
        env.path("outboxd.toml"),
        "[outbound.command.mail]\nrun = [\"/bin/sh\", \"-c\", \"true\"]\n",
    )
    .unwrap();
    let daemon = env.serve().await;
    let (_, document) = daemon.get("/openapi.json").await;
    let enqueue = async |chat: &str, not_before: Option<&str>| {
        let body = json!({ "account_id": "acc_1", "chat_id": chat, "text": "Hi", "not_before": not_before, "campaign": "spring" });
        daemon.enqueue(&body.to_string()).await
    };
    let sent = enqueue("c1", None).await;
    daemon.becomes(&sent, "sent").await;
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    let review = enqueue("c2", None).await;
    daemon.becomes(&review, "review").await;
    let waiting = enqueue("c3", Some("2099-01-01T00:00:00Z")).await;
    let (mut wrong, mut answered) = (Vec::new(), BTreeSet::new());
    for (route, rest, body) in ASKED {
        let rest = match *rest {
            "sent" => &sent,
            "review" => &review,
            "waiting" => &waiting,
            other => other,
        };
        let long = " ".repeat(3 << 20);
        let body = if *body == "LONG" { &long } else { *body };
        let path =
            if route.contains("{id}") { route.replace("{id}", rest) } else { format!("{route}{rest}") };
        let (status, answer) = call(&daemon, &env.client(), &path, body).await;
        let (method, template) = route.split_once(' ').unwrap();
        let said = &document["paths"][template][method.to_lowercase()]["responses"][status.to_string()];
        let content = &said["content"];
        let schema = content.get("application/json").unwrap_or(&content["text/plain"]);
        let schema = &schema["schema"];
        let found = match schema.is_object() {
            true => mismatches(&document, schema, &answer, "answer"),
            false => vec![format!("answer has the status {status}")],
        };
        wrong.extend(found.iter().map(|what| format!("{path}: {what}: {answer}")));
        if status < 400 {
            answered.insert((*route).to_owned());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(answered, documented(&document), "each route was called here and gave its good answer");
}
