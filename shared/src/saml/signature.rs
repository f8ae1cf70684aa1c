//! Finds the signed part of a response. The library verifies signatures; this module decides which signatures are
//! allowed and which bytes they cover.

use bergshamra_c14n::{C14nMode, canonicalize_doc};
use bergshamra_dsig::{
    context::DsigContext,
    verify::{VerifyResult, verify_all_document},
};
use bergshamra_keys::KeysManager;
use bergshamra_xml::NodeSet;
use data_encoding::BASE64;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256, Sha384, Sha512};
use uppsala::{Document, NodeId, NodeKind};

use super::{
    Fault,
    certificate::key,
    decoded,
    xml::{ASSERTION, PROTOCOL, SIGNATURE, attribute, elements, is, one, parse, root, text},
};

const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
/// RSA and ECDSA with SHA-2. SHA-1 is not allowed, nor HMAC: its key could be an IdP's public key.
const METHODS: [&str; 6] = [
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512",
];

/// The allowed digest methods.
const DIGESTS: [&str; 3] = [
    "http://www.w3.org/2001/04/xmlenc#sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512",
];

/// The first algorithm in a signature of a posted response that is not accepted: at most 128 visible ASCII characters
/// of its name. It is for the audit of a response that was refused with [`Fault::Algorithm`]; no decision uses it.
#[must_use]
pub fn refused_algorithm(response: &str) -> Option<String> {
    let text = decoded(response).ok()?;
    let document = parse(&text).ok()?;
    let accepted = [&METHODS[..], &DIGESTS, &[ENVELOPED, EXCLUSIVE]].concat();
    let signatures = document.descendants(document.root()).into_iter();
    signatures
        .filter(|id| is(&document, *id, SIGNATURE, "Signature"))
        .flat_map(|id| document.descendants(id))
        .filter_map(|id| attribute(&document, id, "Algorithm"))
        .find(|name| !accepted.contains(name))
        .map(|name| name.chars().filter(char::is_ascii_graphic).take(128).collect())
}

/// The canonical bytes that a signature of the IdP covers: the whole response, or only the assertion.
pub(super) struct Signed {
    pub(super) xml: String,
    pub(super) whole: bool,
}

/// Finds and checks all signatures of a response.
pub(super) fn signed(document: &Document<'_>, certificates: &[ByteBuf]) -> Result<Signed, Fault> {
    let response = root(document, PROTOCOL, "Response").ok_or(Fault::Response)?;
    let all: Vec<_> = document.descendants(document.root());
    let assertion = the_assertion(document, response, &all)?;
    unique_ids(document, &all)?;
    let signatures: Vec<_> = all.into_iter().filter(|id| is(document, *id, SIGNATURE, "Signature")).collect();
    let mut forms = Vec::new();
    for signature in signatures {
        let over = document.parent(signature).filter(|over| *over == response || *over == assertion);
        let form = Form::read(document, signature, over.ok_or(Fault::SignaturePlace)?)?;
        if forms.iter().any(|other: &Form| other.over == form.over) {
            return Err(Fault::SignaturePlace);
        }
        forms.push(form);
    }
    // If both are signed, the response is used, which contains the assertion. Both signatures must be valid.
    let widest = forms.iter().find(|form| form.over == response).or(forms.first()).ok_or(Fault::Unsigned)?;
    verified(document, &forms, certificates)?;
    Ok(Signed { xml: widest.bytes(document)?, whole: widest.over == response })
}

/// The only assertion, directly in the response. Assertions in any other place are refused.
fn the_assertion(document: &Document<'_>, response: NodeId, all: &[NodeId]) -> Result<NodeId, Fault> {
    let named = |name: &'static str| all.iter().copied().filter(move |id| is(document, *id, ASSERTION, name));
    if named("EncryptedAssertion").next().is_some() {
        return Err(Fault::Encrypted);
    }
    match named("Assertion").collect::<Vec<_>>()[..] {
        [one] if document.parent(one) == Some(response) => Ok(one),
        _ => Err(Fault::Assertions),
    }
}

