//! The requests about webhook endpoints, checked as strictly as the API's description allows.
//!
//! Called by `methods`; `webhooks` executes them.

use axum::http::Uri;
use serde_json::Value;

use super::endpoint::Endpoint;
use super::event;
use super::query::Query;
use super::strict::{Fields, Invalid};

/// Longest `url` and `description`, in characters.
const LONGEST_TEXT: usize = 255;

/// A request about webhook endpoints in a valid format.
#[derive(Debug)]
pub(super) enum WebhookRequest {
    Create(Settings),
    List(Page),
    Get(String),
    Update(String, Settings),
    Delete(String),
    Conversations(ConversationsQuery),
}

/// Fields of an endpoint that a request sets; `None` is one that it leaves alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) url: Option<String>,
    pub(super) trigger_events: Option<Vec<String>>,
    pub(super) account_ids: Option<Vec<String>>,
    pub(super) description: Option<String>,
    pub(super) enabled: Option<bool>,
}

/// Part of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub(super) offset: usize,
    pub(super) limit: usize,
}

/// Query of the delivery log.
#[derive(Debug)]
pub(super) struct ConversationsQuery {
    pub(super) endpoint_id: String,
    pub(super) event_id: Option<String>,
    pub(super) page: Page,
}

/// Parses a request to `endpoint`, which is about webhooks; `id` is the one in its path.
pub(super) fn read(
    endpoint: Endpoint,
    id: &str,
    query: &str,
    body: Option<&Value>,
) -> Result<WebhookRequest, Invalid> {
    if endpoint == Endpoint::ListWebhookConversations {
        return conversations(&Query::of(query, &["endpoint_id", "event_id", "offset", "limit"])?);
    }
    if endpoint == Endpoint::ListWebhookEndpoints {
        return Ok(WebhookRequest::List(page(&Query::of(query, &["offset", "limit"])?)?));
    }
    Query::of(query, &[])?;
    if endpoint != Endpoint::CreateWebhookEndpoint {
        endpoint_id(id)?;
    }
    let id = id.to_owned();
    match (endpoint, body) {
        (Endpoint::CreateWebhookEndpoint, Some(body)) => create(body).map(WebhookRequest::Create),
        (Endpoint::UpdateWebhookEndpoint, Some(body)) => {
            let known = ["url", "trigger_events", "account_ids", "description", "enabled"];
            Ok(WebhookRequest::Update(id, settings(&Fields::of(body, "", &known)?)?))
        }
        (Endpoint::DeleteWebhookEndpoint, _) => Ok(WebhookRequest::Delete(id)),
        _ => Ok(WebhookRequest::Get(id)),
    }
}

fn create(body: &Value) -> Result<Settings, Invalid> {
    let fields = Fields::of(body, "", &["url", "trigger_events", "account_ids", "description"])?;
    fields.required("url")?;
    fields.required("trigger_events")?;
    settings(&fields)
}

fn settings(fields: &Fields<'_>) -> Result<Settings, Invalid> {
    let url = fields.optional_string("url")?;
    if let Some(url) = url {
        check_url(url)?;
    }
    let description = fields.optional_string("description")?;
    for (name, text) in [("url", url), ("description", description)] {
        if text.is_some_and(|text| text.chars().count() > LONGEST_TEXT) {
            return Err(Invalid(format!("{name} must have at most {LONGEST_TEXT} characters")));
        }
    }
    Ok(Settings {
        url: url.map(str::to_owned),
        trigger_events: trigger_events(fields)?,
        account_ids: account_ids(fields)?,
        description: description.map(str::to_owned),
        enabled: fields.optional_boolean("enabled")?,
    })
}

fn check_url(url: &str) -> Result<(), Invalid> {
    let uri: Option<Uri> = url.parse().ok();
    let is_web = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if is_web { Ok(()) } else { Err(Invalid(format!("url must be an http or https URL, not {url:?}"))) }
}

/// Reads the names of events; a single unknown one refuses the request.
fn trigger_events(fields: &Fields<'_>) -> Result<Option<Vec<String>>, Invalid> {
    let names = strings(fields, "trigger_events")?;
    if let Some(unknown) = names.iter().flatten().find(|name| !event::NAMES.contains(&name.as_str())) {
        let known = event::NAMES.join(", ");
        return Err(Invalid(format!("trigger_events: unknown event {unknown:?}; known here: {known}")));
    }
    if names.as_ref().is_some_and(Vec::is_empty) {
        return Err(Invalid("trigger_events must not be empty".to_owned()));
    }
    Ok(names)
}

fn account_ids(fields: &Fields<'_>) -> Result<Option<Vec<String>>, Invalid> {
    let ids = strings(fields, "account_ids")?;
    if let Some(wrong) = ids.iter().flatten().find(|id| !id.starts_with("acc_")) {
        return Err(Invalid(format!("account_ids must match ^acc_, but {wrong:?} does not")));
    }
    Ok(ids)
}

/// Reads an optional array of strings.
fn strings(fields: &Fields<'_>, field: &str) -> Result<Option<Vec<String>>, Invalid> {
    let Some(value) = fields.get(field) else { return Ok(None) };
    let items = fields.optional_array(field)?.iter();
    let items: Option<Vec<String>> = items.map(|item| item.as_str().map(str::to_owned)).collect();
    items.map(Some).ok_or_else(|| fields.wrong(field, "an array of strings", value))
}

fn conversations(query: &Query) -> Result<WebhookRequest, Invalid> {
    let id = query.text("endpoint_id").ok_or_else(|| Invalid("endpoint_id is required".to_owned()))?;
    endpoint_id(&id)?;
    let event_id = query.text("event_id");
    if event_id.as_ref().is_some_and(|id| !id.starts_with("evt_")) {
        return Err(Invalid("event_id must match ^evt_".to_owned()));
    }
    Ok(WebhookRequest::Conversations(ConversationsQuery { endpoint_id: id, event_id, page: page(query)? }))
}

fn endpoint_id(id: &str) -> Result<(), Invalid> {
    if id.starts_with("we_") {
        Ok(())
    } else {
        Err(Invalid(format!("endpoint_id must match ^we_, not {id:?}")))
    }
}

fn page(query: &Query) -> Result<Page, Invalid> {
    Ok(Page {
        offset: query.number("offset", 0)?.unwrap_or(0),
        limit: query.number("limit", 1)?.unwrap_or(50).min(100),
    })
}
