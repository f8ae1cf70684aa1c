//! `/v1/admin/sso`: the identity provider (IdP) of a tenant, and which of its statements the tenant accepts.

mod page;

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::task::spawn_blocking;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::{AuditAction, Notify, Outcome},
    env::Timestamp,
    http::{ApiRequest, ApiResult, App, Code, Large, Line, Problem, Request, Routes},
    id::TenantId,
    saml::{Certificate, IdpMetadata, RequestSigner},
    secret::Nonce,
    sso::{PublicUrl, ServiceProvider, is_https_or_loopback},
    store::{
        ActorRevoked, OperationError,
        item::{Idp, Provisioning, RequestKey},
        sso::RemovalRejection,
    },
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(get, set, remove)).merge(page::routes())
}

/// The maximum number of certificates of an IdP.
const CERTIFICATES: usize = 8;

/// The identity provider of a tenant: its metadata, or its entity id, address and certificates. Absent features are off.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "idp_entity_id": "https://idp.acme.example/saml",
    "sso_url": "https://idp.acme.example/saml/sso",
    "certificates": ["-----BEGIN CERTIFICATE-----\nMIIC…\n-----END CERTIFICATE-----\n"],
}))]
struct IdpRequest {
    /// The identity provider's SAML metadata, an XML document. It replaces `idp_entity_id`, `sso_url` and
    /// `certificates`.
    metadata_xml: Option<String>,
    /// The entity id of the identity provider: 1 to 1,024 visible ASCII characters.
    idp_entity_id: Option<String>,
    /// Where the identity provider takes requests by HTTP-Redirect: at most 1,024 visible ASCII characters. It must
    /// be HTTPS, unless its host is this machine or this service uses HTTP.
    sso_url: Option<String>,
    /// The certificates that the identity provider signs with: 1 to 8, in PEM. Give both while it changes its key.
    certificates: Option<Vec<String>>,
    /// Whether requests to the identity provider are signed. Default: the value in the metadata
    /// (`WantAuthnRequestsSigned`), otherwise `false`.
    sign_requests: Option<bool>,
    /// Whether users may arrive from the identity provider without a start at this service. Default: `false`.
    idp_initiated: Option<bool>,
    /// The authentication contexts (`AuthnContextClassRef`) of the identity provider that count as a step-up.
    mfa_contexts: Option<Vec<Line>>,
    /// The attribute that holds the user name. It links a user to their NameID at their first sign-in.
    link_attribute: Option<Line>,
    /// How users are created at their first sign-in. Default: no users are created.
    provisioning: Option<ProvisioningRequest>,
}

/// The attributes of the identity provider's response that describe a new user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProvisioningRequest {
    /// The attribute with the user name. Default: `Username`.
    username: Option<Line>,
    /// The attribute with the first name. Default: `FirstName`.
    first_name: Option<Line>,
    /// The attribute with the last name. Default: `LastName`.
    last_name: Option<Line>,
    /// The attribute with the e-mail address. Default: `Email`.
    email: Option<Line>,
    /// The attribute with the groups. Default: `SecurityGroup`.
    groups: Option<Line>,
    /// The attribute with the company. Default: `CompanyName`.
    company: Option<Line>,
    /// The company that a new user must belong to. Default: any company.
    only_company: Option<Line>,
    /// The groups whose members become Administrators. All others become standard users.
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

/// The identity provider of a tenant.
#[derive(Serialize, ToSchema)]
struct IdpDto {
    /// The entity id of the identity provider.
    #[schema(example = "https://idp.acme.example/saml")]
    idp_entity_id: String,
    /// Where the identity provider takes requests by HTTP-Redirect.
    #[schema(example = "https://idp.acme.example/saml/sso")]
    sso_url: String,
    /// The certificates that the identity provider signs with, in PEM.
    #[schema(example = json!(["-----BEGIN CERTIFICATE-----\nMIIC…\n-----END CERTIFICATE-----\n"]))]
    certificates: Vec<String>,
    /// The details of the certificates, in the same order.
    certificates_seen: Vec<CertificateDto>,
    /// Whether requests to the identity provider are signed.
    sign_requests: bool,
    /// Until when the metadata is valid. Absent if the metadata has no such time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    valid_until: Option<Timestamp>,
    /// Problems that an Administrator should look at.
    warnings: Vec<WarningDto>,
    /// Whether users may arrive from the identity provider without a start at this service.
    idp_initiated: bool,
    /// The authentication contexts (`AuthnContextClassRef`) that count as a step-up.
    #[schema(example = json!(["https://refeds.org/profile/mfa"]))]
    mfa_contexts: Vec<String>,
    /// The attribute that holds the user name, for users who are not linked to a NameID yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    link_attribute: Option<String>,
    /// How users are created at their first sign-in. Absent if no users are created.
    #[serde(skip_serializing_if = "Option::is_none")]
    provisioning: Option<ProvisioningDto>,
    /// When the configuration was last replaced.
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
    /// What the identity provider needs to know about this service.
    service_provider: ServiceProviderDto,
}

