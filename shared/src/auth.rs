//! The operations' decisions: pure functions that change a [`User`](crate::domain::User) or say why not. The store loads the
//! user, runs the decision and writes the result if nothing else changed the user meanwhile (`store::commit`).
//!
//! An operation that returns an error leaves the user as it was.
//!
//! Words: an attempt is *charged* when the store counts it, before the code or the password is checked. A token, a code or a time
//! step is *spent* when it was accepted. Attempts are *used up* when the limit is reached. What a security change takes away is
//! *void*.

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
