//! What Unipile reports by webhook: stored by the listener, interpreted here.

mod event;
mod interpret;

pub use interpret::Interpreter;
