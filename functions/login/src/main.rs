//! The Lambda of the flow `login`.

use vestibule::lambda::{Error, Needs, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(login::routes(), Needs::NAMES).await
}
