//! Strict XML reading: by namespace, without a DTD, each element at most once.

use uppsala::{Document, NodeId, NodeKind, Parser};

use super::Fault;

/// The namespace of requests and responses.
pub const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
/// The namespace of assertions.
pub const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
/// The namespace of metadata.
pub const METADATA: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
/// The namespace of signatures.
pub const SIGNATURE: &str = "http://www.w3.org/2000/09/xmldsig#";

/// The binding of requests: in a URL.
pub const HTTP_REDIRECT: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";
/// The binding of responses: in a form.
pub const HTTP_POST: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST";

/// Maximum nesting. No real response or metadata is nested as deeply.
const DEPTH: u32 = 32;

/// Maximum attributes of one element, including namespaces. No real response or metadata has as many.
const ATTRIBUTES: usize = 64;

/// Parses a well-formed document without DTD, within the limits on nesting and attributes.
///
/// # Errors
/// [`Fault::Xml`] if the text is not such a document.
pub fn parse(text: &str) -> Result<Document<'_>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.split('<').any(is_crowded) {
        return Err(Fault::Xml);
    }
    Parser::new()
        .with_max_depth(DEPTH)
        .with_forbid_dtd(true)
        .with_forbid_entities(true)
        .parse(text)
        .map_err(|_| Fault::Xml)
}

/// Whether a tag has too many attributes. The parser compares each attribute with each other: 16,000 attributes take a
/// second.
fn is_crowded(tag: &str) -> bool {
    let (mut open, mut attributes) = (None, 0);
    for byte in tag.bytes() {
        match open {
            None if byte == b'>' => break,
            None if byte == b'"' || byte == b'\'' => open = Some(byte),
            Some(quote) if byte == quote => (open, attributes) = (None, attributes + 1),
            _ => {}
        }
    }
    attributes > ATTRIBUTES
}

/// The root element, if it has this name.
#[must_use]
pub fn root(document: &Document<'_>, namespace: &str, name: &str) -> Option<NodeId> {
    document.document_element().filter(|id| is(document, *id, namespace, name))
}

pub(super) fn is(document: &Document<'_>, id: NodeId, namespace: &str, name: &str) -> bool {
    document.element(id).is_some_and(|element| element.matches_name_ns(namespace, name))
}

/// The child elements.
pub(super) fn elements(document: &Document<'_>, of: NodeId) -> Vec<NodeId> {
    document.children_iter(of).filter(|id| document.element(*id).is_some()).collect()
}

/// The child elements with this name.
pub(super) fn named(document: &Document<'_>, of: NodeId, namespace: &str, name: &str) -> Vec<NodeId> {
    elements(document, of).into_iter().filter(|id| is(document, *id, namespace, name)).collect()
}

/// The child element with this name, if any. `Err` if there are several.
pub(super) fn one(document: &Document<'_>, of: NodeId, namespace: &str, name: &str) -> Result<Option<NodeId>, ()> {
    match named(document, of, namespace, name)[..] {
        [] => Ok(None),
        [id] => Ok(Some(id)),
        _ => Err(()),
    }
}

/// An attribute without a namespace.
pub(super) fn attribute<'a>(document: &'a Document<'_>, of: NodeId, name: &str) -> Option<&'a str> {
    let attributes = &document.element(of)?.attributes;
    attributes.iter().find(|it| it.name.namespace_uri.is_none() && it.name.local_name == name).map(|it| &*it.value)
}

/// The text of an element, if it contains nothing but text.
pub(super) fn text(document: &Document<'_>, of: NodeId) -> Option<String> {
    let mut all = String::new();
    for id in document.children_iter(of) {
        match document.node_kind(id)? {
            NodeKind::Text(text) | NodeKind::CData(text) => all.push_str(text),
            _ => return None,
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_has_at_most_64_attributes() {
        let tag = |count: usize, value: &str| {
            let attributes: String = (0..count).map(|n| format!(" a{n}={value}")).collect();
            parse(&format!("<a{attributes}>{}</a>", "\"'".repeat(200))).is_ok()
        };
        for value in ["\"xx\"", "'xx'", "\"'\"", "'\"'", "\"\""] {
            assert!(tag(64, value) && !tag(65, value), "{value}");
        }
    }
}
