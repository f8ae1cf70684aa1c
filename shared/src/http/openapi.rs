//! The OpenAPI 3.1 document: what the routes say of themselves, and what all of them have in common.
//!
//! A route says its own errors by status and description; those that follow from its form are added here, and every error
//! gets the form of a problem. Security schemes are `session`, `challenge`, `enrolment` and `client`.

use utoipa::{
    PartialSchema,
    openapi::{
        Content, Header, Info, License, OpenApi, PathItem, Ref, RefOr, Response,
        path::Operation,
        schema::{ObjectBuilder, Type},
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{
    Routes,
    problem::{Code, ProblemBody},
};

/// The document of some routes.
#[must_use]
pub fn document(routes: Routes) -> OpenApi {
    let mut document = routes.into_openapi();
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    document.info = Info::new("Vestibule", env!("CARGO_PKG_VERSION"));
    document.info.description = Some("Sign-in with mandatory multi-factor authentication.".to_owned());
    document.info.license = Some(license);
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        finish(operation);
    }
    let components = document.components.get_or_insert_default();
    components.schemas.insert("Problem".to_owned(), ProblemBody::schema());
    components.schemas.insert("Code".to_owned(), Code::schema());
    for (name, prefix) in [("session", "vs_"), ("challenge", "vc_"), ("enrolment", "ve_")] {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some(prefix.to_owned());
        components.add_security_scheme(name, SecurityScheme::Http(scheme));
    }
    components.add_security_scheme("client", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
    document
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.put, &mut path.post, &mut path.patch, &mut path.delete].into_iter().flatten()
}

fn finish(operation: &mut Operation) {
    let mut common = vec![("400", "`invalid_request`"), ("503", "`unavailable`")];
    if operation.security.as_ref().is_some_and(|schemes| !schemes.is_empty()) {
        common.push(("401", "`invalid_token`, `session_refresh_required`"));
    }
    if operation.request_body.is_some() {
        common.push(("413", "`payload_too_large`"));
    }
    let responses = &mut operation.responses.responses;
    for (status, codes) in common {
        responses.entry(status.to_owned()).or_insert_with(|| Response::new(codes).into());
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        response.headers.insert("X-Request-Id".to_owned(), header(Type::String, "The request's id"));
        if matches!(status.as_str(), "429" | "503") {
            response.headers.insert("Retry-After".to_owned(), header(Type::Integer, "Seconds to wait"));
        }
        if status.starts_with(['4', '5']) && response.content.is_empty() {
            let problem = Content::new(Some(Ref::from_schema_name("Problem")));
            response.content.insert("application/problem+json".to_owned(), problem.into());
        }
    }
}

fn header(of: Type, description: &str) -> RefOr<Header> {
    let mut header = Header::new(ObjectBuilder::new().schema_type(of).build());
    header.description = Some(description.to_owned());
    header.into()
}
