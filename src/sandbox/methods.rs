//! The path of one request through `/v2`: read, check, record in the ledger, execute, answer.
//!
//! Called by `http` for everything that is not the sandbox's own. Checks run in the order of the service: the key,
//! the path, the format of the request, then whether what it names exists; only a request that passes all of them
//! meets faults. It then runs in a task of its own: a caller that hangs up does not take its message back.

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request as HttpRequest, header};
use axum::response::Response;
use http_body_util::LengthLimitError;
use serde_json::Value;

use super::attachment;
use super::cache::CacheControl;
use super::endpoint::{Endpoint, Target};
use super::faults::FaultKind;
use super::ledger::Arrival;
use super::query::Query;
use super::reads::Read;
use super::reply::{Manner, Problem, Reply};
use super::requests::{self, Request};
use super::service::Service;
use super::strict::Invalid;
use super::webhook_requests;
use super::world::World;

/// Limit of a request body: 20 MB of attachments are 27 MB of base64; the service's own limit is not known.
const LARGEST_BODY_BYTES: usize = 64 << 20;

/// Answers a request to `/v2/…`.
pub(super) async fn answer(service: Service, request: HttpRequest<Body>) -> Response {
    let world = &service.world;
    let (parts, body) = request.into_parts();
    let (bytes, too_large) = match axum::body::to_bytes(body, LARGEST_BODY_BYTES).await {
        Ok(bytes) => (bytes, false),
        Err(error)
            if std::error::Error::source(&error).is_some_and(|source| source.is::<LengthLimitError>()) =>
        {
            (Bytes::new(), true)
        }
        // The caller disconnected, so the request never arrived.
        Err(_) => return Reply::cut().into_response(world.clock()),
    };
    let Entered { seq, target, arrival, verdict } = enter(world, &parts, bytes, too_large);
    let reply = match verdict {
        Err(problem) => problem.reply(seq).with_limits(),
        Ok(request) => carried_out(&service, seq, target, arrival, request).await,
    };
    world.answered(seq, reply.status());
    reply.into_response(world.clock())
}

impl World {
    /// Answers a request to `/v2/…` at once, as strictly as over HTTP: a message is delivered before this returns.
    /// Faults apply only to requests over HTTP; here the caller simulates the network.
    pub fn answer(&self, request: HttpRequest<Vec<u8>>) -> axum::http::Response<Vec<u8>> {
        answer_at_once(self, request)
    }
}

/// Implements [`World::answer`]: without a connection, without delay and without faults.
fn answer_at_once(world: &World, request: HttpRequest<Vec<u8>>) -> axum::http::Response<Vec<u8>> {
    let (parts, body) = request.into_parts();
    let Entered { seq, target, arrival, verdict } = enter(world, &parts, Bytes::from(body), false);
    let carried_out = verdict.and_then(|request| world.carry_out(&target, arrival, &request));
    if carried_out.is_ok() {
        world.answered_by_the_service(&target);
    }
    let reply = carried_out.unwrap_or_else(|problem| problem.reply(seq)).with_limits();
    world.answered(seq, reply.status());
    reply.into_whole()
}

/// A request in the ledger, and whether it may be executed.
struct Entered {
    seq: u64,
    target: Target,
    arrival: Arrival,
    verdict: Result<Request, Problem>,
}

fn enter(world: &World, parts: &Parts, bytes: Bytes, too_large: bool) -> Entered {
    let arrival = world.arrival();
    let target = Target::of(&parts.method, parts.uri.path());
    let body = Payload::of(bytes);
    let verdict = if too_large { Err(oversized()) } else { check(world, parts, &target, &body) };
    let seq = world.enter_call(&target, parts, arrival, body.into_value());
    Entered { seq, target, arrival, verdict }
}

/// A request body before it is checked.
enum Payload {
    Empty,
    Json(Value),
    Broken(serde_json::Error, Bytes),
}

impl Payload {
    fn of(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        match serde_json::from_slice(&bytes) {
            Ok(value) => Self::Json(value),
            Err(error) => Self::Broken(error, bytes),
        }
    }

