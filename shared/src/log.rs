//! A function's log: one JSON object a line, on standard output.

use tracing::{Level, Subscriber};
use tracing_subscriber::{Layer, filter::Targets, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

/// Begins the log of this process, at the level that Lambda's configuration says.
pub fn start() {
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    // Whoever has started one already keeps it.
    let _ = to(std::io::stdout, level.unwrap_or(Level::INFO)).try_init();
}

/// The log, written to wherever is said. The spans of Lambda's runtime stay out: they are paid for by the byte, and say what
/// our lines say.
pub fn to<W>(writer: W, level: Level) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let ours = Targets::new().with_default(level.min(Level::WARN)).with_target("vestibule", level);
    let form = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false).with_span_list(false);
    tracing_subscriber::registry().with(form.with_writer(writer).with_filter(ours))
}
