//! The Lambda function `password-mail`, on the queue of mails.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    password_mail::lambda::run().await
}
