//! The Lambda of the flow `support`.

use vestibule::lambda::{Error, Needs, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(support::routes(), Needs::NAMES.and(Needs::CODES)).await
}
