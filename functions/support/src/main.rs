//! The Lambda of the flow `support`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), vestibule::lambda::Error> {
    vestibule::lambda::run(support::routes()).await
}