/// A problem that an Administrator should look at; users can still sign in.
///
/// - `metadata_expires`: the metadata has expired, or expires within 30 days. Fetch it from the identity provider again.
/// - `certificate_expires`: a certificate has expired, or expires within 30 days.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WarningDto {
    MetadataExpires,
    CertificateExpires,
}

/// The details of a certificate.
#[derive(Serialize, ToSchema)]
struct CertificateDto {
    /// The SHA-256 of the certificate, in hexadecimal.
    #[schema(example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    sha256: String,
    /// When the certificate begins to be valid.
    #[schema(value_type = String, format = DateTime, example = "2025-01-01T00:00:00Z")]
    not_before: Timestamp,
    /// When the certificate expires.
    #[schema(value_type = String, format = DateTime, example = "2028-01-01T00:00:00Z")]
    not_after: Timestamp,
    /// Whether the certificate has expired. Its signatures are still accepted: replace it soon.
    expired: bool,
}

/// The attributes of the identity provider's response that describe a new user.
#[derive(Serialize, ToSchema)]
struct ProvisioningDto {
    /// The attribute with the user name.
    #[schema(example = "Username")]
    username: String,
    /// The attribute with the first name.
    #[schema(example = "FirstName")]
    first_name: String,
    /// The attribute with the last name.
    #[schema(example = "LastName")]
    last_name: String,
    /// The attribute with the e-mail address.
    #[schema(example = "Email")]
    email: String,
    /// The attribute with the groups.
    #[schema(example = "SecurityGroup")]
    groups: String,
    /// The attribute with the company.
    #[schema(example = "CompanyName")]
    company: String,
    /// The company that a new user must belong to. Absent if any company is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    only_company: Option<String>,
    /// The groups whose members become Administrators.
    #[schema(example = json!(["vestibule-administrators"]))]
    administrators: Vec<String>,
}

/// What an identity provider needs to know about this service.
#[derive(Serialize, ToSchema)]
struct ServiceProviderDto {
    /// The entity id of this service for the tenant.
    #[schema(example = "https://auth.acme.example/v1/sso/acme/metadata")]
    entity_id: String,
    /// Where the identity provider sends its answers by HTTP-POST.
    #[schema(example = "https://auth.acme.example/v1/sso/acme/acs")]
    acs_url: String,
    /// The certificate of the key that signs requests, in PEM. Absent if requests are not signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "-----BEGIN CERTIFICATE-----\nMIIC…\n-----END CERTIFICATE-----\n")]
    signing_certificate: Option<String>,
}

/// How long before an expiry the Administrator gets a warning, and each sign-in logs one.
pub(crate) const EXPIRY_WARNING: Duration = Duration::from_secs(30 * 86_400);

/// The key that signs the tenant's requests: the existing one, or a new one.
async fn request_key(app: &Arc<App>, tenant: &TenantId) -> ApiResult<RequestKey> {
    if let Some(key) = app.store.idp(tenant).await?.configured().and_then(|idp| idp.request_key) {
        return Ok(key);
    }
    let (app, tenant) = (Arc::clone(app), tenant.clone());
    let key = spawn_blocking(move || Ok(RequestSigner::make(app.names()?, &tenant, &*app.entropy)?));
    key.await.map_err(|_| Code::Unavailable)?
}

fn warnings(idp: &Idp, certificates: &[Certificate], now: Timestamp) -> Vec<WarningDto> {
    let soon = now + EXPIRY_WARNING;
    let metadata = idp.valid_until.is_some_and(|until| until <= soon);
    let certificate = certificates.iter().any(|it| it.not_after <= soon);
    let metadata = metadata.then_some(WarningDto::MetadataExpires);
    metadata.into_iter().chain(certificate.then_some(WarningDto::CertificateExpires)).collect()
}

