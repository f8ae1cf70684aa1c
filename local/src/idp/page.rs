//! The pages of the development IdP. The writer escapes all text, and the pages work without JavaScript.

use axum::response::Html;
use uppsala::XmlWriter;

use super::{ATTRIBUTES, CONTEXT, Query, saml::ServiceProvider};

/// The content security policy: no other origin, no frame.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; base-uri 'none'; \
                                 frame-ancestors 'none'";

/// Sends the form with the response without a click.
pub(super) const SUBMIT: &str = "document.forms[0].submit();\n";

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:3rem auto;padding:0 1rem}\
    label{display:block;margin:.75rem 0 .25rem}input{font:inherit;width:100%;padding:.4rem;box-sizing:border-box}\
    button{font:inherit;padding:.5rem 1.25rem;margin:1rem 0}code,pre{overflow-wrap:anywhere;white-space:pre-wrap}\
    pre{padding:.5rem .75rem;border:1px solid #888;border-radius:.25rem}";

/// A page. `submit`: a script sends the first form.
pub(crate) fn page(title: &str, submit: bool, body: impl FnOnce(&mut XmlWriter)) -> Html<String> {
    let mut html = XmlWriter::new();
    html.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>");
    html.raw("<meta name=\"viewport\" content=\"width=device-width\"/>");
    text(&mut html, "title", title);
    text(&mut html, "style", STYLE);
    html.raw("</head><body><main>");
    text(&mut html, "h1", title);
    body(&mut html);
    html.raw("</main>");
    if submit {
        html.raw("<script src=\"/submit.js\"></script>");
    }
    html.raw("</body></html>\n");
    Html(html.into_string())
}

pub(crate) fn text(html: &mut XmlWriter, element: &str, text: &str) {
    html.start_element(element, &[]);
    html.text(text);
    html.end_element(element);
}

fn hidden(html: &mut XmlWriter, name: &str, value: &str) {
    html.empty_element("input", &[("type", "hidden"), ("name", name), ("value", value)]);
}

fn field(html: &mut XmlWriter, name: &str, label: &str, hint: &str, more: &[(&str, &str)]) {
    html.start_element("label", &[("for", name)]);
    html.text(label);
    html.end_element("label");
    html.empty_element("input", &[&[("id", name), ("name", name), ("placeholder", hint)], more].concat());
}

/// The start page: describes the IdP and links to the service providers.
pub(super) fn home(url: &str, known: &[ServiceProvider]) -> Html<String> {
    page("Development IdP", false, |html| {
        text(html, "p", "This identity provider signs in any user, without a password, at services on this machine.");
        html.start_element("p", &[]);
        html.text("Metadata for the service: ");
        html.start_element("a", &[("href", "/metadata")]);
        html.text(&format!("{url}/metadata"));
        html.end_element("a");
        html.end_element("p");
        if known.is_empty() {
            text(html, "p", "Start a sign-in at the service: /v1/sso/TENANT/login.");
        } else {
            text(html, "p", "Without a start at the service, if the tenant allows it (idp_initiated):");
        }
        for it in known {
            html.start_element("form", &[("action", "/sso")]);
            hidden(html, "sp", &it.entity_id);
            text(html, "button", &format!("Go to {}", it.entity_id));
            html.end_element("form");
        }
    })
}

/// The form that asks for the username and the attributes.
pub(super) fn username_form(to: &ServiceProvider, query: &Query) -> Html<String> {
    page("Choose a user", false, |html| {
        html.start_element("p", &[]);
        html.text("This development identity provider needs no password. It signs you in at ");
        text(html, "code", &to.entity_id);
        html.text(".");
        html.end_element("p");
        html.start_element("form", &[("action", "/sso")]);
        for name in ["SAMLRequest", "RelayState", "sp"] {
            if let Some(value) = query.get(name) {
                hidden(html, name, value);
            }
        }
        let plain = [("autocapitalize", "none"), ("spellcheck", "false")];
        let name = [&plain[..], &[("required", ""), ("autofocus", ""), ("autocomplete", "username")]].concat();
        field(html, "username", "Username", "sam", &name);
        html.start_element("details", &[]);
        text(html, "summary", "Attributes and authentication context");
        for attribute in ATTRIBUTES {
            let hint = if attribute == "Username" { "same as the username" } else { "" };
            field(html, attribute, attribute, hint, &plain);
        }
        field(html, "context", "Authentication context (AuthnContextClassRef)", CONTEXT, &plain);
        html.end_element("details");
        text(html, "button", "Sign in");
        html.end_element("form");
    })
}

/// The form that posts the response to the service.
pub(super) fn response_form(
    to: &ServiceProvider,
    username: &str,
    response: &str,
    relay_state: Option<&str>,
) -> Html<String> {
    page("Continue to the service", true, |html| {
        html.start_element("form", &[("method", "post"), ("action", &to.acs_url)]);
        hidden(html, "SAMLResponse", response);
        if let Some(relay_state) = relay_state {
            hidden(html, "RelayState", relay_state);
        }
        text(html, "button", &format!("Continue as {username}"));
        html.end_element("form");
    })
}
