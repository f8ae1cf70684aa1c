//! `POST /v1/login`: the password door. It gives a challenge or an enrolment token, and a session to an excluded contact
//! alone (product.md, sign-in table).

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use tokio::join;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, AuditEvent, Notify, Outcome},
    env::Timestamp,
    http::{
        ApiRequest, ApiResult, App, Code, PASSWORD_TOO_LONG, Problem, Request, Routes,
        dto::{EnrolmentDto, SessionDto, UserDto},
    },
    id::{LoginName, TenantId},
    password,
    policy::{Backoff, Budget},
    secret::{NewToken, SecretText, TokenRef},
    sign_in::{Attempt, Continuation, PasswordAttempt, PasswordChecked, VerifiedPassword},
    store::{
        item::{FactorState, User},
        login::{Charge, ExemptOpened, Opened},
    },
};

/// The flow's endpoints.
#[must_use]
pub fn routes() -> Routes {
    Routes::new().routes(routes!(login))
}

/// A user name and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LoginRequest {
    /// The id of the user's tenant.
    #[schema(value_type = String, example = "acme")]
    tenant: TenantId,
    /// The user's name. Upper and lower case, and compatible forms of characters (NFKC), are the same.
    #[schema(example = "ann")]
    username: String,
    /// The user's password: at most 1,024 bytes.
    #[schema(value_type = String, example = "correct horse battery staple")]
    password: SecretText,
    /// A device token (`vd_…`) from an earlier sign-in of this user. It counts password failures of this device apart from
    /// those of others. A token that is not valid is ignored.
    #[schema(value_type = Option<String>)]
    device_token: Option<SecretText>,
}

/// What comes next, by `status`.
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
        /// Who signed in.
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
        /// Whether the enrolment needs the reset code that was handed out with the reset.
        reset_code_required: bool,
    },
}

/// A challenge: the password was right, and a code is due.
#[derive(Serialize, ToSchema)]
struct ChallengeDto {
    /// The challenge token (`vc_…`). It authorizes `POST /v1/verify` alone, until five codes were wrong.
    #[schema(example = "vc_8mVq3ZrT6yKfWd1nXb9sHg")]
    token: String,
    /// When the token expires: 5 minutes after it was issued.
    #[schema(value_type = String, format = DateTime, example = "2026-01-15T09:35:00Z")]
    expires_at: Timestamp,
    /// What can answer the challenge.
    #[schema(example = json!(["totp", "recovery_token"]))]
    methods: [Method; 2],
}

/// What can answer a challenge: a code of the authenticator (`totp`), or a recovery token (`recovery_token`).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Method {
    Totp,
    RecoveryToken,
}

