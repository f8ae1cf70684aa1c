//! `POST /v1/login`: sign in with a password. The answer is a challenge or an enrolment token. Only an excluded contact gets a
//! session (product.md, sign-in table).

mod page;

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use tokio::join;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{AuditAction, AuditEvent, Notify, Outcome},
    env::Timestamp,
    http::{
        ApiRequest, ApiResult, App, Code, PASSWORD_TOO_LONG, Problem, Request, Routes,
        dto::{EnrolmentDto, SessionDto, UserDto},
    },
    id::{LoginName, TenantId},
    password,
    policy::{self, Backoff, Budget},
    secret::{NewToken, SecretText, TokenRef},
    sign_in::{Attempt, PasswordAttempt, PasswordChecked, PendingSignIn, SignedIn, VerifiedPassword},
    store::{
        AttemptEvent, OperationError,
        item::{FactorState, User},
        login::{Exhausted, LoginRejection},
    },
};

/// The endpoints of the flow.
#[must_use]
pub fn routes() -> Routes {
    Routes::new().routes(routes!(login)).merge(page::routes())
}

/// How often the decision about one password is made, if the user changes at the same time.
const MAX_DECISIONS: usize = 3;

/// A user name and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LoginRequest {
    /// The id of the user's tenant.
    #[schema(value_type = String, example = "acme")]
    tenant: TenantId,
    /// The user name. Upper and lower case, and compatible forms of characters (NFKC), are the same.
    #[schema(example = "ann")]
    username: String,
    /// The user's password: at most 1,024 bytes.
    #[schema(value_type = String, example = "correct horse battery staple")]
    password: SecretText,
    /// A device token (`vd_…`) from an earlier sign-in of this user. Wrong passwords from this device are then counted
    /// separately. An invalid token is ignored.
    #[schema(value_type = Option<String>)]
    device_token: Option<SecretText>,
}

/// The next step, by `status`.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
#[schema(examples(json!({
    "status": "signed_in",
    "session": {"amr": ["pwd"]},
    "user": {"id": "u-carl", "username": "carl", "display_name": "Carl Berg", "kind": "contact", "role": "portal",
        "mfa": "none", "excluded": true},
})))]
enum LoginAnswer {
    /// Signed in. Only a contact who is excluded from MFA gets this answer.
    SignedIn {
        /// The new session.
        session: SessionDto,
        /// The user who signed in.
        user: UserDto,
    },
    /// A code is needed: send it to `POST /v1/verify`.
    MfaRequired {
        /// The challenge that the code answers.
        challenge: ChallengeDto,
    },
    /// The user has no authenticator: start an enrolment with `POST /v1/mfa/enrolments`.
    EnrolmentRequired {
        /// The enrolment token.
        enrolment: EnrolmentDto,
        /// Whether the enrolment needs the reset code that the reset returned.
        reset_code_required: bool,
    },
}

/// A challenge: the password was right, and a code is needed.
#[derive(Serialize, ToSchema)]
struct ChallengeDto {
    /// The challenge token (`vc_…`). It authorizes only `POST /v1/verify`, and ends after five wrong codes.
    #[schema(example = "vc_8mVq3ZrT6yKfWd1nXb9sHg")]
    token: String,
    /// When the token expires: 5 minutes after it was issued.
    #[schema(value_type = String, format = DateTime, example = "2026-01-15T09:35:00Z")]
    expires_at: Timestamp,
    /// The methods that can answer the challenge.
    #[schema(example = json!(["totp", "recovery_token"]))]
    methods: [Method; 2],
}

/// A method that can answer a challenge: a code of the authenticator (`totp`), or a recovery token (`recovery_token`).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Method {
    Totp,
    RecoveryToken,
}

/// Check a password
///
/// The first step of signing in. The answer says what comes next: a code, an enrolment or, for a contact who is excluded
/// from MFA, nothing. From the fifth consecutive wrong password on, attempts are delayed. Names that do not exist are delayed
/// too.
#[utoipa::path(post, path = "/v1/login", operation_id = "login", tag = "login", request_body = LoginRequest, responses(
    (status = 200, body = LoginAnswer, description = "The password is right. `status` says what comes next."),
    (status = 401, description = "`invalid_credentials`: The tenant or user is unknown, the password is wrong, the user is \
        inactive, or signs in through an identity provider."),
    (status = 403, description = "`mfa_reset_required`"),
    (status = 429, description = "`too_many_attempts`: There were too many wrong passwords, or more than 20 challenges \
        in 15 minutes from one network."),
))]
async fn login(State(app): State<Arc<App>>, call: ApiRequest<LoginRequest>) -> ApiResult<Json<LoginAnswer>> {
    sign_in(&app, &call.request, call.body).await.map(Json)
}

