//! `POST /v1/introspect` (RFC 7662): a portal asks which user a session token belongs to.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    http::{
        ApiRequest, ApiResult, App, FormBody, Problem, Routes,
        dto::{AmrDto, KindDto, RoleDto, amr},
    },
    id::ClientId,
    secret::{CodeDigest, SecretText, TokenRef},
    store::{client::Introspected, item::Amr},
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(introspect))
}

/// A token to introspect.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IntrospectRequest {
    /// The session token (`vs_…`) that the portal was given.
    #[schema(value_type = String, example = "vs_Qm3fY8tLw0Kz6RjXc1NbVg")]
    token: SecretText,
    /// Accepted because RFC 7662 defines it, and ignored: the prefix of the token gives its class.
    #[serde(rename = "token_type_hint")]
    _hint: Option<String>,
}

/// The state of a token.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum IntrospectAnswer {
    Active(Box<ActiveDto>),
    Inactive(InactiveDto),
}

/// The token is of a valid session in a tenant that the client may ask about. Times are seconds since 1970 (NumericDate).
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"role": "standard", "acr": "multi_factor"}))]
struct ActiveDto {
    /// Always true.
    #[schema(example = true)]
    active: bool,
    /// The user's id. It is unique within the tenant.
    #[schema(example = "u-ann")]
    sub: String,
    /// The id of the user's tenant.
    #[schema(example = "acme")]
    tenant: String,
    /// The user's name.
    #[schema(example = "ann")]
    username: String,
    /// Whether the user is an employee or a contact.
    kind: KindDto,
    /// The user's role.
    role: RoleDto,
    /// How the user signed in.
    #[schema(example = json!(["pwd", "otp"]))]
    amr: Vec<AmrDto>,
    /// How strong the sign-in was.
    acr: AcrDto,
    /// When the user last proved who they are: at the sign-in, or at the last step-up (RFC 9470).
    #[schema(example = 1_768_469_400)]
    auth_time: i64,
    /// When the user signed in.
    #[schema(example = 1_768_469_400)]
    iat: i64,
    /// When the session ends at the latest.
    #[schema(example = 1_768_512_600)]
    exp: i64,
    /// How the token is sent.
    token_type: TokenTypeDto,
}

/// How a token is sent: in the header `Authorization: Bearer`.
#[derive(Serialize, ToSchema)]
enum TokenTypeDto {
    Bearer,
}

/// The token is of no valid session, or of one that the client may not ask about.
// `deny_unknown_fields`: otherwise an active answer would match this schema too, and `oneOf` would fail.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InactiveDto {
    /// Always false.
    active: bool,
}

/// How strong a sign-in was: by only a password (`single_factor`), by password or identity provider and a code or recovery
/// token (`multi_factor`), or by the tenant's identity provider (`sso`), which may or may not have asked for a second factor.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AcrDto {
    SingleFactor,
    MultiFactor,
    Sso,
}

impl From<Amr> for AcrDto {
    fn from(amr: Amr) -> Self {
        match amr {
            Amr::Password => Self::SingleFactor,
            Amr::Otp | Amr::Recovery | Amr::SsoOtp => Self::MultiFactor,
            Amr::Sso => Self::Sso,
        }
    }
}

/// Introspect a session token
///
/// Returns whether a token belongs to a valid session, and to which user (RFC 7662). Portals call it with a client credential.
/// The call counts as a use of the session.
#[utoipa::path(post, path = "/v1/introspect", operation_id = "introspectToken", tag = "session",
    security(("client" = [])),
    request_body(content = IntrospectRequest, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 200, body = IntrospectAnswer, description = "`active` says whether the session is valid."),
    (status = 401, description = "`invalid_token`: The client credential is wrong."),
))]
async fn introspect(
    State(app): State<Arc<App>>,
    call: ApiRequest<FormBody<IntrospectRequest>>,
) -> ApiResult<Json<IntrospectAnswer>> {
    let ApiRequest { body: FormBody(body), request, .. } = call;
    let (name, secret) = request.basic().ok_or_else(Problem::unauthorized_client)?;
    let client = ClientId::parse(&name).map_err(|_| Problem::unauthorized_client())?;
    let digest = CodeDigest::of_client_secret(&client, secret.expose());
    let token = TokenRef::parse(body.token.expose(), app.store.restore_epoch());
    let (principal, profile) = match app.store.introspect(&client, &digest, token.as_ref(), request.now).await? {
        Introspected::BadClient => return Err(Problem::unauthorized_client()),
        Introspected::Inactive => return Ok(Json(IntrospectAnswer::Inactive(InactiveDto { active: false }))),
        Introspected::Active(principal, profile) => (principal, profile),
    };
    let (key, user, session) = (principal.token().user(), principal.user(), principal.session());
    Ok(Json(IntrospectAnswer::Active(Box::new(ActiveDto {
        active: true,
        sub: key.user().as_str().to_owned(),
        tenant: key.tenant().as_str().to_owned(),
        username: profile.username,
        kind: user.kind.into(),
        role: user.role.into(),
        amr: amr(session.amr),
        acr: session.amr.into(),
        auth_time: session.authenticated().secs(),
        iat: session.created.secs(),
        exp: session.ends.secs(),
        token_type: TokenTypeDto::Bearer,
    }))))
}
