//! The Lambda of the flow `login`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), vestibule::lambda::Error> {
    vestibule::lambda::run(login::routes()).await
}
