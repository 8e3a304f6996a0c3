//! The response cache of the service: it repeats an answer to a GET for an hour, unless the caller opts out.
//!
//! One per account, used by `state`. A change by the account's own POST empties it; what happens on LinkedIn's side,
//! or to a POST whose answer got lost, does not. That is the trap it sets: a client that forgets `Cache-Control:
//! no-cache` decides on data that is up to an hour old.

use std::collections::HashMap;
use std::time::Duration;

use axum::http::{HeaderMap, header};

/// How long an answer is repeated (the vendor's page on caching).
const TIME_TO_LIVE: Duration = Duration::from_secs(3600);

/// The answers of one account, by path and query.
#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    body: String,
    stored_at: Duration,
}

impl Cache {
    /// Returns the answer to `key` and its age, if there is one that `control` accepts.
    pub(super) fn get(&self, key: &str, control: CacheControl, now: Duration) -> Option<(&str, Duration)> {
        let entry = self.0.get(key)?;
        let age = now.saturating_sub(entry.stored_at);
        let oldest = match control {
            CacheControl::NoStore | CacheControl::NoCache => return None,
            CacheControl::MaxAge(oldest) => oldest.min(TIME_TO_LIVE),
            CacheControl::Default => TIME_TO_LIVE,
        };
        (age < oldest).then_some((&entry.body, age))
    }

    /// Stores `body` as the answer to `key`, unless `control` forbids it.
    pub(super) fn put(&mut self, key: &str, control: CacheControl, now: Duration, body: &str) {
        if control == CacheControl::NoStore {
            return;
        }
        self.0.retain(|_, entry| now.saturating_sub(entry.stored_at) < TIME_TO_LIVE);
        self.0.insert(key.to_owned(), Entry { body: body.to_owned(), stored_at: now });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The cache directive of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CacheControl {
    Default,
    /// A fresh answer, which is not stored.
    NoStore,
    /// A fresh answer, which is stored.
    NoCache,
    /// An answer younger than this.
    MaxAge(Duration),
}

impl CacheControl {
    /// Reads the header. The strictest of several directives counts; unknown ones are ignored.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        let directives = values.flat_map(|value| value.split(',')).map(|one| one.trim().to_ascii_lowercase());
        let directives: Vec<String> = directives.collect();
        if directives.iter().any(|one| one == "no-store") {
            return Self::NoStore;
        }
        if directives.iter().any(|one| one == "no-cache") {
            return Self::NoCache;
        }
        let ages = directives.iter().filter_map(|one| one.strip_prefix("max-age=")?.parse().ok());
        ages.min().map_or(Self::Default, |seconds| Self::MaxAge(Duration::from_secs(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_lives_an_hour_and_never_longer_than_the_caller_wants() {
        let mut cache = Cache::default();
        cache.put("/a", CacheControl::Default, seconds(100), "one");
        let age = |control, now| cache.get("/a", control, seconds(now)).map(|(_, age)| age.as_secs());
        assert_eq!(age(CacheControl::Default, 100), Some(0));
        assert_eq!(age(CacheControl::Default, 3699), Some(3599));
        assert_eq!(age(CacheControl::Default, 3700), None);
        assert_eq!(age(CacheControl::NoCache, 101), None);
        assert_eq!(age(CacheControl::NoStore, 101), None);
        assert_eq!(age(CacheControl::MaxAge(seconds(0)), 100), None);
        assert_eq!(age(CacheControl::MaxAge(seconds(5)), 104), Some(4));
        assert_eq!(age(CacheControl::MaxAge(seconds(5)), 105), None);
        assert_eq!(age(CacheControl::MaxAge(seconds(9999)), 3700), None);
        assert!(cache.get("/b", CacheControl::Default, seconds(100)).is_none());

        cache.put("/b", CacheControl::NoStore, seconds(100), "two");
        assert!(cache.get("/b", CacheControl::Default, seconds(100)).is_none());
        cache.put("/b", CacheControl::NoCache, seconds(3700), "two");
        assert_eq!(cache.0.len(), 1, "what is too old is forgotten");
        assert_eq!(
            cache.get("/b", CacheControl::Default, seconds(3700)),
            Some(("two", Duration::ZERO)),
            "a fresh answer is kept"
        );
    }

    #[test]
    fn the_strictest_directive_counts() {
        let control = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, value.parse().unwrap());
            CacheControl::of(&headers)
        };
        assert_eq!(CacheControl::of(&HeaderMap::new()), CacheControl::Default);
        assert_eq!(control("private"), CacheControl::Default);
        assert_eq!(control("max-age=60, No-Cache"), CacheControl::NoCache);
        assert_eq!(control("no-cache,no-store"), CacheControl::NoStore);
        assert_eq!(control("max-age=60"), CacheControl::MaxAge(seconds(60)));
        assert_eq!(control("max-age=soon"), CacheControl::Default);
    }
}
