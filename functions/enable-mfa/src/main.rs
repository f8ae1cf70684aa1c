//! The Lambda of the flow `enable-mfa`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), vestibule::lambda::Error> {
    vestibule::lambda::run(enable_mfa::routes()).await
}
