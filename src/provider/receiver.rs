//! Posts events to a receiver of webhooks, and traces to a collector: one request at a time, without redirects and retries.
//!
//! Its client has nothing to do with Unipile's: no key, and timeouts of its own. It uses the same TLS and the same
//! variables for a proxy.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;

use super::retry_after::retry_after;
use super::unipile;
use crate::domain::hook::Undelivered;

/// Timeout of one delivery, including its answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A receiver at an address.
pub struct Receiver {
    client: reqwest::Client,
    url: String,
}

impl Receiver {
    /// Creates the client; opens no connection yet.
    ///
    /// # Errors
    /// Returns an error if the system's certificates cannot be read.
    pub fn new(url: String) -> Result<Self, reqwest::Error> {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let is_local = reqwest::Url::parse(&url).ok().is_some_and(|url| {
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
            host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        });
        let builder = reqwest::Client::builder();
        let builder = if is_local { builder.no_proxy() } else { builder };
        let client = builder
            .user_agent(concat!("outboxd/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(3))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()?;
        Ok(Self { client, url })
    }

    /// Posts JSON with these headers; any 2xx is success. Reads only the head of the answer.
    ///
    /// # Errors
    /// Returns why the receiver did not accept it.
    pub async fn post<const N: usize>(
        &self,
        headers: [(&'static str, String); N],
        body: String,
        now: Timestamp,
    ) -> Result<(), Undelivered> {
        let request = self.client.post(&self.url).header(CONTENT_TYPE, "application/json").body(body);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let response = request.send().await.map_err(|error| Undelivered::new(unipile::chain(&error)))?;
        let status = response.status().as_u16();
        let redirect = ", a redirect, which outboxd does not follow: configure the address to which it leads";
        match status {
            200..300 => Ok(()),
            _ => Err(Undelivered {
                problem: format!(
                    "answered {status}{}",
                    if (300..400).contains(&status) { redirect } else { "" }
                ),
                retry_after: retry_after(response.headers(), now),
                is_gone: status == 410,
            }),
        }
    }
}
