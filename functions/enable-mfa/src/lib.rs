//! `/v1/mfa`: enrolling an authenticator, and what there is of one. Nothing here takes MFA away.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use tokio::join;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, Notify, Outcome},
    env::Timestamp,
    http::{
        ApiRequest, ApiResult, App, Code as Problems, OrEmpty, Problem, Request, Routes,
        dto::{MfaDto, SessionDto, UserDto},
    },
    recovery::{Code, ResetCode},
    secret::{Nonce, SecretText, TotpSecret},
    store::{
        enrolment::Acceptance,
        enrolment::{ConfirmedEnrolment, Denied, EnrolmentToken},
        item::FactorState,
        login::Charge,
    },
    totp,
};

/// The flow's endpoints.
#[must_use]
pub fn routes() -> Routes {
    Routes::new().routes(routes!(start)).routes(routes!(confirm)).routes(routes!(status, disable))
}

/// What an enrolment starts with. An empty body is `{}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StartRequest {
    /// The reset code that was handed out with the reset. It is needed where the sign-in said `reset_code_required`.
    #[schema(value_type = Option<String>)]
    reset_code: Option<SecretText>,
}

/// A pending enrolment, with the secret for the authenticator app.
#[derive(Serialize, ToSchema)]
struct StartAnswer {
    /// The pending enrolment.
    enrolment: PendingDto,
    /// The secret in base32, in groups of four for typing. It is in this response and in no other.
    #[schema(example = "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP")]
    secret: String,
    /// The secret as a URI that authenticator apps open.
    #[schema(example = "otpauth://totp/Acme:ann?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Acme")]
    otpauth_uri: String,
    /// `otpauth_uri` as a QR code: an SVG document.
    #[schema(
        example = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1 1\"><path d=\"M0 0h1v1H0z\"/></svg>"
    )]
    qr_svg: String,
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
enum AlgorithmDto {
    #[serde(rename = "SHA1")]
    Sha1,
}

/// An enrolment that waits for its first code.
#[derive(Serialize, ToSchema)]
struct PendingDto {
    /// When the pending enrolment ends.
    #[schema(value_type = String, format = DateTime, example = "2026-01-15T09:40:00Z")]
    expires_at: Timestamp,
}

/// The first code of the new authenticator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfirmRequest {
    /// The 6 digits that the new authenticator shows. Spaces and hyphens are ignored.
    #[schema(value_type = String, example = "492039")]
    code: SecretText,
}

/// A finished enrolment.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
enum ConfirmAnswer {
    /// The authenticator is active, and the user is signed in with it.
    MfaEnabled {
        /// The new session. It counts as stepped up.
        session: SessionDto,
        /// Whose authenticator it is.
        user: UserDto,
    },
}

/// The state of the caller's MFA.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"status": "active", "method": "totp"}))]
struct StatusAnswer {
    /// The state of the authenticator.
    status: MfaDto,
    /// The kind of authenticator. Present where one is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<FactorDto>,
    /// When the authenticator was enrolled. Present where one is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-01-15T09:30:00Z")]
    enrolled_at: Option<Timestamp>,
    /// The caller's recovery token.
    recovery_token: RecoveryTokenStatus,
}

/// The kind of an authenticator: an app that shows time-based codes (`totp`).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FactorDto {
    Totp,
}

/// Whether there is a recovery token. The token itself was shown once.
#[derive(Serialize, ToSchema)]
struct RecoveryTokenStatus {
    /// Whether the caller has an unused recovery token.
    #[schema(example = true)]
    exists: bool,
    /// When it was issued. Present where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-01-15T09:30:00Z")]
    created_at: Option<Timestamp>,
}

fn token(request: &Request) -> ApiResult<EnrolmentToken> {
    EnrolmentToken::new(request.any_token()?.clone()).ok_or_else(|| Problems::InvalidToken.into())
}

