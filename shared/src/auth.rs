//! The operations' decisions: pure functions that change a [`User`](crate::domain::User) or say why not. The store loads the
//! user, runs the decision and writes the result if nothing else changed the user meanwhile (`store::commit`).

pub mod change_password;
pub mod enroll;
pub mod exclude_contacts;
pub mod login;
pub mod mail_token;
pub mod recovery_token;
pub mod reset_mfa;
pub mod session;
pub mod sso_sign_in;
pub mod update_user;
pub mod verify_code;
