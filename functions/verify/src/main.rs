//! The Lambda of the flow `verify`.

use vestibule::lambda::{Error, Needs, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(verify::routes(), Needs::SEALING.and(Needs::CODES)).await
}
