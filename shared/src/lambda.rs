//! A flow as a Lambda: what is here is all that knows of it.

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

/// Serves a flow's endpoints to API Gateway, with what the environment configures.
///
/// # Errors
/// What the runtime said.
pub async fn run(routes: Routes, needs: RequiredKeys) -> Result<(), Error> {
    log::start();
    let function = Function::new(routes, needs, |name| std::env::var(name).ok(), Arc::new(SystemClock));
    // Before the first request: what this takes is part of no answer.
    let _ = function.router().await;
    lambda_http::run(handler(function)).await
}

/// A flow as API Gateway calls it.
pub fn handler(function: Arc<Function>) -> Router {
    let (gateway, metrics, clock) = (function.gateway(), function.metrics(), function.clock());
    let served = Router::new().fallback(async move |request: Request| {
        let Ok(response) = function.router().await.oneshot(request).await;
        response
    });
    behind_gateway(served, gateway, metrics, clock)
}

/// What is served, told by the gateway who asks; what it refuses is counted.
pub fn behind_gateway(served: Router, gateway: Gateway, metrics: Metrics, clock: Arc<dyn Clock>) -> Router {
    let before = Arc::new(Before { gateway, metrics, clock });
    served.layer(from_fn(move |request, next| invoked(request, next, Arc::clone(&before))))
}

/// What is before a flow.
struct Before {
    gateway: Gateway,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

/// What the gateway says of a request beside the request; and what the function's metrics say of the answer.
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
    /// `shared`: whether it is asked by a page of an origin that may.
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
