//! The log on standard error, as text or as JSON.

use std::{fmt, io};

use tracing_subscriber::{
    EnvFilter,
    fmt::{format::Writer, time::FormatTime},
};
use vestibule::env::{Clock, SystemClock};

use crate::{Failure, args::LogForm, terminal};

/// The times of the log come from the same clock as all other times.
struct LogTime;

impl FormatTime for LogTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", SystemClock.now())
    }
}

/// Starts the log.
///
/// # Errors
/// The filter is invalid.
pub fn start(form: LogForm, filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| format!("the log filter {filter:?} is invalid ({error}): try `info` or `debug`"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(LogTime)
        .with_writer(io::stderr)
        .with_ansi(terminal::colors(&io::stderr()));
    match form {
        LogForm::Text => log.init(),
        LogForm::Json => log.json().flatten_event(true).init(),
    }
    // The message of a panic may quote secret data, so the log has only the location.
    std::panic::set_hook(Box::new(|info| {
        tracing::error!(at = info.location().map(ToString::to_string), "a part of the program panicked");
    }));
    Ok(())
}
