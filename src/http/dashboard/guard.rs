//! What a browser may ask: nothing that another web site makes it ask.
//!
//! The socket has no password, and a person may forward it to a port of their machine (`ssh -L`, `outboxd ui`), where every
//! web site can send requests. So a request must name a host of this machine, which a rebound DNS name does not, and a
//! request that changes something must not come from the page of another site. A page's form must prove where it comes
//! from; a program that sends neither `Origin` nor `Sec-Fetch-Site` may use the API as before.

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::READ_ONLY;
use super::error::PageError;
use crate::http::access::Bearer;
use crate::http::error::ApiError;

/// What every page says about itself: it is not kept, not framed, and runs no script but its own.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // The browser sends `Origin: null` with a form if no referrer may be sent at all.
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'",
    ),
];

/// Guards the API.
pub(in crate::http) async fn api(request: Request, next: Next) -> Response {
    match refused(&request, Proof::IfABrowser) {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    }
}

/// Guards the pages.
pub(super) async fn pages(request: Request, next: Next) -> Response {
    let mut response = match refused(&request, Proof::Always) {
        Some(error) => PageError::from(error).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// When a request that changes something must prove that it comes from a page of ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// If a browser sends it, which then says so.
    IfABrowser,
    Always,
}

fn refused(request: &Request, proof: Proof) -> Option<ApiError> {
    // A browser does not add a token to a request that another site makes it send.
    if request.extensions().get::<Bearer>().is_some() {
        return None;
    }
    why_refused(request.method(), request.headers(), proof)
}

fn why_refused(method: &Method, headers: &HeaderMap, proof: Proof) -> Option<ApiError> {
    let refuse = |problem: String, fix: &str| Some(ApiError::forbidden(problem, fix));
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(&header::HOST).unwrap_or_default();
    if !is_ours(host) {
        let fix = "open it as localhost or 127.0.0.1; a proxy sets the header Host to localhost";
        return refuse(format!("the host {host:?} is not one of this machine"), fix);
    }
    if [Method::GET, Method::HEAD].contains(method) {
        return None;
    }
    if proof == Proof::Always && headers.contains_key(READ_ONLY) {
        return refuse("this view is read-only".to_owned(), "start `outboxd ui` without --read-only");
    }
    let site = headers.get("sec-fetch-site").map(|site| site == "same-origin");
    let origin = text(&header::ORIGIN)
        .map(|origin| origin.split_once("://").is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(host)));
    let proven = [site, origin];
    let is_foreign = proven.contains(&Some(false));
    let is_silent = proven == [None, None] && proof == Proof::Always;
    if is_foreign || is_silent {
        let problem = "this request does not come from a page of this daemon".to_owned();
        return refuse(problem, "open the page at its own address and press the button there");
    }
    None
}

/// Returns whether a host means this machine: no name, a name without a dot, or a loopback address.
fn is_ours(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return host.is_empty() };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    match name.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => !name.contains('.') || name.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine_are_told_from_others() {
        for host in ["", "localhost", "localhost:8080", "127.0.0.1:1", "[::1]:80", "outboxd", "a.localhost"] {
            assert!(is_ours(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "192.168.1.7", "127.0.0.1.evil.example", "a b"] {
            assert!(!is_ours(host), "{host}");
        }
    }

    #[test]
    fn a_change_must_come_from_a_page_of_ours() {
        let asked = |proof, headers: &[(&'static str, &'static str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let headers: HeaderMap =
                headers.chain([(header::HOST, HeaderValue::from_static("localhost:1"))]).collect();
            why_refused(&Method::POST, &headers, proof).is_some()
        };
        let same = &[("origin", "http://localhost:1"), ("sec-fetch-site", "same-origin")];
        for (headers, page, api) in [
            (&same[..], false, false),
            (&same[..1], false, false),
            (&[], true, false),
            (&[("origin", "http://localhost:2")], true, true),
            (&[("origin", "null")], true, true),
            (&[("sec-fetch-site", "cross-site")], true, true),
            (&[("origin", "http://localhost:1"), ("sec-fetch-site", "same-site")], true, true),
        ] {
            assert_eq!(asked(Proof::Always, headers), page, "{headers:?}");
            assert_eq!(asked(Proof::IfABrowser, headers), api, "{headers:?}");
        }
    }
}