/// Refuses two elements with the same id, under any attribute name that some XML reader takes for an id.
fn unique_ids(document: &Document<'_>, all: &[NodeId]) -> Result<(), Fault> {
    let attributes = all.iter().filter_map(|id| document.element(*id)).flat_map(|element| &element.attributes);
    let ids = attributes.filter(|it| ["id", "assertionid"].contains(&&*it.name.local_name.to_ascii_lowercase()));
    let mut seen = std::collections::HashSet::new();
    if ids.into_iter().all(|id| seen.insert(&*id.value)) { Ok(()) } else { Err(Fault::SignaturePlace) }
}

/// A signature of the form that SAML allows (SAML core 5.4): one reference, to the parent element of the signature.
struct Form {
    signature: NodeId,
    over: NodeId,
    prefixes: Vec<String>,
    digest_method: String,
    digest: Vec<u8>,
}

impl Form {
    fn read(document: &Document<'_>, signature: NodeId, over: NodeId) -> Result<Self, Fault> {
        // Different XML readers treat comments and processing instructions differently, so none are allowed.
        let odd = |id: &NodeId| {
            matches!(document.node_kind(*id), Some(NodeKind::Comment(_) | NodeKind::ProcessingInstruction(_)))
        };
        if document.descendants(signature).iter().any(odd) {
            return Err(Fault::SignaturePlace);
        }
        let part = |of, name: &str| one(document, of, SIGNATURE, name).ok().flatten().ok_or(Fault::SignaturePlace);
        let algorithm = |of| attribute(document, of, "Algorithm").ok_or(Fault::Algorithm);
        let known = ["SignedInfo", "SignatureValue", "KeyInfo"];
        if elements(document, signature).iter().any(|id| !known.iter().any(|name| is(document, *id, SIGNATURE, name))) {
            return Err(Fault::SignaturePlace);
        }
        let info = part(signature, "SignedInfo")?;
        let method = algorithm(part(info, "SignatureMethod")?)?;
        let canonical = algorithm(part(info, "CanonicalizationMethod")?)?;
        if !METHODS.contains(&method) || canonical != EXCLUSIVE {
            return Err(Fault::Algorithm);
        }
        let reference = part(info, "Reference")?;
        let id = attribute(document, over, "ID").filter(|id| !id.is_empty()).ok_or(Fault::SignaturePlace)?;
        if attribute(document, reference, "URI") != Some(format!("#{id}").as_str()) {
            return Err(Fault::SignaturePlace);
        }
        let transforms = elements(document, part(reference, "Transforms")?);
        let algorithms: Vec<_> = transforms.iter().map(|id| algorithm(*id)).collect::<Result<_, _>>()?;
        if algorithms != [ENVELOPED, EXCLUSIVE] {
            return Err(Fault::Algorithm);
        }
        let digest_method = algorithm(part(reference, "DigestMethod")?)?.to_owned();
        let digest = text(document, part(reference, "DigestValue")?).ok_or(Fault::SignaturePlace)?;
        let digest: String = digest.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let digest = BASE64.decode(digest.as_bytes()).map_err(|_| Fault::Signature)?;
        let prefixes = prefixes(document, transforms[1])?;
        Ok(Self { signature, over, prefixes, digest_method, digest })
    }

    /// The bytes that were digested. The library has verified the digest. The bytes are canonicalized again by the
    /// library and must have the same digest: so everything read from here on is what was signed, whatever else the
    /// document contains.
    fn bytes(&self, document: &Document<'_>) -> Result<String, Fault> {
        let signature = NodeSet::tree_with_comments(self.signature, document);
        let nodes = NodeSet::tree_without_comments(self.over, document).subtract(&signature);
        let bytes = canonicalize_doc(document, C14nMode::Exclusive, Some(&nodes), &self.prefixes);
        let bytes = bytes.map_err(|_| Fault::Signature)?;
        let digest = match self.digest_method.as_str() {
            it if it == DIGESTS[0] => Sha256::digest(&bytes).to_vec(),
            it if it == DIGESTS[1] => Sha384::digest(&bytes).to_vec(),
            it if it == DIGESTS[2] => Sha512::digest(&bytes).to_vec(),
            _ => return Err(Fault::Algorithm),
        };
        if digest != self.digest {
            return Err(Fault::Signature);
        }
        String::from_utf8(bytes).map_err(|_| Fault::Signature)
    }
}

