//! The endpoints of Unipile's webhooks: creates, reads, changes and deletes them, and posts test deliveries.
//!
//! Unipile shows the secret of an endpoint in every answer about it; no error repeats an answer.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::shapes::{array, required, text};
use super::unipile::{self, Unipile};
use super::wire::segment;
use crate::domain::endpoint::{
    Delivery, Endpoint, EndpointAnswer, EndpointRequest, TestPost, WantedEndpoint,
};
use crate::domain::message::AccountId;
use crate::domain::observed::Unread;

type Result<T> = std::result::Result<T, Unread>;

const PATH: &str = "/v2/webhooks/endpoints/";
/// Endpoints on a page.
const PAGE: usize = 100;
/// Deliveries that are read.
const DELIVERIES: usize = 20;
/// What an endpoint of ours says of itself.
const DESCRIPTION: &str = "outboxd";
/// How long a test delivery may take; Unipile waits 5 s.
const TEST_WITHIN: Duration = Duration::from_secs(10);
/// Longest answer to a test delivery that is read, in bytes.
const TEST_ANSWER_BYTES: usize = 64 << 10;
/// How much of it is shown, in characters.
const TEST_SHOWN: usize = 300;

impl Unipile {
    pub(super) async fn endpoint_request(&self, request: EndpointRequest) -> Result<EndpointAnswer> {
        match request {
            EndpointRequest::Create(wanted) => {
                let request = self.client.post(self.endpoint_url("")).json(&body(&wanted));
                one(&self.answer_to(request).await?)
            }
            EndpointRequest::Update(id, wanted) => {
                let mut body = body(&wanted);
                body["enabled"] = true.into();
                one(&self.answer_to(self.client.patch(self.endpoint_url(&id)).json(&body)).await?)
            }
            EndpointRequest::Get(id) => one(&self.get(&format!("{PATH}{}", segment(&id))).await?),
            EndpointRequest::List(offset) => {
                let body = self.get(&format!("{PATH}?offset={offset}&limit={PAGE}")).await?;
                let endpoints = array(&body, "data")?.iter().map(endpoint).collect::<Result<_>>()?;
                let has_more = body.get("has_more").and_then(Value::as_bool).unwrap_or(false);
                Ok(EndpointAnswer { endpoints, has_more, ..EndpointAnswer::default() })
            }
            EndpointRequest::Delete(id) => {
                self.answer_to(self.client.delete(self.endpoint_url(&id))).await?;
                Ok(EndpointAnswer::default())
            }
            EndpointRequest::Deliveries(id) => {
                let query = format!("endpoint_id={}&limit={DELIVERIES}", segment(&id));
                let body = self.get(&format!("/v2/webhooks/conversations/?{query}")).await?;
                let deliveries = array(&body, "data")?.iter().map(delivery).collect();
                Ok(EndpointAnswer { deliveries, ..EndpointAnswer::default() })
            }
        }
    }

    fn endpoint_url(&self, id: &str) -> String {
        format!("{}{PATH}{}", self.base_url, segment(id))
    }

    /// Posts a test delivery with a client of its own: the key of the API is for Unipile only.
    pub(super) async fn deliver_test(post: TestPost) -> std::result::Result<(u16, String), String> {
        let builder = reqwest::Client::builder();
        // http is only for this machine.
        let builder = if post.url.starts_with("http:") { builder.no_proxy() } else { builder };
        let client = builder
            .user_agent(concat!("outboxd/", env!("CARGO_PKG_VERSION")))
            .timeout(TEST_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| unipile::chain(&error))?;
        let request = client.post(&post.url).header(CONTENT_TYPE, "application/json");
        let request = match &post.signature {
            Some(signature) => request.header("unipile-signature", signature),
            None => request,
        };
        let mut response = request.body(post.body).send().await.map_err(|error| unipile::chain(&error))?;
        let status = response.status().as_u16();
        let body = unipile::whole(&mut response, TEST_ANSWER_BYTES).await.unwrap_or_default();
        Ok((status, String::from_utf8_lossy(&body).chars().take(TEST_SHOWN).collect()))
    }
}

fn body(wanted: &WantedEndpoint) -> Value {
    let accounts: Vec<&str> = wanted.account_ids.iter().map(AccountId::as_str).collect();
    json!({
        "url": wanted.url,
        "trigger_events": wanted.events,
        "account_ids": accounts,
        "description": DESCRIPTION,
    })
}

fn one(answer: &Value) -> Result<EndpointAnswer> {
    Ok(EndpointAnswer { endpoints: vec![endpoint(answer)?], ..EndpointAnswer::default() })
}

fn endpoint(value: &Value) -> Result<Endpoint> {
    let texts = |field: &str| {
        let all = value.get(field).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    Ok(Endpoint {
        id: required(value, "id")?,
        url: required(value, "url")?,
        events: texts("trigger_events"),
        account_ids: texts("account_ids").into_iter().map(AccountId::new).collect(),
        enabled: value.get("enabled").and_then(Value::as_bool).unwrap_or(true),
        secret: text(value, "secret").filter(|secret| !secret.is_empty()).map(SecretString::from),
    })
}

/// Reads an entry of the delivery log; what it does not say stays empty, because nothing depends on it.
fn delivery(value: &Value) -> Delivery {
    let status = value.get("http_status").and_then(Value::as_u64);
    Delivery {
        at: text(value, "created_at").and_then(|at| at.parse().ok()),
        kind: text(value, "event_type").unwrap_or_default(),
        event_id: text(value, "event_id").unwrap_or_default(),
        status: status.and_then(|status| u16::try_from(status).ok()),
        is_first: value.get("first_attempt").and_then(Value::as_bool).unwrap_or(true),
    }
}
