//! The pages of the directory: users, audit and settings.

mod audit;
mod change_user;
mod csv;
mod import;
mod new_user;
mod settings;
mod user;
mod users;

use std::borrow::Cow;

use axum::routing::get;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IntoDeserializer, value::StringDeserializer},
};
use vestibule::{
    http::{
        ApiResult, Code, Problem, Routes,
        dto::{AuthTypeDto, KindDto, RoleDto},
        page::{Text, choice_name},
    },
    id::TenantId,
    secret::SecretText,
    store::users::role_allowed,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .route("/admin/users", get(users::show))
        .route("/admin/users/new", get(new_user::show).post(new_user::submit))
        .route("/admin/users/import", get(import::show).post(import::submit))
        .route("/admin/users/{id}", get(user::show).post(change_user::submit))
        .route("/admin/audit", get(audit::show))
        .route("/admin/settings", get(settings::show).post(settings::submit))
}

/// What was done before the browser came to a page, which then says so.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Done {
    Created,
    Invited,
    Changed,
    Deleted,
}

/// Reads a parameter of a search form. A browser also sends those that were left empty; they count as absent.
fn filled<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    let one: StringDeserializer<D::Error> = text.into_deserializer();
    T::deserialize(one).map(Some)
}

/// A choice as a form sends it. Empty if nothing is chosen.
fn value(choice: Option<impl Serialize>) -> String {
    choice.map(|choice| choice_name(&choice)).unwrap_or_default()
}

/// Reads the text fields of a form, without spaces around them, and keeps what is wrong with them.
#[derive(Default)]
struct TextFields(Option<Problem>);

impl TextFields {
    /// A field that must be filled in.
    fn required<T: TryFrom<String, Error = &'static str>>(
        &mut self,
        field: &'static str,
        text: Option<&str>,
    ) -> Option<T> {
        let read = text.ok_or("is required").and_then(|text| T::try_from(text.trim().to_owned()));
        read.map_err(|detail| self.wrong(field, detail)).ok()
    }

    /// A field that may be empty.
    fn optional<T: TryFrom<String, Error = &'static str>>(
        &mut self,
        field: &'static str,
        text: Option<&str>,
    ) -> Option<T> {
        text.and_then(|text| self.required(field, Some(text)))
    }

    /// A new password, which must be filled in. Its rules are those of the operation.
    fn password(&mut self, given: Option<&SecretText>) -> Option<SecretText> {
        if given.is_none() {
            self.wrong("/password", "is required");
        }
        given.map(|password| SecretText::new(password.expose().to_owned()))
    }

    /// Notes what is wrong with a field.
    fn wrong(&mut self, field: &'static str, detail: &'static str) {
        self.0 = Some(match self.0.take() {
            None => Problem::field(field, detail),
            Some(problem) => problem.and_field(field, detail),
        });
    }

    /// What was made of the fields, if all are right.
    fn finish<T>(self, made: Option<T>) -> ApiResult<T> {
        match self.0 {
            Some(problem) => Err(problem),
            None => made.ok_or_else(|| Code::InvalidRequest.into()),
        }
    }
}

/// The kind that goes with a role. A form asks for the role only.
fn kind_of(role: RoleDto) -> KindDto {
    if role == RoleDto::Portal { KindDto::Contact } else { KindDto::Employee }
}

/// The text of a role.
fn role_text(role: &RoleDto) -> &'static str {
    match role {
        RoleDto::Administrator => "role-administrator",
        RoleDto::Standard => "role-standard",
        RoleDto::Portal => "role-portal",
        RoleDto::Operator => "role-operator",
    }
}

/// The roles that a user of the tenant can have, to choose from.
fn roles(text: Text, tenant: &TenantId) -> Vec<(&'static str, Cow<'static, str>)> {
    let all = [
        ("standard", RoleDto::Standard),
        ("administrator", RoleDto::Administrator),
        ("portal", RoleDto::Portal),
        ("operator", RoleDto::Operator),
    ];
    let fitting = all.into_iter().filter(|(_, role)| role_allowed(tenant, kind_of(*role).into(), (*role).into()));
    fitting.map(|(value, role)| (value, text.get(role_text(&role)))).collect()
}

/// The text of a way to sign in.
fn auth_type_text(auth_type: &AuthTypeDto) -> &'static str {
    match auth_type {
        AuthTypeDto::Local => "auth-type-local",
        AuthTypeDto::SamlSso => "auth-type-saml_sso",
    }
}

/// The ways to sign in, to choose from.
fn auth_types(text: Text) -> [(&'static str, Cow<'static, str>); 2] {
    [("local", AuthTypeDto::Local), ("saml_sso", AuthTypeDto::SamlSso)]
        .map(|(value, auth_type)| (value, text.get(auth_type_text(&auth_type))))
}