/// Checks the password, and opens what it leads to.
async fn sign_in(app: &App, request: &Request, body: LoginRequest) -> ApiResult<LoginAnswer> {
    if body.password.expose().len() > password::MAX_BYTES {
        return Err(Problem::field("/password", PASSWORD_TOO_LONG));
    }
    let (now, attempt) = (request.now, request.attempt(app)?);
    request.set_tenant(&body.tenant);
    let login = app.names()?.login(&body.tenant, &LoginName::fold(&body.username));
    let restore_epoch = app.store.restore_epoch();
    let device = body.device_token.as_ref().and_then(|token| TokenRef::parse(token.expose(), restore_epoch));
    let place = app.passwords.place()?;
    let charged = app.store.charge_login(&login, device.as_ref(), &Backoff::at(now), &attempt).await;
    let exhausted = |Exhausted { retry_at }| Problem::too_many(now, retry_at);
    let password_attempt = charged.map_err(|error| Problem::of(error, exhausted))?;
    let hash = password_attempt.hash();
    let (proof, owner) =
        join!(app.passwords.verify(place, &body.password, hash.as_ref()), app.store.load_owner(&password_attempt));
    let (proof, owner) = (proof?, owner?);
    // Regardless of the password: otherwise this answer would reveal that it is right.
    if let Some(until) = budget_full_until(owner.as_ref(), &request.network(), now) {
        return Err(Problem::too_many(now, until));
    }
    match password_attempt.checked(proof, owner) {
        Ok(verified) => {
            upgrade_password_hash(app, &verified, &body.password).await;
            next_step(app, request, verified, &attempt).await
        }
        Err(password_attempt) => Err(refuse(app, request, &password_attempt, &attempt).await),
    }
}

/// Opens what the password leads to. If the user changes at the same time, the store returns the user as they are now, and the
/// decision is repeated.
async fn next_step(
    app: &App,
    request: &Request,
    mut verified: VerifiedPassword,
    attempt: &Attempt,
) -> ApiResult<LoginAnswer> {
    let network = request.network();
    for _ in 0..MAX_DECISIONS {
        let opened = match verified.decide() {
            PasswordChecked::MfaRequired(pending) => {
                let event = accepted(request, &pending);
                let opened = app.store.open_attempt(pending, &network, &*app.entropy, &event).await;
                opened.map(|(token, expires_at)| challenge(token, expires_at))
            }
            PasswordChecked::EnrolmentRequired(pending) => {
                let event = accepted(request, &pending);
                let reset_code_required = pending.reset_code_required();
                let opened = app.store.open_attempt(pending, &network, &*app.entropy, &event).await;
                opened.map(|(token, expires_at)| enrolment(token, expires_at, reset_code_required))
            }
            PasswordChecked::Excluded(excluded) => {
                let (key, user) = (excluded.key().clone(), excluded.user().clone());
                let mut event = request.event(AuditAction::Login, Outcome::Success).own(key.user());
                event.user_agent.clone_from(&request.user_agent);
                let profile = app.store.read_profile(&key);
                let (opened, profile) =
                    join!(app.store.open_excluded_session(excluded, &*app.entropy, &event), profile);
                match opened {
                    Ok(session) => Ok(signed_in(session, UserDto::new(&key, &user, &profile?))),
                    Err(error) => Err(error),
                }
            }
            PasswordChecked::ResetRequired(verified) => {
                return Err(reset_required(app, request, &verified, attempt).await);
            }
        };
        verified = match opened {
            Ok(answer) => return Ok(answer),
            Err(OperationError::Rejected(LoginRejection::UserChanged(changed))) => changed,
            Err(OperationError::Rejected(LoginRejection::Denied(password_attempt))) => {
                return Err(refuse(app, request, &password_attempt, attempt).await);
            }
            Err(OperationError::Rejected(LoginRejection::NetworkFull(full))) => {
                return Err(Problem::too_many(request.now, full.retry_at));
            }
            Err(OperationError::Store(error)) => return Err(error.into()),
        };
    }
    Err(Problem::new(Code::Unavailable).retry_after(1))
}

