//! Who may do what at which listener: everything on the socket, reading on the read-only socket, and on TCP what the
//! bearer's token allows.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::watch;

use super::error::ApiError;
use crate::domain::token::{Role, Token};

/// The tokens in force. A reload replaces them.
#[derive(Debug, Clone, Default)]
pub struct ApiTokens(watch::Sender<Arc<[Token]>>);

impl ApiTokens {
    /// Puts `tokens` in force. Returns the names of those that are no longer in force, each after a minus sign, and of those
    /// that are new, each after a plus sign; a token that changed is both.
    pub fn set(&self, tokens: Vec<Token>) -> Vec<String> {
        let old = self.0.send_replace(tokens.into());
        let new = self.0.borrow();
        let only = |these: &[Token], others: &[Token], sign: char| -> Vec<String> {
            let changed = these.iter().filter(|token| !others.contains(token));
            changed.map(|token| format!("{sign}{}", token.name)).collect()
        };
        [only(&old, &new, '-'), only(&new, &old, '+')].concat()
    }

    /// Returns the token whose text is `presented`. Compares with every token, each in constant time.
    fn find(&self, presented: &[u8]) -> Option<Token> {
        let tokens = Arc::clone(&self.0.borrow());
        let hash: [u8; 32] = Sha256::digest(presented).into();
        let same = |token: &Token| -> Choice { token.hash.ct_eq(&hash) };
        let found: Vec<bool> = tokens.iter().map(|token| same(token).into()).collect();
        let index = found.into_iter().position(|is_same| is_same)?;
        tokens.get(index).cloned()
    }

    /// Returns `response`; a stream of events ends when `token` is no longer in force as it is.
    fn while_in_force(&self, token: Token, response: Response) -> Response {
        let content_type = response.headers().get(header::CONTENT_TYPE);
        if content_type.is_none_or(|content_type| content_type != "text/event-stream") {
            return response;
        }
        let mut tokens = self.0.subscribe();
        let withdrawn = async move {
            let _the_daemon_ends = tokens.wait_for(|tokens| !tokens.contains(&token)).await;
        };
        response.map(|body| Body::from_stream(body.into_data_stream().take_until(withdrawn)))
    }
}

/// The name of the token that a request came with.
#[derive(Debug, Clone)]
pub(super) struct Bearer(pub(super) String);

/// Returns `router` without everything that changes something.
pub fn read_only(router: Router) -> Router {
    router.layer(middleware::from_fn(only_reads))
}

async fn only_reads(request: Request, next: Next) -> Response {
    if is_read(request.method()) {
        return next.run(request).await;
    }
    let problem = format!("{} is not allowed here: this socket only reads", request.method());
    let fix = "use api.socket, whose group may change things";
    ApiError::forbidden(problem, fix).into_response()
}

/// Returns `router` for bearers of `tokens`.
pub fn with_tokens(router: Router, tokens: ApiTokens) -> Router {
    router.layer(middleware::from_fn_with_state(tokens, authorised))
}

async fn authorised(State(tokens): State<ApiTokens>, mut request: Request, next: Next) -> Response {
    let Some(token) = presented(request.headers()).and_then(|text| tokens.find(text)) else {
        let mut response = ApiError::unauthorised().into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    };
    let (method, path) = (request.method(), request.uri().path());
    if let Some(missing) = missing(&token, method, path) {
        let problem = format!("the token {} must not do this: {method} {path}", token.name);
        let fix = format!("give it the role {} in api.tokens_file, or use another token", missing.as_str());
        return ApiError::forbidden(problem, &fix).into_response();
    }
    request.extensions_mut().insert(Bearer(token.name.clone()));
    tokens.while_in_force(token, next.run(request).await)
}

/// Returns the text of a bearer token.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Returns the role that `token` lacks for a request, if it lacks one.
fn missing(token: &Token, method: &Method, path: &str) -> Option<Role> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let needed: &[Role] = match (is_read(method), &segments[..]) {
        (true, ["healthz" | "readyz" | "openapi.json", ..]) => &Role::ALL,
        (true, ["v1", "messages", _] | ["v1", "messages", _, "explain"]) => &[Role::Read, Role::Enqueue],
        (true, _) => &[Role::Read],
        (false, ["v1", "messages"]) => &[Role::Enqueue],
        (false, _) => &[Role::Operate],
    };
    let allowed = needed.iter().any(|role| token.allows(*role));
    needed.first().copied().filter(|_| !allowed)
}

fn is_read(method: &Method) -> bool {
    [Method::GET, Method::HEAD].contains(method)
}

impl ApiError {
    fn unauthorised() -> Self {
        let fix = "send the header `Authorization: Bearer TOKEN` with a token of api.tokens_file";
        Self::access(StatusCode::UNAUTHORIZED, "unauthorised", "the token is missing or unknown", fix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_its_own() {
        let token = |role| Token { name: "one".into(), roles: vec![role], hash: [0; 32] };
        let (read, enqueue, operate) = (token(Role::Read), token(Role::Enqueue), token(Role::Operate));
        for (method, path, allowed) in [
            (Method::GET, "/healthz", [true, true, true]),
            (Method::GET, "/readyz/send", [true, true, true]),
            (Method::GET, "/v1/status", [true, false, true]),
            (Method::GET, "/v1/messages", [true, false, true]),
            (Method::GET, "/v1/messages/1", [true, true, true]),
            (Method::GET, "/v1/messages/1/explain", [true, true, true]),
            (Method::GET, "/v1/messages/1/review", [true, false, true]),
            (Method::POST, "/v1/messages", [false, true, true]),
            (Method::POST, "/v1/messages/", [false, true, true]),
            (Method::POST, "/v1/messages/bulk", [false, false, true]),
            (Method::PATCH, "/v1/messages/1", [false, false, true]),
            (Method::POST, "/v1/pause", [false, false, true]),
            (Method::DELETE, "/v1/webhooks/endpoint", [false, false, true]),
        ] {
            let found = [&read, &enqueue, &operate].map(|token| missing(token, &method, path).is_none());
            assert_eq!(found, allowed, "{method} {path}");
        }
    }

    #[test]
    fn only_a_bearer_token_is_taken() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            presented(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(of("Bearer abc"), Some(b"abc".to_vec()));
        assert_eq!(of("bearer  abc "), Some(b"abc".to_vec()));
        assert_eq!(of("Basic abc="), None);
        assert_eq!(of("abc"), None);
    }
}
