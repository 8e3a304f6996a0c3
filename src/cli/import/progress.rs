//! How far an import is: one line on a terminal that rewrites itself.

use std::io::{self, IsTerminal, Write};

/// The line; nothing if standard error is not a terminal.
pub(super) struct Progress {
    total: usize,
    shows: bool,
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        Self { total, shows: total > 0 && io::stderr().is_terminal() }
    }

    /// Shows that so many rows are done.
    pub(super) fn at(&self, done: usize) {
        if self.shows {
            let percent = done * 100 / self.total;
            let bar = "#".repeat(percent * 30 / 100);
            write!(io::stderr().lock(), "\r[{bar:<30}] {percent:3} %  {done} of {} rows", self.total).ok();
        }
    }
}

impl Drop for Progress {
    /// Removes the line.
    fn drop(&mut self) {
        if self.shows {
            write!(io::stderr().lock(), "\r{:70}\r", "").ok();
        }
    }
}
