//! The part of SAML 2.0 that the development IdP supports: its metadata, requests by HTTP-Redirect, responses by HTTP-POST.

use std::time::Duration;

use data_encoding::BASE64;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use uppsala::{Document, NodeId, XmlWriter};
use vestibule::{
    env::Timestamp,
    saml::xml::{self, ASSERTION, HTTP_POST, HTTP_REDIRECT, METADATA, PROTOCOL, SIGNATURE, root},
};

use super::{key::Signer, on_this_machine};
use crate::Failure;

const UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified";

/// The maximum size of a request after decompression, in bytes.
const MAX_REQUEST: usize = 64 * 1024;
/// How long a response is valid.
const VALID: Duration = Duration::from_secs(300);
/// How far the service's clock may be behind the IdP's clock.
const SKEW: Duration = Duration::from_secs(30);

/// A service provider, and the address for its responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceProvider {
    pub(super) entity_id: String,
    pub(super) acs_url: String,
}

/// A request for an assertion.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AuthnRequest {
    pub(super) id: String,
    pub(super) from: ServiceProvider,
}

/// Parses XML with the same restrictions as the service.
fn parse(xml: &str) -> Result<Document<'_>, &'static str> {
    xml::parse(xml).map_err(|_| "it is not XML without a DTD")
}

impl AuthnRequest {
    /// Parses the `SAMLRequest` of a query: base64 of deflated XML.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        let deflated = BASE64.decode(text.as_bytes()).map_err(|_| "it is not base64")?;
        let xml = decompress_to_vec_with_limit(&deflated, MAX_REQUEST)
            .map_err(|_| "it does not inflate to 64 KiB or less")?;
        let xml = String::from_utf8(xml).map_err(|_| "it is not UTF-8")?;
        let document = parse(&xml)?;
        let request = root(&document, PROTOCOL, "AuthnRequest").ok_or("it is not an AuthnRequest of SAML 2.0")?;
        let attribute = |name| document.get_attribute(request, name).map(str::to_owned);
        let issuer = document.first_child_element_by_name_ns(request, ASSERTION, "Issuer");
        let issuer = issuer.and_then(|id| document.element_text(id)).map(|text| text.trim().to_owned());
        Ok(Self {
            id: attribute("ID").ok_or("it has no ID")?,
            from: ServiceProvider {
                entity_id: issuer.ok_or("it has no Issuer")?,
                acs_url: attribute("AssertionConsumerServiceURL").ok_or("it has no AssertionConsumerServiceURL")?,
            },
        })
    }
}

impl ServiceProvider {
    /// Parses a service provider's metadata.
    pub(super) fn read(xml: &str) -> Result<Self, &'static str> {
        let document = parse(xml)?;
        let entity = root(&document, METADATA, "EntityDescriptor").ok_or("it is not the metadata of one entity")?;
        let role = document.first_child_element_by_name_ns(entity, METADATA, "SPSSODescriptor");
        let services = role.map(|role| document.child_elements_by_name_ns(role, METADATA, "AssertionConsumerService"));
        let by_post = |id: &NodeId| document.get_attribute(*id, "Binding") == Some(HTTP_POST);
        let acs = services.into_iter().flatten().find(by_post).and_then(|id| document.get_attribute(id, "Location"));
        Ok(Self {
            entity_id: document.get_attribute(entity, "entityID").ok_or("it has no entityID")?.to_owned(),
            acs_url: acs.ok_or("it has no AssertionConsumerService for HTTP-POST")?.to_owned(),
        })
    }

    /// Refuses a service provider that is not on this machine.
    pub(super) fn require_loopback(self) -> Result<Self, String> {
        if on_this_machine(&self.acs_url) {
            return Ok(self);
        }
        Err(format!("the ACS is {}, but this IdP answers service providers on this machine only", self.acs_url))
    }
}

/// The metadata of this IdP, in one line.
pub(super) fn metadata(entity_id: &str, sso_url: &str, signer: &Signer) -> String {
    let mut xml = XmlWriter::new();
    xml.start_element("md:EntityDescriptor", &[("xmlns:md", METADATA), ("entityID", entity_id)]);
    let role = [("protocolSupportEnumeration", PROTOCOL), ("WantAuthnRequestsSigned", "false")];
    xml.start_element("md:IDPSSODescriptor", &role);
    xml.start_element("md:KeyDescriptor", &[("use", "signing")]);
    xml.start_element("ds:KeyInfo", &[("xmlns:ds", SIGNATURE)]);
    xml.start_element("ds:X509Data", &[]);
    element(&mut xml, "ds:X509Certificate", &[], &BASE64.encode(&signer.certificate));
    for name in ["ds:X509Data", "ds:KeyInfo", "md:KeyDescriptor"] {
        xml.end_element(name);
    }
    element(&mut xml, "md:NameIDFormat", &[], UNSPECIFIED);
    xml.empty_element("md:SingleSignOnService", &[("Binding", HTTP_REDIRECT), ("Location", sso_url)]);
    xml.end_element("md:IDPSSODescriptor");
    xml.end_element("md:EntityDescriptor");
    xml.into_string()
}

fn element(xml: &mut XmlWriter, name: &str, attributes: &[(&str, &str)], text: &str) {
    xml.start_element(name, attributes);
    xml.text(text);
    xml.end_element(name);
}

/// The contents of a response about a user.
pub(super) struct Statement<'a> {
    /// The IdP's entity id.
    pub(super) issuer: &'a str,
    /// The service provider to answer.
    pub(super) to: &'a ServiceProvider,
    /// The id of the request; `None` for an unsolicited response.
    pub(super) in_response_to: Option<&'a str>,
    pub(super) name_id: &'a str,
    /// The authentication context.
    pub(super) context: &'a str,
    pub(super) attributes: &'a [(String, String)],
    /// The ids of the response and of the assertion.
    pub(super) ids: [String; 2],
    pub(super) now: Timestamp,
}

