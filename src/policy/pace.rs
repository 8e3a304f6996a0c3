//! How long to pause, to type, and to wait before a retry: the draws behind every human-like delay.
//!
//! Each takes the dice as an argument; the engine seeds them once and stores what was drawn with the attempt, so that
//! a gap survives a restart (P3) instead of being drawn again.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::domain::policy::{Breaks, Gap, Policy, Retry, Shape, Typing};

/// Draws the pause after a send, uniform between the two ends, in whole milliseconds.
pub fn draw_gap(dice: &mut impl Rng, gap: Gap) -> Duration {
    between(dice, gap.min, gap.max)
}

/// Added to every pause, because stored times are cut to milliseconds: cutting never shortens a pause.
pub const CUT: Duration = Duration::from_millis(1);

/// The pause after one send, and what it leaves for the ones after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// How long the pause lasts.
    pub gap: Duration,
    /// Whether the pause is a break.
    pub on_break: bool,
    /// Sends until the next break; `None` if the policy has no breaks.
    pub break_left: Option<u32>,
}

/// Draws the pause after a send: a gap or, when its turn has come, a break.
///
/// `target` is the average gap that spreading needs, and `break_left` is the number of sends until the next break,
/// this one included. The pause is never shorter than `gap.min` (P3).
pub fn draw_pause(
    dice: &mut impl Rng,
    policy: &Policy,
    target: Option<Duration>,
    break_left: Option<u32>,
) -> Pause {
    let gap = draw_spread(dice, policy.gap, policy.rhythm.shape, target);
    let Some(breaks) = policy.rhythm.breaks else { return Pause { gap, on_break: false, break_left: None } };
    match break_left.unwrap_or_else(|| draw_break_after(dice, &breaks)) {
        0 | 1 => {
            let rest = between(dice, breaks.min, breaks.max).max(gap);
            Pause { gap: rest, on_break: true, break_left: Some(draw_break_after(dice, &breaks)) }
        }
        left => Pause { gap, on_break: false, break_left: Some(left - 1) },
    }
}

fn draw_break_after(dice: &mut impl Rng, breaks: &Breaks) -> u32 {
    dice.random_range(breaks.after_min..=breaks.after_max.max(breaks.after_min))
}

/// Draws a gap of the given shape; with a target above the middle of the two ends, around that target.
fn draw_spread(dice: &mut impl Rng, gap: Gap, shape: Shape, target: Option<Duration>) -> Duration {
    let middle = (gap.min + gap.max) / 2;
    let target = target.filter(|target| *target > middle);
    match (shape, target) {
        (Shape::Uniform, None) => draw_gap(dice, gap),
        (Shape::Uniform, Some(target)) => between(dice, (target / 2).max(gap.min), target + target / 2),
        (Shape::LogNormal, None) => {
            let (low, high) = (milliseconds(gap.min).max(1) as f64, milliseconds(gap.max).max(1) as f64);
            // The two ends are two standard deviations from the middle, on the scale of logarithms.
            log_normal(dice, (low * high).sqrt(), (high / low).ln() / 4.0, gap)
        }
        (Shape::LogNormal, Some(target)) => {
            // The mean of the distribution, not its median, is what must fill the day.
            let median = milliseconds(target) as f64 / (SPREAD_SIGMA * SPREAD_SIGMA / 2.0).exp();
            log_normal(dice, median, SPREAD_SIGMA, Gap { min: gap.min, max: gap.max.max(target * 3) })
        }
    }
}

/// Standard deviation of the logarithm of a spread gap: two thirds of the gaps lie within a factor of 1.5.
const SPREAD_SIGMA: f64 = 0.4;

/// Draws from a log-normal distribution, again while the result lies outside the two ends.
fn log_normal(dice: &mut impl Rng, median: f64, sigma: f64, ends: Gap) -> Duration {
    for _ in 0..64 {
        // Box and Muller: two uniform numbers make one of the normal distribution.
        let (u, v): (f64, f64) = (dice.random(), dice.random());
        let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let drawn = Duration::from_millis((median * (sigma * normal).exp()) as u64);
        if (ends.min..=ends.max).contains(&drawn) {
            return drawn;
        }
    }
    between(dice, ends.min, ends.max)
}

/// Draws how long an account waits before its first send when many accounts become free at one moment.
pub fn draw_start(dice: &mut impl Rng, gap: Gap) -> Duration {
    between(dice, Duration::ZERO, gap.max)
}

/// Draws how long the typing indicator is shown before a text of `chars` characters.
pub fn draw_typing(dice: &mut impl Rng, typing: &Typing, chars: usize) -> Duration {
    let per_char = between(dice, typing.per_char_min, typing.per_char_max);
    let chars = u32::try_from(chars).unwrap_or(u32::MAX);
    typing.base.saturating_add(per_char.saturating_mul(chars)).clamp(typing.min, typing.max.max(typing.min))
}

