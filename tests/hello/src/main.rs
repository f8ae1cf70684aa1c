//! A minimal Lambda function. `just bench-lambda` compares the functions with it.

use axum::{Router, routing::get};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    lambda_http::run(Router::new().route("/hello", get(async || "hello"))).await
}
