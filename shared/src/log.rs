//! The log of a Lambda function: one JSON object per line, on standard output.

use tracing::{Level, Subscriber};
use tracing_subscriber::{Layer, filter::Targets, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts the log of this process. `AWS_LAMBDA_LOG_LEVEL` sets the level; the default is INFO.
pub fn start() {
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    // If a subscriber is already set (by a test), it stays.
    let _ = to(std::io::stdout, level.unwrap_or(Level::INFO)).try_init();
}

/// A log that writes to `writer`. The spans of Lambda's runtime are left out: CloudWatch charges by the byte, and they
/// repeat what Vestibule's lines say.
pub fn to<W>(writer: W, level: Level) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let ours = Targets::new().with_default(level.min(Level::WARN)).with_target("vestibule", level);
    let form = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false).with_span_list(false);
    tracing_subscriber::registry().with(form.with_writer(writer).with_filter(ours))
}
