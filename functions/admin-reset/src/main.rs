//! The Lambda of the flow `admin-reset`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), vestibule::lambda::Error> {
    vestibule::lambda::run(admin_reset::routes()).await
}
