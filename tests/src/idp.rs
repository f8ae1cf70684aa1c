//! A test IdP. A test chooses what its responses contain and whether they are signed, and can rearrange what was
//! signed.

use std::{fmt::Write, time::Duration};

use axum::http::Method;
use bergshamra_dsig::{context::DsigContext, sign::sign};
use bergshamra_keys::{KeysManager, loader::load_pem_auto};
use data_encoding::BASE64;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SignatureAlgorithm};
use serde_json::{Value, json};
use vestibule::{
    env::{SystemEntropy, Timestamp},
    id::{TenantId, UserId},
    saml::{Certificate, Expected},
    secret::RestoreEpoch,
    sso::{Relay, ServiceProvider},
    store::item::{self, SsoRequest},
};

use crate::{Reply, Service, TestRequest};

const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
/// Algorithm of exclusive canonicalisation.
pub const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
/// The default signature method of the IdP.
pub const ECDSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256";
/// The `Accept` header of a browser.
pub const BROWSER: &str = "text/html,application/xml;q=0.9";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";

/// An IdP with its own key.
pub struct Idp {
    /// Its entity id.
    pub entity_id: String,
    /// Its certificate in PEM.
    pub certificate: String,
    key: String,
}

/// An `AuthnRequest` that the service sent to the IdP.
pub struct AuthnRequest {
    /// The XML.
    pub xml: String,
    /// Its id.
    pub id: String,
    /// The `RelayState` to send back.
    pub relay_state: String,
}

/// The content of a response. A test may change every field before it signs the response.
#[derive(Clone)]
pub struct ResponseSpec {
    /// The response's id.
    pub response_id: String,
    /// The assertion's id.
    pub assertion_id: String,
    /// `Issuer` of the response and of the assertion.
    pub issuer: String,
    /// `Destination`.
    pub destination: Option<String>,
    /// `InResponseTo`.
    pub in_response_to: Option<String>,
    /// `StatusCode`.
    pub status: String,
    /// The content of `NameID`, as XML.
    pub name_id: String,
    /// `Method` of the `SubjectConfirmation`.
    pub method: String,
    /// `Recipient` of the `SubjectConfirmationData`.
    pub recipient: Option<String>,
    /// `Audience`.
    pub audience: Option<String>,
    /// `IssueInstant`.
    pub issued: Timestamp,
    /// `NotBefore`.
    pub not_before: Timestamp,
    /// `NotOnOrAfter`.
    pub not_on_or_after: Timestamp,
    /// Further content of `Conditions`, as XML.
    pub conditions: String,
    /// `SessionNotOnOrAfter`.
    pub session_ends: Option<Timestamp>,
    /// `AuthnContextClassRef`.
    pub context: Option<String>,
    /// `AuthnInstant`.
    pub authenticated: Option<String>,
    /// Attributes: names and values.
    pub attributes: Vec<(String, Vec<String>)>,
}

impl Idp {
    /// An IdP with a new key for the default signature method.
    #[must_use]
    pub fn new(entity_id: &str) -> Self {
        Self::with_key(entity_id, &PKCS_ECDSA_P256_SHA256)
    }

