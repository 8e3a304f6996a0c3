//! The binary: read the command line, make a runtime, do what was asked, answer with an exit code.
//!
//! Everything that can be decided is decided in [`outboxd::cli`]. What is left here is what a process has only one of:
//! its arguments, its runtime, its standard error and its exit code. An error is printed once, and only here.

use std::process::ExitCode;
use std::time::Duration;

use outboxd::cli::{self, Cli, Exit};

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(shown) => return shown.into(),
    };
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            let exit = failure.exit();
            report(failure);
            exit.into()
        }
    }
}

/// Reports on a thread of its own: a pipe that nobody empties must not keep the process from ending.
fn report(failure: cli::Failure) {
    let (done, reported) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        failure.report();
        done.send(()).ok();
    });
    reported.recv_timeout(Duration::from_secs(1)).ok();
}

/// A daemon gets one worker beside SQLite's threads: its work is small, and every hop between threads costs more than it
/// saves (docs/performance.md). A verb that asks one question needs no thread of its own.
fn run(cli: Cli) -> Result<ExitCode, cli::Failure> {
    let mut builder = match cli.is_daemon() {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.worker_threads(1).enable_all().build().map_err(|error| {
        cli::Failure::unexpected(anyhow::Error::new(error).context("the runtime cannot be started"))
    })?;
    let done = runtime.block_on(cli::run(cli)).map(Exit::into_code);
    // A read of standard input that nobody waits for any more must not hold up the end.
    runtime.shutdown_timeout(Duration::ZERO);
    done
}
