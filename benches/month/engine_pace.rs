//! The clock of the tests of the engine.

#[path = "../../tests/it/engine_pace/time.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
pub(crate) mod time;
