//! Sessions: which token holds one, and opening one at a sign-in.

use crate::{
    domain::{Device, Session, User},
    env::Timestamp,
    id::EntryId,
    policy,
    secret::TokenRef,
    sign_in::{DeviceOrigin, NewSession},
};

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRejection {
    /// Unknown, ended, void or of another class; or the user is inactive or deleted.
    #[error("the token is not valid")]
    Invalid,
    /// A session from before the user's last security change: the user has to sign in again (docs/product.md P12).
    #[error("the session is older than the last security change")]
    RefreshRequired,
}

/// Which sessions to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionsToEnd {
    /// The caller's own.
    This,
    /// One of the caller's, by its id.
    One(EntryId),
    /// All of the caller's except this one; known devices are forgotten too.
    Others,
}

/// Why no session is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndRejection {
    /// The caller's own session is not accepted.
    #[error(transparent)]
    Caller(#[from] TokenRejection),
    /// The caller has no session of this id.
    #[error("there is no such session")]
    NoSuchSession,
}

/// Ends sessions of the caller, whose own session must be valid.
///
/// # Errors
/// [`EndRejection`]: each variant.
pub fn end_sessions(
    user: &mut User,
    token: &TokenRef,
    which: &SessionsToEnd,
    now: Timestamp,
) -> Result<(), EndRejection> {
    user.session(token, now)?;
    match which {
        SessionsToEnd::This => drop(user.sessions.remove(token.id())),
        SessionsToEnd::One(id) => user.sessions.remove(id).map(|_| ()).ok_or(EndRejection::NoSuchSession)?,
        SessionsToEnd::Others => {
            user.sessions.retain(|id, _| id == token.id());
            user.devices.clear();
        }
    }
    Ok(())
}

impl User {
    /// The session of a token.
    ///
    /// # Errors
    /// [`TokenRejection`]: each variant. A session whose attempts at the current password are used up is `Invalid`.
    pub fn session(&self, token: &TokenRef, now: Timestamp) -> Result<&Session, TokenRejection> {
        let session = self.session_in_time(token, now)?;
        if session.is_valid(now) { Ok(session) } else { Err(TokenRejection::Invalid) }
    }

    /// Like [`Self::session`], but ignores the limit of password attempts, because the last allowed attempt is charged before it
    /// is checked.
    ///
    /// # Errors
    /// [`TokenRejection`]: each variant.
    pub fn session_in_time(&self, token: &TokenRef, now: Timestamp) -> Result<&Session, TokenRejection> {
        let session = self.sessions.get(token.id()).filter(|session| session.verifier == *token.verifier());
        match session {
            Some(session) if self.active && session.is_in_time(now) => {
                if session.security_version == self.security_version {
                    Ok(session)
                } else {
                    Err(TokenRejection::RefreshRequired)
                }
            }
            _ => Err(TokenRejection::Invalid),
        }
    }

    /// Adds a session, and the known device of the sign-in. Keeps at most [`policy::SESSIONS`] sessions: ended ones are removed
    /// first, then those of an earlier security version, then the oldest. `replaces` is the session that a step-up ends.
    /// Returns whether the device is new.
    pub(crate) fn open_session(
        &mut self,
        new: &NewSession,
        entry: Session,
        replaces: Option<&EntryId>,
        now: Timestamp,
    ) -> bool {
        let current = self.security_version;
        self.sessions.retain(|id, session| Some(id) != replaces && session.is_valid(now));
        while self.sessions.len() >= policy::SESSIONS {
            let rank = |session: &Session| (session.security_version == current, session.created);
            let first = self.sessions.iter().min_by_key(|(_, session)| rank(session)).map(|(id, _)| id.clone());
            first.map(|id| self.sessions.remove(&id));
        }
        self.sessions.insert(new.id().clone(), entry);
        self.last_sign_in = Some(now.whole_second());
        self.know_device(&new.from, now)
    }

    /// Renews the known device that the sign-in came from, or adds a new one. Keeps at most [`policy::DEVICES`]: expired ones
    /// are removed first, then the least recently used.
    fn know_device(&mut self, from: &DeviceOrigin, now: Timestamp) -> bool {
        let ends = (now + policy::DEVICE_LIFE).whole_second();
        if let DeviceOrigin::Device(Some(id), _) | DeviceOrigin::Known(id) = from
            && let Some(device) = self.devices.get_mut(id)
        {
            device.ends = ends;
            return false;
        }
        let DeviceOrigin::Device(_, token) = from else { return false };
        self.devices.retain(|_, device| device.ends > now);
        while self.devices.len() >= policy::DEVICES {
            let oldest = self.devices.iter().min_by_key(|(_, device)| device.last).map(|(id, _)| id.clone());
            oldest.map(|id| self.devices.remove(&id));
        }
        let verifier = *token.reference().verifier();
        let device = Device { verifier, ends, attempts: 0, last: now, attempt: None };
        self.devices.insert(token.reference().id().clone(), device);
        true
    }
}
