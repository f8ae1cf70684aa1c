//! SAML 2.0 metadata: that of an IdP, as an Administrator uploads it, and that of this service.

use data_encoding::BASE64;
use uppsala::{Document, NodeId, XmlWriter};

use super::{
    Certificate,
    xml::{HTTP_POST, HTTP_REDIRECT, METADATA, PROTOCOL, SIGNATURE, attribute, named, one, parse, root, text},
};
use crate::{env::Timestamp, sso::ServiceProvider};

/// The parts of an IdP's metadata that Vestibule uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdpMetadata {
    /// The entity id of the IdP.
    pub entity_id: String,
    /// The URL for requests by HTTP-Redirect.
    pub sso_url: String,
    /// Certificates of the IdP's signing keys.
    pub certificates: Vec<Certificate>,
    /// Whether the IdP requires signed requests.
    pub wants_signed_requests: bool,
    /// When the metadata expires, if it says so: the earliest time that applies.
    pub valid_until: Option<Timestamp>,
}

impl IdpMetadata {
    /// Parses the metadata of one IdP. A signature on it is ignored: it is trusted because an Administrator uploaded
    /// it.
    ///
    /// # Errors
    /// A text that says what is wrong with the metadata.
    pub fn parse(xml: &str) -> Result<Self, &'static str> {
        let document = parse(xml).map_err(|_| "the metadata is not well-formed XML without a DTD")?;
        let entity = entity(&document)?;
        let role = idp(&document, entity).ok_or("the metadata is not of an IdP")?;
        let entity_id = attribute(&document, entity, "entityID").ok_or("the metadata has no entityID")?;
        let wants = attribute(&document, role, "WantAuthnRequestsSigned").unwrap_or("").trim();
        let services = named(&document, role, METADATA, "SingleSignOnService");
        let redirect = services.into_iter().find(|id| attribute(&document, *id, "Binding") == Some(HTTP_REDIRECT));
        let sso_url = redirect.and_then(|id| attribute(&document, id, "Location"));
        let sso_url = sso_url.ok_or("the metadata has no SingleSignOnService for HTTP-Redirect")?;
        let certificates = certificates(&document, role)?;
        Ok(Self {
            entity_id: entity_id.to_owned(),
            sso_url: sso_url.to_owned(),
            certificates,
            wants_signed_requests: ["true", "1"].contains(&wants),
            valid_until: valid_until(&document, role)?,
        })
    }
}