/// Check a password
///
/// The first step of signing in. The answer says what comes next: a code, an enrolment or, for a contact who is excluded
/// from MFA, nothing. From the fifth wrong password in a row on, tries are delayed, for names that do not exist too.
#[utoipa::path(post, path = "/v1/login", operation_id = "login", tag = "login", request_body = LoginRequest, responses(
    (status = 200, body = LoginAnswer, description = "The password is right. `status` says what comes next."),
    (status = 401, description = "`invalid_credentials`: The tenant or user is unknown, the password is wrong, the user is \
        inactive, or signs in through an identity provider."),
    (status = 403, description = "`mfa_reset_required`"),
    (status = 429, description = "`too_many_attempts`: There were too many wrong passwords, or more than 20 challenges \
        in 15 minutes from one network."),
))]
async fn login(State(app): State<Arc<App>>, call: ApiRequest<LoginRequest>) -> ApiResult<Json<LoginAnswer>> {
    let ApiRequest { body, request, .. } = call;
    if body.password.expose().len() > password::MAX_BYTES {
        return Err(Problem::field("/password", PASSWORD_TOO_LONG));
    }
    let (now, network, attempt) = (request.now, request.network(), request.attempt(&app)?);
    request.set_tenant(&body.tenant);
    let login = app.names()?.login(&body.tenant, &LoginName::fold(&body.username));
    let restored = app.store.restored();
    let device = body.device_token.as_ref().and_then(|token| TokenRef::parse(token.expose(), restored));
    let place = app.passwords.place()?;
    let password_attempt = match app.store.charge_login(&login, device.as_ref(), &Backoff::at(now), &attempt).await? {
        Charge::Admitted(password_attempt) => password_attempt,
        Charge::Exhausted { retry_at } => return Err(Problem::too_many(now, retry_at)),
        Charge::Rejected(never) => match never {},
    };
    let hash = password_attempt.hash();
    let (proof, owner) =
        join!(app.passwords.verify(place, &body.password, hash.as_ref()), app.store.load_owner(&password_attempt));
    let (proof, owner) = (proof?, owner?);
    // Whether or not the password is right: else this answer would tell.
    if let Some(until) = full_until(owner.as_ref(), &network, now) {
        return Err(Problem::too_many(now, until));
    }
    let mut checked = password_attempt.checked(proof, owner);
    if let Ok(right) = &checked {
        strengthen(&app, right, &body.password).await?;
    }
    // Decided anew where the person changes under it.
    for _ in 0..3 {
        let right = match checked {
            Ok(right) => right,
            Err(password_attempt) => return Err(refuse(&app, &request, &password_attempt, &attempt).await),
        };
        checked = match right.decide() {
            PasswordChecked::MfaRequired(opening) => {
                let event = accepted(&request, &opening);
                match app.store.open_attempt(opening, &network, &*app.entropy, &event).await? {
                    Opened::Done(token, ends) => return Ok(Json(challenge(token, ends))),
                    Opened::TooMany { retry_at } => return Err(Problem::too_many(now, retry_at)),
                    Opened::Stale(checked) => checked,
                }
            }
            PasswordChecked::EnrolmentRequired(opening) => {
                let event = accepted(&request, &opening);
                let code = opening.reset_code_required();
                match app.store.open_attempt(opening, &network, &*app.entropy, &event).await? {
                    Opened::Done(token, ends) => return Ok(Json(enrolment(token, ends, code))),
                    Opened::TooMany { retry_at } => return Err(Problem::too_many(now, retry_at)),
                    Opened::Stale(checked) => checked,
                }
            }
            PasswordChecked::Exempt(exempt) => {
                let (key, user) = (exempt.key().clone(), exempt.user().clone());
                let mut event = request.event(Action::Login, Outcome::Success).own(key.user());
                event.user_agent.clone_from(&request.user_agent);
                let profile = app.store.read_profile(&key);
                let (opened, profile) = join!(app.store.open_exempt_session(exempt, &*app.entropy, &event), profile);
                match opened? {
                    ExemptOpened::Done(signed_in) => {
                        let session = SessionDto::new(signed_in.token, &signed_in.session, signed_in.device);
                        let user = UserDto::new(&key, &user, &profile?);
                        return Ok(Json(LoginAnswer::SignedIn { session, user }));
                    }
                    ExemptOpened::Stale(checked) => checked,
                }
            }
            PasswordChecked::ResetRequired(right) => return Err(reset_required(&app, &request, &right, &attempt).await),
        };
    }
    Err(Problem::new(Code::Unavailable).retry_after(1))
}

/// A hash of weaker parameters than new ones have is replaced, now that the password is at hand (security.md 8).
async fn strengthen(app: &App, right: &VerifiedPassword, password: &SecretText) -> ApiResult<()> {
    if right.password_attempt().hash().is_some_and(|hash| app.passwords.outdated(&hash)) {
        let stronger = app.passwords.hash(password, &*app.entropy).await?;
        app.store.strengthen(right, &stronger).await;
    }
    Ok(())
}

/// What is true before it is known what the password opens.
fn accepted(request: &Request, opening: &Continuation) -> AuditEvent {
    request.event(Action::PasswordAccepted, Outcome::Success).own(opening.key().user())
}

fn full_until(owner: Option<&User>, network: &str, now: Timestamp) -> Option<Timestamp> {
    Budget::NETWORK.full_until(owner?.networks.get(network)?, now)
}

fn challenge(token: NewToken, expires_at: Timestamp) -> LoginAnswer {
    let methods = [Method::Totp, Method::RecoveryToken];
    LoginAnswer::MfaRequired { challenge: ChallengeDto { token: token.into_text(), expires_at, methods } }
}

fn enrolment(token: NewToken, expires_at: Timestamp, reset_code_required: bool) -> LoginAnswer {
    LoginAnswer::EnrolmentRequired { enrolment: EnrolmentDto::new(token, expires_at), reset_code_required }
}

/// The one refusal. A name that nobody has gets the same writes: the same time.
async fn refuse(app: &App, request: &Request, password_attempt: &PasswordAttempt, attempt: &Attempt) -> Problem {
    let mut event = request.event(Action::Login, Outcome::Refused);
    event.target = password_attempt.owner().map(|owner| owner.user().clone());
    request.wrong_password(app, password_attempt, attempt, event).await
}

/// A right password that opens nothing before a reset. A factor whose row is full is disabled here, should the request that
/// filled it not have come so far.
async fn reset_required(app: &App, request: &Request, right: &VerifiedPassword, attempt: &Attempt) -> Problem {
    let (key, user) = (right.key(), right.user());
    if user.factor.state() == FactorState::Active {
        let event = request.event(Action::FactorDisabled, Outcome::Success).about(key.user());
        let event = event.notify(Notify::User).notify(Notify::Administrators);
        if let Err(error) = app.store.disable_factor(key, user, attempt, &event).await {
            return error.into();
        }
    }
    let event = request.event(Action::Login, Outcome::Refused).own(key.user());
    join!(app.store.clear_failures(right), app.store.record(key.tenant(), attempt, 0, &event));
    Code::MfaResetRequired.into()
}