/// The response with the IdP's configuration.
fn response(idp: &Idp, sp: ServiceProvider, now: Timestamp) -> IdpDto {
    let certificates: Vec<_> = idp.certificates.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
    let details = |it: &Certificate| CertificateDto {
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
    let signing_certificate = idp.request_key.as_ref().and_then(|key| Certificate::from_der(&key.certificate).ok());
    let signing_certificate = signing_certificate.map(|it| it.pem());
    IdpDto {
        idp_entity_id: idp.entity_id.clone(),
        sso_url: idp.sso_url.clone(),
        certificates: certificates.iter().map(Certificate::pem).collect(),
        certificates_seen: certificates.iter().map(details).collect(),
        sign_requests: idp.request_key.is_some(),
        valid_until: idp.valid_until,
        warnings: warnings(idp, &certificates, now),
        idp_initiated: idp.idp_initiated,
        mfa_contexts: idp.mfa_contexts.clone(),
        link_attribute: idp.link_attribute.clone(),
        provisioning,
        changed_at: idp.changed,
        service_provider: ServiceProviderDto { entity_id: sp.entity_id, acs_url: sp.acs_url, signing_certificate },
    }
}

impl IdpRequest {
    /// Takes the metadata from the XML document or from the three fields.
    fn metadata(&mut self) -> ApiResult<IdpMetadata> {
        let fields = (self.idp_entity_id.take(), self.sso_url.take(), self.certificates.take());
        match (self.metadata_xml.take(), fields) {
            (Some(xml), (None, None, None)) => {
                IdpMetadata::parse(&xml).map_err(|why| Problem::field("/metadata_xml", why))
            }
            (None, (Some(entity_id), Some(sso_url), Some(pems))) => {
                let certificate = |(n, pem): (usize, &String)| {
                    Certificate::from_pem(pem).map_err(|why| Problem::field(format!("/certificates/{n}"), why))
                };
                let certificates = pems.iter().enumerate().map(certificate).collect::<ApiResult<_>>()?;
                Ok(IdpMetadata { entity_id, sso_url, certificates, wants_signed_requests: false, valid_until: None })
            }
            _ => {
                let detail = "send either metadata_xml alone, or idp_entity_id, sso_url and certificates together";
                Err(Problem::field("/metadata_xml", detail))
            }
        }
    }

    /// The IdP to store, without a key for requests, and whether requests must be signed. `https`: whether this service is
    /// reached through HTTPS.
    fn idp(mut self, https: bool, now: Timestamp) -> ApiResult<(Idp, bool)> {
        let IdpMetadata { entity_id, sso_url, certificates, wants_signed_requests, valid_until } = self.metadata()?;
        if valid_until.is_some_and(|until| until <= now) {
            let detail = "must not have expired (validUntil): fetch the metadata from the identity provider again";
            return Err(Problem::field("/metadata_xml", detail));
        }
        let plain = |text: &str| (1..=1024).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
        if !plain(&entity_id) {
            return Err(Problem::field("/idp_entity_id", "must be 1 to 1024 visible ASCII characters"));
        }
        let web = is_https_or_loopback(&sso_url) || (!https && sso_url.starts_with("http://"));
        if !plain(&sso_url) || sso_url.contains('#') || !web {
            let detail = "must be an HTTPS URL of at most 1024 characters (HTTP only on this machine, or if this service uses HTTP)";
            return Err(Problem::field("/sso_url", detail));
        }
        if !(1..=CERTIFICATES).contains(&certificates.len()) {
            return Err(Problem::field("/certificates", "must be 1 to 8 certificates"));
        }
        let idp = Idp {
            entity_id,
            generation: None,
            sso_url,
            certificates: certificates.into_iter().map(|it| ByteBuf::from(it.der)).collect(),
            idp_initiated: self.idp_initiated.unwrap_or(false),
            mfa_contexts: self.mfa_contexts.unwrap_or_default().into_iter().map(String::from).collect(),
            link_attribute: self.link_attribute.map(String::from),
            provisioning: self.provisioning.map(Provisioning::from),
            request_key: None,
            valid_until: valid_until.map(Timestamp::whole_second),
            changed: now.whole_second(),
        };
        Ok((idp, self.sign_requests.unwrap_or(wants_signed_requests)))
    }
}

/// Get the tenant's identity provider
///
/// For an Administrator with a fresh step-up. The response also contains what the identity provider needs to know about this service.
#[utoipa::path(get, path = "/v1/admin/sso", operation_id = "getIdentityProvider", tag = "sso",
    security(("session" = [])), responses(
    (status = 200, body = IdpDto, description = "The identity provider."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 404, description = "`not_found`: The tenant has no identity provider."),
))]
async fn get(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<Json<IdpDto>> {
    configured(&app, &call.request).await.map(Json)
}

/// The tenant's IdP, for an Administrator.
async fn configured(app: &App, request: &Request) -> ApiResult<IdpDto> {
    let admin = request.administrator(app).await?;
    let sp = app.service_provider(admin.tenant())?;
    let idp = app.store.idp(admin.tenant()).await?.configured().ok_or(Code::NotFound)?;
    Ok(response(&idp, sp, request.now))
}

/// Set the tenant's identity provider
///
/// For an Administrator with a fresh step-up. It replaces the whole configuration. Maximum size of the body: 256 KiB.
#[utoipa::path(put, path = "/v1/admin/sso", operation_id = "setIdentityProvider", tag = "sso",
    security(("session" = [])), request_body = IdpRequest, responses(
    (status = 200, body = IdpDto, description = "The identity provider as it is stored."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 413, description = "`payload_too_large`: The limit is 256 KiB."),
))]
async fn set(State(app): State<Arc<App>>, call: ApiRequest<Large<IdpRequest>>) -> ApiResult<Json<IdpDto>> {
    let ApiRequest { body: Large(body), request, .. } = call;
    configure(&app, &request, body).await.map(Json)
}

