//! The wait of a step while a stop or a hold interrupts it: the parts of the statements that keep its length.
//!
//! `stops.rs` and `hold.rs` use them. While a wait is interrupted, `wait_held_at` is when that began, and the rest of the
//! wait lies between it and `wait_until`.

/// Builds the days that are left of a step's wait at the time of the parameter `now`: 0 if it waits for nothing. A stop
/// interrupts the wait; after its end, the rest of the wait ends with `retry_at`.
fn wait_left(now: &str) -> String {
    format!(
        "CASE WHEN messages.wait_until IS NULL THEN 0.0 \
           WHEN messages.wait_held_at IS NULL THEN max(0.0, julianday(messages.wait_until) - julianday({now})) \
           ELSE max(0.0, min(julianday(messages.wait_until) - julianday(messages.wait_held_at), \
                             julianday(messages.retry_at) - julianday({now}))) END"
    )
}

/// Builds the time that lies `days`, an expression, after `from`.
fn later(from: &str, days: &str) -> String {
    format!(
        "coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', {from}, printf('+%.3f seconds', 86400.0 * ({days}))), {from})"
    )
}

/// Builds the assignments that defer a message until `?3` for the reason `?4`; what is left of its wait comes after
/// that. The end of the stop with the number `?5` may have come nearer: a message that waits longer than any stop lasts
/// waits for that end.
pub(super) fn wait_is_interrupted() -> String {
    let left = wait_left("?2");
    let (retry_at, wait_until) = (later("?3", &left), later("?2", &left));
    format!(
        "retry_at = max({retry_at}, due_at), reason = ?4, updated_at = ?2, \
         wait_until = CASE WHEN {left} > 0.0 THEN {wait_until} ELSE wait_until END, \
         wait_held_at = CASE WHEN {left} > 0.0 THEN ?2 ELSE wait_held_at END \
         WHERE (retry_at IS NULL OR retry_at < max({retry_at}, due_at) \
           OR (retry_at > max({retry_at}, due_at) AND reason IN ('stopped', 'owner_wrote', 'out_of_office') \
             AND NOT EXISTS (SELECT 1 FROM stopping x WHERE x.seq = messages.seq AND x.id <> CAST(?5 AS INTEGER) \
               AND (x.until IS NULL OR x.until > ?3))))"
    )
}

/// Builds the assignments that release a message at the time of the parameter `now`: the wait of a step goes on.
pub(super) fn wait_goes_on(now: &str) -> String {
    let wait_until = later(now, &wait_left(now));
    format!(
        "wait_until = CASE WHEN wait_held_at IS NULL THEN wait_until ELSE {wait_until} END, \
         due_at = CASE WHEN wait_held_at IS NULL THEN due_at ELSE max({wait_until}, coalesce(not_before, '')) END, \
         reason = CASE WHEN wait_held_at IS NOT NULL AND {wait_until} > {now} THEN 'step_wait' \
           WHEN step > 1 AND wait_until IS NULL THEN 'step_before' WHEN due_at > {now} THEN 'scheduled' ELSE 'turn' END, \
         wait_held_at = NULL, retry_at = NULL, updated_at = {now}"
    )
}

/// Builds the time at which the last of the stops of a message ends, with what is left of its wait: the parameter
/// `forever` if one has no end, the present `retry_at` if there is none.
pub(in crate::store) fn stops_end_at(forever: &str) -> String {
    format!(
        "max(due_at, coalesce((SELECT max(coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', x.until, \
             printf('+%.3f seconds', 86400.0 * coalesce(julianday(messages.wait_until) - julianday(messages.wait_held_at), 0.0))), {forever})) \
           FROM stopping x WHERE x.seq = messages.seq), retry_at))"
    )
}

/// Builds the assignments that let a message wait until the stops that are left end, at the time of the parameter `now`;
/// it waited for a stop that was lifted.
pub(super) fn waits_for_other_stops(now: &str, forever: &str) -> String {
    let until = stops_end_at(forever);
    format!(
        "retry_at = {until}, updated_at = {now}, \
         reason = (SELECT x.reason FROM stopping x WHERE x.seq = messages.seq ORDER BY coalesce(x.until, {forever}) DESC LIMIT 1) \
         WHERE retry_at > {until} AND reason IN ('stopped', 'owner_wrote', 'out_of_office') \
           AND EXISTS (SELECT 1 FROM stopping x WHERE x.seq = messages.seq AND (x.until IS NULL OR x.until > {now}))"
    )
}

/// Builds the assignments that hold a message from `?2` on without an end, which is `?3`.
pub(super) fn wait_is_held() -> String {
    let left = wait_left("?2");
    let wait_until = later("?2", &left);
    format!(
        "held_at = ?2, retry_at = ?3, reason = 'held', updated_at = ?2, \
         wait_until = CASE WHEN {left} > 0.0 THEN {wait_until} ELSE wait_until END, \
         wait_held_at = CASE WHEN {left} > 0.0 THEN ?2 ELSE wait_held_at END"
    )
}
