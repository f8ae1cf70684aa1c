//! Errors as the API returns them (RFC 9457), with a closed table of codes.

use std::borrow::Cow;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    auth::{
        enroll::{EnrolmentChanged, EnrolmentRejection},
        recovery_token::RecoveryTokenRejection,
        verify_code::VerificationRejection,
    },
    env::{EntropyError, Timestamp},
    password::{HashError, WeakPassword},
    policy,
    secret::SealError,
    sign_in::SignInError,
    store::{
        OperationError, StoreError,
        session::{Denied, EndRejection, TokenRejection},
    },
};

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// The kind of a problem. Codes are stable: a program can decide by them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code's name; it never changes.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What the code means, as the API document says it.
            pub(super) fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// The HTTP status of the code.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The path, query, headers or body do not have the documented form. Nothing was tried and nothing was counted.
    InvalidRequest = "invalid_request", BAD_REQUEST, "The request is not valid";
    /// The code is neither 6 digits nor a recovery token. Nothing was tried and nothing was counted.
    MalformedCode = "malformed_code", BAD_REQUEST, "The code is neither 6 digits nor a recovery token";
    /// Sign-in was refused. All causes get the same answer.
    InvalidCredentials = "invalid_credentials", UNAUTHORIZED, "Sign-in refused";
    /// The token is missing, unknown, expired, used or of the wrong class. All causes get the same answer.
    InvalidToken = "invalid_token", UNAUTHORIZED, "The token is not valid";
    /// The code is wrong, was used before, or is not the current one. All causes get the same answer.
    InvalidCode = "invalid_code", UNAUTHORIZED, "The code is wrong or was used: each works once, so wait for the next one";
    /// The session is older than the user's last security change. The user has to sign in again.
    SessionRefreshRequired = "session_refresh_required", UNAUTHORIZED, "Sign in again";
    /// The last step-up is more than 300 seconds old (RFC 9470). Call `POST /v1/step-up` and repeat the request.
    StepUpRequired = "step_up_required", UNAUTHORIZED, "A fresh code is needed";
    /// The caller is signed in, but not allowed to do this.
    Forbidden = "forbidden", FORBIDDEN, "Not allowed";
    /// MFA cannot be disabled.
    MfaMandatory = "mfa_mandatory", FORBIDDEN, "MFA cannot be disabled";
    /// The authenticator was disabled, or the time to enrol one has passed. An Administrator has to reset the user's MFA.
    MfaResetRequired = "mfa_reset_required", FORBIDDEN, "Ask an Administrator to reset your MFA";
    /// Enrolment needs the reset code from the reset. A wrong, used or expired code gets the same answer.
    ResetCodeRequired = "reset_code_required", FORBIDDEN, "The reset code is needed";
    /// The requested thing does not exist for this caller. Things of other tenants look the same.
    NotFound = "not_found", NOT_FOUND, "Not found";
    /// The current state does not allow the request. `detail` says why.
    Conflict = "conflict", CONFLICT, "The state does not allow it";
    /// The `Idempotency-Key` was used before with another body.
    IdempotencyMismatch = "idempotency_mismatch", CONFLICT, "The Idempotency-Key was used with another body";
    /// Support may not reset this user: another Administrator of the tenant can, or the user is not an Administrator.
    /// `detail` says which.
    NotSoleAdministrator = "not_sole_administrator", CONFLICT, "Not the sole Administrator";
    /// The support ticket was used for an earlier reset.
    TicketUsed = "ticket_used", CONFLICT, "The ticket was used";
    /// The path does not have this method. The header `Allow` lists those it has.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "Method not allowed";
    /// The body is larger than 16 KiB, or than the limit that the operation names.
    PayloadTooLarge = "payload_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// A limit was reached. The answer is the same whether or not the submitted secret was correct.
    TooManyAttempts = "too_many_attempts", TOO_MANY_REQUESTS, "Too many attempts";
    /// A service that Vestibule depends on did not respond. Nothing was granted, but a change may have been made.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Temporarily unavailable";
}

/// The limit of every password in a request.
pub const PASSWORD_TOO_LONG: &str = "must be at most 1,024 bytes";

/// What a handler returns: a response, or a problem.
pub type ApiResult<T> = Result<T, Problem>;

/// An error as the caller sees it. Internal causes are logged and never included.
///
/// As a response it is only a status, with the problem as an extension. The layer of [`super::serve`] writes the body,
/// since only that layer knows the request id.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<u32>,
    client: bool,
    errors: Vec<FieldError>,
}