/// Replaces the tenant's IdP, for an Administrator.
async fn configure(app: &Arc<App>, request: &Request, body: IdpRequest) -> ApiResult<IdpDto> {
    let https = app.public_url.as_ref().is_none_or(PublicUrl::is_https);
    let (mut idp, sign_requests) = body.idp(https, request.now)?;
    idp.generation = Some(Nonce::generate(&*app.entropy)?);
    let admin = request.administrator(app).await?;
    let sp = app.service_provider(admin.tenant())?;
    if sign_requests {
        idp.request_key = Some(request_key(app, admin.tenant()).await?);
    }
    let event = request.event(AuditAction::IdpChanged, Outcome::Success).by(admin.key().user());
    let event = event.notify(Notify::Administrators);
    match app.store.set_idp(&admin, &idp, &request.attempt(app)?, &event).await {
        Ok(()) => Ok(response(&idp, sp, request.now)),
        Err(OperationError::Rejected(ActorRevoked)) => Err(request.no_longer(app).await),
        Err(OperationError::Store(error)) => Err(error.into()),
    }
}

/// Remove the tenant's identity provider
///
/// For an Administrator with a fresh step-up. Users can no longer sign in through it.
#[utoipa::path(delete, path = "/v1/admin/sso", operation_id = "removeIdentityProvider", tag = "sso",
    security(("session" = [])), responses(
    (status = 204, description = "The identity provider is removed."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 404, description = "`not_found`: The tenant has no identity provider."),
    (status = 409, description = "`conflict`: Every active Administrator signs in through the identity provider."),
))]
async fn remove(State(app): State<Arc<App>>, call: ApiRequest) -> ApiResult<StatusCode> {
    remove_idp(&app, &call.request).await.map(|()| StatusCode::NO_CONTENT)
}

/// Removes the tenant's IdP, for an Administrator.
async fn remove_idp(app: &App, request: &Request) -> ApiResult<()> {
    let admin = request.administrator(app).await?;
    let event = request.event(AuditAction::IdpRemoved, Outcome::Success).by(admin.key().user());
    let event = event.notify(Notify::Administrators);
    let why = match app.store.remove_idp(&admin, &request.attempt(app)?, &event).await {
        Ok(()) => return Ok(()),
        Err(OperationError::Rejected(why)) => why,
        Err(OperationError::Store(error)) => return Err(error.into()),
    };
    Err(match why {
        RemovalRejection::NotFound => Code::NotFound.into(),
        RemovalRejection::Needed => {
            let why = Problem::new(Code::Conflict).detail(why.to_string());
            request.refused(app, &admin, event, why).await
        }
        RemovalRejection::ActorRevoked => request.no_longer(app).await,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a configuration. It always is, because it has no certificate.
    fn wrong(https: bool, entity_id: &str, sso_url: &str) -> String {
        let request = IdpRequest {
            idp_entity_id: Some(entity_id.to_owned()),
            sso_url: Some(sso_url.to_owned()),
            certificates: Some(Vec::new()),
            ..IdpRequest::default()
        };
        let problem = request.idp(https, Timestamp::default()).map(|_| ()).unwrap_err();
        problem.field_detail().unwrap().to_owned()
    }

    const ACCEPTED: &str = "must be 1 to 8 certificates";

    #[test]
    fn address_of_the_idp_is_plain_http_only_if_this_service_is() {
        for (url, beside_https, beside_http) in [
            ("https://idp.example/sso", true, true),
            ("http://127.0.0.1:8081/sso", true, true),
            ("http://idp.example/sso", false, true),
            ("ftp://idp.example/sso", false, false),
            ("javascript:alert(1)", false, false),
        ] {
            for (https, accepted) in [(true, beside_https), (false, beside_http)] {
                assert_eq!(wrong(https, "https://idp.example", url) == ACCEPTED, accepted, "{https} {url}");
            }
        }
    }

    #[test]
    fn entity_id_has_1_to_1024_characters() {
        for (length, accepted) in [(0, false), (1, true), (1024, true), (1025, false)] {
            let entity_id = "x".repeat(length);
            assert_eq!(wrong(true, &entity_id, "https://idp.example/sso") == ACCEPTED, accepted, "{length}");
        }
    }
}