/// Hashes the password again if the stored hash has weaker parameters than new hashes have (security.md 8). Only a sign-in has
/// the password. If it fails, for example because too many passwords are being checked, the next sign-in tries again.
async fn upgrade_password_hash(app: &App, verified: &VerifiedPassword, password: &SecretText) {
    if verified.password_attempt().hash().is_some_and(|hash| app.passwords.outdated(&hash)) {
        match app.passwords.hash(password, &*app.entropy).await {
            Ok(stronger) => app.store.upgrade_password_hash(verified, &stronger).await,
            Err(error) => tracing::warn!(%error, "a password hash was not upgraded"),
        }
    }
}

/// The audit event of a right password that does not sign in yet.
fn accepted(request: &Request, pending: &PendingSignIn) -> AuditEvent {
    request.event(AuditAction::PasswordAccepted, Outcome::Success).own(pending.key().user())
}

/// When this network may open a challenge for the user again, if its budget is used up.
fn budget_full_until(owner: Option<&User>, network: &str, now: Timestamp) -> Option<Timestamp> {
    Budget::NETWORK.full_until(owner?.networks.get(network)?, now)
}

fn signed_in(opened: SignedIn, user: UserDto) -> LoginAnswer {
    LoginAnswer::SignedIn { session: SessionDto::new(opened.token, &opened.session, opened.device), user }
}

fn challenge(token: NewToken, expires_at: Timestamp) -> LoginAnswer {
    let methods = [Method::Totp, Method::RecoveryToken];
    LoginAnswer::MfaRequired { challenge: ChallengeDto { token: token.into_text(), expires_at, methods } }
}

fn enrolment(token: NewToken, expires_at: Timestamp, reset_code_required: bool) -> LoginAnswer {
    LoginAnswer::EnrolmentRequired { enrolment: EnrolmentDto::new(token, expires_at), reset_code_required }
}

/// The response to every wrong password. A name that does not exist causes the same writes, and so takes the same time. Users and
/// Administrators are notified of consecutive wrong passwords: at five, once a day, and at a hundred as an attack.
async fn refuse(app: &App, request: &Request, password_attempt: &PasswordAttempt, attempt: &Attempt) -> Problem {
    let tenant = password_attempt.login().tenant();
    let mut event = request.event(AuditAction::Login, Outcome::Refused);
    event.target = password_attempt.owner().map(|owner| owner.user().clone());
    app.store.record(tenant, attempt, AttemptEvent::Outcome, &event).await;
    let notify = app.store.notify_failures(password_attempt).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "failed to record the notification of wrong passwords");
        false
    });
    if notify {
        event.action = AuditAction::LoginDelayed;
        app.store.record(tenant, attempt, AttemptEvent::Limit, &event.clone().notify(Notify::User)).await;
    }
    if password_attempt.failures() == policy::ATTACK_FAILURES {
        event.action = AuditAction::LoginAttacked;
        app.store
            .record(tenant, attempt, AttemptEvent::Attack, &event.notify(Notify::User).notify(Notify::Administrators))
            .await;
    }
    Code::InvalidCredentials.into()
}

/// The response to a right password of a user who needs a reset first. If the request that reached the limit of consecutive
/// failures did not disable the factor, this one does.
async fn reset_required(app: &App, request: &Request, verified: &VerifiedPassword, attempt: &Attempt) -> Problem {
    let (key, user) = (verified.key(), verified.user());
    if user.factor.state() == FactorState::Active {
        let event = request.event(AuditAction::FactorDisabled, Outcome::Success).about(key.user());
        let event = event.notify(Notify::User).notify(Notify::Administrators);
        // A rejection is no failure: another request disabled the factor, or a correct code cleared the failures.
        if let Err(OperationError::Store(error)) = app.store.disable_factor(key, user, attempt, &event).await {
            return error.into();
        }
    }
    let event = request.event(AuditAction::Login, Outcome::Refused).own(key.user());
    join!(app.store.clear_failures(verified), app.store.record(key.tenant(), attempt, AttemptEvent::Outcome, &event));
    Code::MfaResetRequired.into()
}