    /// An IdP with a new key for this signature algorithm.
    #[must_use]
    pub fn with_key(entity_id: &str, kind: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = CertificateParams::new(vec!["idp.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self { entity_id: entity_id.to_owned(), certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Its certificate as base64 of the DER.
    #[must_use]
    pub fn certificate_base64(&self) -> String {
        self.certificate.lines().filter(|line| !line.starts_with("---")).collect()
    }

    /// Its SAML metadata.
    #[must_use]
    pub fn metadata(&self) -> String {
        format!(
            r#"<?xml version="1.0"?><md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{}"><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.example/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>"#,
            self.entity_id,
            self.certificate_base64()
        )
    }

    /// The configuration as fields of the admin API, instead of metadata.
    #[must_use]
    pub fn fields(&self) -> Value {
        json!({"idp_entity_id": self.entity_id, "sso_url": "https://idp.example/sso", "certificates": [self.certificate]})
    }

    /// The stored configuration, without any optional setting.
    #[must_use]
    pub fn item(&self) -> item::Idp {
        let certificate = Certificate::from_pem(&self.certificate).unwrap();
        item::Idp {
            entity_id: self.entity_id.clone(),
            generation: None,
            sso_url: "https://idp.example/sso".into(),
            certificates: vec![certificate.der.into()],
            idp_initiated: false,
            mfa_contexts: vec![],
            link_attribute: None,
            provisioning: None,
            request_key: None,
            valid_until: None,
            changed: Timestamp::default(),
        }
    }

    /// A valid response to a tenant's request, for a user. To be changed and signed by the test.
    #[must_use]
    pub fn valid_response(
        &self,
        service: &Service,
        sp: &Sp,
        authn_request: &AuthnRequest,
        name_id: &str,
    ) -> ResponseSpec {
        let now = Timestamp::from_secs(service.now());
        ResponseSpec {
            response_id: format!("_r{}", random_id()),
            assertion_id: format!("_a{}", random_id()),
            issuer: self.entity_id.clone(),
            destination: Some(sp.acs_url.clone()),
            in_response_to: Some(authn_request.id.clone()),
            status: "urn:oasis:names:tc:SAML:2.0:status:Success".to_owned(),
            name_id: name_id.to_owned(),
            method: "urn:oasis:names:tc:SAML:2.0:cm:bearer".to_owned(),
            recipient: Some(sp.acs_url.clone()),
            audience: Some(sp.entity_id.clone()),
            issued: now,
            not_before: now - Duration::from_secs(30),
            not_on_or_after: now + Duration::from_secs(300),
            conditions: String::new(),
            session_ends: None,
            context: Some("urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport".to_owned()),
            authenticated: Some(now.to_string()),
            attributes: Vec::new(),
        }
    }

    /// Signs the element with this id by an enveloped signature after its `Issuer`.
    pub fn sign(&self, xml: &str, id: &str) -> String {
        self.sign_as(xml, id, ECDSA_SHA256)
    }

    /// Signs an element by another signature method, which must fit the key.
    #[must_use]
    pub fn sign_as(&self, xml: &str, id: &str, method: &str) -> String {
        let template = template(id, method);
        let element = xml.find(&format!("ID=\"{id}\"")).unwrap();
        let place = element + xml[element..].find("</saml:Issuer>").unwrap() + "</saml:Issuer>".len();
        let unsigned = format!("{}{template}{}", &xml[..place], &xml[place..]);
        self.fill(&unsigned)
    }

    /// Calculates the first signature of a document and fills it in.
    #[must_use]
    pub fn fill(&self, unsigned: &str) -> String {
        let mut keys = KeysManager::new();
        keys.add_key(load_pem_auto(self.key.as_bytes(), None).unwrap());
        sign(&DsigContext::new(keys), unsigned).unwrap()
    }
}

/// A signature element without digest and signature value.
#[must_use]
pub fn template(id: &str, method: &str) -> String {
    format!(
        r##"<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"/><ds:SignatureMethod Algorithm="{method}"/><ds:Reference URI="#{id}"><ds:Transforms><ds:Transform Algorithm="{ENVELOPED}"/><ds:Transform Algorithm="{EXCLUSIVE}"/></ds:Transforms><ds:DigestMethod Algorithm="{SHA256}"/><ds:DigestValue></ds:DigestValue></ds:Reference></ds:SignedInfo><ds:SignatureValue></ds:SignatureValue></ds:Signature>"##
    )
}

/// A new random id.
#[must_use]
pub fn random_id() -> String {
    UserId::generate(&SystemEntropy).unwrap().to_string()
}

fn optional(name: &str, value: Option<&String>) -> String {
    value.map(|value| format!(" {name}=\"{value}\"")).unwrap_or_default()
}

impl ResponseSpec {
    /// The assertion alone.
    #[must_use]
    pub fn assertion(&self) -> String {
        let Self { assertion_id, issuer, name_id, method, issued, not_before, not_on_or_after, conditions, .. } = self;
        let mut attributes = String::new();
        for (name, values) in &self.attributes {
            let _ = write!(attributes, r#"<saml:Attribute Name="{name}">"#);
            for value in values {
                let _ = write!(attributes, "<saml:AttributeValue>{value}</saml:AttributeValue>");
            }
            attributes.push_str("</saml:Attribute>");
        }
        if !attributes.is_empty() {
            attributes = format!("<saml:AttributeStatement>{attributes}</saml:AttributeStatement>");
        }
        let audience = self.audience.as_ref().map_or(String::new(), |audience| {
            format!("<saml:AudienceRestriction><saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction>")
        });
        let context = self.context.as_ref().map_or(String::new(), |class| {
            format!(
                "<saml:AuthnContext><saml:AuthnContextClassRef>{class}</saml:AuthnContextClassRef></saml:AuthnContext>"
            )
        });
        let instant = optional("AuthnInstant", self.authenticated.as_ref());
        let session = optional("SessionNotOnOrAfter", self.session_ends.map(|at| at.to_string()).as_ref());
        let recipient = optional("Recipient", self.recipient.as_ref());
        let answers = optional("InResponseTo", self.in_response_to.as_ref());
        format!(
            r#"<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="{assertion_id}" Version="2.0" IssueInstant="{issued}"><saml:Issuer>{issuer}</saml:Issuer><saml:Subject><saml:NameID>{name_id}</saml:NameID><saml:SubjectConfirmation Method="{method}"><saml:SubjectConfirmationData NotOnOrAfter="{not_on_or_after}"{recipient}{answers}/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="{not_before}" NotOnOrAfter="{not_on_or_after}">{audience}{conditions}</saml:Conditions><saml:AuthnStatement{instant}{session}>{context}</saml:AuthnStatement>{attributes}</saml:Assertion>"#
        )
    }

    /// A response with this content after its status.
    #[must_use]
    pub fn response(&self, inner: &str) -> String {
        let Self { response_id, issuer, status, issued, .. } = self;
        let destination = optional("Destination", self.destination.as_ref());
        let answers = optional("InResponseTo", self.in_response_to.as_ref());
        format!(
            r#"<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="{response_id}" Version="2.0" IssueInstant="{issued}"{destination}{answers}><saml:Issuer>{issuer}</saml:Issuer><samlp:Status><samlp:StatusCode Value="{status}"/></samlp:Status>{inner}</samlp:Response>"#
        )
    }

    /// The response with a signed assertion.
    #[must_use]
    pub fn sign_assertion(&self, idp: &Idp) -> String {
        self.response(&idp.sign(&self.assertion(), &self.assertion_id))
    }

    /// The response, signed as a whole.
    #[must_use]
    pub fn sign_response(&self, idp: &Idp) -> String {
        idp.sign(&self.response(&self.assertion()), &self.response_id)
    }
}

/// The service provider, as its metadata describes it to a tenant's IdP.
pub struct Sp {
    /// Tenant id.
    pub tenant: String,
    /// Entity id of the service provider.
    pub entity_id: String,
    /// Assertion consumer service URL.
    pub acs_url: String,
}

impl Service {
    /// The service provider of a tenant, read from its metadata.
    pub async fn sp(&self, tenant: &str) -> Sp {
        let metadata = self.send(TestRequest::new(Method::GET, format!("/v1/sso/{tenant}/metadata"))).await.ok();
        let metadata = metadata.body.as_str().unwrap().to_owned();
        let after = |mark: &str| metadata.split(mark).nth(1).unwrap().split('"').next().unwrap().to_owned();
        Sp { tenant: tenant.to_owned(), entity_id: after("entityID=\""), acs_url: after("Location=\"") }
    }

    /// Starts SSO as a client that is not a browser.
    pub async fn sso_request(&self, tenant: &str) -> AuthnRequest {
        self.sso_request_for(tenant, "").await
    }

    /// Starts SSO with a query, as a client that is not a browser.
    pub async fn sso_request_for(&self, tenant: &str, query: &str) -> AuthnRequest {
        let sent = self.send(TestRequest::new(Method::GET, format!("/v1/sso/{tenant}/login{query}"))).await;
        assert_eq!(sent.status, 302, "{sent:?}");
        authn_request(&sent)
    }

    /// Starts SSO in a browser that sends this `Cookie` header (if not empty). Returns the request and the pre-session
    /// cookie.
    pub async fn start_in_browser(&self, tenant: &str, query: &str, cookie: &str) -> (AuthnRequest, String) {
        let request = TestRequest::new(Method::GET, format!("/v1/sso/{tenant}/login{query}")).header("accept", BROWSER);
        let sent = self.send(if cookie.is_empty() { request } else { request.header("cookie", cookie) }).await;
        assert_eq!(sent.status, 302, "{sent:?}");
        (authn_request(&sent), sent.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned())
    }

    /// Posts a form in a browser that sends this `Cookie` header (if not empty).
    pub async fn post_acs_in_browser(&self, tenant: &str, form: &str, cookie: &str) -> Reply {
        let request =
            TestRequest::new(Method::POST, format!("/v1/sso/{tenant}/acs")).form(form).header("accept", BROWSER);
        self.send(if cookie.is_empty() { request } else { request.header("cookie", cookie) }).await
    }

    /// Posts a response as a client that is not a browser.
    pub async fn acs(&self, tenant: &str, response: &str, relay_state: &str) -> Reply {
        self.acs_body(tenant, &form(response, relay_state)).await
    }

    /// Posts these form fields.
    pub async fn acs_form(&self, tenant: &str, form: &[(&str, &str)]) -> Reply {
        self.acs_body(tenant, &serde_urlencoded::to_string(form).unwrap()).await
    }

    /// Posts a body with the content type of a form.
    pub async fn acs_body(&self, tenant: &str, body: &str) -> Reply {
        self.send(TestRequest::new(Method::POST, format!("/v1/sso/{tenant}/acs")).form(body)).await
    }
}

/// The expectations that a response is checked against, without a service.
pub struct CheckInput {
    tenant: TenantId,
    idp: item::Idp,
    sp: ServiceProvider,
    relay: Relay,
}

impl CheckInput {
    /// The IdP of a tenant, and the pending request.
    #[must_use]
    pub fn new(idp: &Idp, sp: &Sp, authn_request: &AuthnRequest) -> Self {
        Self {
            tenant: TenantId::parse(&sp.tenant).unwrap(),
            idp: idp.item(),
            sp: ServiceProvider { entity_id: sp.entity_id.clone(), acs_url: sp.acs_url.clone() },
            relay: Relay::parse(&authn_request.relay_state, RestoreEpoch::default()).unwrap(),
        }
    }

    /// The expectations at a time, in a store restored at `since`.
    #[must_use]
    pub fn expected(&self, now: Timestamp, since: Timestamp) -> Expected<'_> {
        let request = SsoRequest::new("/".to_owned(), now);
        let relay = Some((self.relay.clone(), Some(request)));
        Expected { tenant: &self.tenant, idp: &self.idp, sp: &self.sp, relay, now, since }
    }
}

/// The form that carries a response and its `RelayState`.
#[must_use]
pub fn form(response: &str, relay_state: &str) -> String {
    let response = BASE64.encode(response.as_bytes());
    serde_urlencoded::to_string([("SAMLResponse", response.as_str()), ("RelayState", relay_state)]).unwrap()
}

/// The request in a redirect response.
#[must_use]
pub fn authn_request(sent: &Reply) -> AuthnRequest {
    authn_request_in_url(sent.headers["location"].to_str().unwrap())
}

/// The request in a redirect URL.
#[must_use]
pub fn authn_request_in_url(location: &str) -> AuthnRequest {
    let query: Vec<(String, String)> = serde_urlencoded::from_str(location.split_once('?').unwrap().1).unwrap();
    let value = |name: &str| query.iter().find(|(it, _)| it == name).unwrap().1.clone();
    let deflated = BASE64.decode(value("SAMLRequest").as_bytes()).unwrap();
    let xml = String::from_utf8(miniz_oxide::inflate::decompress_to_vec(&deflated).unwrap()).unwrap();
    let id = xml.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    AuthnRequest { id, relay_state: value("RelayState"), xml }
}
