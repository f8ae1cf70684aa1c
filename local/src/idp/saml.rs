//! What the development IdP reads and writes of SAML 2.0: its metadata, requests by HTTP-Redirect, responses for HTTP-POST.

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

/// The longest request, after it is inflated.
const REQUEST: usize = 64 * 1024;
/// How long an answer may be on its way.
const VALID: Duration = Duration::from_secs(300);
/// How far the service's clock may be behind.
const SKEW: Duration = Duration::from_secs(30);

/// Who asks, and where the answer goes.
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

/// As the service reads what strangers send.
fn parse(xml: &str) -> Result<Document<'_>, &'static str> {
    xml::parse(xml).map_err(|_| "it is not XML without a DTD")
}

impl AuthnRequest {
    /// Reads the `SAMLRequest` of a query.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        let deflated = BASE64.decode(text.as_bytes()).map_err(|_| "it is not base64")?;
        let xml =
            decompress_to_vec_with_limit(&deflated, REQUEST).map_err(|_| "it does not inflate to 64 KiB or less")?;
        let xml = String::from_utf8(xml).map_err(|_| "it is not UTF-8")?;
        let document = parse(&xml)?;
        let request = root(&document, PROTOCOL, "AuthnRequest").ok_or("it is no AuthnRequest of SAML 2.0")?;
        let said = |name| document.get_attribute(request, name).map(str::to_owned);
        let issuer = document.first_child_element_by_name_ns(request, ASSERTION, "Issuer");
        let issuer = issuer.and_then(|id| document.element_text(id)).map(|text| text.trim().to_owned());
        Ok(Self {
            id: said("ID").ok_or("it has no ID")?,
            from: ServiceProvider {
                entity_id: issuer.ok_or("it does not say whose it is")?,
                acs_url: said("AssertionConsumerServiceURL").ok_or("it does not say where the answer goes")?,
            },
        })
    }
}

impl ServiceProvider {
    /// Reads a service provider's metadata.
    pub(super) fn read(xml: &str) -> Result<Self, &'static str> {
        let document = parse(xml)?;
        let entity = root(&document, METADATA, "EntityDescriptor").ok_or("it is no metadata of one entity")?;
        let role = document.first_child_element_by_name_ns(entity, METADATA, "SPSSODescriptor");
        let services = role.map(|role| document.child_elements_by_name_ns(role, METADATA, "AssertionConsumerService"));
        let by_post = |id: &NodeId| document.get_attribute(*id, "Binding") == Some(HTTP_POST);
        let acs = services.into_iter().flatten().find(by_post).and_then(|id| document.get_attribute(id, "Location"));
        Ok(Self {
            entity_id: document.get_attribute(entity, "entityID").ok_or("it has no entityID")?.to_owned(),
            acs_url: acs.ok_or("it has no AssertionConsumerService for HTTP-POST")?.to_owned(),
        })
    }

    /// Only to this machine.
    pub(super) fn here(self) -> Result<Self, String> {
        if on_this_machine(&self.acs_url) {
            return Ok(self);
        }
        Err(format!("the answer would go to {}: this IdP answers service providers on this machine only", self.acs_url))
    }
}

/// What a service has to know of this IdP, in one line.
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

/// What is said about somebody.
pub(super) struct Says<'a> {
    /// The IdP's entity id.
    pub(super) issuer: &'a str,
    /// To whom.
    pub(super) to: &'a ServiceProvider,
    /// The request that it answers; `None` where nobody asked.
    pub(super) in_response_to: Option<&'a str>,
    pub(super) name_id: &'a str,
    /// How they are said to have signed in.
    pub(super) context: &'a str,
    pub(super) attributes: &'a [(String, String)],
    /// Of the response and of the assertion.
    pub(super) ids: [String; 2],
    pub(super) now: Timestamp,
}

impl Says<'_> {
    /// The response, with a signature over its assertion and one over the whole.
    pub(super) fn signed(&self, signer: &Signer) -> Result<String, Failure> {
        let assertion = signer.sign(self.assertion())?;
        let mut xml = XmlWriter::new();
        let issued = self.now.to_string();
        let mut said = vec![
            ("xmlns:samlp", PROTOCOL),
            ("xmlns:saml", ASSERTION),
            ("ID", &self.ids[0]),
            ("Version", "2.0"),
            ("IssueInstant", &issued),
            ("Destination", &self.to.acs_url),
        ];
        said.extend(self.in_response_to.map(|id| ("InResponseTo", id)));
        xml.start_element("samlp:Response", &said);
        element(&mut xml, "saml:Issuer", &[], self.issuer);
        unsigned(&mut xml, &self.ids[0]);
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
        let said =
            [("xmlns:saml", ASSERTION), ("ID", &self.ids[1]), ("Version", "2.0"), ("IssueInstant", issued.as_str())];
        xml.start_element("saml:Assertion", &said);
        element(&mut xml, "saml:Issuer", &[], self.issuer);
        unsigned(&mut xml, &self.ids[1]);
        xml.start_element("saml:Subject", &[]);
        element(&mut xml, "saml:NameID", &[("Format", UNSPECIFIED)], self.name_id);
        xml.start_element("saml:SubjectConfirmation", &[("Method", "urn:oasis:names:tc:SAML:2.0:cm:bearer")]);
        let mut said = vec![("Recipient", self.to.acs_url.as_str()), ("NotOnOrAfter", &ends)];
        said.extend(self.in_response_to.map(|id| ("InResponseTo", id)));
        xml.empty_element("saml:SubjectConfirmationData", &said);
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

    /// Of a name that comes several times, each is a value.
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

/// A signature over the element of an id, as SAML has it (core 5.4), without its values.
fn unsigned(xml: &mut XmlWriter, id: &str) {
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