/// What is wrong with one field of a request.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(example = json!({"field": "/email", "detail": "must be an e-mail address like name@example.com, of at most 254 ASCII characters"}))]
pub(super) struct FieldError {
    /// The field. In a body, its JSON Pointer (RFC 6901), for example `/users/0/username`; empty for the whole body.
    /// Elsewhere `query:limit`, `path:id` or `header:content-type`.
    field: Cow<'static, str>,
    /// What the field must be, with its limit. The value that was sent is not repeated.
    detail: Cow<'static, str>,
}

/// An error (RFC 9457).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// A URI reference that names the kind of problem: `/problems/` and the code.
    r#type: String,
    /// What the code means, for people.
    title: &'static str,
    /// The HTTP status of the response.
    status: u16,
    /// What is wrong with this request, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// The kind of problem, for programs.
    code: Code,
    /// The value of the response's `X-Request-Id` header.
    request_id: &'a str,
    /// Which fields are wrong, where `status` is 400.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
    /// The value of the response's `Retry-After` header, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u32>,
}

impl Problem {
    /// A problem with a code and nothing else.
    #[must_use]
    pub fn new(code: Code) -> Self {
        // These two codes always have a retry time.
        let retry_after = match code {
            Code::Unavailable => Some(2),
            Code::TooManyAttempts => Some(60),
            _ => None,
        };
        Self { code, detail: None, retry_after, client: false, errors: Vec::new() }
    }

    /// A field has the wrong form. `field` is a JSON Pointer in the body, or `query:`, `path:` or `header:` and a name.
    /// `detail` says what the field must be, with its limit, and never what was sent.
    #[must_use]
    pub fn field(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest).and_field(field, detail)
    }

    /// Adds another wrong field. The problem's own `detail` is about the first.
    #[must_use]
    pub fn and_field(mut self, field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        let error = FieldError { field: field.into(), detail: detail.into() };
        let place = if error.field.is_empty() { "the body" } else { &*error.field };
        self.detail.get_or_insert_with(|| format!("{place} {}", error.detail).into());
        self.errors.push(error);
        self
    }

    /// The field `code` is not a code. Nothing was tried.
    #[must_use]
    pub fn malformed_code() -> Self {
        Self::new(Code::MalformedCode)
            .and_field("/code", "must be 6 digits or, where one is accepted, a recovery token")
    }

    /// The new password in this field breaks a rule.
    #[must_use]
    pub fn weak(field: &'static str, weak: WeakPassword) -> Self {
        let detail = match weak {
            WeakPassword::TooShort => "must be at least 8 bytes, and at least 15 characters for a contact",
            WeakPassword::TooLong => PASSWORD_TOO_LONG,
            WeakPassword::Common => "must not be a common password",
        };
        Self::field(field, detail)
    }

    /// Sets the detail. The text must not contain anything internal.
    #[must_use]
    pub fn detail(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(text.into());
        self
    }

    /// Sets the time after which to retry, in seconds; at least one.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// A limit was reached. `retry_at` is when the next attempt is allowed.
    #[must_use]
    pub fn too_many(now: Timestamp, retry_at: Timestamp) -> Self {
        Self::new(Code::TooManyAttempts).retry_after(policy::retry_after_secs(now, retry_at))
    }

    /// An operation was not done. `rejected` makes the problem of a rejection.
    pub fn of<R>(error: OperationError<R>, rejected: impl FnOnce(R) -> Self) -> Self {
        match error {
            OperationError::Rejected(why) => rejected(why),
            OperationError::Store(error) => error.into(),
        }
    }

    /// The client credential is wrong: the 401 of introspection.
    #[must_use]
    pub fn unauthorized_client() -> Self {
        Self { client: true, ..Self::new(Code::InvalidToken) }
    }

    /// The code of the problem.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What the first wrong field must be, in English.
    #[must_use]
    pub fn field_detail(&self) -> Option<&str> {
        self.errors.first().map(|error| &*error.detail)
    }

    /// The fields that are wrong.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.errors.iter().map(|error| &*error.field)
    }

    /// The value of the `Retry-After` header, if there is one.
    pub(super) fn retry_after_seconds(&self) -> Option<u32> {
        self.retry_after
    }

    pub(super) fn retry_header(&self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
    }

    /// What is wrong with this request, for people.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// An internal failure. The log has the cause; the caller does not get it.
    fn internal() -> Self {
        Self::new(Code::Unavailable)
    }

    fn challenge(&self) -> Option<&'static str> {
        match self.code {
            _ if self.client => Some(r#"Basic realm="vestibule", charset="UTF-8""#),
            Code::StepUpRequired => Some(r#"Bearer error="insufficient_user_authentication", max_age="300""#),
            Code::InvalidToken | Code::SessionRefreshRequired => Some(r#"Bearer error="invalid_token""#),
            code => (code.status() == StatusCode::UNAUTHORIZED).then_some("Bearer"),
        }
    }

    /// The body of the response.
    pub(super) fn body<'a>(&'a self, request_id: &'a str) -> ProblemBody<'a> {
        let code = self.code;
        ProblemBody {
            r#type: format!("/problems/{}", code.as_str()),
            title: code.title(),
            status: code.status().as_u16(),
            detail: self.detail.as_deref(),
            code,
            request_id,
            errors: &self.errors,
            retry_after_seconds: self.retry_after,
        }
    }

    /// The whole response.
    pub(super) fn render(&self, request_id: &str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        self.retry_header(&mut headers);
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        (self.code.status(), headers, serde_json::to_vec(&self.body(request_id)).unwrap_or_default()).into_response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Corrupt(_) => tracing::error!(%error, "denied"),
            _ => tracing::warn!(%error, "denied"),
        }
        Self::internal()
    }
}

