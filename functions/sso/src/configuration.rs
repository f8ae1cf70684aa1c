//! `/v1/admin/sso`: which IdP a tenant's people come from, and how much of what it says is believed.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, Outcome, Tell},
    env::Timestamp,
    http::{Answer, App, Call, Code, Large, Line, Problem, Routes},
    saml::{Certificate, IdpMetadata},
    sso::{PublicUrl, ServiceProvider, is_https_or_loopback},
    store::{
        item::{Idp, Provisioning},
        sso::IdpRemoved,
    },
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(read, change, remove))
}

/// How many certificates an IdP may have at once.
const CERTIFICATES: usize = 8;

/// The IdP by its metadata, or by its fields; the rest is off where nothing is said.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IdpRequest {
    /// The IdP's metadata; instead of the three fields.
    metadata_xml: Option<String>,
    idp_entity_id: Option<String>,
    /// Where it takes requests, by HTTP-Redirect. A service that is reached over HTTPS sends nobody to plain HTTP.
    sso_url: Option<String>,
    /// PEM, at most 8: several while the IdP changes its key.
    certificates: Option<Vec<String>>,
    /// Whether people may arrive from the IdP's portal, unasked for.
    idp_initiated: Option<bool>,
    /// Authentication contexts (AuthnContextClassRef) of the IdP's that count as a step-up.
    mfa_contexts: Option<Vec<Line>>,
    /// An attribute that says the login name: who was linked to no name of the IdP's yet is, at their first sign-in.
    link_attribute: Option<Line>,
    /// Creates people whom the IdP vouches for and nobody created.
    provisioning: Option<ProvisioningRequest>,
}

/// Which attribute says what of somebody new.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProvisioningRequest {
    /// The login name: `Username` where nothing is said.
    username: Option<Line>,
    /// The first name: `FirstName`.
    first_name: Option<Line>,
    /// The last name: `LastName`.
    last_name: Option<Line>,
    /// Where notifications go: `Email`.
    email: Option<Line>,
    /// Groups: `SecurityGroup`.
    groups: Option<Line>,
    /// The company: `CompanyName`.
    company: Option<Line>,
    /// The company that has to be said, if one has.
    only_company: Option<Line>,
    /// Groups whose people are Administrators. Nobody else becomes one.
    administrators: Option<Vec<Line>>,
}

impl From<ProvisioningRequest> for Provisioning {
    fn from(it: ProvisioningRequest) -> Self {
        let or = |given: Option<Line>, name: &str| given.map_or_else(|| name.to_owned(), String::from);
        Self {
            username: or(it.username, "Username"),
            first_name: or(it.first_name, "FirstName"),
            last_name: or(it.last_name, "LastName"),
            email: or(it.email, "Email"),
            groups: or(it.groups, "SecurityGroup"),
            company: or(it.company, "CompanyName"),
            only_company: it.only_company.map(String::from),
            administrators: it.administrators.unwrap_or_default().into_iter().map(String::from).collect(),
        }
    }
}

#[derive(Serialize, ToSchema)]
struct IdpDto {
    idp_entity_id: String,
    sso_url: String,
    /// PEM.
    certificates: Vec<String>,
    /// Of each certificate, in the same order.
    certificates_seen: Vec<CertificateDto>,
    idp_initiated: bool,
    mfa_contexts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_attribute: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provisioning: Option<ProvisioningDto>,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
    /// What the IdP has to know of this service.
    service_provider: ServiceProviderDto,
}

#[derive(Serialize, ToSchema)]
struct CertificateDto {
    /// SHA-256, hexadecimal.
    sha256: String,
    #[schema(value_type = String, format = DateTime)]
    not_before: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    not_after: Timestamp,
    /// Its time is over. It is believed still: replace it.
    expired: bool,
}

