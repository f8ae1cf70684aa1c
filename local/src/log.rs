//! The log: on standard error, as text or as JSON.

use std::{fmt, io};

use tracing_subscriber::{
    EnvFilter,
    fmt::{format::Writer, time::FormatTime},
};
use vestibule::env::{Clock, SystemClock};

use crate::{Failure, args::LogForm, terminal};

/// The log's moments are of the one clock that all else goes by.
struct Now;

impl FormatTime for Now {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", SystemClock.now())
    }
}

/// Starts the log.
///
/// # Errors
/// Says what is wrong with the filter.
pub fn start(form: LogForm, filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| format!("the log filter {filter:?} does not read ({error}): try `info` or `debug`"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(Now)
        .with_writer(io::stderr)
        .with_ansi(terminal::colors(&io::stderr()));
    match form {
        LogForm::Text => log.init(),
        LogForm::Json => log.json().flatten_event(true).init(),
    }
    // A panic's message may quote what it broke off over: the log says where alone.
    std::panic::set_hook(Box::new(|info| {
        tracing::error!(at = info.location().map(ToString::to_string), "a part of the program broke off");
    }));
    Ok(())
}
