//! `GET /v1/sso/{tenant}/metadata` and `GET /v1/sso/{tenant}/login`: the service provider's metadata, and the start of a sign-in.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;
use vestibule::{
    http::{
        ApiRequest, ApiResult, App, Code, NoBody, Problem, Request, Routes,
        page::{Cookies, is_own_path},
    },
    id::TenantId,
    saml::{self, RequestSigner},
    sso::{PreSession, Relay},
    store::{item::SsoRequest, sso::TenantIdp},
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(metadata)).routes(routes!(login))
}

/// Get the SAML metadata of this service
///
/// Use it to configure the tenant's identity provider. Each tenant has its own entity id and addresses.
#[utoipa::path(get, path = "/v1/sso/{tenant}/metadata", operation_id = "getSsoMetadata", tag = "sso",
    params(("tenant" = String, Path, description = "The id of the tenant.", example = "acme")), responses(
    (status = 200, body = String, content_type = "application/samlmetadata+xml",
        description = "The metadata of this service as a service provider: an XML document.",
        example = json!("<md:EntityDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\" \
            entityID=\"https://auth.acme.example/v1/sso/acme/metadata\"/>")),
    (status = 404, description = "`not_found`: The tenant does not exist."),
))]
async fn metadata(State(app): State<Arc<App>>, call: ApiRequest<NoBody, TenantId>) -> ApiResult<Response> {
    let tenant = call.path;
    call.request.set_tenant(&tenant);
    let sp = app.service_provider(&tenant)?;
    let key = match app.store.idp(&tenant).await? {
        TenantIdp::NoTenant => return Err(Code::NotFound.into()),
        TenantIdp::NoIdp => None,
        TenantIdp::Configured(idp) => idp.request_key,
    };
    let xml = saml::service_provider_metadata(&sp, key.as_ref().map(|key| key.certificate.as_slice()));
    Ok(([(header::CONTENT_TYPE, "application/samlmetadata+xml")], xml).into_response())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LoginQuery {
    /// Where the browser goes once the user is signed in: a path of this service, at most 1,024 bytes. Default: `/`.
    #[param(example = "/portal")]
    return_to: Option<String>,
    /// Ask the identity provider to authenticate the user again (`ForceAuthn`). Only the response to such a request can count as
    /// a step-up.
    step_up: Option<bool>,
    /// For this service only: it sets the parameter when it redirects a browser that brought an unsolicited response.
    unsolicited: Option<bool>,
}

/// Start a sign-in at the identity provider
///
/// Redirects the browser to the tenant's identity provider with a SAML request, which the identity provider must answer within
/// 15 minutes. A browser (`Accept: text/html`) gets a pre-session cookie and must send it with the identity provider's response.
/// For any other client, the sign-in ends with JSON and sets no cookie.
#[utoipa::path(get, path = "/v1/sso/{tenant}/login", operation_id = "startSsoLogin", tag = "sso",
    params(("tenant" = String, Path, description = "The id of the tenant.", example = "acme"), LoginQuery), responses(
    (status = 302, description = "The browser is redirected to the identity provider.", headers(
        ("location" = String, description = "The identity provider's address, with the SAML request."),
        ("set-cookie" = String, description = "For a browser: the pre-session, for 15 minutes."))),
    (status = 404, description = "`not_found`: The tenant does not exist, or has no identity provider."),
))]
async fn login(State(app): State<Arc<App>>, call: ApiRequest<NoBody, TenantId, LoginQuery>) -> ApiResult<Response> {
    let ApiRequest { path: tenant, query, request, .. } = call;
    request.set_tenant(&tenant);
    let return_to = query.return_to.clone().unwrap_or_else(|| "/".to_owned());
    if !is_own_path(&return_to) {
        return Err(Problem::field("query:return_to", "must be a path of this service that begins with a single /"));
    }
    let sp = app.service_provider(&tenant)?;
    let idp = app.store.idp(&tenant).await?.configured().ok_or(Code::NotFound)?;
    let signer =
        idp.request_key.as_ref().map(|key| RequestSigner::open(app.names()?, &tenant, key).map_err(Problem::from));
    let signer = signer.transpose()?;
    let (relay_state, relay) = Relay::generate(app.store.restore_epoch(), &*app.entropy)?;
    let step_up = query.step_up.unwrap_or(false);
    let pre_session = if request.wants_html() { Some(pre_session(&app, &request, &query)?) } else { None };
    let bound = pre_session.as_ref().map(PreSession::digest);
    let sent = SsoRequest { step_up, pre_session: bound, ..SsoRequest::new(return_to, request.now) };
    app.store.open_request(&tenant, &relay, &sent).await?;
    let location = saml::redirect(&sp, &idp.sso_url, &relay_state, &relay, request.now, step_up, signer.as_ref())?;
    let cookie = pre_session.map(|it| AppendHeaders([(header::SET_COOKIE, Cookies::new(&app).set_pre_session(&it))]));
    Ok((StatusCode::FOUND, [(header::LOCATION, location)], cookie, ()).into_response())
}

/// The browser's pre-session, which its tabs share, or a new one.
fn pre_session(app: &App, request: &Request, query: &LoginQuery) -> ApiResult<PreSession> {
    let mut pre_session = match Cookies::new(app).pre_session(request) {
        Some(pre_session) => pre_session,
        None => PreSession::generate(&*app.entropy)?,
    };
    pre_session.unsolicited = query.unsolicited.unwrap_or(false);
    Ok(pre_session)
}
