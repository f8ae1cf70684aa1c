//! The Lambda of the flow `enable-mfa`.

use vestibule::lambda::{Error, Needs, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(enable_mfa::routes(), Needs::SEALING.and(Needs::CODES)).await
}
