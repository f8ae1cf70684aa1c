//! `POST /v1/mfa/enrolments`: start an enrolment.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vestibule::{
    audit::{AuditAction, Outcome},
    env::Timestamp,
    http::{ApiRequest, ApiResult, App, OrEmpty, Request},
    recovery::ResetCode,
    secret::{Nonce, SecretText, TotpSecret},
    store::{
        AttemptEvent,
        enrolment::{EnrolmentError, EnrolmentRejection},
    },
    totp,
};

use crate::enrolment_token;

/// What an enrolment starts with. An empty body is `{}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartRequest {
    /// The reset code that the reset returned. It is needed if the sign-in returned `reset_code_required`.
    #[schema(value_type = Option<String>)]
    pub(crate) reset_code: Option<SecretText>,
}

/// A pending enrolment, with the secret for the authenticator app.
#[derive(Serialize, ToSchema)]
pub(crate) struct StartAnswer {
    /// The pending enrolment.
    enrolment: PendingDto,
    /// The secret in base32, in groups of four for typing. No other response contains it.
    #[schema(example = "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP")]
    pub(crate) secret: String,
    /// The secret as a URI that authenticator apps open.
    #[schema(example = "otpauth://totp/Acme:ann?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Acme")]
    pub(crate) otpauth_uri: String,
    /// `otpauth_uri` as a QR code: an SVG document.
    #[schema(
        example = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1 1\"><path d=\"M0 0h1v1H0z\"/></svg>"
    )]
    pub(crate) qr_svg: String,
    /// Issuer and user name, for the page that shows the QR code.
    #[serde(skip)]
    pub(crate) account: String,
    /// The hash of the codes (RFC 6238).
    algorithm: AlgorithmDto,
    /// How many digits a code has.
    #[schema(example = 6)]
    digits: u8,
    /// How long a code is shown, in seconds.
    #[schema(example = 30)]
    period: u8,
}

/// The hash of a time-based one-time password (TOTP).
#[derive(Serialize, ToSchema)]
pub(crate) enum AlgorithmDto {
    #[serde(rename = "SHA1")]
    Sha1,
}

/// An enrolment that waits for its first code.
#[derive(Serialize, ToSchema)]
pub(crate) struct PendingDto {
    /// When the pending enrolment ends.
    #[schema(value_type = String, format = DateTime, example = "2026-01-15T09:40:00Z")]
    expires_at: Timestamp,
}

/// Start an enrolment
///
/// Creates a secret for an authenticator app. It becomes active with `POST /v1/mfa/enrolments/confirm`; until then an active
/// authenticator keeps working. A new pending enrolment replaces an earlier one. The operation needs an enrolment token, a
/// session with a fresh step-up or, for 10 minutes, a session that a recovery token opened.
#[utoipa::path(post, path = "/v1/mfa/enrolments", operation_id = "startEnrolment", tag = "enable-mfa", security(("enrolment" = []), ("session" = [])),
    request_body = StartRequest, responses(
    (status = 201, body = StartAnswer, description = "The pending enrolment. Show the secret to the user."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`mfa_reset_required`, `reset_code_required`"),
    (status = 409, description = "`conflict`: Another request changed the authenticator."),
))]
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    call: ApiRequest<OrEmpty<StartRequest>>,
) -> ApiResult<(StatusCode, Json<StartAnswer>)> {
    let answer = start_enrolment(&app, &call.request, call.body.0).await?;
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Creates the pending enrolment, with its secret.
pub(crate) async fn start_enrolment(app: &App, request: &Request, body: StartRequest) -> ApiResult<StartAnswer> {
    let (token, attempt) = (enrolment_token(request)?, request.attempt(app)?);
    let key = token.key().clone();
    let codes = app.codes()?;
    let code = body.reset_code.and_then(|code| ResetCode::parse_digest(&codes, &key, code.expose()));
    let start = app.store.authorize_enrolment(token, code, &attempt).await;
    if matches!(start, Err(EnrolmentError::Rejected(EnrolmentRejection::ResetCode))) {
        let event = request.event(AuditAction::Enrolment, Outcome::Refused).own(key.user());
        app.store.record(key.tenant(), &attempt, AttemptEvent::WrongCode, &event).await;
    }
    let start = start?;
    let factor = Nonce::generate(&*app.entropy)?;
    let secret = TotpSecret::generate(start.factor(factor), &*app.entropy)?;
    let sealed = app.sealer()?.seal(&secret, &*app.entropy).await?;
    let secret_texts = totp::provisioning(&secret, &start.policy.issuer, &start.profile.username);
    let account = format!("{}: {}", start.policy.issuer, start.profile.username);
    let event = request.event(AuditAction::EnrolmentStarted, Outcome::Success).own(key.user());
    let expires_at = app.store.begin_enrolment(start, factor, sealed, &attempt, &event).await?;
    Ok(StartAnswer {
        enrolment: PendingDto { expires_at },
        secret: secret_texts.secret_grouped.clone(),
        otpauth_uri: secret_texts.otpauth_uri.clone(),
        qr_svg: secret_texts.qr_svg.clone(),
        account,
        algorithm: AlgorithmDto::Sha1,
        digits: 6,
        period: 30,
    })
}
