//! The check of a code, for both operations: charge the attempt, check the code, then accept or refuse it.

use serde::Deserialize;
use utoipa::ToSchema;
use vestibule::{
    audit::{AuditAction, AuditEvent, Notify, Outcome},
    auth::verify_code::SignIn,
    http::{ApiResult, App, Code, Problem, Request},
    policy,
    secret::{FactorRef, SealedSecret, SecretText, TotpSecret},
    sign_in::{PendingVerification, SignedIn, VerificationToken},
    store::{
        AttemptEvent, OperationError,
        login::Exhausted,
        verify::{AcceptError, ChargeRejection},
    },
    totp::{self, TotpCode},
};

/// A code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CodeRequest {
    /// The 6 digits that the authenticator shows. `POST /v1/verify` takes a recovery token too. Spaces and hyphens are
    /// ignored.
    #[schema(value_type = String, example = "492039")]
    pub(crate) code: SecretText,
}

/// Counts the attempt before the code is checked, so that parallel requests cannot check more codes than allowed.
pub(crate) async fn charge(app: &App, request: &Request, token: VerificationToken) -> ApiResult<PendingVerification> {
    app.store.charge_verification(token, request.attempt(app)?).await.map_err(|error| {
        Problem::of(error, |why| match why {
            ChargeRejection::Exhausted(Exhausted { retry_at }) => Problem::too_many(request.now, retry_at),
            ChargeRejection::Verification(why) => why.into(),
        })
    })
}

/// Checks a code of the authenticator app, and accepts it for `action`.
pub(crate) async fn check_totp(
    app: &App,
    request: &Request,
    pending: PendingVerification,
    code: &TotpCode,
    action: AuditAction,
) -> ApiResult<SignedIn> {
    let user = pending.user();
    let Some(authenticator) = user.factor.active() else { return Err(Code::InvalidToken.into()) };
    let owner = FactorRef { user: pending.key().clone(), incarnation: user.incarnation, factor: authenticator.id };
    let secret = app.sealer()?.open(owner, &authenticator.secret).await?;
    let Some(proof) = totp::check(&secret, code, request.now, Some(authenticator.last_step)) else {
        return Err(refuse(app, request, &pending, action).await);
    };
    let event = success(request, &pending, action);
    let resealed = reseal(app, &secret, &authenticator.secret).await;
    accept(app, request, SignIn::with_totp(pending, proof, resealed, &*app.entropy)?, event).await
}

/// Seals the secret with the current key if an older key seals it. A failure is only logged and the old form is kept,
/// because the code was right.
async fn reseal(app: &App, secret: &TotpSecret, sealed: &SealedSecret) -> Option<SealedSecret> {
    let sealer = app.sealer().ok()?;
    if !sealer.outdated(sealed).await {
        return None;
    }
    let resealed = sealer.seal(secret, &*app.entropy).await;
    resealed.inspect_err(|error| tracing::error!(%error, "a secret was not sealed with the current key")).ok()
}

/// The audit event of an accepted code.
pub(crate) fn success(request: &Request, pending: &PendingVerification, action: AuditAction) -> AuditEvent {
    let mut event = request.event(action, Outcome::Success).own(pending.key().user());
    event.user_agent.clone_from(&request.user_agent);
    event
}

/// Uses up the code and the challenge, and opens the session.
pub(crate) async fn accept(app: &App, request: &Request, sign_in: SignIn, event: AuditEvent) -> ApiResult<SignedIn> {
    let (tenant, attempt) = (sign_in.key().tenant().clone(), *sign_in.attempt());
    match app.store.accept(sign_in, &event).await {
        Ok(signed_in) => Ok(signed_in),
        // The code was right, but another request used it or changed the user first.
        Err(AcceptError::Rejected(_)) => {
            let mut refused = request.event(event.action, Outcome::Refused);
            (refused.actor, refused.target) = (event.actor, event.target);
            app.store.record(&tenant, &attempt, AttemptEvent::Outcome, &refused).await;
            Err(Code::InvalidCode.into())
        }
        Err(AcceptError::Store(error)) => Err(error.into()),
    }
}

/// Records a wrong code. From the third wrong code of a challenge on, the user gets a mail: the sender of the codes knows the
/// password (security.md 23).
pub(crate) async fn refuse(
    app: &App,
    request: &Request,
    pending: &PendingVerification,
    action: AuditAction,
) -> Problem {
    let (key, attempt, user) = (pending.key(), pending.attempt(), pending.user());
    let about = |action, outcome| request.event(action, outcome).about(key.user());
    let mut event = about(action, Outcome::Refused);
    if pending.challenge().is_some_and(|challenge| !challenge.state.is_open_below(policy::NOTIFY_CODES)) {
        event = event.notify(Notify::User);
    }
    app.store.record(key.tenant(), attempt, AttemptEvent::Outcome, &event).await;
    // This wrong code is counted, so the number is never 0.
    if user.total_failures % policy::SLOW_FAILURES == 0 {
        let event =
            about(AuditAction::FactorAttacked, Outcome::Refused).notify(Notify::User).notify(Notify::Administrators);
        app.store.record(key.tenant(), attempt, AttemptEvent::Attack, &event).await;
    }
    if pending.exhausts_factor() {
        let event =
            about(AuditAction::FactorDisabled, Outcome::Success).notify(Notify::User).notify(Notify::Administrators);
        // A rejection is no failure: another request disabled the factor, or a correct code cleared the failures.
        if let Err(OperationError::Store(error)) = app.store.disable_factor(key, user, attempt, &event).await {
            // The limit of consecutive failures stays reached, so the factor is unusable; the next request disables it.
            tracing::error!(%error, "a factor was not disabled");
        }
    }
    Code::InvalidCode.into()
}
