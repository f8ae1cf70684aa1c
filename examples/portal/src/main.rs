//! Starts the example portal.

use std::{
    env,
    error::Error,
    time::{SystemTime, UNIX_EPOCH},
};

use portal::{Config, router};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
async fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name| env::var(name).map_err(|_| format!("set the environment variable {name}"));
    let config = Config {
        public_url: variable("PORTAL_URL")?,
        vestibule: variable("VESTIBULE_URL")?,
        client_id: variable("CLIENT_ID")?,
        client_secret: variable("CLIENT_SECRET")?,
        clock: || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
    };
    let address = config.public_url.strip_prefix("http://").ok_or("PORTAL_URL has to begin with http://")?;
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, router(config)).await?;
    Ok(())
}
