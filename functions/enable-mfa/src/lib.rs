//! `/v1/mfa`: enrolling an authenticator, and what there is of one. Nothing here takes MFA away.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use tokio::join;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, Outcome, Tell},
    env::Timestamp,
    http::{
        Answer, App, Call, Code as Problems, OrEmpty, Problem, Request, Routes,
        dto::{MfaDto, SessionDto, UserDto},
    },
    recovery::{Code, ResetCode},
    secret::{Nonce, SecretText, TotpSecret},
    store::{
        enrolment::{ConfirmedEnrolment, Denied, EnrolmentDoor},
        item::FactorState,
        login::Charge,
        verify::Accept,
    },
    totp,
};

/// The flow's endpoints.
#[must_use]
pub fn routes() -> Routes {
    Routes::new().routes(routes!(start)).routes(routes!(confirm)).routes(routes!(status, disable))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StartRequest {
    /// Handed out with a reset; asked for where sign-in said `reset_code_required`.
    #[schema(value_type = Option<String>)]
    reset_code: Option<SecretText>,
}

#[derive(Serialize, ToSchema)]
struct StartAnswer {
    enrolment: PendingDto,
    /// Base32 in groups of four, for typing. It is in this response and in no other.
    secret: String,
    otpauth_uri: String,
    /// The URI as a QR code, an SVG document.
    qr_svg: String,
    #[schema(example = "SHA1")]
    algorithm: &'static str,
    digits: u8,
    /// Seconds.
    period: u8,
}

#[derive(Serialize, ToSchema)]
struct PendingDto {
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfirmRequest {
    /// 6 digits. Spaces and hyphens are ignored.
    #[schema(value_type = String)]
    code: SecretText,
}

#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
enum ConfirmAnswer {
    MfaEnabled { session: SessionDto, user: UserDto },
}

#[derive(Serialize, ToSchema)]
struct StatusAnswer {
    status: MfaDto,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "totp")]
    method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    enrolled_at: Option<Timestamp>,
    recovery_token: RecoveryTokenStatus,
}

#[derive(Serialize, ToSchema)]
struct RecoveryTokenStatus {
    exists: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
}

fn door(request: &Request) -> Answer<EnrolmentDoor> {
    EnrolmentDoor::new(request.any_token()?.clone()).ok_or_else(|| Problems::InvalidToken.into())
}

fn problem(why: Denied) -> Problem {
    match why {
        Denied::Token => Problems::InvalidToken.into(),
        Denied::Epoch => Problems::SessionRefreshRequired.into(),
        Denied::StepUp => Problems::StepUpRequired.into(),
        Denied::ResetRequired => Problems::MfaResetRequired.into(),
        Denied::ResetCode => Problems::ResetCodeRequired.into(),
        Denied::NonePending => Problem::new(Problems::Conflict).detail("no enrolment is pending: start one"),
        Denied::Moved => Problem::new(Problems::Conflict).detail("the authenticator was changed meanwhile"),
    }
}

