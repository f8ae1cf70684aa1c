//! `POST /v1/introspect` (RFC 7662): a portal asks whose token it was given.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    http::{
        Answer, App, Call, FormBody, Problem, Routes,
        dto::{AmrDto, KindDto, RoleDto, amr},
    },
    id::ClientId,
    secret::{CodeDigest, SecretText, TokenRef},
    store::{client::Introspected, item::Amr},
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(introspect))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IntrospectRequest {
    #[schema(value_type = String)]
    token: SecretText,
    /// Let pass: the token tells its class.
    #[serde(rename = "token_type_hint")]
    _hint: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum IntrospectAnswer {
    Active(Box<ActiveDto>),
    Inactive(InactiveDto),
}

/// A living session of a tenant that the client may ask about.
#[derive(Serialize, ToSchema)]
struct ActiveDto {
    active: bool,
    /// The user id, within the tenant.
    sub: String,
    tenant: String,
    username: String,
    kind: KindDto,
    role: RoleDto,
    amr: Vec<AmrDto>,
    acr: AcrDto,
    /// NumericDate: the sign-in, or the last step-up (RFC 9470).
    auth_time: i64,
    /// NumericDate: the sign-in.
    iat: i64,
    /// NumericDate.
    exp: i64,
    #[schema(example = "Bearer")]
    token_type: &'static str,
}

/// Anything else.
// No other fields: else what is active would match this schema too, and `oneOf` neither.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InactiveDto {
    active: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AcrDto {
    SingleFactor,
    MultiFactor,
    /// Their organisation's IdP vouches for them; whether it asked for a second factor is not known here.
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

/// Says whether a token is a living session, and whose. It counts as use of the session.
#[utoipa::path(post, path = "/v1/introspect", tag = "session", security(("client" = [])),
    request_body(content = IntrospectRequest, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 200, body = IntrospectAnswer),
    (status = 401, description = "`invalid_token`: the client credential is wrong"),
))]
async fn introspect(
    State(app): State<Arc<App>>,
    call: Call<FormBody<IntrospectRequest>>,
) -> Answer<Json<IntrospectAnswer>> {
    let Call { body: FormBody(body), request, .. } = call;
    let (name, secret) = request.basic().ok_or_else(Problem::unauthorized_client)?;
    let client = ClientId::parse(&name).map_err(|_| Problem::unauthorized_client())?;
    let digest = CodeDigest::of_client_secret(&client, secret.expose());
    let token = TokenRef::parse(body.token.expose(), app.store.restored());
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
        iat: session.created / 1000,
        exp: session.ends,
        token_type: "Bearer",
    }))))
}
