//! An IdP of the tests: it says whatever a test wants it to, signed or not, and what it signed can be rearranged.

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

use crate::{Ask, Reply, Service};

const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
/// Exclusive canonicalisation.
pub const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
/// What the IdP signs with, unless told otherwise.
pub const ECDSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256";
/// The `Accept` header of a browser.
pub const BROWSER: &str = "text/html,application/xml;q=0.9";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";

/// An IdP with a key of its own.
pub struct Idp {
    /// Its entity id.
    pub entity_id: String,
    /// Its certificate, PEM.
    pub certificate: String,
    key: String,
}

/// A request as it came to the IdP.
pub struct Asked {
    /// The request itself.
    pub xml: String,
    /// Its id.
    pub id: String,
    /// What has to come back.
    pub relay_state: String,
}

/// What a response says: all of it, for a test to change.
#[derive(Clone)]
pub struct Says {
    /// The response's id.
    pub response_id: String,
    /// The assertion's id.
    pub assertion_id: String,
    /// Who says it.
    pub issuer: String,
    /// Where the response goes.
    pub destination: Option<String>,
    /// Which request is answered.
    pub in_response_to: Option<String>,
    /// The status.
    pub status: String,
    /// About whom: the content of `NameID`.
    pub name_id: String,
    /// How it is confirmed.
    pub method: String,
    /// To whom.
    pub recipient: Option<String>,
    /// For whom.
    pub audience: Option<String>,
    /// When it was said.
    pub issued: Timestamp,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_on_or_after: Timestamp,
    /// The content of `Conditions`, beside the audience.
    pub conditions: String,
    /// Until when the session lasts at the IdP.
    pub session_ends: Option<Timestamp>,
    /// How they signed in.
    pub context: Option<String>,
    /// When they signed in: the value of `AuthnInstant`.
    pub authenticated: Option<String>,
    /// Attributes.
    pub attributes: Vec<(String, Vec<String>)>,
}

impl Idp {
    /// One with a new key.
    #[must_use]
    pub fn new(entity_id: &str) -> Self {
        Self::with_key(entity_id, &PKCS_ECDSA_P256_SHA256)
    }