/// Starts an enrolment: a secret, kept as pending. The newest wins.
#[utoipa::path(post, path = "/v1/mfa/enrolments", tag = "enable-mfa", security(("enrolment" = []), ("session" = [])),
    request_body = StartRequest, responses(
    (status = 201, body = StartAnswer),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`mfa_reset_required`, `reset_code_required`"),
    (status = 409, description = "`conflict`: the authenticator was changed meanwhile"),
))]
async fn start(
    State(app): State<Arc<App>>,
    call: Call<OrEmpty<StartRequest>>,
) -> Answer<(StatusCode, Json<StartAnswer>)> {
    let Call { body: OrEmpty(body), request, .. } = call;
    let (door, attempt) = (door(&request)?, request.attempt(&app)?);
    let key = door.key().clone();
    let codes = app.codes()?;
    let code = body.reset_code.and_then(|code| ResetCode::parse_digest(&codes, &key, code.expose()));
    let start = match app.store.may_enrol(door, code, &attempt).await? {
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
        algorithm: "SHA1",
        digits: 6,
        period: 30,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Confirms the pending enrolment with a current code. Every other session and token is dead then.
#[utoipa::path(post, path = "/v1/mfa/enrolments/confirm", tag = "enable-mfa",
    security(("enrolment" = []), ("session" = [])), request_body = ConfirmRequest, responses(
    (status = 200, body = ConfirmAnswer),
    (status = 400, description = "`invalid_request`, `malformed_code`"),
    (status = 401, description = "`invalid_code`; `invalid_token`, also where another token has replaced the enrolment; \
        `session_refresh_required`"),
    (status = 403, description = "`mfa_reset_required`; `reset_code_required`: the code it was started with is void"),
    (status = 409, description = "`conflict`: nothing is pending, five wrong codes have ended it, or it has expired"),
))]
async fn confirm(State(app): State<Arc<App>>, call: Call<ConfirmRequest>) -> Answer<Json<ConfirmAnswer>> {
    let Call { body, request, .. } = call;
    let Ok(Code::Totp(code)) = Code::parse(body.code.expose()) else { return Err(Problems::MalformedCode.into()) };
    let (door, attempt) = (door(&request)?, request.attempt(&app)?);
    let key = door.key().clone();
    let (charge, profile) = join!(app.store.charge_enrolment(door, attempt), app.store.read_profile(&key));
    let charged = match charge? {
        Charge::Admitted(charged) => charged,
        Charge::Absent(why) => return Err(problem(why)),
        Charge::Exhausted { retry_at } => return Err(Problem::too_many(request.now, retry_at)),
    };
    // Before the code is spent: an answer that cannot be given costs none.
    let profile = profile?;
    let mut user = charged.user().clone();
    let secret = app.sealer()?.open(charged.factor(), charged.secret()).await?;
    // A new factor has accepted no step yet.
    let confirmed = match totp::check(&secret, &code, request.now, -1) {
        Some(proof) => ConfirmedEnrolment::new(charged, proof, &*app.entropy)?,
        None => None,
    };
    let mut event = request.event(Action::FactorActivated, Outcome::Success).own(key.user()).tell(Tell::User);
    event.user_agent.clone_from(&request.user_agent);
    let accepted = match confirmed {
        Some(confirmed) => app.store.confirm_enrolment(confirmed, &event).await?,
        None => Accept::Gone,
    };
    let Accept::Yes(signed_in) = accepted else {
        let event = request.event(Action::Enrolment, Outcome::Refused).own(key.user());
        app.store.record(key.tenant(), &attempt, 1, &event).await;
        return Err(Problems::InvalidCode.into());
    };
    user.factor = FactorState::Active;
    Ok(Json(ConfirmAnswer::MfaEnabled {
        session: SessionDto::new(signed_in.token, &signed_in.session, signed_in.device),
        user: UserDto::new(&key, &user, &profile),
    }))
}

/// Says what there is.
#[utoipa::path(get, path = "/v1/mfa", tag = "enable-mfa", security(("session" = [])), responses(
    (status = 200, body = StatusAnswer),
))]
async fn status(State(app): State<Arc<App>>, call: Call) -> Answer<Json<StatusAnswer>> {
    let principal = call.request.principal(&app).await?;
    let user = principal.user();
    let active = user.factor == FactorState::Active;
    let recovery = user.recovery.as_ref().and(user.recovery_at).map(Timestamp::from_secs);
    Ok(Json(StatusAnswer {
        status: user.factor.into(),
        method: active.then_some("totp"),
        enrolled_at: user.enrolled_at.filter(|_| active).map(Timestamp::from_secs),
        recovery_token: RecoveryTokenStatus { exists: user.recovery.is_some(), created_at: recovery },
    }))
}

/// MFA cannot be disabled.
#[utoipa::path(delete, path = "/v1/mfa", tag = "enable-mfa", security(("session" = [])), responses(
    (status = 403, description = "`mfa_mandatory`, always"),
))]
async fn disable(State(app): State<Arc<App>>, call: Call) -> Answer<StatusCode> {
    call.request.principal(&app).await?;
    Err(Problems::MfaMandatory.into())
}
