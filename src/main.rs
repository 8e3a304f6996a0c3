//! The binary: parses the command line, creates a runtime, runs the command and returns its exit code.
//!
//! [`outboxd::cli`] makes all decisions. This file contains only what exists once per process: arguments, runtime,
//! standard error and exit code. An error is printed once, and only here.

use std::process::ExitCode;
use std::time::Duration;

use outboxd::cli::{self, Cli, Exit};

fn main() -> ExitCode {
    #[cfg(target_env = "gnu")]
    fix_mmap_threshold();
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

/// Keeps glibc at the threshold with which it starts: from 128 KiB on, a block is mapped, and unmapped when it is freed.
/// By default glibc raises it to the size of the largest block freed so far, up to 32 MiB, and takes later blocks from a
/// heap that it rarely gives back (docs/performance.md, memory).
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt has no safe wrapper")]
fn fix_mmap_threshold() {
    // SAFETY: it sets a number of the allocator while there is no other thread.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10) };
}

/// Reports the failure on a separate thread: a full pipe must not keep the process from ending.
fn report(failure: cli::Failure) {
    let (done, reported) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        failure.report();
        done.send(()).ok();
    });
    reported.recv_timeout(Duration::from_secs(1)).ok();
}

/// Runs the command. A daemon gets one worker in addition to SQLite's threads: its work is small, and every hop
/// between threads costs more than it saves (docs/performance.md). A command that makes one request needs no worker
/// thread.
fn run(cli: Cli) -> Result<ExitCode, cli::Failure> {
    let mut builder = match cli.is_daemon() {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.worker_threads(1).enable_all().build().map_err(|error| {
        cli::Failure::unexpected(anyhow::Error::new(error).context("the runtime cannot be started"))
    })?;
    let done = runtime.block_on(cli::run(cli)).map(Exit::into_code);
    // A pending read of standard input must not delay the exit.
    runtime.shutdown_timeout(Duration::ZERO);
    done
}
