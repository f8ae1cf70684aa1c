//! The Lambda of the flow `batch-portal-exclude`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), vestibule::lambda::Error> {
    vestibule::lambda::run(batch_portal_exclude::routes()).await
}
