//! `/v1/admin/users`: the users of a tenant.

pub(crate) mod batch;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod invite;
pub(crate) mod list;
pub(crate) mod update;

use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use vestibule::{
    audit::AuditEvent,
    http::{ApiResult, App, Code, Problem, Request, Routes, dto::KindDto},
    id::UserId,
    password::{self, WeakPassword},
    secret::{NameIdLink, SecretText, TokenClass},
    sso::MAX_NAME_ID,
    store::{
        OperationError,
        item::Kind,
        session::{AdminContext, Principal},
        users::{ChangeError, ChangeRejection, LoadedUser, UpdateRejection},
    },
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(create::create, list::list))
        .routes(routes!(batch::create_many))
        .routes(routes!(get::get, update::update, delete::delete))
        .routes(routes!(invite::invite))
}

/// A NameID of the tenant's identity provider: 1 to 256 bytes, without control characters and surrounding spaces.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 256)]
pub(crate) struct NameId(String);

impl TryFrom<String> for NameId {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = !text.contains(char::is_control) && text.trim() == text;
        if plain && (1..=MAX_NAME_ID).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err("must be 1 to 256 bytes, without control characters and surrounding spaces")
        }
    }
}

impl NameId {
    /// The NameID as a link to a user of the caller's tenant. `conflict`: the tenant has no identity provider.
    fn link(&self, app: &App, admin: &AdminContext) -> ApiResult<NameIdLink> {
        let no_idp = || {
            Problem::new(Code::Conflict)
                .detail("the tenant has no identity provider: configure one with PUT /v1/admin/sso")
        };
        let idp = admin.principal().idp().ok_or_else(no_idp)?;
        Ok(app.names()?.link(admin.tenant(), &idp.entity_id, &self.0))
    }
}

fn name_id_taken() -> Problem {
    Problem::new(Code::Conflict).detail("another user has this sso_name_id")
}

fn name_id_is_a_username() -> Problem {
    Problem::new(Code::Conflict).detail("the sso_name_id of a user must not be the username of another user")
}

/// The response to a kind and a role that do not go together.
fn invalid_combination() -> Problem {
    let detail = "must match the other field: an employee is administrator or standard, a contact is portal; in tenant \
                  support every user is an employee and operator";
    Problem::field("/kind", detail).and_field("/role", detail)
}

fn check_password(password: &SecretText, kind: Option<KindDto>) -> ApiResult<()> {
    password::acceptable(password.expose(), kind.map(Kind::from)).map_err(|weak| Problem::weak("/password", weak))
}

/// Loads the caller and the user that the path names, in one round trip.
async fn load(app: &App, request: &Request, user: UserId) -> ApiResult<(Principal, LoadedUser)> {
    let token = request.token(TokenClass::Session)?;
    Ok(app.store.load_user(token, user, request.now).await?)
}

/// As [`load`], for a change: the caller must be an Administrator with a fresh step-up.
async fn load_for_change(app: &App, request: &Request, user: UserId) -> ApiResult<(AdminContext, LoadedUser)> {
    let (principal, target) = load(app, request, user).await?;
    Ok((request.may_administer(app, principal).await?, target))
}

/// The response to a change or deletion that the store refused.
async fn refusal(app: &App, request: &Request, admin: &AdminContext, event: AuditEvent, error: ChangeError) -> Problem {
    let why = match error {
        OperationError::Rejected(why) => why,
        OperationError::Store(error) => return error.into(),
    };
    match why {
        ChangeRejection::NotFound => Code::NotFound.into(),
        ChangeRejection::Update(UpdateRejection::InvalidCombination) => invalid_combination(),
        ChangeRejection::Update(UpdateRejection::PasswordTooShort) => {
            Problem::weak("/password", WeakPassword::TooShort)
        }
        ChangeRejection::LastAdministrator => {
            let why = Problem::new(Code::Conflict).detail(why.to_string());
            request.refused(app, admin, event, why).await
        }
        ChangeRejection::SubjectTaken => request.refused(app, admin, event, name_id_taken()).await,
        ChangeRejection::Ambiguous => request.refused(app, admin, event, name_id_is_a_username()).await,
        ChangeRejection::ActorRevoked => request.no_longer(app).await,
    }
}
