//! Checks of the Unipile API: the proxy, the key with one harmless read, and the clock.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::{Finding, Running};
use crate::app::unipile_options;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::domain::endpoint::EndpointRequest;
use crate::provider::{Provider, Unipile};

/// How long the read may take.
const WITHIN: Duration = Duration::from_secs(20);

/// A larger difference makes Unipile's webhooks stale, at the default tolerance.
const CLOCK_WRONG: SignedDuration = SignedDuration::from_secs(60);
const CLOCK_OFF: SignedDuration = SignedDuration::from_secs(5);

pub(super) async fn examine(settings: &Settings, running: Running<'_>) -> Vec<Finding> {
    let proxy = match settings.require_usable_proxy() {
        Err(error) => return vec![Finding::fail("proxy", error.to_string(), "correct the variable")],
        Ok(()) => settings.unipile.proxy.sentence().unwrap_or_else(|| "none is used".to_owned()),
    };
    let mut found = vec![Finding::ok("proxy", proxy)];
    if running != Running::No && settings.unipile.api_key.is_none() {
        let what = match running {
            Running::With(_) => {
                "this user sees no key, so it was not tried; the daemon has one, and a notice says if it is refused"
            }
            Running::No | Running::Unknown => {
                "this user sees no key, so it was not tried; the daemon may have one"
            }
        };
        let to_do =
            "to try it, with the folder of its file: sudo CREDENTIALS_DIRECTORY=/etc/outboxd outboxd doctor";
        found.push(Finding::warn("key", what, to_do));
    } else {
        found.extend(key(settings).await);
    }
    found
}

async fn key(settings: &Settings) -> Vec<Finding> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let options = match unipile_options(settings, &clock) {
        Ok(options) => options,
        Err(error) => return vec![Finding::fail("key", format!("{error:#}"), "set the API key")],
    };
    let provider = match Unipile::new(&options) {
        Ok(provider) => provider,
        Err(error) => return vec![Finding::fail("key", error.to_string(), "check unipile.base_url")],
    };
    let url = &settings.unipile.base_url;
    let read = tokio::select! {
        read = provider.endpoints(EndpointRequest::List(0)) => read,
        () = clock.sleep(WITHIN) => {
            let what = format!("{url} does not answer within {} s", WITHIN.as_secs());
            return vec![Finding::fail("key", what, "check the network, the proxy and unipile.base_url")];
        }
    };
    let key = match read {
        Ok(_) => Finding::ok("key", format!("{url} accepts it")),
        Err(unread) => match unread.problem.status {
            Some(401 | 402) => {
                let to_do = "put the right key in place and restart the daemon; after the subscription is paid: outboxd resume --all";
                Finding::fail("key", format!("{url} refuses it: {}", unread.problem), to_do)
            }
            Some(_) => {
                let to_do = "try again; if it stays, ask Unipile with the request id";
                Finding::warn("key", format!("{url} answers with an error: {}", unread.problem), to_do)
            }
            None => {
                let to_do = "check the network, the proxy and unipile.base_url";
                Finding::fail("key", format!("{url} cannot be reached: {}", unread.problem), to_do)
            }
        },
    };
    vec![key, time(&provider, clock.as_ref())]
}

fn time(provider: &Unipile, clock: &dyn Clock) -> Finding {
    let Some(theirs) = provider.time() else {
        return Finding::warn("clock", "the API sent no date to compare with", "compare it by hand: date -u");
    };
    let now = clock.now();
    let off = now.duration_since(theirs.latest).max(theirs.earliest.duration_since(now));
    let seconds = off.as_secs().max(0);
    let what = format!("it differs from the API's by {seconds} s");
    let to_do = "set it by NTP: timedatectl set-ntp true";
    match off {
        off if off > CLOCK_WRONG => Finding::fail("clock", what, to_do),
        off if off > CLOCK_OFF => Finding::warn("clock", what, to_do),
        _ => Finding::ok("clock", "it agrees with the API's"),
    }
}
