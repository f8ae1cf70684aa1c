//! `POST /v1/verify`: answer a challenge with a code or a recovery token.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use tokio::join;
use utoipa::ToSchema;
use vestibule::{
    audit::{AuditAction, Notify},
    auth::verify_code::SignIn,
    http::{
        ApiRequest, ApiResult, App, Code, Problem, Request,
        dto::{SessionDto, UserDto},
    },
    recovery::{self, EnteredCode, RecoveryToken},
    secret::TokenClass,
    sign_in::{PendingVerification, SignedIn, VerificationToken},
};

use crate::check::{CodeRequest, accept, charge, check_totp, refuse, success};

/// A finished sign-in.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum VerifyAnswer {
    /// The user is signed in.
    SignedIn {
        /// The new session.
        session: SessionDto,
        /// The user who signed in.
        user: UserDto,
        /// Present after a sign-in by recovery token.
        #[serde(skip_serializing_if = "Option::is_none")]
        recovery: Option<RecoveryDto>,
    },
}

/// What follows from a sign-in by recovery token.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoveryDto {
    /// Always true: the recovery token is used up. Issue a new one with `POST /v1/mfa/recovery-token`, or enrol another
    /// authenticator, in the first 10 minutes of this session.
    #[schema(example = true)]
    new_token_required: bool,
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
pub(crate) async fn verify(
    State(app): State<Arc<App>>,
    call: ApiRequest<CodeRequest>,
) -> ApiResult<Json<VerifyAnswer>> {
    sign_in(&app, &call.request, &call.body).await.map(Json)
}

/// Checks the code of the challenge, and opens the session.
pub(crate) async fn sign_in(app: &App, request: &Request, body: &CodeRequest) -> ApiResult<VerifyAnswer> {
    let code = EnteredCode::parse(body.code.expose()).map_err(|_| Problem::malformed_code())?;
    let token =
        VerificationToken::challenge(request.token(TokenClass::Challenge)?.clone()).ok_or(Code::InvalidToken)?;
    let key = token.reference().user().clone();
    let (pending, profile) = join!(charge(app, request, token), app.store.read_profile(&key));
    // The profile is read before the code is spent, so that a failed read costs no code.
    let (pending, profile) = (pending?, profile?);
    let user = pending.user().clone();
    let by_recovery = matches!(code, EnteredCode::RecoveryToken(_));
    let signed_in = match code {
        EnteredCode::Totp(code) => check_totp(app, request, pending, &code, AuditAction::Verify).await?,
        EnteredCode::RecoveryToken(token) => check_recovery_token(app, request, pending, &token).await?,
    };
    Ok(VerifyAnswer::SignedIn {
        session: SessionDto::new(signed_in.token, &signed_in.session, signed_in.device),
        user: UserDto::new(&key, &user, &profile),
        recovery: by_recovery.then_some(RecoveryDto { new_token_required: true }),
    })
}

async fn check_recovery_token(
    app: &App,
    request: &Request,
    pending: PendingVerification,
    token: &RecoveryToken,
) -> ApiResult<SignedIn> {
    let stored = pending.user().factor.recovery_token().map(|stored| &stored.digest);
    let Some(proof) = recovery::check(&app.codes()?, pending.key(), stored, token) else {
        return Err(refuse(app, request, &pending, AuditAction::Verify).await);
    };
    let event = success(request, &pending, AuditAction::RecoveryUsed).notify(Notify::User);
    accept(app, request, SignIn::with_recovery(pending, proof, &*app.entropy)?, event).await
}
