//! How far an import is: one line on a terminal that rewrites itself.

use std::io::{self, IsTerminal, Write};

/// The line; nothing if standard error is not a terminal.
pub(super) struct Progress {
    total: usize,
    /// What is counted.
    noun: &'static str,
    shows: bool,
}

impl Progress {
    pub(super) fn new(total: usize, noun: &'static str) -> Self {
        Self { total, noun, shows: total > 0 && io::stderr().is_terminal() }
    }

    /// Shows that so many are done.
    pub(super) fn at(&self, done: usize) {
        if self.shows {
            let percent = done * 100 / self.total;
            let bar = "#".repeat(percent * 30 / 100);
            write!(
                io::stderr().lock(),
                "\r[{bar:<30}] {percent:3} %  {done} of {} {}",
                self.total,
                self.noun
            )
            .ok();
        }
    }

    /// Removes the line.
    pub(super) fn clear(&self) {
        if self.shows {
            write!(io::stderr().lock(), "\r{:80}\r", "").ok();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