/// The only entity that is an IdP: the root element, or one of several entities.
fn entity(document: &Document<'_>) -> Result<NodeId, &'static str> {
    if let Some(entity) = root(document, METADATA, "EntityDescriptor") {
        return Ok(entity);
    }
    let all = root(document, METADATA, "EntitiesDescriptor").ok_or("this is not SAML metadata")?;
    let entities = named(document, all, METADATA, "EntityDescriptor");
    match entities.into_iter().filter(|id| idp(document, *id).is_some()).collect::<Vec<_>>()[..] {
        [one] => Ok(one),
        _ => Err("the metadata is not of exactly one IdP"),
    }
}

/// The earliest `validUntil` of the role and the elements around it.
fn valid_until(document: &Document<'_>, role: NodeId) -> Result<Option<Timestamp>, &'static str> {
    let mut earliest = None;
    let mut next = Some(role);
    while let Some(id) = next {
        if let Some(text) = attribute(document, id, "validUntil") {
            let until =
                Timestamp::parse(text.trim()).ok_or("the metadata has a validUntil that is not a time in UTC")?;
            earliest = Some(earliest.map_or(until, |earliest: Timestamp| earliest.min(until)));
        }
        next = document.parent(id);
    }
    Ok(earliest)
}

/// The IdP role of an entity for SAML 2.0.
fn idp(document: &Document<'_>, entity: NodeId) -> Option<NodeId> {
    let speaks = |id: &NodeId| {
        let protocols = attribute(document, *id, "protocolSupportEnumeration").unwrap_or("");
        protocols.split_ascii_whitespace().any(|protocol| protocol == PROTOCOL)
    };
    named(document, entity, METADATA, "IDPSSODescriptor").into_iter().find(speaks)
}

/// The first certificate of each signing key. Other certificates in an `X509Data` belong to certificate authorities,
/// which do not sign assertions.
fn certificates(document: &Document<'_>, role: NodeId) -> Result<Vec<Certificate>, &'static str> {
    let mut all: Vec<Certificate> = Vec::new();
    for descriptor in named(document, role, METADATA, "KeyDescriptor") {
        if attribute(document, descriptor, "use") == Some("encryption") {
            continue;
        }
        let missing = "a key of the metadata has no certificate";
        let info = one(document, descriptor, SIGNATURE, "KeyInfo").ok().flatten().ok_or(missing)?;
        let data = named(document, info, SIGNATURE, "X509Data").into_iter().next().ok_or(missing)?;
        let first = named(document, data, SIGNATURE, "X509Certificate").into_iter().next().ok_or(missing)?;
        let base64: String = text(document, first).ok_or(missing)?.split_ascii_whitespace().collect();
        let der = BASE64.decode(base64.as_bytes()).map_err(|_| "a certificate is not base64")?;
        let certificate = Certificate::from_der(&der)?;
        if !all.contains(&certificate) {
            all.push(certificate);
        }
    }
    if all.is_empty() { Err("the metadata has no certificate for signing") } else { Ok(all) }
}

/// This service's metadata for a tenant's IdP. `certificate` is that of the key that signs requests, in DER.
#[must_use]
pub fn service_provider_metadata(sp: &ServiceProvider, certificate: Option<&[u8]>) -> String {
    let mut xml = XmlWriter::new();
    xml.write_declaration();
    xml.start_element("md:EntityDescriptor", &[("xmlns:md", METADATA), ("entityID", &sp.entity_id)]);
    xml.start_element(
        "md:SPSSODescriptor",
        &[
            ("protocolSupportEnumeration", PROTOCOL),
            ("AuthnRequestsSigned", if certificate.is_some() { "true" } else { "false" }),
            ("WantAssertionsSigned", "true"),
        ],
    );
    if let Some(certificate) = certificate {
        let parts = ["ds:KeyInfo", "ds:X509Data", "ds:X509Certificate"];
        xml.start_element("md:KeyDescriptor", &[("use", "signing"), ("xmlns:ds", SIGNATURE)]);
        parts.iter().for_each(|part| xml.start_element(part, &[]));
        xml.text(&BASE64.encode(certificate));
        parts.iter().rev().for_each(|part| xml.end_element(part));
        xml.end_element("md:KeyDescriptor");
    }
    for format in ["1.1:nameid-format:unspecified", "2.0:nameid-format:persistent", "1.1:nameid-format:emailAddress"] {
        xml.start_element("md:NameIDFormat", &[]);
        xml.text(&format!("urn:oasis:names:tc:SAML:{format}"));
        xml.end_element("md:NameIDFormat");
    }
    let acs = [("Binding", HTTP_POST), ("Location", sp.acs_url.as_str()), ("index", "0"), ("isDefault", "true")];
    xml.empty_element("md:AssertionConsumerService", &acs);
    xml.end_element("md:SPSSODescriptor");
    xml.end_element("md:EntityDescriptor");
    xml.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base64(pem: &str) -> String {
        BASE64.encode(&Certificate::from_pem(pem).unwrap().der)
    }

    fn key(of: &str, certificate: &str) -> String {
        let data = format!("<ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data>");
        format!("<md:KeyDescriptor {of}><ds:KeyInfo xmlns:ds=\"{SIGNATURE}\">{data}</ds:KeyInfo></md:KeyDescriptor>")
    }

    fn entity(id: &str, role: &str, protocol: &str, keys: &str) -> String {
        let service =
            format!("<md:SingleSignOnService Binding=\"{HTTP_REDIRECT}\" Location=\"https://idp.example/sso\"/>");
        let role = format!("<md:{role} protocolSupportEnumeration=\"{protocol}\">{keys}{service}</md:{role}>");
        format!("<md:EntityDescriptor xmlns:md=\"{METADATA}\" entityID=\"{id}\">{role}</md:EntityDescriptor>")
    }

    #[test]
    fn the_one_idp_for_this_protocol_is_read() {
        let keys = key("", &base64(include_str!("../../../tests/keys/rsa-2048.pem")));
        let idp = |id: &str| entity(id, "IDPSSODescriptor", PROTOCOL, &keys);
        let all = |entities: &str| {
            format!("<md:EntitiesDescriptor xmlns:md=\"{METADATA}\">{entities}</md:EntitiesDescriptor>")
        };
        let service = entity("sp", "SPSSODescriptor", PROTOCOL, "");
        assert_eq!(IdpMetadata::parse(&all(&(service + &idp("one")))).unwrap().entity_id, "one");
        assert!(IdpMetadata::parse(&all(&(idp("one") + &idp("two")))).is_err());
        let saml_1 = "urn:oasis:names:tc:SAML:1.1:protocol";
        assert!(IdpMetadata::parse(&entity("one", "IDPSSODescriptor", saml_1, &keys)).is_err());
        assert!(IdpMetadata::parse(&entity("one", "IDPSSODescriptor", &format!("{saml_1} {PROTOCOL}"), &keys)).is_ok());
    }

    #[test]
    fn each_signing_certificate_is_read_once() {
        let certificate = base64(include_str!("../../../tests/keys/rsa-2048.pem"));
        let read = |keys: &str| IdpMetadata::parse(&entity("one", "IDPSSODescriptor", PROTOCOL, keys));
        let (signing, encryption) = (key("use=\"signing\"", &certificate), key("use=\"encryption\"", "not read"));
        let both = read(&format!("{signing}{encryption}{}", key("", &certificate))).unwrap();
        assert_eq!(both.certificates.len(), 1);
        assert!(read(&encryption).is_err() && read("").is_err());
    }

    #[test]
    fn service_with_a_certificate_signs_its_requests() {
        let text = || "https://login.example.com".to_owned();
        let sp = ServiceProvider { entity_id: text(), acs_url: text() };
        let signed = |certificate: Option<&[u8]>| {
            service_provider_metadata(&sp, certificate).contains("AuthnRequestsSigned=\"true\"")
        };
        assert!(signed(Some(b"x")) && !signed(None));
    }
}
