//! Vestibule: mandatory multi-factor sign-in, as a library.
//!
//! The crate holds what all flows share: the types of the sign-in state machine, the pure algorithms that return
//! proofs, and the commands of the store. Code that needs HTTP, Lambda or DynamoDB is behind a feature, so the rules
//! cannot depend on it.
//!
//! Dependencies have one direction: `id, env ← secret ← totp, recovery, password ← policy, sign_in, sso, audit ← store
//! ← saml, dynamo, kms, http ← lambda`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod audit;
pub mod auth;
#[cfg(feature = "aws")]
pub mod aws;
pub mod cloud_event;
#[cfg(feature = "aws")]
mod connector;
pub mod domain;
pub mod env;
#[cfg(feature = "http")]
pub mod http;
pub mod id;
pub mod key_file;
#[cfg(feature = "kms")]
pub mod kms;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod language;
#[cfg(feature = "log")]
pub mod log;
pub mod mail;
pub mod mail_order;
#[cfg(feature = "log")]
pub mod metrics;
pub mod password;
pub mod policy;
pub mod recovery;
#[cfg(feature = "saml")]
pub mod saml;
pub mod secret;
pub mod sign_in;
#[cfg(feature = "sqs")]
pub mod sqs;
pub mod sso;
pub mod store;
#[cfg(feature = "text")]
pub mod text;
#[cfg(feature = "aws")]
pub mod tls_roots;
pub mod totp;
