//! What a correct password opens: a challenge, an enrolment token, or the session of an excluded contact.

use std::{cmp::Reverse, collections::HashMap};

use crate::{
    domain::{LoginTokenEntry, Session, User},
    env::Timestamp,
    id::EntryId,
    policy::{self, Budget},
    sign_in::{LoginTokenKind, NewSession, NextStep, VerifiedPassword},
};

/// Too many challenges and enrolment tokens were opened from a client network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many challenges from this network")]
pub struct NetworkFull {
    /// When the next one is possible.
    pub retry_at: Timestamp,
}

/// The user changed, so that the password no longer signs in, or no longer to this next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password no longer leads to this step")]
pub struct StepChanged;

/// Whether a correct password leads the user, who may have changed since, to this next step.
pub(crate) fn leads_to(verified: &VerifiedPassword, user: &User, step: NextStep) -> bool {
    verified.signs_in(user) && NextStep::of(user, verified.password_attempt.attempt.at()) == step
}

/// Opens the session of an excluded contact, and returns it as written.
///
/// # Errors
/// [`StepChanged`]: the user changed, and the password no longer opens a session.
pub(crate) fn open_excluded_session(
    verified: &VerifiedPassword,
    user: &mut User,
    session: &NewSession,
) -> Result<Session, StepChanged> {
    if !leads_to(verified, user, NextStep::ExcludedSession) {
        return Err(StepChanged);
    }
    let attempt = &verified.password_attempt;
    let mut entry = session.entry.clone();
    entry.security_version = user.security_version;
    user.open_session(session, entry.clone(), None, attempt.attempt.at());
    user.clear_device_failures(attempt.device.as_ref());
    Ok(entry)
}

impl User {
    /// Opens a challenge or an enrolment token, and counts it at its client network. Keeps at most [`policy::CHALLENGES`] and
    /// [`policy::ENROLMENT_TOKENS`]. Ended entries are removed first, then the oldest of the network that has the most, so that
    /// one busy network cannot remove the challenge of another.
    ///
    /// # Errors
    /// [`NetworkFull`]: the network opened [`policy::NETWORK_CHALLENGES`] within the window. Nothing changes.
    pub(crate) fn open_login_token(
        &mut self,
        kind: LoginTokenKind,
        id: &EntryId,
        entry: LoginTokenEntry,
        now: Timestamp,
    ) -> Result<(), NetworkFull> {
        self.count_at_network(&entry.network, now)?;
        let (open, limit) = match kind {
            LoginTokenKind::Challenge => (&mut self.challenges, policy::CHALLENGES),
            LoginTokenKind::Enrolment => (&mut self.enrolments, policy::ENROLMENT_TOKENS),
        };
        open.retain(|_, entry| entry.ends > now);
        while open.len() >= limit {
            let Some(id) = oldest_of_the_busiest_network(open) else { break };
            open.remove(&id);
        }
        open.insert(id.clone(), entry);
        Ok(())
    }

    /// Whether the user has the challenge or the enrolment token of this id.
    pub(crate) fn has_login_token(&self, kind: LoginTokenKind, id: &EntryId) -> bool {
        match kind {
            LoginTokenKind::Challenge => self.challenges.contains_key(id),
            LoginTokenKind::Enrolment => self.enrolments.contains_key(id),
        }
    }

    /// Counts a token at its client network. Keeps only times within the window, and at most [`policy::NETWORKS`] networks:
    /// the network that was quiet longest is removed.
    fn count_at_network(&mut self, network: &str, now: Timestamp) -> Result<(), NetworkFull> {
        let times = self.networks.get(network).map(Vec::as_slice).unwrap_or_default();
        if let Some(retry_at) = Budget::NETWORK.full_until(times, now) {
            return Err(NetworkFull { retry_at });
        }
        let mut times = Budget::NETWORK.counted(times, now);
        times.push(now);
        self.networks.remove(network);
        for others in self.networks.values_mut() {
            *others = Budget::NETWORK.counted(others, now);
        }
        self.networks.retain(|_, others| !others.is_empty());
        let mut others: Vec<_> = self.networks.drain().collect();
        others.sort_by_key(|(_, times)| Reverse(times.last().copied()));
        others.truncate(policy::NETWORKS - 1);
        self.networks.extend(others);
        self.networks.insert(network.to_owned(), times);
        Ok(())
    }

    /// Clears the failures of the known device that was charged, if it is still known.
    pub(crate) fn clear_device_failures(&mut self, device: Option<&EntryId>) {
        if let Some(device) = device.and_then(|id| self.devices.get_mut(id)) {
            device.attempts = 0;
        }
    }
}

fn oldest_of_the_busiest_network(open: &HashMap<EntryId, LoginTokenEntry>) -> Option<EntryId> {
    let of = |network: &str| open.values().filter(|entry| entry.network == network).count();
    open.iter().max_by_key(|(_, entry)| (of(&entry.network), Reverse(entry.ends))).map(|(id, _)| id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        env::SystemEntropy,
        secret::Nonce,
        store::fixture::{NOW, PASSWORD, ann},
    };

    #[tokio::test]
    async fn password_leads_to_no_step_of_a_user_created_again_under_the_same_id() {
        let (ann, _) = ann(0).await;
        let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        let before = ann.read(&ann.key).await;
        let again = User { incarnation: Nonce::generate(&SystemEntropy).unwrap(), ..before.clone() };
        assert!(leads_to(&verified, &before, NextStep::CodeRequired));
        assert!(!leads_to(&verified, &again, NextStep::CodeRequired));
        assert!(!leads_to(&verified, &before, NextStep::EnrolmentRequired));
    }
}
