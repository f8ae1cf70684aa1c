//! A flow as a Lambda: what is here is all that knows of it.

use std::{
    io::{self, Write},
    net::IpAddr,
    sync::Arc,
};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, Uri, uri::PathAndQuery},
    middleware::{Next, from_fn},
    response::Response,
};
pub use lambda_http::Error;
use lambda_http::{Context, RequestExt, request::RequestContext};
use tower::ServiceExt;
use tracing::Instrument;

mod function;
mod keys;

pub use crate::aws::{Aws, Faults};
pub use function::{Function, Needs};

use crate::{
    env::{Clock, SystemClock},
    http::{Peer, Routes},
    log,
};

/// Serves a flow's endpoints to API Gateway, with what the environment configures.
///
/// # Errors
/// What the runtime said.
pub async fn run(routes: Routes, needs: Needs) -> Result<(), Error> {
    log::start();
    let function = Function::new(routes, needs, |name| std::env::var(name).ok(), Arc::new(SystemClock));
    // Before the first request: what this takes is part of no answer.
    let _ = function.router().await;
    lambda_http::run(handler(function)).await
}

/// A flow as API Gateway calls it.
pub fn handler(function: Arc<Function>) -> Router {
    let (name, clock) = (function.name(), function.clock());
    let served = Router::new().fallback(async move |request: Request| {
        let Ok(response) = function.router().await.oneshot(request).await;
        response
    });
    behind_gateway(served, name, clock)
}

/// What is served, told by the gateway who asks; its metrics are counted for the function of that name.
pub fn behind_gateway(served: Router, function: String, clock: Arc<dyn Clock>) -> Router {
    served.layer(from_fn(move |request, next| invoked(request, next, function.clone(), Arc::clone(&clock))))
}

/// What the gateway says of a request beside the request; and what the function's metrics say of the answer.
async fn invoked(mut request: Request, next: Next, function: String, clock: Arc<dyn Clock>) -> Response {
    let extensions = request.extensions();
    let span = match extensions.get::<Context>().and_then(|context| context.xray_trace_id.as_deref()) {
        Some(trace) if trace.contains("Sampled=1") => tracing::info_span!("traced", trace),
        _ => tracing::Span::none(),
    };
    // What the gateway saw, whatever a header says.
    let (address, path) = match extensions.get::<RequestContext>() {
        Some(RequestContext::ApiGatewayV2(context)) => (context.http.source_ip.clone(), None),
        // A REST API's path is told with its stage, which no route has.
        Some(RequestContext::ApiGatewayV1(context)) => {
            (context.identity.source_ip.clone(), Some(request.raw_http_path().to_owned()))
        }
        _ => (None, None),
    };
    if let Some(address) = address.and_then(|text| text.parse::<IpAddr>().ok()) {
        request.extensions_mut().insert(Peer(address));
    }
    if let Some(uri) = path.and_then(|path| at(request.uri(), &path)) {
        *request.uri_mut() = uri;
    }
    let response = next.run(request).instrument(span).await;
    match response.status() {
        StatusCode::SERVICE_UNAVAILABLE => count(&function, "Unavailable", &*clock),
        StatusCode::TOO_MANY_REQUESTS => count(&function, "TooManyAttempts", &*clock),
        _ => {}
    }
    response
}

/// The same address at another path.
fn at(uri: &Uri, path: &str) -> Option<Uri> {
    let path = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.ok()?);
    Uri::from_parts(parts).ok()
}

/// Counts one of something in CloudWatch, in its embedded metric format: a line of the log that becomes a metric of the
/// namespace `Vestibule` with the function's name as its dimension. There is no library between: this is all of the format
/// that we use.
pub fn count(function: &str, metric: &str, clock: &dyn Clock) {
    let line = serde_json::json!({
        "_aws": {"Timestamp": clock.now().millis(), "CloudWatchMetrics": [{
            "Namespace": "Vestibule", "Dimensions": [["function"]], "Metrics": [{"Name": metric, "Unit": "Count"}],
        }]},
        "function": function,
        (metric): 1,
    });
    // A metric that cannot be written changes no answer.
    let _ = writeln!(io::stdout().lock(), "{line}");
}
