//! How long to pause, to type, and to wait before trying again: the draws behind every human-like delay.
//!
//! Each takes the dice as an argument; the engine seeds them once and stores what was drawn with the attempt, so
//! that a gap holds over a restart (P3) instead of being drawn anew.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::domain::policy::{Gap, Retry, Typing};

/// The pause after a send, uniform between the two ends, in whole milliseconds.
pub fn draw_gap(dice: &mut impl Rng, gap: Gap) -> Duration {
    between(dice, gap.min, gap.max)
}

/// How long the typing indicator is shown before a text of `chars` characters.
pub fn draw_typing(dice: &mut impl Rng, typing: &Typing, chars: usize) -> Duration {
    let per_char = between(dice, typing.per_char_min, typing.per_char_max);
    let chars = u32::try_from(chars).unwrap_or(u32::MAX);
    typing.base.saturating_add(per_char.saturating_mul(chars)).clamp(typing.min, typing.max.max(typing.min))
}

/// The delay before retry number `retry` (from 1): exponential, with full jitter, never under a second.
///
/// Full jitter draws from the whole range, so that what failed together does not come back together.
pub fn draw_retry(dice: &mut impl Rng, retry: u32, policy: &Retry) -> Duration {
    between(dice, Duration::from_secs(1), retry_ceiling(retry, policy).max(Duration::from_secs(1)))
}

/// The longest delay that [`draw_retry`] can answer.
pub fn retry_ceiling(retry: u32, policy: &Retry) -> Duration {
    let factor = policy.factor.saturating_pow(retry.saturating_sub(1));
    policy.base.saturating_mul(factor).min(policy.max)
}

/// No wait that was named is trusted beyond a day: a garbled header must not stop an account for good.
const LONGEST_API_HOLD: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an account holds still after Unipile limited its calls: what it said plus 5 to 20 s; 15 minutes where
/// it said nothing. Unipile's windows are fixed, so coming back at the very second is both rude and conspicuous.
pub fn draw_api_hold(dice: &mut impl Rng, said: Option<Duration>) -> Duration {
    let said = said.unwrap_or(Duration::from_secs(15 * 60)).min(LONGEST_API_HOLD);
    said.saturating_add(between(dice, Duration::from_secs(5), Duration::from_secs(20)))
}

/// The longest pause before an unreachable API is tried again.
pub const LONGEST_API_PAUSE: Duration = Duration::from_secs(60);

/// The pause before an unreachable API is tried again: doubles from 2 s to 60 s, with full jitter above one second.
pub fn draw_api_pause(dice: &mut impl Rng, failures: u32) -> Duration {
    let ceiling = Duration::from_secs(2_u64.saturating_pow(failures.clamp(1, 6))).min(LONGEST_API_PAUSE);
    between(dice, Duration::from_secs(1), ceiling)
}

fn between(dice: &mut impl Rng, min: Duration, max: Duration) -> Duration {
    let (min, max) = (milliseconds(min), milliseconds(max));
    Duration::from_millis(dice.random_range(min..=max.max(min)))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha12Rng;

    const SEED: u64 = 20_261_122;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn retry() -> Retry {
        Retry { max_retries: 4, base: seconds(60), factor: 4, max: seconds(3600), cooldown: seconds(86_400) }
    }

    #[test]
    fn gaps_fill_their_range_evenly() {
        let mut dice = ChaCha12Rng::seed_from_u64(SEED);
        let gap = Gap { min: seconds(10), max: seconds(20) };
        let mut drawn: Vec<u64> =
            (0..1000).map(|_| draw_gap(&mut dice, gap).as_millis().try_into().unwrap()).collect();
        drawn.sort_unstable();
        assert!(drawn[0] >= 10_000 && drawn[999] <= 20_000, "seed {SEED}: {} to {}", drawn[0], drawn[999]);
        // Kolmogorov-Smirnov against the uniform distribution, 1 % level for n = 1000.
        let distance = drawn.iter().enumerate().map(|(index, ms)| {
            let expected = (*ms as f64 - 10_000.0) / 10_000.0;
            (expected - index as f64 / 1000.0).abs().max((expected - (index + 1) as f64 / 1000.0).abs())
        });
        let distance = distance.fold(0.0, f64::max);
        assert!(distance < 0.0515, "seed {SEED}: not uniform, distance {distance}");
    }

    #[test]
    fn a_gap_without_width_is_drawn_exactly() {
        let mut dice = ChaCha12Rng::seed_from_u64(SEED);
        for length in [0, 7] {
            let gap = Gap { min: seconds(length), max: seconds(length) };
            assert_eq!(draw_gap(&mut dice, gap), seconds(length));
        }
    }

    #[test]
    fn typing_grows_with_the_text_and_stays_inside_its_bounds() {
        let typing = Typing {
            enabled: true,
            base: Duration::from_millis(1500),
            per_char_min: Duration::from_millis(170),
            per_char_max: Duration::from_millis(290),
            min: seconds(2),
            max: seconds(12),
        };
        let mut dice = ChaCha12Rng::seed_from_u64(SEED);
        assert_eq!(draw_typing(&mut dice, &typing, 1), seconds(2));
        let twenty = draw_typing(&mut dice, &typing, 20);
        assert!((Duration::from_millis(4900)..=Duration::from_millis(7300)).contains(&twenty), "{twenty:?}");
        assert_eq!(draw_typing(&mut dice, &typing, 5000), seconds(12));
        assert_eq!(draw_typing(&mut dice, &typing, usize::MAX), seconds(12));
    }

    #[test]
    fn retries_grow_exponentially_with_full_jitter_up_to_their_ceiling() {
        let ceilings: Vec<u64> = (1..=6).map(|n| retry_ceiling(n, &retry()).as_secs()).collect();
        assert_eq!(ceilings, [60, 240, 960, 3600, 3600, 3600]);
        let mut dice = ChaCha12Rng::seed_from_u64(SEED);
        for n in 1..=6 {
            let drawn: Vec<Duration> = (0..200).map(|_| draw_retry(&mut dice, n, &retry())).collect();
            let ceiling = retry_ceiling(n, &retry());
            assert!(drawn.iter().all(|delay| *delay >= seconds(1) && *delay <= ceiling));
            assert!(drawn.iter().any(|delay| *delay < ceiling / 4), "not full jitter: {n}");
            assert!(drawn.iter().any(|delay| *delay > ceiling / 4 * 3), "not full jitter: {n}");
        }
    }

    #[test]
    fn an_api_hold_is_what_was_said_and_a_little_more() {
        let mut dice = ChaCha12Rng::seed_from_u64(SEED);
        for _ in 0..100 {
            let hold = draw_api_hold(&mut dice, Some(seconds(60)));
            assert!((seconds(65)..=seconds(80)).contains(&hold), "{hold:?}");
        }
        assert!(draw_api_hold(&mut dice, None) >= seconds(905));
    }
}
