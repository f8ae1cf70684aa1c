//! Ctrl-C and SIGTERM.

use std::{future::Future, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Failure;

/// SIGTERM and SIGINT. They no longer end the process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// A signal stopped the command.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs a command until it is done or a signal stops it.
///
/// # Errors
/// The error of the command, or [`Interrupted`].
pub(crate) async fn interruptible<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut signals = Signals::new()?;
    tokio::select! {
        done = command => done,
        () = signals.next() => Err(Interrupted.into()),
    }
}
