//! The Lambda of the flow `sso`.

use vestibule::lambda::{Error, Needs, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(sso::routes(), Needs::NAMES.and(Needs::PUBLIC_URL)).await
}