#[derive(Serialize, ToSchema)]
struct ProvisioningDto {
    username: String,
    first_name: String,
    last_name: String,
    email: String,
    groups: String,
    company: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    only_company: Option<String>,
    administrators: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct ServiceProviderDto {
    entity_id: String,
    acs_url: String,
}

fn shown(idp: &Idp, sp: ServiceProvider, now: Timestamp) -> Json<IdpDto> {
    let read: Vec<_> = idp.certificates.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
    let seen = |it: &Certificate| CertificateDto {
        sha256: it.fingerprint(),
        not_before: it.not_before,
        not_after: it.not_after,
        expired: it.not_after <= now,
    };
    let provisioning = idp.provisioning.clone().map(|it| ProvisioningDto {
        username: it.username,
        first_name: it.first_name,
        last_name: it.last_name,
        email: it.email,
        groups: it.groups,
        company: it.company,
        only_company: it.only_company,
        administrators: it.administrators,
    });
    Json(IdpDto {
        idp_entity_id: idp.entity_id.clone(),
        sso_url: idp.sso_url.clone(),
        certificates: read.iter().map(Certificate::pem).collect(),
        certificates_seen: read.iter().map(seen).collect(),
        idp_initiated: idp.idp_initiated,
        mfa_contexts: idp.mfa_contexts.clone(),
        link_attribute: idp.link_attribute.clone(),
        provisioning,
        changed_at: Timestamp::from_secs(idp.changed),
        service_provider: ServiceProviderDto { entity_id: sp.entity_id, acs_url: sp.acs_url },
    })
}

impl IdpRequest {
    /// The IdP as it is to be kept. `https`: whether that is how this service is reached.
    fn idp(self, https: bool, now: Timestamp) -> Answer<Idp> {
        let invalid = |detail: &'static str| Problem::new(Code::InvalidRequest).detail(detail);
        let fields = (self.idp_entity_id, self.sso_url, self.certificates);
        let IdpMetadata { entity_id, sso_url, certificates } = match (self.metadata_xml, fields) {
            (Some(xml), (None, None, None)) => IdpMetadata::parse(&xml).map_err(invalid)?,
            (None, (Some(entity_id), Some(sso_url), Some(pems))) => {
                let certificates = pems.iter().map(|pem| Certificate::from_pem(pem)).collect::<Result<_, _>>();
                IdpMetadata { entity_id, sso_url, certificates: certificates.map_err(invalid)? }
            }
            _ => return Err(invalid("either metadata_xml, or idp_entity_id, sso_url and certificates")),
        };
        let plain = |text: &str| (1..=1024).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
        if !plain(&entity_id) {
            return Err(invalid("an entity id is 1 to 1,024 visible ASCII characters"));
        }
        let web = is_https_or_loopback(&sso_url) || (!https && sso_url.starts_with("http://"));
        if !plain(&sso_url) || sso_url.contains('#') || !web {
            return Err(invalid("sso_url has to be an address of the web, encrypted where this service is"));
        }
        if !(1..=CERTIFICATES).contains(&certificates.len()) {
            return Err(invalid("an IdP has 1 to 8 certificates"));
        }
        Ok(Idp {
            entity_id,
            sso_url,
            certificates: certificates.into_iter().map(|it| ByteBuf::from(it.der)).collect(),
            idp_initiated: self.idp_initiated.unwrap_or(false),
            mfa_contexts: self.mfa_contexts.unwrap_or_default().into_iter().map(String::from).collect(),
            link_attribute: self.link_attribute.map(String::from),
            provisioning: self.provisioning.map(Provisioning::from),
            changed: now.secs(),
        })
    }
}

/// The tenant's IdP, with what the IdP has to know of this service.
#[utoipa::path(get, path = "/v1/admin/sso", tag = "sso", security(("session" = [])), responses(
    (status = 200, body = IdpDto),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`"),
    (status = 404, description = "`not_found`: the tenant has no IdP"),
))]
async fn read(State(app): State<Arc<App>>, call: Call) -> Answer<Json<IdpDto>> {
    let authority = call.request.administrator(&app).await?;
    let sp = app.service_provider(authority.tenant())?;
    let idp = app.store.idp(authority.tenant()).await?.flatten().ok_or(Code::NotFound)?;
    Ok(shown(&idp, sp, call.request.now))
}

/// Configures the tenant's IdP, in the place of whichever was.
#[utoipa::path(put, path = "/v1/admin/sso", tag = "sso", security(("session" = [])), request_body = IdpRequest, responses(
    (status = 200, body = IdpDto),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`"),
))]
async fn change(State(app): State<Arc<App>>, call: Call<Large<IdpRequest>>) -> Answer<Json<IdpDto>> {
    let Call { body: Large(body), request, .. } = call;
    let https = app.public_url.as_ref().is_none_or(PublicUrl::is_https);
    let idp = body.idp(https, request.now)?;
    let authority = request.administrator(&app).await?;
    let sp = app.service_provider(authority.tenant())?;
    let event = request.event(Action::IdpChanged, Outcome::Success).by(authority.key().user());
    let event = event.tell(Tell::Administrators);
    if app.store.set_idp(&authority, &idp, &request.attempt(&app)?, &event).await?.is_none() {
        return Err(request.no_longer(&app).await);
    }
    Ok(shown(&idp, sp, request.now))
}

/// Ends the tenant's IdP: nobody comes from it any more. Not while every active Administrator depends on it.
#[utoipa::path(delete, path = "/v1/admin/sso", tag = "sso", security(("session" = [])), responses(
    (status = 204),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`"),
    (status = 404, description = "`not_found`: the tenant has no IdP"),
    (status = 409, description = "`conflict`: every active Administrator signs in through it"),
))]
async fn remove(State(app): State<Arc<App>>, call: Call) -> Answer<StatusCode> {
    let request = call.request;
    let authority = request.administrator(&app).await?;
    let event = request.event(Action::IdpRemoved, Outcome::Success).by(authority.key().user());
    let event = event.tell(Tell::Administrators);
    match app.store.remove_idp(&authority, &request.attempt(&app)?, &event).await? {
        IdpRemoved::Yes => Ok(StatusCode::NO_CONTENT),
        IdpRemoved::NotFound => Err(Code::NotFound.into()),
        IdpRemoved::Needed => {
            let why = Problem::new(Code::Conflict).detail("every active Administrator signs in through it");
            Err(request.refused(&app, &authority, event, why).await)
        }
        IdpRemoved::ActorGone => Err(request.no_longer(&app).await),
    }
}
