//! The domain: what a user is and what may change in one. Pure values, without I/O, HTTP or attribute names.

pub mod factor;
pub mod user;

pub use factor::{Authenticator, Factor, FactorState, RecoveryToken};
pub use user::{AuthType, Exclusion, Kind, Role, User};
