//! `POST /v1/sso/{tenant}/acs`: take the IdP's response, which the browser brings.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{AuditAction, AuditEvent, Outcome, visible},
    env::Timestamp,
    http::{
        ApiRequest, ApiResult, App, Code, LargeForm, Problem, Request, Routes,
        dto::{EnrolmentDto, SessionDto, UserDto},
        page::{Cookies, redirect, redirect_to_enrolment},
    },
    id::{TenantId, UserId},
    saml::{self, Certificate, Expected, Fault},
    secret::SecretText,
    sign_in::Attempt,
    sso::{Assertion, PreSession, Relay, SsoChecked, SsoSignIn},
    store::{
        AttemptEvent, OperationError,
        item::{Idp, SsoRequest},
        sso::{NoOwner, OpeningRejection, SsoOpened, SubjectRejection},
    },
};

use crate::{
    configuration::EXPIRY_WARNING,
    limiter::{CheckError, Limiter, Place, Placed},
    provisioning::{self, Provisioned},
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(acs)).layer(Extension(Arc::new(Limiter::new())))
}

/// The response of an identity provider, as SAML's HTTP-POST binding sends it. Additional fields are ignored.
#[derive(Deserialize, ToSchema)]
struct AcsForm {
    /// The SAML response, in base64: at most 256 KiB.
    #[serde(rename = "SAMLResponse")]
    #[schema(value_type = String, example = "PHNhbWxwOlJlc3BvbnNlIHhtbG5zOnNhbWxwPSJ1cm46b2FzaXM6bmFtZXM6dGM6U0FNTDoyLjA6cHJvdG9jb2wiLz4=")]
    response: SecretText,
    /// The relay state that this service sent to the identity provider with its request.
    #[serde(rename = "RelayState")]
    #[schema(value_type = Option<String>)]
    relay_state: Option<SecretText>,
}

/// The next step, by `status`.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
#[schema(examples(json!({
    "status": "signed_in",
    "session": {"amr": ["sso"]},
    "user": {"auth_type": "saml_sso"},
})))]
enum AcsAnswer {
    /// The user is signed in.
    SignedIn {
        /// The new session.
        session: SessionDto,
        /// The user who signed in.
        user: UserDto,
    },
    /// The user has no authenticator: start an enrolment with `POST /v1/mfa/enrolments`.
    EnrolmentRequired {
        /// The enrolment token.
        enrolment: EnrolmentDto,
        /// Whether the enrolment needs the reset code that the reset returned.
        reset_code_required: bool,
    },
}

/// How often the decision about one assertion is made, if the user changes at the same time.
const MAX_DECISIONS: usize = 3;

/// Take the response of the identity provider
///
/// The assertion consumer service (ACS) of SAML: the user's browser sends the identity provider's response here. What this service
/// returns depends on how the sign-in started. A browser that started the sign-in sends its pre-session cookie, and is redirected
/// to `return_to`, or first to the enrolment, with the token in a cookie. After any other start, the result is JSON and sets no cookie. A
/// browser with a pre-session cookie gets a refusal as a page (`text/html`), with the same status. An unsolicited
/// response is not checked: if the tenant allows such responses, the browser is redirected to a start. Additional form fields
/// are ignored.
#[utoipa::path(post, path = "/v1/sso/{tenant}/acs", operation_id = "acceptSsoResponse", tag = "sso",
    params(("tenant" = String, Path, description = "The id of the tenant.", example = "acme")),
    request_body(content = AcsForm, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 200, body = AcsAnswer, description = "The response is accepted. `status` says what comes next."),
    (status = 303, description = "The response is accepted, and the browser is redirected; or the response is unsolicited, and the \
        browser is redirected to a start.", headers(
        ("location" = String, description = "Where the browser goes on: a path of this service."),
        ("set-cookie" = String, description = "The session or enrolment token, in a cookie that scripts cannot read."))),
    (status = 401, description = "`invalid_credentials`: The response is not valid, or names no user who may sign in. The \
        tenant's audit has the reason."),
    (status = 403, description = "`mfa_reset_required`"),
    (status = 429, description = "`too_many_attempts`: The user was given too many enrolment tokens from this network."),
))]
async fn acs(
    State(app): State<Arc<App>>,
    placed: Placed<ApiRequest<LargeForm<AcsForm>, TenantId>>,
) -> ApiResult<Response> {
    let Placed { place, call } = placed;
    let ApiRequest { body: LargeForm(form), path: tenant, request, .. } = match call {
        Ok(call) => call,
        Err(problem) => return Err(place.refuse(problem).await),
    };
    request.set_tenant(&tenant);
    let relay = form.relay_state.as_ref().and_then(|text| Relay::parse(text.expose(), app.store.restore_epoch()));
    let attempt = request.attempt(&app)?;
    let Some(loaded) = app.store.load_request(&tenant, relay.as_ref(), request.now).await? else {
        return Err(place.refuse(Code::InvalidCredentials).await);
    };
    let incoming = AcsRequest {
        app: &app,
        place: &place,
        request: &request,
        tenant: &tenant,
        idp: &loaded.idp,
        attempt: &attempt,
    };
    let pre_session = Cookies::new(&app).pre_session(&request);
    if relay.is_none() && loaded.idp.idp_initiated {
        return incoming.unsolicited(pre_session.as_ref()).await;
    }
    // If there is no such request, the check below refuses the response.
    let started = loaded.request.clone().unwrap_or_else(|| SsoRequest::new("/".to_owned(), request.now));
    let bound = match (&started.pre_session, pre_session) {
        (None, _) => None,
        (Some(digest), Some(brought)) if brought.started(digest) => Some(brought),
        (Some(_), _) => return Err(incoming.refused("pre_session", None).await),
    };
    let relay = relay.map(|relay| (relay, loaded.request.clone()));
    let assertion = incoming.checked(form.response, relay).await?;
    let answer = incoming.sign_in(assertion).await?;
    Ok(match bound {
        Some(pre_session) => incoming.redirect(&answer, started.return_to, pre_session),
        None => Json(answer).into_response(),
    })
}

