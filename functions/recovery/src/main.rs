//! The Lambda of the flow `recovery`.

use vestibule::lambda::{Error, Needs, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(recovery::routes(), Needs::CODES).await
}
