//! The domain: what a user is and what may change in one. Pure values, without I/O, HTTP or attribute names.

pub mod challenge;
pub mod factor;
pub mod session;
pub mod user;

pub use challenge::{Challenge, PendingEnrolment, ResetCodeEntry};
pub use factor::{Authenticator, Factor, FactorState, RecoveryToken};
pub use session::{Amr, CurrentIdp, Device, Session};
pub use user::{AuthType, Exclusion, Kind, Role, User};