/// Warns those who run the service of certificates that expire. An expired certificate still works here, but IdPs replace their
/// keys around that date.
fn warn_of_expiry(idp: &Idp, now: Timestamp) {
    for der in &idp.certificates {
        match Certificate::from_der(der) {
            Ok(it) if it.not_after > now + EXPIRY_WARNING => {}
            Ok(it) => {
                tracing::warn!(idp = idp.entity_id, ends = %it.not_after, "a certificate of a tenant's IdP expires")
            }
            Err(fault) => tracing::warn!(idp = idp.entity_id, fault, "a certificate of a tenant's IdP is unreadable"),
        }
    }
}

/// One request to the ACS, with the configuration that it is checked against.
struct AcsRequest<'a> {
    app: &'a App,
    place: &'a Place,
    request: &'a Request,
    tenant: &'a TenantId,
    idp: &'a Idp,
    attempt: &'a Attempt,
}

impl AcsRequest<'_> {
    /// Checks the SAML response. A refusal is recorded in the audit.
    async fn checked(&self, response: SecretText, relay: Option<(Relay, Option<SsoRequest>)>) -> ApiResult<Assertion> {
        let (tenant, idp, now) = (self.tenant.clone(), self.idp.clone(), self.request.now);
        let (sp, since) = (self.app.service_provider(&tenant)?, self.app.store.restore_epoch().since);
        let check = move || {
            let expected = Expected { tenant: &tenant, idp: &idp, sp: &sp, relay, now, since };
            saml::check(response.expose(), expected).map_err(|fault| {
                let named = (fault == Fault::Algorithm).then(|| saml::refused_algorithm(response.expose()));
                (fault, named.flatten())
            })
        };
        match self.place.check(check).await {
            Ok(assertion) => {
                warn_of_expiry(self.idp, now);
                Ok(assertion)
            }
            Err(CheckError::Refused((fault, algorithm))) => {
                let event = self.event(fault.as_str(), None);
                self.record(AuditEvent { algorithm, ..event }).await;
                Err(Code::InvalidCredentials.into())
            }
            Err(CheckError::Failed) => Err(Code::Unavailable.into()),
        }
    }

    /// Signs in the user of the assertion. If the user or the link to the NameID changes at the same time, the store returns the
    /// assertion and the decision is repeated.
    async fn sign_in(&self, mut assertion: Assertion) -> ApiResult<AcsAnswer> {
        let Self { app, request, .. } = self;
        for _ in 0..MAX_DECISIONS {
            let sign_in = self.owner(assertion).await?;
            let grant = match sign_in.decide() {
                SsoChecked::Granted(grant) => grant,
                SsoChecked::ResetRequired(sign_in) => {
                    self.refused("reset_required", Some(sign_in.key().user())).await;
                    return Err(Code::MfaResetRequired.into());
                }
            };
            let mut event = request.event(AuditAction::SsoLogin, Outcome::Success).own(grant.key().user());
            event.user_agent.clone_from(&request.user_agent);
            event.changed.extend(grant.sign_in().links().then(|| "sso_name_id".to_owned()));
            let user = grant.key().user().clone();
            match app.store.open_sso(grant, self.idp, &request.network(), &*app.entropy, &event).await {
                Ok(SsoOpened::SignedIn(it)) => {
                    let session = SessionDto::new(it.signed_in.token, &it.signed_in.session, None);
                    return Ok(AcsAnswer::SignedIn { session, user: UserDto::new(&it.key, &it.user, &it.profile) });
                }
                Ok(SsoOpened::EnrolmentRequired { token, ends, reset_code_required }) => {
                    let enrolment = EnrolmentDto::new(token, ends);
                    return Ok(AcsAnswer::EnrolmentRequired { enrolment, reset_code_required });
                }
                Err(OperationError::Rejected(OpeningRejection::Stale(unused))) => assertion = unused,
                Err(OperationError::Rejected(OpeningRejection::NetworkFull(full))) => {
                    return Err(Problem::too_many(request.now, full.retry_at));
                }
                Err(OperationError::Rejected(OpeningRejection::Spent)) => {
                    return Err(self.refused("spent", Some(&user)).await);
                }
                Err(OperationError::Store(error)) => return Err(error.into()),
            }
        }
        Err(Problem::new(Code::Unavailable).retry_after(1))
    }

    /// The user of the assertion. If no user matches and the tenant configured provisioning, creates the user first.
    async fn owner(&self, assertion: Assertion) -> ApiResult<SsoSignIn> {
        let names = self.app.names()?;
        let NoOwner { assertion, why } = match self.app.store.sso_owner(assertion, self.idp, names, self.attempt).await
        {
            Ok(sign_in) => return Ok(sign_in),
            Err(OperationError::Rejected(rejected)) => rejected,
            Err(OperationError::Store(error)) => return Err(error.into()),
        };
        let provisioning = match (why, &self.idp.provisioning) {
            (SubjectRejection::Unknown, Some(provisioning)) => provisioning,
            (SubjectRejection::Unknown | SubjectRejection::AlteredByNormalization, _) => {
                return Err(self.unknown(&assertion).await);
            }
            (SubjectRejection::NotSsoUser, _) => return Err(self.refused("not_of_sso", None).await),
        };
        if let Provisioned::Refused(rule) =
            provisioning::create(self.app, self.request, &assertion, provisioning).await?
        {
            return Err(self.refused(rule, None).await);
        }
        let owner = self.app.store.sso_owner(assertion, self.idp, names, self.attempt).await;
        owner.map_err(|error| Problem::of(error, |_| Problem::new(Code::Unavailable).retry_after(1)))
    }

    /// Records a refusal in the audit and pauses. Returns the response, which does not name the rule.
    async fn refused(&self, rule: &str, user: Option<&UserId>) -> Problem {
        self.record(self.event(rule, user)).await;
        self.place.refuse(Code::InvalidCredentials).await
    }

    /// The refusal of an unknown NameID, which the audit records.
    async fn unknown(&self, assertion: &Assertion) -> Problem {
        let mut event = self.event("unknown_subject", None);
        event.name_id = Some(visible(assertion.name_id()));
        event.name_id_format = assertion.name_id_format().map(visible);
        self.record(event).await;
        self.place.refuse(Code::InvalidCredentials).await
    }

    fn event(&self, rule: &str, user: Option<&UserId>) -> AuditEvent {
        let event = self.request.event(AuditAction::SsoLogin, Outcome::Refused).because(rule);
        AuditEvent { target: user.cloned(), ..event }
    }

    async fn record(&self, event: AuditEvent) {
        self.app.store.record(self.tenant, self.attempt, AttemptEvent::Outcome, &event).await;
    }

    /// The response to a browser: the token in a cookie, and a redirect to `return_to` or first to the enrolment.
    fn redirect(&self, answer: &AcsAnswer, return_to: String, mut pre_session: PreSession) -> Response {
        let (cookies, now) = (Cookies::new(self.app), self.request.now);
        let mut response = match answer {
            AcsAnswer::SignedIn { session, .. } => redirect(&return_to, cookies.signed_in(session, now)),
            AcsAnswer::EnrolmentRequired { enrolment, reset_code_required } => {
                redirect_to_enrolment(cookies, enrolment, *reset_code_required, &return_to, now)
            }
        };
        if std::mem::take(&mut pre_session.unsolicited) {
            // After a sign-in, the next unsolicited response counts as the first one again.
            response.headers_mut().append(header::SET_COOKIE, cookies.set_pre_session(&pre_session));
        }
        response
    }

    /// Redirects an unsolicited response to a start of a sign-in, because an attacker could have planted the response in the
    /// browser. If the IdP answers that start with another unsolicited response, it is refused, to avoid a redirect loop.
    async fn unsolicited(&self, pre_session: Option<&PreSession>) -> ApiResult<Response> {
        if pre_session.is_some_and(|it| it.unsolicited) {
            return Err(self.refused("unsolicited", None).await);
        }
        // Relative to this path, because a proxy may serve it below a prefix.
        Ok((StatusCode::SEE_OTHER, [(header::LOCATION, "login?unsolicited=true")]).into_response())
    }
}