/// Draws the delay before retry number `retry` (from 1): exponential, with full jitter, never under a second.
///
/// Full jitter draws from the whole range, so that messages that failed together are not retried together.
pub fn draw_retry(dice: &mut impl Rng, retry: u32, policy: &Retry) -> Duration {
    between(dice, Duration::from_secs(1), retry_ceiling(retry, policy).max(Duration::from_secs(1)))
}

/// Returns the longest delay that [`draw_retry`] can return.
pub fn retry_ceiling(retry: u32, policy: &Retry) -> Duration {
    let factor = policy.factor.saturating_pow(retry.saturating_sub(1));
    policy.base.saturating_mul(factor).min(policy.max)
}

/// The longest requested wait that is trusted: a garbled header must not stop an account for good.
const LONGEST_API_HOLD: Duration = Duration::from_secs(24 * 60 * 60);

/// Draws how long an account rests after Unipile limited its calls: the requested wait, or 15 minutes if none was
/// requested, plus 5 to 20 s. Unipile's windows are fixed, so coming back at the very second is both rude and
/// conspicuous.
pub fn draw_api_hold(dice: &mut impl Rng, said: Option<Duration>) -> Duration {
    let said = said.unwrap_or(Duration::from_secs(15 * 60)).min(LONGEST_API_HOLD);
    said.saturating_add(between(dice, Duration::from_secs(5), Duration::from_secs(20)))
}

/// The longest pause before an unreachable API is tried again.
const LONGEST_API_PAUSE: Duration = Duration::from_secs(60);

/// Draws the pause before an unreachable API is tried again: doubles from 2 s to 60 s, with full jitter above one
/// second.
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

    use crate::domain::policy::Rhythm;

    const SEED: u64 = 20_261_122;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn retry() -> Retry {
        Retry { max_retries: 4, base: seconds(60), factor: 4, max: seconds(3600) }
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

    fn with_rhythm(shape: Shape, breaks: Option<Breaks>) -> Policy {
        let gap = Gap { min: seconds(90), max: seconds(900) };
        Policy { gap, rhythm: Rhythm { shape, spread: false, breaks }, ..Policy::unlimited() }
    }

    #[test]
    fn a_log_normal_gap_stays_inside_its_ends_and_leans_to_the_short_ones() {
        let mut dice = ChaCha12Rng::seed_from_u64(SEED);
        let policy = with_rhythm(Shape::LogNormal, None);
        let mut drawn: Vec<f64> =
            (0..1000).map(|_| draw_pause(&mut dice, &policy, None, None).gap.as_secs_f64()).collect();
        drawn.sort_by(f64::total_cmp);
        assert!(drawn[0] >= 90.0 && drawn[999] <= 900.0, "seed {SEED}: {} to {}", drawn[0], drawn[999]);
        // The middle of the logarithms: the root of 90 times 900 is 284.6.
        assert!((260.0..310.0).contains(&drawn[500]), "seed {SEED}: the median is {}", drawn[500]);
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!(mean > drawn[500] * 1.05, "seed {SEED}: the long ones are rarer: mean {mean}");
    }

    #[test]
    fn a_spread_gap_fills_the_time_on_average_and_is_never_shorter_than_the_shortest() {
        let mut dice = ChaCha12Rng::seed_from_u64(SEED);
        for shape in [Shape::Uniform, Shape::LogNormal] {
            let policy = with_rhythm(shape, None);
            let mut mean = |target| {
                let draw = |_| draw_pause(&mut dice, &policy, Some(seconds(target)), None).gap;
                let drawn: Vec<Duration> = (0..2000).map(draw).collect();
                assert!(drawn.iter().all(|gap| *gap >= seconds(90)), "seed {SEED}");
                drawn.iter().map(Duration::as_secs_f64).sum::<f64>() / 2000.0
            };
            let spread = mean(1000);
            assert!((950.0..1050.0).contains(&spread), "seed {SEED}, {shape:?}: {spread}");
            assert!(mean(1) < 600.0, "a target below the usual gap changes nothing");
        }
    }

    #[test]
    fn a_break_comes_after_as_many_sends_as_were_drawn() {
        let mut dice = ChaCha12Rng::seed_from_u64(SEED);
        let breaks = Breaks { after_min: 15, after_max: 30, min: seconds(1000), max: seconds(2000) };
        let policy = with_rhythm(Shape::Uniform, Some(breaks));
        let (mut left, mut since, mut distances) = (None, 0, Vec::new());
        for _ in 0..2000 {
            let pause = draw_pause(&mut dice, &policy, None, left);
            since += 1;
            left = pause.break_left;
            assert_eq!(pause.on_break, pause.gap >= seconds(1000));
            assert!(pause.gap <= seconds(2000));
            if pause.on_break {
                distances.push(since);
                since = 0;
            }
        }
        assert!(distances.iter().all(|sends| (15..=30).contains(sends)), "{distances:?}");
        assert!(distances.contains(&15) && distances.contains(&30), "seed {SEED}: {distances:?}");
        let none = draw_pause(&mut dice, &with_rhythm(Shape::Uniform, None), None, Some(1));
        assert_eq!((none.on_break, none.break_left), (false, None), "breaks that were switched off");
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
