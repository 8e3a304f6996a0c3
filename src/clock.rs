//! Time and randomness: the only module that reads a clock or the system's random numbers.
//!
//! All other code receives a [`Clock`] or [`Dice`] as an argument, so that a test can move time and replay a seed.
//! There are two clocks: the wall clock, which calendars and stored times need and which can be set back or forward
//! at any time, and the monotonic clock, which gaps need. Neither is derived from the other.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::ChaCha12Rng;
use rand::{Rng as _, SeedableRng, TryRng};

/// The future that [`Clock::sleep`] returns; it borrows nothing.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The last start of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Id of this start; every start has a different one.
    pub id: String,
    /// Time since the start, by a clock that cannot be set and that continues while the machine is suspended.
    pub passed: Duration,
}

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the wall-clock time in UTC, rounded down to whole milliseconds (the precision of every stored time).
    fn now(&self) -> Timestamp;
    /// Returns the time since an arbitrary start. Clock steps do not affect it; it stops while the machine is
    /// suspended.
    fn monotonic(&self) -> Duration;
    /// Completes after `duration` of monotonic time.
    fn sleep(&self, duration: Duration) -> Sleep;
    /// Returns the time since an arbitrary start. Clock steps do not affect it; it continues while the machine is
    /// suspended.
    fn elapsed(&self) -> Duration {
        self.monotonic()
    }
    /// Returns the last start of the machine; `None` if the system does not provide it.
    fn boot(&self) -> Option<Boot> {
        None
    }
}

/// The clocks of this machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl SystemClock {
    /// Creates a clock whose monotonic time begins at zero.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    #[expect(clippy::new_without_default, reason = "reading a clock is not a default")]
    pub fn new() -> Self {
        Self { started: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }

    fn elapsed(&self) -> Duration {
        let since_start = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::try_from(since_start).unwrap_or_default()
    }

    fn boot(&self) -> Option<Boot> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(Boot { id, passed: self.elapsed() })
    }
}

/// A seeded random number generator with the same sequence in every release (ChaCha12).
pub type Dice = ChaCha12Rng;

/// Returns a generator that repeats its sequence for the same `seed`.
pub fn dice(seed: u64) -> Dice {
    Dice::seed_from_u64(seed)
}

/// The same sequence as [`dice`], stored in 16 bytes: for 100,000 accounts that each draw occasionally. A draw takes
/// about half a microsecond, because it computes the position in the sequence each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDice {
    seed: u64,
    /// Number of words drawn.
    drawn: u64,
}

/// Returns a generator with the same sequence as [`dice`] of the same `seed`.
pub fn kept_dice(seed: u64) -> KeptDice {
    KeptDice { seed, drawn: 0 }
}

impl KeptDice {
    fn draw<T>(&mut self, draw: impl FnOnce(&mut Dice) -> T) -> T {
        let mut dice = dice(self.seed);
        dice.set_word_pos(self.drawn.into());
        let drawn = draw(&mut dice);
        self.drawn = u64::try_from(dice.get_word_pos()).unwrap_or_default();
        drawn
    }
}

impl TryRng for KeptDice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.draw(|dice| dice.next_u32()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.draw(|dice| dice.next_u64()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.draw(|dice| dice.fill_bytes(bytes));
        Ok(())
    }
}

/// Returns a random seed from the operating system: at least 1, and short enough to copy by hand.
#[expect(clippy::disallowed_methods, reason = "the one place that asks the system for randomness")]
pub fn ambient_seed() -> u64 {
    u64::from(rand::random::<u32>().max(1))
}

/// Returns random bytes from a generator that is fit for secrets, seeded by the operating system.
#[expect(clippy::disallowed_methods, reason = "a secret must not be repeatable")]
pub fn ambient_secret() -> [u8; 32] {
    rand::random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_dice_draw_what_dice_draw() {
        for seed in [0, 7, u64::MAX] {
            let (mut dice, mut kept) = (dice(seed), kept_dice(seed));
            for round in 0..200_usize {
                // A 32-bit word before a 64-bit one, across the end of every block.
                if round % 3 == 0 {
                    assert_eq!(kept.next_u32(), dice.next_u32(), "seed {seed}, round {round}");
                }
                assert_eq!(kept.next_u64(), dice.next_u64(), "seed {seed}, round {round}");
            }
        }
        assert_eq!(size_of::<KeptDice>(), 16);
    }
}
