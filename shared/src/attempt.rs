//! The sign-in state machine: what must have happened before what, as types.
//!
//! Each state is a struct with private fields; a transition consumes it. The store's commits take the last state by value,
//! so no handler can make a session that nothing paid for.

use data_encoding::BASE64URL_NOPAD;

use crate::{
    env::{Entropy, EntropyError, Timestamp},
    id::{EntryId, UserKey},
    secret::{NewToken, Nonce, TokenClass, TokenRef},
    store::item::{Amr, Challenge, FactorState, Session, User},
};

/// One invocation of a handler: its moment and a random id, by which its writes are recognised after a lost reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    at: Timestamp,
    id: Nonce,
}

impl Attempt {
    /// A fresh one; never two for one request, never one for two.
    ///
    /// # Errors
    /// [`EntropyError`] when there is no randomness.
    pub fn begin(at: Timestamp, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self { at, id: Nonce::generate(entropy)? })
    }

    /// The request's moment.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The random bytes.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        self.id.bytes()
    }

    /// The random bytes, to keep.
    #[must_use]
    pub fn nonce(&self) -> Nonce {
        self.id
    }

    /// The id as a key of a map and part of a key.
    #[must_use]
    pub fn text(&self) -> String {
        BASE64URL_NOPAD.encode(self.id.bytes())
    }
}

/// The door by which a code is tried.
#[derive(Clone, PartialEq, Eq)]
pub enum Door {
    /// A challenge: the code signs in.
    Challenge(TokenRef),
    /// A session: the code steps it up.
    Session(TokenRef),
}

impl Door {
    /// The token.
    #[must_use]
    pub fn token(&self) -> &TokenRef {
        match self {
            Self::Challenge(token) | Self::Session(token) => token,
        }
    }

    /// Takes a token of the class that fits; `None` for any other class (`invalid_token`).
    #[must_use]
    pub fn challenge(token: TokenRef) -> Option<Self> {
        (token.class() == TokenClass::Challenge).then_some(Self::Challenge(token))
    }

    /// Takes a session token; `None` for any other class (`invalid_token`).
    #[must_use]
    pub fn session(token: TokenRef) -> Option<Self> {
        (token.class() == TokenClass::Session).then_some(Self::Session(token))
    }
}

/// A try that was charged and not yet decided. It comes from the store's `charge_guess` alone.
pub struct ChargedGuess {
    pub(crate) user: User,
    pub(crate) door: Door,
    pub(crate) attempt: Attempt,
}

impl ChargedGuess {
    /// The person as the charge left them.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Who they are.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        self.door.token().user()
    }

    /// The challenge, when that is the door.
    #[must_use]
    pub fn challenge(&self) -> Option<&Challenge> {
        match &self.door {
            Door::Challenge(token) => self.user.challenges.get(token.id()),
            Door::Session(_) => None,
        }
    }

    /// Whether this try, should it be wrong, was the last that the factor has.
    #[must_use]
    pub fn fills_the_row(&self) -> bool {
        self.user.factor == FactorState::Active && self.user.row >= crate::policy::ROW_TRIES
    }
}

/// What makes a session: a token and its entry.
pub(crate) struct NewSession {
    pub(crate) token: NewToken,
    pub(crate) entry: Session,
}

impl NewSession {
    pub(crate) fn id(&self) -> &EntryId {
        self.token.reference().id()
    }

    /// A session of somebody who signs in now.
    pub(crate) fn signed_in(
        user: &UserKey,
        epoch: i64,
        amr: Amr,
        attempt: &Attempt,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        let token = NewToken::generate(TokenClass::Session, user, entropy)?;
        let now = attempt.at;
        let life = match amr {
            Amr::Password => crate::policy::EXEMPT_SESSION_LIFE,
            Amr::Otp | Amr::Recovery => crate::policy::SESSION_LIFE,
        };
        let step_up = if amr == Amr::Otp { now.secs() } else { 0 };
        let guard = *token.reference().guard();
        let ends = (now + life).secs();
        let (created, seen) = (now.millis(), now.secs());
        let entry = Session { guard, created, attempt: attempt.id, ends, seen, step_up, amr, epoch };
        Ok(Self { token, entry })
    }
}
