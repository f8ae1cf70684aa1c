//! A change of the user's own password, in a session.

use super::session::TokenRejection;
use crate::{
    domain::{Session, User},
    env::Timestamp,
    secret::TokenRef,
    sign_in::NewSession,
};

/// Sets a new password. Known devices are forgotten, and every session except the new one is void. The new session replaces
/// the caller's session and keeps its end, its step-up and its authentication method.
///
/// # Errors
/// [`TokenRejection`]: the caller's session ended meanwhile.
pub(crate) fn change_password(
    user: &mut User,
    token: &TokenRef,
    session: &NewSession,
    fits_contact: bool,
    now: Timestamp,
) -> Result<Session, TokenRejection> {
    let old = user.session_in_time(token, now)?;
    let (ends, step_up, idp_generation, amr) = (old.ends, old.step_up, old.idp_generation, old.amr);
    user.set_password(fits_contact);
    user.raise_security_version();
    let entry = Session {
        ends,
        step_up,
        idp_generation,
        amr,
        security_version: user.security_version,
        ..session.entry.clone()
    };
    user.open_session(session, entry.clone(), None, now);
    Ok(entry)
}
