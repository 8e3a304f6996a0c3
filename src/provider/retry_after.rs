//! The wait that an answer requests in its headers.
//!
//! `Retry-After` has two forms (RFC 9110, section 10.2.3): a number of seconds, which some servers send with a
//! fraction, and a date. A date is measured from the `Date` of the same answer, because the clocks of two machines
//! differ. `x-ratelimit-reset` is Unipile's own header and counts seconds.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// Longest accepted wait: a garbled header must not stop an account, its reads or a read-back for good.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Returns the wait that `headers` request, rounded up to whole seconds; `None` if they request none that can be
/// parsed.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let sent_at = text(DATE.as_str()).and_then(date).unwrap_or(now);
    let by_standard =
        text(RETRY_AFTER.as_str()).and_then(|value| seconds(value).or_else(|| until(value, sent_at)));
    let by_unipile = text("x-ratelimit-reset").and_then(seconds);
    // A date in the past carries less information than a number.
    by_standard.filter(|wait| !wait.is_zero()).or(by_unipile).or(by_standard)
}

fn seconds(text: &str) -> Option<Duration> {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.')
        && text.matches('.').count() <= 1;
    let seconds: f64 = text.parse().ok().filter(|_| is_number)?;
    Some(Duration::try_from_secs_f64(seconds.ceil()).unwrap_or(LONGEST).min(LONGEST))
}

/// A date in the past requests no wait.
fn until(text: &str, sent_at: Timestamp) -> Option<Duration> {
    let wait = Duration::try_from(date(text)?.duration_since(sent_at)).unwrap_or_default();
    Some(Duration::from_secs(wait.as_millis().div_ceil(1000).try_into().ok()?).min(LONGEST))
}

/// Parses a date in any of the three forms of RFC 9110, section 5.6.7.
pub(super) fn date(text: &str) -> Option<Timestamp> {
    Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns 08:49:37 on the day of the RFC's examples.
    fn now() -> Timestamp {
        "1994-11-06T08:49:37.250Z".parse().unwrap()
    }

    fn wait(headers: &[(&'static str, &str)]) -> Option<u64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        retry_after(&map, now()).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_are_rounded_up_and_garbage_is_passed_over() {
        for (value, expected) in [
            ("0", Some(0)),
            ("30", Some(30)),
            (" 43200 ", Some(43_200)),
            ("7200.5", Some(7201)),
            ("0.001", Some(1)),
            ("99999999999999999999999", Some(LONGEST.as_secs())),
            ("-5", None),
            ("1e3", None),
            ("inf", None),
            ("NaN", None),
            ("1.2.3", None),
            ("0x10", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(wait(&[("retry-after", value)]), expected, "{value}");
            let reset = [("retry-after", "garbage"), ("x-ratelimit-reset", value)];
            assert_eq!(wait(&reset), expected, "reset {value}");
        }
        assert_eq!(wait(&[("retry-after", "30"), ("x-ratelimit-reset", "99")]), Some(30));
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn a_date_of_any_form_counts_from_the_answers_own_date() {
        // Two hours after `now`, in the three forms.
        for date in
            ["Sun, 06 Nov 1994 10:49:37 GMT", "Sunday, 06-Nov-94 10:49:37 GMT", "Sun Nov  6 10:49:37 1994"]
        {
            assert_eq!(wait(&[("retry-after", date)]), Some(7200), "{date}");
            // The server's clock is an hour ahead of ours.
            let ahead = [("retry-after", date), ("date", "Sun, 06 Nov 1994 09:49:37 GMT")];
            assert_eq!(wait(&ahead), Some(3600), "{date}");
            let broken = [("retry-after", date), ("date", "yesterday")];
            assert_eq!(wait(&broken), Some(7200), "{date}");
        }
        let passed = ("retry-after", "Sun, 06 Nov 1994 07:00:00 GMT");
        assert_eq!(wait(&[passed]), Some(0));
        assert_eq!(wait(&[passed, ("x-ratelimit-reset", "99")]), Some(99), "a number says more");
        assert_eq!(wait(&[("retry-after", "Sun, 32 Nov 1994 07:00:00 GMT")]), None);
    }
}
