//! `POST /v1/verify` and `POST /v1/step-up`: the code door.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use tokio::join;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, AuditEvent, Notify, Outcome},
    auth::verify_code::{SignIn, VerificationRejection},
    http::{
        ApiRequest, ApiResult, App, Code as Problems, Problem, Request, Routes,
        dto::{SessionDto, UserDto},
    },
    policy,
    recovery::{self, Code, RecoveryCode},
    secret::{FactorRef, SealedSecret, SecretText, TokenClass, TotpSecret},
    sign_in::{PendingVerification, SignedIn, VerificationToken},
    store::{login::Charge, verify::AcceptError},
    totp::{self, TotpCode},
};

/// The flow's endpoints.
#[must_use]
pub fn routes() -> Routes {
    Routes::new().routes(routes!(verify)).routes(routes!(step_up))
}

/// A code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CodeRequest {
    /// The 6 digits that the authenticator shows. `POST /v1/verify` takes a recovery token too. Spaces and hyphens are
    /// ignored.
    #[schema(value_type = String, example = "492039")]
    code: SecretText,
}

/// A finished sign-in.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
enum VerifyAnswer {
    /// The user is signed in.
    SignedIn {
        /// The new session.
        session: SessionDto,
        /// Who signed in.
        user: UserDto,
        /// Present after a sign-in by recovery token.
        #[serde(skip_serializing_if = "Option::is_none")]
        recovery: Option<RecoveryDto>,
    },
}

/// What follows from a sign-in by recovery token.
#[derive(Serialize, ToSchema)]
struct RecoveryDto {
    /// Always true: the recovery token is used up. Issue a new one with `POST /v1/mfa/recovery-token`, or enrol another
    /// authenticator, in the first 10 minutes of this session.
    #[schema(example = true)]
    new_token_required: bool,
}

/// A stepped-up session.
#[derive(Serialize, ToSchema)]
struct StepUpAnswer {
    /// The session with its new token.
    session: SessionDto,
}

/// Answer a challenge with a code
///
/// The second step of signing in. It takes a code of the authenticator or a recovery token, which works once. Five wrong
/// codes end the challenge.
#[utoipa::path(post, path = "/v1/verify", operation_id = "verify", tag = "verify", security(("challenge" = [])),
    request_body = CodeRequest, responses(
    (status = 200, body = VerifyAnswer, description = "The code is right. The user is signed in."),
    (status = 400, description = "`invalid_request`, `malformed_code`"),
    (status = 401, description = "`invalid_code`, `invalid_token`"),
    (status = 429, description = "`too_many_attempts`: The user had 10 wrong codes in 15 minutes. The code was not checked."),
))]
async fn verify(State(app): State<Arc<App>>, call: ApiRequest<CodeRequest>) -> ApiResult<Json<VerifyAnswer>> {
    let ApiRequest { body, request, .. } = call;
    let code = Code::parse(body.code.expose()).map_err(|_| Problem::malformed_code())?;
    let token =
        VerificationToken::challenge(request.token(TokenClass::Challenge)?.clone()).ok_or(Problems::InvalidToken)?;
    let key = token.reference().user().clone();
    let (pending, profile) = join!(charge(&app, &request, token), app.store.read_profile(&key));
    // Before the code is spent: an answer that cannot be given costs none.
    let (pending, profile) = (pending?, profile?);
    let user = pending.user().clone();
    let by_recovery = matches!(code, Code::Recovery(_));
    let signed_in = match code {
        Code::Totp(code) => by_code(&app, &request, pending, &code, Action::Verify).await?,
        Code::Recovery(code) => by_recovery_token(&app, &request, pending, &code).await?,
    };
    Ok(Json(VerifyAnswer::SignedIn {
        session: SessionDto::new(signed_in.token, &signed_in.session, signed_in.device),
        user: UserDto::new(&key, &user, &profile),
        recovery: by_recovery.then_some(RecoveryDto { new_token_required: true }),
    }))
}

/// Step up a session
///
/// Checks a code again within a session, as sensitive operations demand it. A step-up is fresh for 300 seconds. The session
/// gets a new token, and the old one is void. It takes 6 digits only; a recovery token is refused and not used up.
#[utoipa::path(post, path = "/v1/step-up", operation_id = "stepUp", tag = "verify", security(("session" = [])),
    request_body = CodeRequest, responses(
    (status = 200, body = StepUpAnswer, description = "The code is right. The session has a new token."),
    (status = 400, description = "`invalid_request`, `malformed_code`"),
    (status = 401, description = "`invalid_code`, `invalid_token`, `session_refresh_required`"),
    (status = 403, description = "`mfa_reset_required`; `forbidden`: The user has no authenticator: an excluded contact."),
    (status = 429, description = "`too_many_attempts`: The user had 10 wrong codes in 15 minutes. The code was not checked."),
))]
async fn step_up(State(app): State<Arc<App>>, call: ApiRequest<CodeRequest>) -> ApiResult<Json<StepUpAnswer>> {
    let ApiRequest { body, request, .. } = call;
    let Ok(Code::Totp(code)) = Code::parse(body.code.expose()) else { return Err(Problem::malformed_code()) };
    let token =
        VerificationToken::session(request.token(TokenClass::Session)?.clone()).ok_or(Problems::InvalidToken)?;
    let pending = charge(&app, &request, token).await?;
    let SignedIn { token, session, device } = by_code(&app, &request, pending, &code, Action::StepUp).await?;
    Ok(Json(StepUpAnswer { session: SessionDto::new(token, &session, device) }))
}

