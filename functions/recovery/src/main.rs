//! The Lambda of the flow `recovery`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), vestibule::lambda::Error> {
    vestibule::lambda::run(recovery::routes()).await
}
