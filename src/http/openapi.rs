//! A route with its description, and the OpenAPI document of all of them.
//!
//! `routes.rs` lists the routes; the router and the document are built from that one list. What is the same for all
//! is here: the form of a refusal, and the status codes that follow from a path, a query or a body.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::MethodRouter;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use utoipa::{PartialSchema, ToSchema};

use super::error::ApiError;
use super::{AppState, body};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::types::Page;
use crate::types::error::ErrorBody;

/// A method of a path: what handles it, and what the document says about it.
pub(super) struct Route {
    method: &'static str,
    path: &'static str,
    handler: MethodRouter<Arc<AppState>>,
    /// The OpenAPI operation, without its answers.
    operation: Value,
    /// The schemas of the answers of each status; several are alternatives.
    answers: BTreeMap<u16, Vec<Value>>,
    schemas: BTreeMap<String, Value>,
    /// The schema of the `data` of server-sent events.
    stream: Option<Value>,
    parameters: Parameters,
    /// The answer with status 200 is plain text.
    is_text: bool,
}

/// What a route does with query parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parameters {
    Refuses,
    Takes,
    Ignores,
}

/// Parameters that may be given several times, because each adds to the others.
const REPEATABLE: [&str; 1] = ["state"];

impl Route {
    /// Creates the route `METHOD /path`.
    pub(super) fn new(route: &'static str, handler: MethodRouter<Arc<AppState>>) -> Self {
        let (method, path) = route.split_once(' ').expect("a method and a path");
        let operation = json!({ "parameters": [] });
        let (answers, schemas) = (BTreeMap::new(), BTreeMap::new());
        let route = Self {
            method,
            path,
            handler,
            operation,
            answers,
            schemas,
            stream: None,
            parameters: Parameters::Refuses,
            is_text: false,
        };
        let route = match path.contains("{id}") {
            true => route.parameter("path", "id", json!({ "type": "string" }), "").fails(404),
            false => route,
        };
        route.fails(400).fails(401).fails(403).fails(503)
    }

    /// Names the operation, for generated clients, and says what it does.
    pub(super) fn does(mut self, id: &str, summary: &str) -> Self {
        self.operation["operationId"] = json!(id);
        self.operation["summary"] = json!(summary);
        self
    }

    fn parameter(mut self, place: &str, name: &str, schema: Value, says: &str) -> Self {
        let mut parameter =
            json!({ "in": place, "name": name, "schema": schema, "required": place == "path" });
        if !says.is_empty() {
            parameter["description"] = json!(says);
        }
        self.operation["parameters"].as_array_mut().expect("an array").push(parameter);
        self
    }

    /// Takes a query parameter. A route without any refuses them all.
    pub(super) fn query(mut self, name: &str, schema: Value, says: &str) -> Self {
        self.parameters = Parameters::Takes;
        self.parameter("query", name, schema, says)
    }

    /// Takes query parameters that are plain text.
    pub(super) fn queries<const N: usize>(self, names: [&str; N]) -> Self {
        names.into_iter().fold(self, |route, name| route.query(name, json!({ "type": "string" }), ""))
    }

    pub(super) fn header(self, name: &str, says: &str) -> Self {
        self.parameter("header", name, json!({ "type": "string" }), says)
    }

    /// Ignores query parameters, which probes may add.
    pub(super) fn ignores_parameters(mut self) -> Self {
        self.parameters = Parameters::Ignores;
        self.answers.remove(&400);
        self
    }

    /// Takes a JSON object.
    pub(super) fn takes<T: ToSchema>(self) -> Self {
        self.takes_object::<T>(true)
    }

    /// Takes a JSON object, or nothing.
    pub(super) fn may_take<T: ToSchema>(self) -> Self {
        self.takes_object::<T>(false)
    }

    fn takes_object<T: ToSchema>(mut self, is_required: bool) -> Self {
        let schema = self.schema::<T>();
        self.operation["requestBody"] =
            json!({ "required": is_required, "content": { "application/json": { "schema": schema } } });
        self.fails(413).fails(415).fails(422)
    }

