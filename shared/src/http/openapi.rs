//! The OpenAPI 3.1 document: what the routes declare, and what all operations have in common.
//!
//! A route declares its own errors: a status, and a description with codes in backticks (`` `conflict`: why ``). This
//! module adds the meaning of each code, and the errors that follow from the form of the route. Optional fields are
//! absent, never null: the server refuses null in requests and returns it only in required fields.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, Content, Header, Info, License, OpenApi, PathItem, Ref, RefOr, Response, Schema, Server,
        example::ExampleBuilder,
        path::Operation,
        schema::{ArrayItems, ObjectBuilder, SchemaType, Type},
        security::{Http, HttpAuthScheme, SecurityScheme},
        tag::TagBuilder,
    },
};

use super::{
    Routes, examples,
    problem::{Code, FieldError, Problem, ProblemBody},
};
use crate::audit::AuditAction;

const ABOUT: &str = "\
Vestibule signs users in with mandatory multi-factor authentication (MFA). It serves many tenants (companies). \
The users of a tenant are employees and contacts; its Administrators manage them. The users of the reserved tenant \
`support` are operators. They serve all tenants, and have the rights of an Administrator over one another.

Signing in takes two requests. `POST /v1/login` checks the password and answers with a challenge token. `POST /v1/verify` \
takes the challenge token and a code, and answers with a session token. A user without an authenticator gets an \
enrolment token instead, and must enrol one first.

Rules for all operations:

- Bodies are JSON of at most 16 KiB unless an operation says otherwise. Unknown fields, duplicate keys, wrong types and \
`null` are refused with `invalid_request`.
- An optional field that has no value is absent. A field that can be null in a response is marked so.
- Tokens are opaque. Each class has its own prefix and opens only the operations that name it.
- Times are RFC 3339 in UTC. Ids are opaque strings of 1 to 64 characters of `A-Z`, `a-z`, `0-9`, `_` and `-`.
- Every error is a problem (RFC 9457) with a stable `code`. A problem of status 400 lists in `errors` the wrong fields, \
and what each must be.
- A fresh step-up means that a code was checked in this session during the last 300 seconds.";

const TAGS: [(&str, &str); 11] = [
    ("login", "Check a password: the first step of signing in."),
    ("verify", "Check a code: the second step of signing in, and the step-up of a session."),
    ("enable-mfa", "Enrol an authenticator app, and read the state of the caller's MFA."),
    ("recovery", "Issue recovery tokens, which replace a code when the authenticator is lost."),
    ("admin-reset", "Reset the MFA of a user who lost their authenticator."),
    ("batch-portal-exclude", "Exclude contacts of the portal from MFA, or include them again, many at a time."),
    ("session", "List and end the caller's sessions, and introspect session tokens for portals."),
    ("directory", "Manage the users, settings and client credentials of a tenant, and read its audit."),
    ("password", "Set a forgotten or a first password with a link from a mail, and verify e-mail addresses."),
    ("sso", "Sign in through a tenant's own identity provider (IdP) with SAML 2.0, and configure it."),
    ("support", "For operators: create tenants and client credentials, and help locked-out Administrators."),
];

const SCHEMES: [(&str, &str, &str); 3] = [
    ("session", "vs_", "A session token (`vs_…`). A finished sign-in gives one."),
    ("challenge", "vc_", "A challenge token (`vc_…`) from `POST /v1/login`. It lives 5 minutes."),
    ("enrolment", "ve_", "An enrolment token (`ve_…`) from `POST /v1/login`. It lives 10 minutes."),
];

/// The API document of the given routes.
#[must_use]
pub fn document(routes: Routes) -> OpenApi {
    let mut document = routes.into_openapi();
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    document.info = Info::new("Vestibule", env!("CARGO_PKG_VERSION"));
    document.info.description = Some(ABOUT.to_owned());
    document.info.license = Some(license);
    document.servers = Some(vec![server()]);
    let tag = |(name, about)| TagBuilder::new().name(name).description(Some(about)).build();
    document.tags = Some(TAGS.map(tag).to_vec());
    let named = document.paths.paths.values_mut().flat_map(operations).flat_map(finish).collect::<Vec<_>>();
    let components = document.components.get_or_insert_default();
    components.schemas.insert("Problem".to_owned(), ProblemBody::schema());
    components.schemas.insert("FieldError".to_owned(), FieldError::schema());
    components.schemas.insert("Code".to_owned(), Code::schema());
    let actions = AuditAction::ALL.iter().map(|action| (action.as_str(), action.meaning()));
    closed_set(components.schemas.get_mut(&*AuditAction::name()), actions);
    let codes = Code::ALL.iter().map(|code| (code.as_str(), code.meaning()));
    closed_set(components.schemas.get_mut("Code"), codes);
    for code in named {
        let body = serde_json::to_value(Problem::new(code).body("7hKq2mVx9TfLwZ3c")).ok();
        let example = ExampleBuilder::new().summary(code.as_str()).value(body).build();
        components.examples.insert(code.as_str().to_owned(), example.into());
    }
    declare_tokens(components);
    components.schemas.values_mut().for_each(optional_is_absent);
    components.schemas.values_mut().for_each(tagged);
    examples::compose(&mut document);
    document
}

fn declare_tokens(components: &mut Components) {
    for (name, prefix, about) in SCHEMES {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        (scheme.bearer_format, scheme.description) = (Some(prefix.to_owned()), Some(about.to_owned()));
        components.add_security_scheme(name, SecurityScheme::Http(scheme));
    }
    let mut client = Http::new(HttpAuthScheme::Basic);
    client.description =
        Some("A client credential: `client_id` as the user name, `client_secret` as the password.".to_owned());
    components.add_security_scheme("client", SecurityScheme::Http(client));
}