/// The namespace prefixes that exclusive canonicalization must keep.
fn prefixes(document: &Document<'_>, transform: NodeId) -> Result<Vec<String>, Fault> {
    match elements(document, transform)[..] {
        [] => Ok(Vec::new()),
        [list] if is(document, list, EXCLUSIVE, "InclusiveNamespaces") => {
            let list = attribute(document, list, "PrefixList").unwrap_or("");
            Ok(list.split_ascii_whitespace().map(str::to_owned).collect())
        }
        _ => Err(Fault::Algorithm),
    }
}

/// Verifies that every signature is by one of the tenant's keys and covers its parent element. `KeyInfo` is not
/// trusted: an attacker can write it.
fn verified(document: &Document<'_>, forms: &[Form], certificates: &[ByteBuf]) -> Result<(), Fault> {
    let mut keys = KeysManager::new();
    keys.add_keys(certificates.iter().filter_map(|der| key(der)));
    let results = verify_all_document(&DsigContext::new(keys), document).map_err(|_| Fault::Signature)?;
    let right = |result: &VerifyResult| match result {
        VerifyResult::Valid { signature_node, references, .. } => {
            let form = forms.iter().find(|form| form.signature == *signature_node);
            matches!((form, &references[..]), (Some(form), [one]) if one.digest_verified && one.resolved_node == Some(form.over))
        }
        VerifyResult::Invalid { .. } => false,
    };
    if results.len() == forms.len() && results.iter().all(right) { Ok(()) } else { Err(Fault::Signature) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some identity providers indent the signature and break long lines in it.
    #[test]
    fn signature_with_line_breaks_is_read() {
        let digest = BASE64.encode(&[7; 64]);
        let (first, rest) = digest.split_at(60);
        let xml = format!(
            r##"<a ID="x">
              <Signature xmlns="{SIGNATURE}">
                <SignedInfo>
                  <CanonicalizationMethod Algorithm="{EXCLUSIVE}"/>
                  <SignatureMethod Algorithm="{}"/>
                  <Reference URI="#x">
                    <Transforms>
                      <Transform Algorithm="{ENVELOPED}"/>
                      <Transform Algorithm="{EXCLUSIVE}"/>
                    </Transforms>
                    <DigestMethod Algorithm="{}"/>
                    <DigestValue>
                      {first}
                      {rest}
                    </DigestValue>
                  </Reference>
                </SignedInfo>
                <SignatureValue/>
              </Signature>
            </a>"##,
            METHODS[0], DIGESTS[2]
        );
        let document = parse(&xml).unwrap();
        let over = elements(&document, document.root())[0];
        let form = Form::read(&document, elements(&document, over)[0], over).unwrap();
        assert_eq!(form.digest, [7; 64]);
    }

    #[test]
    fn refused_algorithm_is_one_of_a_signature() {
        let refused = |algorithm: &str, other: &str| {
            let signature =
                format!("<s:Signature xmlns:s=\"{SIGNATURE}\"><s:X Algorithm=\"{algorithm}\"/></s:Signature>");
            refused_algorithm(&BASE64.encode(format!("<a><b Algorithm=\"{other}\"/>{signature}</a>").as_bytes()))
        };
        assert_eq!(refused(METHODS[0], "urn:other"), None);
        assert_eq!(refused("urn:odd\u{e9}", METHODS[0]).as_deref(), Some("urn:odd"));
    }
}
