//! The domain: what a user is and what may change in one. Pure values, without I/O, HTTP or attribute names.

pub mod accent;
pub mod challenge;
pub mod factor;
pub mod identity_provider;
pub mod logo;
pub mod mail_log;
pub mod mail_token;
pub mod names;
pub mod session;
pub mod tenant;
pub mod user;
pub mod version;

pub use accent::{AccentColor, InvalidAccent};
pub use challenge::{ChallengeState, LoginTokenEntry, PendingEnrolment, ResetCodeEntry};
pub use factor::{Authenticator, Factor, FactorState, StoredRecoveryToken, TimeStep};
pub use identity_provider::{Idp, Provisioning, RequestKey, SsoRequest};
pub use logo::Logo;
pub use mail_log::{LoggedMail, MailLog, NotCharged};
pub use mail_token::{MailPurpose, MailToken};
pub use names::{LoginRow, Profile};
pub use session::{Amr, CurrentIdp, Device, Session};
pub use tenant::{Administrators, Change, ResetCodeFor, SettingsChange, TenantPolicy};
pub use user::{AuthType, Exclusion, Kind, Role, User};
pub use version::{ItemVersion, PasswordVersion, SecurityVersion};
