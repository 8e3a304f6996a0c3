//! Fault injection: what goes wrong, for which requests, and how often.
//!
//! Added by tests through `Sandbox::fault` and by people through `POST /sandbox/faults`; applied by `methods`. A
//! fault applies only to requests that would have succeeded: a refused request uses nothing up, so that `times: 1` is
//! exactly one. `delivered` says whether the recipient receives the message nevertheless, which only the ledger shows
//! afterwards. A fault without an endpoint applies to typing calls too, but not to reads or webhook endpoints: how often
//! a client reads is its own affair, and a read would use up a fault that was meant for its next message.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::ledger::milliseconds;
use super::reply::Problem;
use super::strict::{Fields, Invalid};

/// A fault to inject into certain requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct Fault {
    /// Account whose requests it applies to; `None` means any account.
    pub account: Option<String>,
    /// Endpoint that it applies to; `None` means any that is neither a read nor about webhooks.
    pub endpoint: Option<Endpoint>,
    /// Number of requests that it applies to; `None` means all of them.
    pub times: Option<u32>,
    /// Number of matching requests that pass first. Those may meet the next fault.
    pub skip: u32,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Delays the delivery, and the answer with it. The delivery happens even if the caller has hung up by then.
    Latency {
        /// Time from the arrival of the request to its delivery.
        #[serde(rename = "before_delivery_ms", with = "milliseconds")]
        before_delivery: Duration,
    },
    /// Delivers at once and answers only after this time.
    #[serde(rename = "latency_after_delivery_ms")]
    LatencyAfterDelivery(#[serde(with = "milliseconds")] Duration),
    /// Answers in the error format of the API.
    Error {
        /// HTTP status, 200 to 599.
        status: u16,
        /// The `type` field, such as `api/internal_error`.
        #[serde(rename = "type")]
        error_type: String,
        /// The `title` field.
        title: String,
        /// The `detail` field.
        detail: String,
        /// The `retry-after` header, in seconds.
        retry_after: Option<u64>,
        /// Whether the recipient receives the message nevertheless.
        delivered: bool,
    },
    /// Closes the connection without an answer.
    Cut {
        /// Whether the recipient receives the message nevertheless.
        delivered: bool,
    },
    /// Sends all headers of a success, then closes the connection after half of the body.
    HalfAnswer {
        /// Whether the recipient receives the message.
        delivered: bool,
    },
    /// Sends a body that is not JSON: HTML as a gateway sends it, or broken JSON if the status is a success.
    Garbage {
        /// HTTP status, 200 to 599.
        status: u16,
        /// Whether the recipient receives the message nevertheless.
        delivered: bool,
    },
    /// Delivers at once and sends the body in small pieces over this time.
    #[serde(rename = "slow_body_ms")]
    SlowBody(#[serde(with = "milliseconds")] Duration),
}

impl Fault {
    /// Creates a fault that applies once, to the next request that succeeds, on any account and any endpoint but
    /// reads.
    pub fn new(kind: FaultKind) -> Self {
        Self { account: None, endpoint: None, times: Some(1), skip: 0, kind }
    }

    /// Returns a 429 of Unipile's own rate limiter: certainly not sent. `retry_after` is in seconds.
    pub fn api_429(retry_after: u64) -> Self {
        let title = "We only allow 100 requests. Retry later.";
        let problem = Problem::new(429, "api/too_many_requests", title, "Too many requests.");
        Self::error(Problem { retry_after: Some(retry_after), ..problem }, false)
    }

    /// Returns a 429 of LinkedIn's rate limiter, without a retry window.
    pub fn provider_429() -> Self {
        let detail = "The provider limits this account.";
        Self::error(Problem::new(429, "provider/too_many_requests", "Too many requests", detail), false)
    }

    /// Returns a 500 of Unipile, after the delivery if `delivered`.
    pub fn internal_error(delivered: bool) -> Self {
        let detail = "Something went wrong.";
        Self::error(Problem::new(500, "api/internal_error", "Internal error", detail), delivered)
    }

    /// Returns the HTML page of a gateway (502, 503, 504), after the delivery if `delivered`.
    pub fn gateway(status: u16, delivered: bool) -> Self {
        Self::new(FaultKind::Garbage { status, delivered })
    }

    /// Returns one 401, as if the account were disconnected; `World::disconnect` makes it permanent.
    pub fn disconnected() -> Self {
        Self::error(Problem::disconnected(), false)
    }

    /// Returns one 403, as if the account were restricted; `World::restrict` makes it permanent.
    pub fn restricted() -> Self {
        Self::error(Problem::restricted(), false)
    }

    /// Limits the fault to requests of `account`.
    pub fn on(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// Limits the fault to requests to `endpoint`.
    pub fn at(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Applies the fault to `times` requests.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Applies the fault to every matching request until faults are cleared.
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// Lets `skip` matching requests pass first.
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    fn error(problem: Problem, delivered: bool) -> Self {
        let Problem { status, error_type, title, detail, retry_after } = problem;
        Self::new(FaultKind::Error { status, error_type, title, detail, retry_after, delivered })
    }

    fn matches(&self, account: &str, endpoint: Endpoint) -> bool {
        self.account.as_deref().is_none_or(|only| only == account)
            && self
                .endpoint
                .map_or(!endpoint.is_read() && !endpoint.is_about_webhooks(), |only| only == endpoint)
    }
}

/// Returns what the first matching fault of `faults` does to this request. Removes used-up faults.
pub(super) fn take(faults: &mut Vec<Fault>, account: &str, endpoint: Endpoint) -> Option<FaultKind> {
    faults.retain(|fault| fault.times != Some(0));
    for fault in faults.iter_mut().filter(|fault| fault.matches(account, endpoint)) {
        if fault.skip > 0 {
            fault.skip -= 1;
            continue;
        }
        fault.times = fault.times.map(|times| times - 1);
        let kind = fault.kind.clone();
        faults.retain(|fault| fault.times != Some(0));
        return Some(kind);
    }
    None
}

impl TryFrom<Value> for Fault {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        read(&value).map_err(|Invalid(detail)| detail)
    }
}

fn read(value: &Value) -> Result<Fault, Invalid> {
    // A serialized fault has null for what is not set.
    let present = |fields: &Fields<'_>, name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    let fields = Fields::of(value, "", &["account", "endpoint", "times", "skip", "kind"])?;
    let number = |name, range| {
        let value = if present(&fields, name) { Some(fields.integer(name, range)?) } else { None };
        Ok(value.map(|value| u32::try_from(value).expect("the range ends at u32::MAX")))
    };
    let endpoint = match fields.get("endpoint").filter(|value| !value.is_null()) {
        Some(value) => {
            Some(Endpoint::deserialize(value).map_err(|error| Invalid(format!("endpoint: {error}")))?)
        }
        None => None,
    };
    let account = if present(&fields, "account") { Some(fields.string("account")?.to_owned()) } else { None };
    Ok(Fault {
        account,
        endpoint,
        times: number("times", 1..=u64::from(u32::MAX))?,
        skip: number("skip", 0..=u64::from(u32::MAX))?.unwrap_or(0),
        kind: read_kind(fields.required("kind")?)?,
    })
}

fn read_kind(value: &Value) -> Result<FaultKind, Invalid> {
    let known =
        ["latency", "latency_after_delivery_ms", "error", "cut", "half_answer", "garbage", "slow_body_ms"];
    let kinds = Fields::of(value, "kind", &known)?;
    let mut chosen = known.into_iter().filter_map(|name| Some((name, kinds.get(name)?)));
    let (Some((name, value)), None) = (chosen.next(), chosen.next()) else {
        return Err(Invalid(format!("kind must have exactly one of {}", known.join(", "))));
    };
    let inner = |known: &[&str]| Fields::of(value, &kinds.name(name), known);
    let milliseconds =
        |fields: &Fields<'_>, name| fields.integer(name, 0..=86_400_000).map(Duration::from_millis);
    Ok(match name {
        "latency" => {
            let fields = inner(&["before_delivery_ms"])?;
            FaultKind::Latency { before_delivery: milliseconds(&fields, "before_delivery_ms")? }
        }
        "latency_after_delivery_ms" => FaultKind::LatencyAfterDelivery(milliseconds(&kinds, name)?),
        "slow_body_ms" => FaultKind::SlowBody(milliseconds(&kinds, name)?),
        "cut" => FaultKind::Cut { delivered: inner(&["delivered"])?.boolean("delivered")? },
        "half_answer" => FaultKind::HalfAnswer { delivered: inner(&["delivered"])?.boolean("delivered")? },
        "garbage" => {
            let fields = inner(&["status", "delivered"])?;
            FaultKind::Garbage { status: status(&fields)?, delivered: fields.boolean("delivered")? }
        }
        _ => read_error(&inner(&["status", "type", "title", "detail", "retry_after", "delivered"])?)?,
    })
}

fn read_error(fields: &Fields<'_>) -> Result<FaultKind, Invalid> {
    let retry_after = match fields.get("retry_after") {
        None | Some(Value::Null) => None,
        Some(_) => Some(fields.integer("retry_after", 0..=u64::MAX)?),
    };
    Ok(FaultKind::Error {
        status: status(fields)?,
        error_type: fields.string("type")?.to_owned(),
        title: fields.optional_string("title")?.unwrap_or_default().to_owned(),
        detail: fields.optional_string("detail")?.unwrap_or_default().to_owned(),
        retry_after,
        delivered: fields.boolean("delivered")?,
    })
}

fn status(fields: &Fields<'_>) -> Result<u16, Invalid> {
    let status = fields.integer("status", 200..=599)?;
    Ok(u16::try_from(status).expect("the range ends at 599"))
}