    /// Returns the body as the ledger keeps it.
    fn into_value(self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Json(mut value) => {
                attachment::shorten(&mut value);
                value
            }
            Self::Broken(_, bytes) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
}

fn oversized() -> Problem {
    let detail = format!("The body has more than {LARGEST_BODY_BYTES} bytes.");
    Problem::new(413, "api/invalid_parameters", "Payload too large", &detail)
}

/// Checks everything that can be wrong with a request, in the order in which the service would notice.
fn check(world: &World, parts: &Parts, target: &Target, body: &Payload) -> Result<Request, Problem> {
    let key = parts.headers.get("x-api-key").ok_or_else(|| {
        Problem::new(401, "api/missing_authorization", "Missing authorization", "X-API-KEY is required.")
    })?;
    if key.as_bytes() != world.config().api_key.as_bytes() {
        let detail = "X-API-KEY is not valid.";
        return Err(Problem::new(401, "api/expired_authorization", "Expired authorization", detail));
    }
    if target.endpoint == Endpoint::Unknown {
        let detail = format!("Route {}:{} not found.", parts.method, parts.uri.path());
        return Err(Problem::resource_not_found("api", &detail));
    }
    let method = target.endpoint.method();
    if parts.method != method {
        let detail = format!("{} is not allowed here, only {method}.", parts.method);
        return Err(Problem::new(405, "provider/method_not_allowed", "Method not allowed", &detail));
    }
    let has_account = target.endpoint != Endpoint::ListAccounts && !target.endpoint.is_about_webhooks();
    if has_account && !target.account_id.starts_with("acc_") {
        return Err(Problem::invalid_parameters("api", "account_id must match ^acc_"));
    }
    let request =
        shape(parts, target, body).map_err(|Invalid(detail)| Problem::invalid_parameters("api", &detail))?;
    world.admit(target, &request)?;
    Ok(request)
}

fn shape(parts: &Parts, target: &Target, body: &Payload) -> Result<Request, Invalid> {
    let endpoint = target.endpoint;
    let query = parts.uri.query().unwrap_or_default();
    let has_body =
        [Method::POST, Method::PATCH].contains(&parts.method) && endpoint != Endpoint::SetComposing;
    let body = if has_body { Some(json(parts, body)?) } else { empty(body)? };
    if endpoint.is_about_webhooks() {
        let id = target.webhook_id.as_deref().unwrap_or_default();
        return webhook_requests::read(endpoint, id, query, body).map(Request::Webhook);
    }
    match body {
        Some(body) => requests::read(endpoint, body),
        None if endpoint.is_read() => read(parts, endpoint),
        None => composing(query),
    }
}

/// Returns the body of a request that must have one, and no query.
fn json<'a>(parts: &Parts, body: &'a Payload) -> Result<&'a Value, Invalid> {
    Query::of(parts.uri.query().unwrap_or_default(), &[])?;
    if !is_json(&parts.headers) {
        return Err(Invalid("content-type must be application/json".to_owned()));
    }
    match body {
        Payload::Empty => Err(Invalid("the body must be an object, but it is empty".to_owned())),
        Payload::Broken(error, _) => Err(Invalid(format!("the body is not JSON: {error}"))),
        Payload::Json(value) => Ok(value),
    }
}

/// Checks that a request without a body has none.
fn empty(body: &Payload) -> Result<Option<&Value>, Invalid> {
    match body {
        Payload::Empty => Ok(None),
        Payload::Json(_) | Payload::Broken(..) => Err(Invalid("no body is allowed here".to_owned())),
    }
}

/// Parses the query of Set Composing Status: one `action`, nothing else.
fn composing(query: &str) -> Result<Request, Invalid> {
    match Query::of(query, &["action"])?.get("action") {
        Some("typing" | "recording") => Ok(Request::SetComposing),
        Some(other) => Err(Invalid(format!("action must be typing or recording, not {other:?}"))),
        None => Err(Invalid("action is required: typing or recording".to_owned())),
    }
}

fn read(parts: &Parts, endpoint: Endpoint) -> Result<Request, Invalid> {
    let read = Read::of(endpoint, parts.uri.query().unwrap_or_default())?;
    let key = parts.uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
    Ok(Request::Read { read, key, control: CacheControl::of(&parts.headers) })
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mime = value.split(';').next().unwrap_or_default();
    mime.trim().eq_ignore_ascii_case("application/json")
}

/// Executes `request` in a task of its own, so that it completes even if the caller hangs up.
async fn carried_out(
    service: &Service,
    seq: u64,
    target: Target,
    arrival: Arrival,
    request: Request,
) -> Reply {
    let world = service.world.clone();
    let work = async move { perform(&world, seq, &target, arrival, &request).await };
    let work = service.stop.clone().run_until_cancelled_owned(work);
    match service.tasks.spawn(work).await {
        Ok(Some(reply)) => reply,
        Ok(None) | Err(_) => Reply::cut(), // the sandbox is stopping
    }
}

/// Does what a valid request demands, or applies the fault that it meets.
///
/// The response cache is emptied only when the service has answered: a message that was delivered behind a fault
/// leaves it unchanged, and a caller that then reads without `no-cache` gets the old data.
async fn perform(world: &World, seq: u64, target: &Target, arrival: Arrival, request: &Request) -> Reply {
    let deliver = || {
        let reply = world.carry_out(target, arrival, request).unwrap_or_else(|problem| problem.reply(seq));
        reply.with_limits()
    };
    let deliver_if = |delivered: bool| if delivered { Some(deliver()) } else { None };
    let answered = |reply: Reply| {
        world.answered_by_the_service(target);
        reply
    };
    let Some(fault) = world.take_fault(target) else { return answered(deliver()) };
    match fault {
        FaultKind::Latency { before_delivery } => {
            world.clock().sleep(before_delivery).await;
            answered(deliver())
        }
        FaultKind::LatencyAfterDelivery(duration) => {
            let reply = deliver();
            world.clock().sleep(duration).await;
            answered(reply)
        }
        FaultKind::Error { status, error_type, title, detail, retry_after, delivered } => {
            deliver_if(delivered);
            Problem { status, error_type, title, detail, retry_after }.reply(seq)
        }
        FaultKind::Cut { delivered } => {
            deliver_if(delivered);
            Reply::cut()
        }
        FaultKind::HalfAnswer { delivered } => {
            deliver_if(delivered).map_or_else(|| Reply::garbage(200), answered).in_manner(Manner::Half)
        }
        FaultKind::Garbage { status, delivered } => {
            deliver_if(delivered);
            Reply::garbage(status)
        }
        FaultKind::SlowBody(duration) => answered(deliver()).in_manner(Manner::Slow(duration)),
    }
}