    /// Takes one JSON object, or an array of them.
    pub(super) fn takes_one_or_several<T: ToSchema>(mut self) -> Self {
        let one = self.schema::<T>();
        let schema = json!({ "oneOf": [one, { "type": "array", "items": one }] });
        self.operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        self.fails(413).fails(415).fails(422)
    }

    /// Takes messages of type `T`, in every form.
    pub(super) fn takes_messages<T: ToSchema>(mut self) -> Self {
        let one = self.schema::<T>();
        let lines = json!({ "type": "string", "description": "One message per line." });
        let files = json!({ "type": "array", "items": { "type": "string", "format": "binary" } });
        let form = json!({ "message": one, "attachments": files });
        let array = json!({ "type": "array", "items": one });
        self.operation["requestBody"] = json!({ "required": true, "content": {
            "application/json": { "schema": { "oneOf": [one, array] } },
            "application/x-ndjson": { "schema": lines },
            "multipart/form-data": { "schema": { "type": "object", "properties": form, "required": ["message"] } },
        }});
        self.fails(413).fails(415).fails(422)
    }

    pub(super) fn answers<T: ToSchema>(mut self, status: u16) -> Self {
        let schema = self.schema::<T>();
        self.answers_with(status, schema)
    }

    /// Answers 200 with a stream of `T` if it is accepted.
    pub(super) fn streams<T: ToSchema>(mut self) -> Self {
        self.stream = Some(self.schema::<T>());
        self
    }

    pub(super) fn answers_with(mut self, status: u16, schema: Value) -> Self {
        self.answers.entry(status).or_default().push(schema);
        self
    }

    /// Answers with plain text.
    pub(super) fn answers_text(mut self) -> Self {
        self.is_text = true;
        self.answers_with(200, json!({ "type": "string" }))
    }

    /// Answers with a page of `T`.
    pub(super) fn lists<T: ToSchema>(mut self) -> Self {
        self.schema::<T>();
        let name = format!("{}Page", T::name());
        let page = json!({ "$ref": format!("#/components/schemas/{name}") });
        self.schemas.insert(name, json!(<Page<T> as PartialSchema>::schema()));
        self.answers_with(200, page)
    }

    /// May refuse with this status.
    pub(super) fn fails(self, status: u16) -> Self {
        self.answers::<ErrorBody>(status)
    }

    /// Collects the schema of `T` and of what it holds; returns a reference to it.
    fn schema<T: ToSchema>(&mut self) -> Value {
        let mut found = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut found);
        self.schemas.extend(found.into_iter().map(|(name, schema)| (name, json!(schema))));
        json!({ "$ref": format!("#/components/schemas/{}", T::name()) })
    }

    /// Returns the path and its handler, which refuses parameters that it would ignore.
    pub(super) fn into_parts(self) -> (&'static str, MethodRouter<Arc<AppState>>) {
        let handler = match self.operation.get("requestBody") {
            Some(_) => self.handler.route_layer(middleware::from_fn(body::refuse_compressed)),
            None => self.handler,
        };
        let handler = match self.parameters {
            Parameters::Ignores => handler,
            Parameters::Takes => handler.route_layer(middleware::from_fn(refuse_unclear_parameters)),
            Parameters::Refuses => handler.route_layer(middleware::from_fn(refuse_parameters)),
        };
        (self.path, handler)
    }
}

/// Refuses a parameter that would be read as another: of two of one name the last would count, and bytes that are not UTF-8
/// would become U+FFFD, which finds nothing.
async fn refuse_unclear_parameters(request: Request, next: Next) -> Result<Response, ApiError> {
    let mut names = HashSet::new();
    for parameter in request.uri().query().unwrap_or_default().split('&').filter(|text| !text.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let [name, value] = [name, value].map(|text| percent_decode_str(text).decode_utf8());
        let name = name.map_err(|_| not_utf_8(""))?;
        value.map_err(|_| not_utf_8(&name))?;
        if !REPEATABLE.contains(&name.as_ref()) && !names.insert(name.clone().into_owned()) {
            return Err(ApiError::given_twice(&name));
        }
    }
    Ok(next.run(request).await)
}