fn problem(why: Denied) -> Problem {
    match why {
        Denied::Token => Problems::InvalidToken.into(),
        Denied::Epoch => Problems::SessionRefreshRequired.into(),
        Denied::StepUp => Problems::StepUpRequired.into(),
        Denied::ResetRequired => Problems::MfaResetRequired.into(),
        Denied::ResetCode => Problems::ResetCodeRequired.into(),
        Denied::NonePending => Problem::new(Problems::Conflict).detail("no enrolment is pending: start one"),
        Denied::Stale => Problem::new(Problems::Conflict).detail("the authenticator was changed meanwhile"),
    }
}

/// Start an enrolment
///
/// Makes a secret for an authenticator app. It becomes active with `POST /v1/mfa/enrolments/confirm`; until then an active
/// authenticator keeps working. A user has one pending enrolment: a new one replaces it. It takes an enrolment token, or a
/// session with a fresh step-up or, for 10 minutes, of a sign-in by recovery token.
#[utoipa::path(post, path = "/v1/mfa/enrolments", operation_id = "startEnrolment", tag = "enable-mfa", security(("enrolment" = []), ("session" = [])),
    request_body = StartRequest, responses(
    (status = 201, body = StartAnswer, description = "The pending enrolment. Show the secret to the user."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`mfa_reset_required`, `reset_code_required`"),
    (status = 409, description = "`conflict`: The authenticator was changed meanwhile."),
))]
async fn start(
    State(app): State<Arc<App>>,
    call: ApiRequest<OrEmpty<StartRequest>>,
) -> ApiResult<(StatusCode, Json<StartAnswer>)> {
    let ApiRequest { body: OrEmpty(body), request, .. } = call;
    let (token, attempt) = (token(&request)?, request.attempt(&app)?);
    let key = token.key().clone();
    let codes = app.codes()?;
    let code = body.reset_code.and_then(|code| ResetCode::parse_digest(&codes, &key, code.expose()));
    let start = match app.store.may_enrol(token, code, &attempt).await? {
        Ok(start) => start,
        Err(why) => {
            if why == Denied::ResetCode {
                let event = request.event(Action::Enrolment, Outcome::Refused).own(key.user());
                app.store.record(key.tenant(), &attempt, 1, &event).await;
            }
            return Err(problem(why));
        }
    };
    let factor = Nonce::generate(&*app.entropy)?;
    let secret = TotpSecret::generate(start.factor(factor), &*app.entropy)?;
    let sealed = app.sealer()?.seal(&secret, &*app.entropy).await?;
    let shown = totp::provisioning(&secret, &start.policy.issuer, &start.profile.username);
    let event = request.event(Action::EnrolmentStarted, Outcome::Success).own(key.user());
    let ends = app.store.begin_enrolment(start, factor, sealed, &attempt, &event).await?.map_err(problem)?;
    let answer = StartAnswer {
        enrolment: PendingDto { expires_at: ends },
        secret: shown.secret_grouped.clone(),
        otpauth_uri: shown.otpauth_uri.clone(),
        qr_svg: shown.qr_svg.clone(),
        algorithm: AlgorithmDto::Sha1,
        digits: 6,
        period: 30,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Confirm an enrolment
///
/// Takes a current code of the new authenticator, which is active from then on. The user is signed in. All their other
/// sessions, challenges and recovery tokens are void, and a reset code is used up. Five wrong codes end the pending
/// enrolment. Use the token that the enrolment was started with.
#[utoipa::path(post, path = "/v1/mfa/enrolments/confirm", operation_id = "confirmEnrolment", tag = "enable-mfa",
    security(("enrolment" = []), ("session" = [])), request_body = ConfirmRequest, responses(
    (status = 200, body = ConfirmAnswer, description = "The authenticator is active, and the user is signed in."),
    (status = 400, description = "`invalid_request`, `malformed_code`"),
    (status = 401, description = "`invalid_code`; `invalid_token`: An enrolment that another token has replaced is answered \
        so too.; `session_refresh_required`"),
    (status = 403, description = "`mfa_reset_required`; `reset_code_required`: The reset code that the enrolment was \
        started with is void."),
    (status = 409, description = "`conflict`: No enrolment is pending: it was not started, has expired, or five wrong \
        codes have ended it."),
))]
async fn confirm(State(app): State<Arc<App>>, call: ApiRequest<ConfirmRequest>) -> ApiResult<Json<ConfirmAnswer>> {
    let ApiRequest { body, request, .. } = call;
    let Ok(Code::Totp(code)) = Code::parse(body.code.expose()) else { return Err(Problem::malformed_code()) };
    let (token, attempt) = (token(&request)?, request.attempt(&app)?);
    let key = token.key().clone();
    let (charge, profile) = join!(app.store.charge_confirmation(token, attempt), app.store.read_profile(&key));
    let charged = match charge? {
        Charge::Admitted(charged) => charged,
        Charge::Rejected(why) => return Err(problem(why)),
        Charge::Exhausted { retry_at } => return Err(Problem::too_many(request.now, retry_at)),
    };
    // Before the code is spent: an answer that cannot be given costs none.
    let profile = profile?;
    let user = charged.user().clone();
    let secret = app.sealer()?.open(charged.factor(), charged.secret()).await?;
    // A new factor has accepted no step yet.
    let confirmed = match totp::check(&secret, &code, request.now, -1) {
        Some(proof) => ConfirmedEnrolment::new(charged, proof, &*app.entropy)?,
        None => None,
    };
    let mut event = request.event(Action::FactorActivated, Outcome::Success).own(key.user()).notify(Notify::User);
    event.user_agent.clone_from(&request.user_agent);
    let accepted = match confirmed {
        Some(confirmed) => app.store.confirm_enrolment(confirmed, &event).await?,
        None => Acceptance::AlreadyUsed,
    };
    let Acceptance::Accepted(signed_in) = accepted else {
        let event = request.event(Action::Enrolment, Outcome::Refused).own(key.user());
        app.store.record(key.tenant(), &attempt, 1, &event).await;
        return Err(Problems::InvalidCode.into());
    };
    Ok(Json(ConfirmAnswer::MfaEnabled {
        session: SessionDto::new(signed_in.token, &signed_in.session, signed_in.device),
        user: UserDto { mfa: FactorState::Active.into(), ..UserDto::new(&key, &user, &profile) },
    }))
}