impl Statement<'_> {
    /// The response, with a signature of the assertion and one of the whole response.
    pub(super) fn signed(&self, signer: &Signer) -> Result<String, Failure> {
        let assertion = signer.sign(self.assertion())?;
        let mut xml = XmlWriter::new();
        let issued = self.now.to_string();
        let mut attributes = vec![
            ("xmlns:samlp", PROTOCOL),
            ("xmlns:saml", ASSERTION),
            ("ID", &self.ids[0]),
            ("Version", "2.0"),
            ("IssueInstant", &issued),
            ("Destination", &self.to.acs_url),
        ];
        attributes.extend(self.in_response_to.map(|id| ("InResponseTo", id)));
        xml.start_element("samlp:Response", &attributes);
        element(&mut xml, "saml:Issuer", &[], self.issuer);
        signature_template(&mut xml, &self.ids[0]);
        xml.start_element("samlp:Status", &[]);
        xml.empty_element("samlp:StatusCode", &[("Value", "urn:oasis:names:tc:SAML:2.0:status:Success")]);
        xml.end_element("samlp:Status");
        xml.raw(&assertion);
        xml.end_element("samlp:Response");
        signer.sign(xml.into_string())
    }

    fn assertion(&self) -> String {
        let mut xml = XmlWriter::new();
        let (issued, ends) = (self.now.to_string(), (self.now + VALID).to_string());
        let begins = (self.now - SKEW).to_string();
        let attributes =
            [("xmlns:saml", ASSERTION), ("ID", &self.ids[1]), ("Version", "2.0"), ("IssueInstant", issued.as_str())];
        xml.start_element("saml:Assertion", &attributes);
        element(&mut xml, "saml:Issuer", &[], self.issuer);
        signature_template(&mut xml, &self.ids[1]);
        xml.start_element("saml:Subject", &[]);
        element(&mut xml, "saml:NameID", &[("Format", UNSPECIFIED)], self.name_id);
        xml.start_element("saml:SubjectConfirmation", &[("Method", "urn:oasis:names:tc:SAML:2.0:cm:bearer")]);
        let mut attributes = vec![("Recipient", self.to.acs_url.as_str()), ("NotOnOrAfter", &ends)];
        attributes.extend(self.in_response_to.map(|id| ("InResponseTo", id)));
        xml.empty_element("saml:SubjectConfirmationData", &attributes);
        xml.end_element("saml:SubjectConfirmation");
        xml.end_element("saml:Subject");
        xml.start_element("saml:Conditions", &[("NotBefore", &begins), ("NotOnOrAfter", &ends)]);
        xml.start_element("saml:AudienceRestriction", &[]);
        element(&mut xml, "saml:Audience", &[], &self.to.entity_id);
        xml.end_element("saml:AudienceRestriction");
        xml.end_element("saml:Conditions");
        xml.start_element("saml:AuthnStatement", &[("AuthnInstant", &issued)]);
        xml.start_element("saml:AuthnContext", &[]);
        element(&mut xml, "saml:AuthnContextClassRef", &[], self.context);
        xml.end_element("saml:AuthnContext");
        xml.end_element("saml:AuthnStatement");
        self.attributes(&mut xml);
        xml.end_element("saml:Assertion");
        xml.into_string()
    }

    /// Writes the attributes. An attribute that is given several times has several values.
    fn attributes(&self, xml: &mut XmlWriter) {
        if self.attributes.is_empty() {
            return;
        }
        xml.start_element("saml:AttributeStatement", &[]);
        for (at, (name, _)) in self.attributes.iter().enumerate() {
            if self.attributes[..at].iter().any(|(before, _)| before == name) {
                continue;
            }
            xml.start_element("saml:Attribute", &[("Name", name)]);
            for (_, value) in self.attributes.iter().filter(|(other, _)| other == name) {
                element(xml, "saml:AttributeValue", &[], value);
            }
            xml.end_element("saml:Attribute");
        }
        xml.end_element("saml:AttributeStatement");
    }
}

/// Writes an enveloped signature of the element with an id (SAML core 5.4), without its values.
fn signature_template(xml: &mut XmlWriter, id: &str) {
    let exclusive = ("Algorithm", "http://www.w3.org/2001/10/xml-exc-c14n#");
    xml.start_element("ds:Signature", &[("xmlns:ds", SIGNATURE)]);
    xml.start_element("ds:SignedInfo", &[]);
    xml.empty_element("ds:CanonicalizationMethod", &[exclusive]);
    let method = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256";
    xml.empty_element("ds:SignatureMethod", &[("Algorithm", method)]);
    xml.start_element("ds:Reference", &[("URI", &format!("#{id}"))]);
    xml.start_element("ds:Transforms", &[]);
    xml.empty_element("ds:Transform", &[("Algorithm", "http://www.w3.org/2000/09/xmldsig#enveloped-signature")]);
    xml.empty_element("ds:Transform", &[exclusive]);
    xml.end_element("ds:Transforms");
    xml.empty_element("ds:DigestMethod", &[("Algorithm", "http://www.w3.org/2001/04/xmlenc#sha256")]);
    element(xml, "ds:DigestValue", &[], "");
    xml.end_element("ds:Reference");
    xml.end_element("ds:SignedInfo");
    element(xml, "ds:SignatureValue", &[], "");
    xml.end_element("ds:Signature");
}