impl<R: Into<Problem>> From<OperationError<R>> for Problem {
    fn from(error: OperationError<R>) -> Self {
        Self::of(error, Into::into)
    }
}

impl From<EntropyError> for Problem {
    fn from(error: EntropyError) -> Self {
        tracing::error!(%error, "denied");
        Self::internal()
    }
}

impl From<SealError> for Problem {
    fn from(error: SealError) -> Self {
        tracing::error!(%error, "denied");
        Self::internal()
    }
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        match error {
            HashError::TooLong => return Self::field("", PASSWORD_TOO_LONG), // not reached: handlers check the length first and name the field
            HashError::Busy => tracing::warn!(%error, "denied"),
            HashError::Unusable | HashError::Entropy(_) => tracing::error!(%error, "denied"),
        }
        Self::internal()
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        tracing::error!(%error, "denied");
        Self::internal()
    }
}

impl From<TokenRejection> for Problem {
    fn from(why: TokenRejection) -> Self {
        match why {
            TokenRejection::Invalid => Code::InvalidToken.into(),
            TokenRejection::RefreshRequired => Code::SessionRefreshRequired.into(),
        }
    }
}

impl From<EndRejection> for Problem {
    fn from(why: EndRejection) -> Self {
        match why {
            EndRejection::Caller(why) => why.into(),
            EndRejection::NoSuchSession => Code::NotFound.into(),
        }
    }
}

impl From<VerificationRejection> for Problem {
    fn from(why: VerificationRejection) -> Self {
        match why {
            VerificationRejection::InvalidToken => Code::InvalidToken.into(),
            VerificationRejection::RefreshRequired => Code::SessionRefreshRequired.into(),
            VerificationRejection::FactorDisabled => Code::MfaResetRequired.into(),
            VerificationRejection::NoFactor => Code::Forbidden.into(),
        }
    }
}

impl From<EnrolmentRejection> for Problem {
    fn from(why: EnrolmentRejection) -> Self {
        match why {
            EnrolmentRejection::InvalidToken => Code::InvalidToken.into(),
            EnrolmentRejection::RefreshRequired => Code::SessionRefreshRequired.into(),
            EnrolmentRejection::StepUpRequired => Code::StepUpRequired.into(),
            EnrolmentRejection::ResetRequired => Code::MfaResetRequired.into(),
            EnrolmentRejection::ResetCode => Code::ResetCodeRequired.into(),
            EnrolmentRejection::NonePending => none_pending(),
        }
    }
}

impl From<EnrolmentChanged> for Problem {
    fn from(why: EnrolmentChanged) -> Self {
        match why {
            EnrolmentChanged::Token(why) => why.into(),
            EnrolmentChanged::NonePending => none_pending(),
            EnrolmentChanged::Stale => {
                Self::new(Code::Conflict).detail("another request changed the authenticator: try again")
            }
        }
    }
}

fn none_pending() -> Problem {
    Problem::new(Code::Conflict).detail("no enrolment is pending: start one")
}

impl From<RecoveryTokenRejection> for Problem {
    fn from(why: RecoveryTokenRejection) -> Self {
        let conflict = |detail: &'static str| Self::new(Code::Conflict).detail(detail);
        match why {
            RecoveryTokenRejection::Session(why) => why.into(),
            RecoveryTokenRejection::FactorDisabled => Code::MfaResetRequired.into(),
            RecoveryTokenRejection::NoFactor => conflict("you have no active authenticator"),
            RecoveryTokenRejection::FactorReplaced => conflict("another request changed the authenticator: try again"),
        }
    }
}

impl From<Denied> for Problem {
    fn from(why: Denied) -> Self {
        match why {
            Denied::Forbidden => Code::Forbidden.into(),
            Denied::StepUpRequired => Code::StepUpRequired.into(),
        }
    }
}