/// Get the state of your own MFA
///
/// Says whether the caller has an authenticator and a recovery token, and since when.
#[utoipa::path(get, path = "/v1/mfa", operation_id = "getMfa", tag = "enable-mfa", security(("session" = [])), responses(
    (status = 200, body = StatusAnswer, description = "The state of the caller's MFA."),
))]
async fn status(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<Json<StatusAnswer>> {
    let principal = call.request.principal(&app).await?;
    let user = principal.user();
    let authenticator = user.factor.active();
    let recovery_token = user.factor.recovery_token();
    Ok(Json(StatusAnswer {
        status: user.factor.state().into(),
        method: authenticator.map(|_| FactorDto::Totp),
        enrolled_at: authenticator.map(|it| it.enrolled_at),
        recovery_token: RecoveryTokenStatus {
            exists: recovery_token.is_some(),
            created_at: recovery_token.map(|token| token.issued_at),
        },
    }))
}

/// Refuse to disable MFA
///
/// MFA is mandatory: nobody can disable their own. This operation exists so that clients get a clear answer. It always
/// refuses.
#[utoipa::path(delete, path = "/v1/mfa", operation_id = "disableMfa", tag = "enable-mfa", security(("session" = [])),
    responses(
    (status = 403, description = "`mfa_mandatory`"),
))]
async fn disable(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<StatusCode> {
    call.request.principal(&app).await?;
    Err(Problems::MfaMandatory.into())
}