fn not_utf_8(parameter: &str) -> ApiError {
    ApiError::invalid(parameter, "is not UTF-8", "percent-encode its bytes in UTF-8: `ü` is %C3%BC")
}

/// Refuses a parameter that would be ignored: `POST /v1/pause?account_id=acc_1` would pause every account.
async fn refuse_parameters(request: Request, next: Next) -> Result<Response, ApiError> {
    let query = request.uri().query().unwrap_or_default();
    match query.split('&').find(|parameter| !parameter.is_empty()) {
        None => Ok(next.run(request).await),
        Some(parameter) => {
            let name = parameter.split('=').next().unwrap_or_default();
            let problem = format!("is a query parameter, and {} takes none", request.uri().path());
            let fix = "leave it out; docs/http.md has what the path takes";
            Err(ApiError::bad_request(FieldError::new(FieldErrorCode::UnknownField, name, problem, fix)))
        }
    }
}

/// Returns the OpenAPI document of `routes`.
pub(super) fn document(routes: Vec<Route>) -> Value {
    let (mut paths, mut schemas) = (json!({}), BTreeMap::new());
    for Route { method, path, mut operation, answers, schemas: used, stream, is_text, .. } in routes {
        for (status, mut forms) in answers {
            let content_type = if is_text && status == 200 { "text/plain" } else { "application/json" };
            let schema = if forms.len() == 1 { forms.remove(0) } else { json!({ "anyOf": forms }) };
            operation["responses"][status.to_string()] = json!({
                "description": meaning(status),
                "content": { content_type: { "schema": schema } },
            });
        }
        if let Some(item) = stream {
            operation["responses"]["200"]["content"]["text/event-stream"] = json!({ "schema": item });
        }
        paths[path][method.to_lowercase()] = operation;
        schemas.extend(used);
    }
    schemas.values_mut().for_each(complete);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "outboxd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The API on the daemon's Unix socket; docs/http.md explains it.",
        },
        // The sockets need no token: the empty requirement is the other choice.
        "security": [{ "token": [] }, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of api.tokens_file; needed on TCP (api.listen), not on the sockets.",
            } },
        },
    })
}

/// Completes the schema of an answer. A nullable field is required, because answers write null for a missing value. An
/// optional flattened part adds all of its fields or none of them.
fn complete(schema: &mut Value) {
    for part in schema.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
        if is_nullable(part) {
            *part = json!({ "anyOf": [part["oneOf"][0], { "type": "object" }] });
        }
        complete(part);
    }
    // The schema of a request refuses unknown fields.
    let is_request = schema.get("additionalProperties") == Some(&json!(false));
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    if !is_request {
        let found =
            properties.iter().filter(|(_, property)| is_nullable(property)).map(|(name, _)| json!(name));
        let known = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        schema["required"] = found.chain(known).collect();
    }
}

fn is_nullable(schema: &Value) -> bool {
    let types = schema["type"].as_array().is_some_and(|types| types.contains(&json!("null")));
    let forms = schema["oneOf"].as_array();
    types || forms.is_some_and(|forms| forms.iter().any(|form| form["type"] == "null"))
}

fn meaning(status: u16) -> &'static str {
    match status {
        200 => "Done.",
        201 => "The message is on disk.",
        400 => "The request is malformed: its JSON, or a parameter.",
        401 => "On TCP: the token is missing or unknown.",
        403 => "The socket only reads, the token lacks a role, or a browser sent it for another site.",
        404 => "The id names no message or account.",
        409 => "The current state does not allow it.",
        413 => "The body is too long.",
        415 => "The content type or the encoding of the body is not supported.",
        422 => "A field is refused.",
        _ => "Temporarily unavailable; a refused request had no effect.",
    }
}
