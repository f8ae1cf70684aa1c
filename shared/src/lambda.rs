//! Runs a flow as a Lambda function. Functions without routes use `lambda_runtime` themselves.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
    response::Response,
};
use lambda_http::Context;
pub use lambda_http::Error;
use tower::ServiceExt;
use tracing::Instrument;

mod function;
mod gateway;
mod keys;

pub use crate::aws::{Aws, ConfigErrors};
pub use function::{Function, RequiredKeys};
pub use gateway::Gateway;

use crate::{
    env::{Clock, SystemClock, SystemEntropy},
    http::{Code, Problem, Routes, always},
    log,
    metrics::Metrics,
};

/// Serves a flow's endpoints to API Gateway, configured by environment variables.
///
/// # Errors
/// The error of the Lambda runtime.
pub async fn run(routes: Routes, needs: RequiredKeys) -> Result<(), Error> {
    log::start();
    let function = Function::new(routes, needs, |name| std::env::var(name).ok(), Arc::new(SystemClock));
    // Open before the first request, so that no request waits for it.
    let _ = function.router().await;
    lambda_http::run(handler(function)).await
}

/// The router that API Gateway calls.
pub fn handler(function: Arc<Function>) -> Router {
    let (gateway, metrics, clock) = (function.gateway(), function.metrics(), function.clock());
    let served = Router::new().fallback(async move |request: Request| {
        let Ok(response) = function.router().await.oneshot(request).await;
        response
    });
    behind_gateway(served, gateway, metrics, clock)
}

/// Wraps a router: the gateway settings identify the client, and refusals are counted.
pub fn behind_gateway(served: Router, gateway: Gateway, metrics: Metrics, clock: Arc<dyn Clock>) -> Router {
    let before = Arc::new(Before { gateway, metrics, clock });
    served.layer(from_fn(move |request, next| invoked(request, next, Arc::clone(&before))))
}

/// What runs before the router of a flow.
struct Before {
    gateway: Gateway,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

/// Handles one invocation: tracing, gateway settings, CORS headers and metrics.
async fn invoked(request: Request, next: Next, before: Arc<Before>) -> Response {
    let span = match request.extensions().get::<Context>().and_then(|context| context.xray_trace_id.as_deref()) {
        Some(trace) if trace.contains("Sampled=1") => tracing::info_span!("traced", trace),
        _ => tracing::Span::none(),
    };
    let origin = before.gateway.origin(request.headers());
    let mut response = before.answer(request, next, origin.is_some()).instrument(span).await;
    before.gateway.share(origin, response.headers_mut());
    if let Some(code) = response.extensions().get::<Code>() {
        before.metrics.refused(code.as_str(), before.clock.now());
    }
    response
}

impl Before {
    /// `shared`: whether a page of an allowed origin sent the request.
    async fn answer(&self, mut request: Request, next: Next, shared: bool) -> Response {
        let router = match self.gateway.admit(&mut request) {
            Err(code) => always(Problem::new(code), Arc::clone(&self.clock), Arc::new(SystemEntropy)),
            Ok(()) if shared && gateway::is_preflight(&request) => {
                let answer = (StatusCode::NO_CONTENT, gateway::PREFLIGHT);
                always(answer, Arc::clone(&self.clock), Arc::new(SystemEntropy))
            }
            Ok(()) => return next.run(request).await,
        };
        let Ok(response) = router.oneshot(request).await;
        response
    }
}