async fn charge(app: &App, request: &Request, token: VerificationToken) -> ApiResult<PendingVerification> {
    match app.store.charge_verification(token, request.attempt(app)?).await? {
        Charge::Admitted(pending) => Ok(pending),
        Charge::Exhausted { retry_at } => Err(Problem::too_many(request.now, retry_at)),
        Charge::Rejected(VerificationRejection::InvalidToken) => Err(Problems::InvalidToken.into()),
        Charge::Rejected(VerificationRejection::RefreshRequired) => Err(Problems::SessionRefreshRequired.into()),
        Charge::Rejected(VerificationRejection::FactorDisabled) => Err(Problems::MfaResetRequired.into()),
        Charge::Rejected(VerificationRejection::NoFactor) => Err(Problems::Forbidden.into()),
        Charge::Rejected(VerificationRejection::AlreadyUsed) => Err(Problems::InvalidCode.into()),
    }
}

async fn by_code(
    app: &App,
    request: &Request,
    pending: PendingVerification,
    code: &TotpCode,
    action: Action,
) -> ApiResult<SignedIn> {
    let user = pending.user();
    let Some(authenticator) = user.factor.active() else { return Err(Problems::InvalidToken.into()) };
    let owner = FactorRef { user: pending.key().clone(), incarnation: user.incarnation, factor: authenticator.id };
    let secret = app.sealer()?.open(owner, &authenticator.secret).await?;
    let Some(proof) = totp::check(&secret, code, request.now, authenticator.last_step) else {
        return Err(refuse(app, request, &pending, action).await);
    };
    let event = success(request, &pending, action);
    let anew = sealed_anew(app, &secret, &authenticator.secret).await;
    accept(app, request, SignIn::with_totp(pending, proof, anew, &*app.entropy)?, event).await
}

/// A secret whose key has a successor moves to it when it is used. Should that fail it is kept as it is: the code was right.
async fn sealed_anew(app: &App, secret: &TotpSecret, sealed: &SealedSecret) -> Option<SealedSecret> {
    let sealer = app.sealer().ok()?;
    if !sealer.outdated(sealed).await {
        return None;
    }
    let anew = sealer.seal(secret, &*app.entropy).await;
    anew.inspect_err(|error| tracing::error!(%error, "a secret was not sealed anew")).ok()
}

async fn by_recovery_token(
    app: &App,
    request: &Request,
    pending: PendingVerification,
    code: &RecoveryCode,
) -> ApiResult<SignedIn> {
    let Some(proof) = recovery::check(
        &app.codes()?,
        pending.key(),
        pending.user().factor.recovery_token().map(|token| &token.digest),
        code,
    ) else {
        return Err(refuse(app, request, &pending, Action::Verify).await);
    };
    let event = success(request, &pending, Action::RecoveryUsed).notify(Notify::User);
    accept(app, request, SignIn::with_recovery(pending, proof, &*app.entropy)?, event).await
}

fn success(request: &Request, pending: &PendingVerification, action: Action) -> AuditEvent {
    let mut event = request.event(action, Outcome::Success).own(pending.key().user());
    event.user_agent.clone_from(&request.user_agent);
    event
}

async fn accept(app: &App, request: &Request, sign_in: SignIn, event: AuditEvent) -> ApiResult<SignedIn> {
    let (tenant, attempt) = (sign_in.key().tenant().clone(), *sign_in.attempt());
    match app.store.accept(sign_in, &event).await {
        Ok(signed_in) => Ok(signed_in),
        // Right when it was checked, and spent by another request since.
        Err(AcceptError::Rejected(_)) => {
            let mut refused = request.event(event.action, Outcome::Refused);
            (refused.actor, refused.target) = (event.actor, event.target);
            app.store.record(&tenant, &attempt, 0, &refused).await;
            Err(Problems::InvalidCode.into())
        }
        Err(AcceptError::Store(error)) => Err(error.into()),
    }
}

/// A wrong code. From the third on at one challenge its owner is told: somebody knows the password (security.md 23).
async fn refuse(app: &App, request: &Request, pending: &PendingVerification, action: Action) -> Problem {
    let (key, attempt, user) = (pending.key(), pending.attempt(), pending.user());
    let about = |action, outcome| request.event(action, outcome).about(key.user());
    let mut event = about(action, Outcome::Refused);
    if pending.challenge().is_some_and(|challenge| challenge.attempts >= policy::NOTIFY_CODES) {
        event = event.notify(Notify::User);
    }
    app.store.record(key.tenant(), attempt, 0, &event).await;
    if user.total_failures > 0 && user.total_failures % policy::SLOW_FAILURES == 0 {
        let event = about(Action::FactorAttacked, Outcome::Refused).notify(Notify::User).notify(Notify::Administrators);
        app.store.record(key.tenant(), attempt, 2, &event).await;
    }
    if pending.exhausts_factor() {
        let event = about(Action::FactorDisabled, Outcome::Success).notify(Notify::User).notify(Notify::Administrators);
        if let Err(error) = app.store.disable_factor(key, user, attempt, &event).await {
            // The row stays full: the factor is unusable, and the next to see it finishes.
            tracing::error!(%error, "a factor was not disabled");
        }
    }
    Problems::InvalidCode.into()
}
