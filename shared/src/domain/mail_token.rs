//! Tokens that a user gets by mail (`vp_`): to set a password, or to prove that an e-mail address is theirs.

use std::time::Duration;

use crate::{env::Timestamp, id::MessageId, policy, secret::TokenVerifier};

/// What a mailed token permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailPurpose {
    /// To set a new password, for a user who forgot theirs.
    Reset,
    /// To set the first password.
    Invitation,
    /// To prove that the address is the user's. It permits nothing else.
    Verification,
}

impl MailPurpose {
    /// How long a token for this purpose is valid.
    #[must_use]
    pub fn life(self) -> Duration {
        match self {
            Self::Reset | Self::Verification => policy::MAIL_TOKEN_LIFE,
            Self::Invitation => policy::INVITATION_LIFE,
        }
    }

    /// Whether the token sets a password.
    #[must_use]
    pub fn sets_password(self) -> bool {
        self != Self::Verification
    }
}

/// A mailed token, without its text. It was mailed to the user's current address: a change of the address removes all of
/// the user's tokens in the same transaction.
#[derive(Clone, PartialEq, Eq)]
pub struct MailToken {
    /// The part of the token's digest that is not the entry's id.
    pub verifier: TokenVerifier,
    /// What it permits.
    pub purpose: MailPurpose,
    /// When it was made.
    pub created: Timestamp,
    /// The id of the message that asked for the mail. A message that is delivered again replaces its own token.
    pub message: MessageId,
}

impl MailToken {
    /// When it ends.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.created + self.purpose.life()
    }

    /// Whether it is valid. A token from the future came from a clock that ran ahead, and is refused.
    #[must_use]
    pub fn is_in_time(&self, now: Timestamp) -> bool {
        self.ends() > now && self.created <= now + policy::SKEW
    }
}