    /// One with a new key of a kind.
    #[must_use]
    pub fn with_key(entity_id: &str, kind: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = CertificateParams::new(vec!["idp.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self { entity_id: entity_id.to_owned(), certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Its certificate in base64.
    #[must_use]
    pub fn certificate_base64(&self) -> String {
        self.certificate.lines().filter(|line| !line.starts_with("---")).collect()
    }

    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> String {
        format!(
            r#"<?xml version="1.0"?><md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{}"><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.example/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>"#,
            self.entity_id,
            self.certificate_base64()
        )
    }

    /// The same in fields.
    #[must_use]
    pub fn fields(&self) -> Value {
        json!({"idp_entity_id": self.entity_id, "sso_url": "https://idp.example/sso", "certificates": [self.certificate]})
    }

    /// As the store has it, with nothing switched on.
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
            changed: 0,
        }
    }

    /// A right answer to a request of a tenant, about somebody.
    #[must_use]
    pub fn answer(&self, service: &Service, sp: &Sp, asked: &Asked, name_id: &str) -> Says {
        let now = Timestamp::from_secs(service.now());
        Says {
            response_id: format!("_r{}", fresh()),
            assertion_id: format!("_a{}", fresh()),
            issuer: self.entity_id.clone(),
            destination: Some(sp.acs_url.clone()),
            in_response_to: Some(asked.id.clone()),
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

    /// Signs the element of an id: an enveloped signature after its issuer.
    #[must_use]
    pub fn sign(&self, xml: &str, id: &str) -> String {
        self.sign_as(xml, id, ECDSA_SHA256)
    }

    /// The same by a method, which the key has to be of.
    #[must_use]
    pub fn sign_as(&self, xml: &str, id: &str, method: &str) -> String {
        let template = template(id, method);
        let element = xml.find(&format!("ID=\"{id}\"")).unwrap();
        let place = element + xml[element..].find("</saml:Issuer>").unwrap() + "</saml:Issuer>".len();
        let unsigned = format!("{}{template}{}", &xml[..place], &xml[place..]);
        self.fill(&unsigned)
    }

    /// Fills the first signature of a document in.
    #[must_use]
    pub fn fill(&self, unsigned: &str) -> String {
        let mut keys = KeysManager::new();
        keys.add_key(load_pem_auto(self.key.as_bytes(), None).unwrap());
        sign(&DsigContext::new(keys), unsigned).unwrap()
    }
}

/// A signature that is not filled in yet.
#[must_use]
pub fn template(id: &str, method: &str) -> String {
    format!(
        r##"<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"/><ds:SignatureMethod Algorithm="{method}"/><ds:Reference URI="#{id}"><ds:Transforms><ds:Transform Algorithm="{ENVELOPED}"/><ds:Transform Algorithm="{EXCLUSIVE}"/></ds:Transforms><ds:DigestMethod Algorithm="{SHA256}"/><ds:DigestValue></ds:DigestValue></ds:Reference></ds:SignedInfo><ds:SignatureValue></ds:SignatureValue></ds:Signature>"##
    )
}

/// Something that was not there before.
#[must_use]
pub fn fresh() -> String {
    UserId::generate(&SystemEntropy).unwrap().to_string()
}

fn optional(name: &str, value: Option<&String>) -> String {
    value.map(|value| format!(" {name}=\"{value}\"")).unwrap_or_default()
}

impl Says {
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

    /// A response around whatever.
    #[must_use]
    pub fn response(&self, inner: &str) -> String {
        let Self { response_id, issuer, status, issued, .. } = self;
        let destination = optional("Destination", self.destination.as_ref());
        let answers = optional("InResponseTo", self.in_response_to.as_ref());
        format!(
            r#"<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="{response_id}" Version="2.0" IssueInstant="{issued}"{destination}{answers}><saml:Issuer>{issuer}</saml:Issuer><samlp:Status><samlp:StatusCode Value="{status}"/></samlp:Status>{inner}</samlp:Response>"#
        )
    }

    /// The response, its assertion signed.
    #[must_use]
    pub fn signed(&self, idp: &Idp) -> String {
        self.response(&idp.sign(&self.assertion(), &self.assertion_id))
    }

    /// The response, signed as a whole.
    #[must_use]
    pub fn signed_whole(&self, idp: &Idp) -> String {
        idp.sign(&self.response(&self.assertion()), &self.response_id)
    }
}

/// The service, as its metadata says a tenant's IdP knows it.
pub struct Sp {
    /// The tenant.
    pub tenant: String,
    /// The entity id.
    pub entity_id: String,
    /// Where assertions go.
    pub acs_url: String,
}

impl Service {
    /// What its metadata says.
    pub async fn sp(&self, tenant: &str) -> Sp {
        let metadata = self.send(Ask::new(Method::GET, format!("/v1/sso/{tenant}/metadata"))).await.ok();
        let metadata = metadata.body.as_str().unwrap().to_owned();
        let after = |mark: &str| metadata.split(mark).nth(1).unwrap().split('"').next().unwrap().to_owned();
        Sp { tenant: tenant.to_owned(), entity_id: after("entityID=\""), acs_url: after("Location=\"") }
    }

    /// What a client that is no browser brings to the IdP.
    pub async fn sso_request(&self, tenant: &str) -> Asked {
        self.sso_request_for(tenant, "").await
    }

    /// The same, with a query.
    pub async fn sso_request_for(&self, tenant: &str, query: &str) -> Asked {
        let sent = self.send(Ask::new(Method::GET, format!("/v1/sso/{tenant}/login{query}"))).await;
        assert_eq!(sent.status, 302, "{sent:?}");
        asked(&sent)
    }

    /// The start of a browser: what it brings to the IdP, and its pre-session cookie. `brings` is a `Cookie` header.
    pub async fn browser_starts(&self, tenant: &str, query: &str, brings: &str) -> (Asked, String) {
        let ask = Ask::new(Method::GET, format!("/v1/sso/{tenant}/login{query}")).header("accept", BROWSER);
        let sent = self.send(if brings.is_empty() { ask } else { ask.header("cookie", brings) }).await;
        assert_eq!(sent.status, 302, "{sent:?}");
        (asked(&sent), sent.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned())
    }

    /// A form that a browser brings back, with a `Cookie` header.
    pub async fn browser_brings(&self, tenant: &str, form: &str, brings: &str) -> Reply {
        let ask = Ask::new(Method::POST, format!("/v1/sso/{tenant}/acs")).form(form).header("accept", BROWSER);
        self.send(if brings.is_empty() { ask } else { ask.header("cookie", brings) }).await
    }

    /// What a client brings back.
    pub async fn acs(&self, tenant: &str, response: &str, relay_state: &str) -> Reply {
        self.acs_body(tenant, &form(response, relay_state)).await
    }

    /// A form, field by field.
    pub async fn acs_form(&self, tenant: &str, form: &[(&str, &str)]) -> Reply {
        self.acs_body(tenant, &serde_urlencoded::to_string(form).unwrap()).await
    }

    /// What is to be a form.
    pub async fn acs_body(&self, tenant: &str, body: &str) -> Reply {
        self.send(Ask::new(Method::POST, format!("/v1/sso/{tenant}/acs")).form(body)).await
    }
}

/// What a response is checked against, without a service around it.
pub struct Bare {
    tenant: TenantId,
    idp: item::Idp,
    sp: ServiceProvider,
    relay: Relay,
}

impl Bare {
    /// A tenant's IdP, and the request that waits.
    #[must_use]
    pub fn new(idp: &Idp, sp: &Sp, asked: &Asked) -> Self {
        Self {
            tenant: TenantId::parse(&sp.tenant).unwrap(),
            idp: idp.item(),
            sp: ServiceProvider { entity_id: sp.entity_id.clone(), acs_url: sp.acs_url.clone() },
            relay: Relay::parse(&asked.relay_state, RestoreEpoch::default()).unwrap(),
        }
    }

    /// At a moment, in a store that was put back at another.
    #[must_use]
    pub fn expected(&self, now: Timestamp, since: Timestamp) -> Expected<'_> {
        let request = SsoRequest::new("/".to_owned(), now);
        let relay = Some((self.relay.clone(), Some(request)));
        Expected { tenant: &self.tenant, idp: &self.idp, sp: &self.sp, relay, now, since }
    }
}

/// The form in which a browser brings a response, with what came with the request.
#[must_use]
pub fn form(response: &str, relay_state: &str) -> String {
    let response = BASE64.encode(response.as_bytes());
    serde_urlencoded::to_string([("SAMLResponse", response.as_str()), ("RelayState", relay_state)]).unwrap()
}

/// The request in a redirect.
#[must_use]
pub fn asked(sent: &Reply) -> Asked {
    in_location(sent.headers["location"].to_str().unwrap())
}

/// The request in the address that a browser is sent to.
#[must_use]
pub fn in_location(location: &str) -> Asked {
    let query: Vec<(String, String)> = serde_urlencoded::from_str(location.split_once('?').unwrap().1).unwrap();
    let value = |name: &str| query.iter().find(|(it, _)| it == name).unwrap().1.clone();
    let deflated = BASE64.decode(value("SAMLRequest").as_bytes()).unwrap();
    let xml = String::from_utf8(miniz_oxide::inflate::decompress_to_vec(&deflated).unwrap()).unwrap();
    let id = xml.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    Asked { id, relay_state: value("RelayState"), xml }
}