fn server() -> Server {
    let mut server = Server::new("http://127.0.0.1:8080");
    server.description = Some(
        "The local server with its default address. A deployment has an address of its own, and is reached by HTTPS only."
            .to_owned(),
    );
    server
}

pub(super) fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.put, &mut path.post, &mut path.patch, &mut path.delete].into_iter().flatten()
}

/// Adds what all operations have in common. Returns the codes that this operation declares.
fn finish(operation: &mut Operation) -> Vec<Code> {
    // Doc comments have line breaks, but a summary must be one line.
    if let Some(summary) = &mut operation.summary {
        *summary = summary.replace('\n', " ").trim_end_matches('.').to_owned();
    }
    let mut common = vec![("400", "`invalid_request`"), ("503", "`unavailable`")];
    if operation.security.is_some() {
        common.push(("401", "`invalid_token`, `session_refresh_required`"));
    }
    if operation.request_body.is_some() {
        common.push(("413", "`payload_too_large`"));
    }
    // An operation without a token declares that it needs none.
    operation.security.get_or_insert_default();
    let (responses, mut named) = (&mut operation.responses.responses, Vec::new());
    for (status, codes) in common {
        responses.entry(status.to_owned()).or_insert_with(|| Response::new(codes).into());
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        let id = header(Type::String, "The id of this request. The audit and the service's log contain it.");
        response.headers.insert("X-Request-Id".to_owned(), id);
        if matches!(status.as_str(), "429" | "503") {
            let wait = header(Type::Integer, "How many seconds to wait before the request is repeated.");
            response.headers.insert("Retry-After".to_owned(), wait);
        }
        if status.starts_with(['4', '5']) {
            named.extend(problem(response));
        }
    }
    named
}

/// Turns an error response into a problem. The codes in its description get their meaning and an example. Returns the
/// codes.
fn problem(response: &mut Response) -> Vec<Code> {
    let mut problem = Content::new(Some(Ref::from_schema_name("Problem")));
    let (mut lines, mut all) = (Vec::new(), Vec::new());
    for part in response.description.split("; ") {
        let (codes, remark) = part.split_once(": ").unwrap_or((part, ""));
        let named = Code::ALL.iter().filter(|code| codes.contains(&format!("`{}`", code.as_str())));
        for code in named {
            let name = code.as_str();
            lines.push(format!("- `{name}`: {} {remark}", code.meaning()).trim_end().to_owned());
            let example = Ref::new(format!("#/components/examples/{name}"));
            problem.examples.insert(name.to_owned(), RefOr::Ref(example));
            all.push(*code);
        }
    }
    response.description = lines.join("\n");
    response.content.insert("application/problem+json".to_owned(), problem.into());
    all
}

fn header(of: Type, description: &str) -> RefOr<Header> {
    let mut header = Header::new(ObjectBuilder::new().schema_type(of).build());
    header.description = Some(description.to_owned());
    header.into()
}

/// Sets the values of an enum and describes what each of them means.
fn closed_set<'a>(schema: Option<&mut RefOr<Schema>>, values: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(RefOr::T(Schema::Object(object))) = schema else { return };
    let (names, lines): (Vec<_>, Vec<_>) =
        values.map(|(name, meaning)| (name.into(), format!("- `{name}`: {meaning}"))).unzip();
    object.enum_values = Some(names);
    object.description = object.description.take().map(|about| format!("{about}\n\n{}", lines.join("\n")));
}

/// Removes null from the types of optional fields: without a value such a field is absent.
fn optional_is_absent(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            for (name, property) in &mut object.properties {
                if !object.required.contains(name) {
                    without_null(property);
                }
                optional_is_absent(property);
            }
        }
        Schema::OneOf(one) => one.items.iter_mut().for_each(optional_is_absent),
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                optional_is_absent(items);
            }
        }
        _ => {}
    }
}

/// Describes the `status` that distinguishes the variants. An enum with one variant needs no `oneOf`.
fn tagged(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::OneOf(one)) = schema else { return };
    for variant in &mut one.items {
        let RefOr::T(Schema::Object(variant)) = variant else { continue };
        if let Some(RefOr::T(Schema::Object(status))) = variant.properties.get_mut("status") {
            status.description = Some("Which kind of answer it is.".to_owned());
        }
    }
    if let [only] = &mut one.items[..] {
        *schema = std::mem::replace(only, Ref::new("").into());
    }
}

fn without_null(property: &mut RefOr<Schema>) {
    let is_null =
        |item: &RefOr<Schema>| matches!(item, RefOr::T(Schema::Object(it)) if it.schema_type == Type::Null.into());
    match property {
        RefOr::T(Schema::Object(object)) => one_type(&mut object.schema_type),
        RefOr::T(Schema::Array(array)) => one_type(&mut array.schema_type),
        RefOr::T(Schema::OneOf(one)) => {
            one.items.retain(|item| !is_null(item));
            if let [only] = &mut one.items[..] {
                *property = std::mem::replace(only, Ref::new("").into());
            }
        }
        _ => {}
    }
}

fn one_type(types: &mut SchemaType) {
    if let SchemaType::Array(several) = types {
        several.retain(|one| *one != Type::Null);
        if let [only] = &several[..] {
            *types = SchemaType::Type(only.clone());
        }
    }
}
