//! `/v1/admin/users`: the people of a tenant.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use vestibule::{
    audit::{Action, AuditEvent, Notify, Outcome},
    http::{
        ApiRequest, ApiResult, App, Code, Limit, Line, NoBody, Problem, Request, Routes, cursor,
        dto::{AuthTypeDto, Email, KindDto, MfaDto, NameStart, RoleDto, UserDto, Username},
    },
    id::{LoginName, UserId},
    password,
    secret::{NameIdLink, Nonce, SecretText, TokenClass},
    sso::MAX_NAME_ID,
    store::{
        lists::{List, UserFilter},
        session::{AdminContext, Principal},
        users::{Actor, Changed, Created, LoadedUser, NewUser, NewUserDetails, Patch, fits, fits_somewhere},
    },
};

pub(crate) fn routes() -> Routes {
    Routes::new().routes(routes!(create, list)).routes(routes!(read, change, delete))
}

/// A user to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"role": "standard", "username": "bob", "display_name": "Bob Meyer", "email": "bob@acme.example"}))]
struct CreateRequest {
    /// Whether the user is an employee or a contact.
    kind: KindDto,
    /// `portal` for a contact, `administrator` or `standard` for an employee. In tenant `support`: `operator`, for everybody.
    role: RoleDto,
    /// How the user signs in.
    auth_type: AuthTypeDto,
    /// The user name. It is unique within the tenant.
    username: Username,
    /// The name that people read.
    display_name: Line,
    /// Where notifications are mailed.
    email: Option<Email>,
    /// The password: at most 1,024 bytes, at least 8 bytes for an employee and 15 characters for a contact. Common
    /// passwords are refused.
    #[schema(value_type = Option<String>, example = "correct horse battery staple")]
    password: Option<SecretText>,
    /// The NameID that the tenant's identity provider sends for this user, where it is not the user name.
    sso_name_id: Option<NameId>,
}

/// The fields of a user to change. What is absent stays as it is. An empty body is `{}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"display_name": "Ann Lee-Meyer", "email": "ann@acme.example"}))]
struct ChangeRequest {
    /// Whether the user is an employee or a contact. It has to fit the role: send both.
    kind: Option<KindDto>,
    /// The role. It has to fit `kind`: send both.
    role: Option<RoleDto>,
    /// How the user signs in.
    auth_type: Option<AuthTypeDto>,
    /// Whether the user may sign in.
    active: Option<bool>,
    /// The name that people read.
    display_name: Option<Line>,
    /// Where notifications are mailed.
    email: Option<Email>,
    /// A new password, with the same limits as at creation. Nobody sets their own this way: see `POST /v1/password`.
    #[schema(value_type = Option<String>)]
    password: Option<SecretText>,
    /// The NameID that the tenant's identity provider sends for this user. It replaces the one from before.
    sso_name_id: Option<NameId>,
}

/// A NameID of the tenant's identity provider: 1 to 256 bytes, without control characters and surrounding spaces.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 256)]
struct NameId(String);

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
    /// The link, for the IdP that the caller's tenant has.
    fn link(&self, app: &App, admin: &AdminContext) -> ApiResult<NameIdLink> {
        let none = || Problem::new(Code::Conflict).detail("the tenant has no IdP: PUT /v1/admin/sso first");
        let idp = admin.principal().idp().ok_or_else(none)?;
        Ok(app.names()?.link(admin.tenant(), &idp.entity_id, &self.0))
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only employees, or only contacts.
    #[param(inline)]
    kind: Option<KindDto>,
    /// Only users whose authenticator has this state.
    #[param(inline)]
    mfa: Option<MfaDto>,
    /// Only users who are excluded from MFA (`true`), or who are not (`false`).
    excluded: Option<bool>,
    /// Only users whose user name or display name begins with this text. Upper and lower case are the same.
    #[param(example = "an")]
    #[param(inline)]
    q: Option<NameStart>,
    /// The most items of a page: 1 to 100. Without it: 50.
    #[serde(default)]
    #[param(inline, required = false)]
    limit: Limit,
    /// Where the page begins: the `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of users.
#[derive(Serialize, ToSchema)]
struct UserList {
    /// The users.
    items: Vec<UserDto>,
    /// Where the next page begins: the `cursor` of the next request. Absent on the last page. A page can have fewer items
    /// than `limit` and not be the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Create a user
///
/// For an Administrator with a fresh step-up. The user enrols an authenticator at their first sign-in.
#[utoipa::path(post, path = "/v1/admin/users", operation_id = "createUser", tag = "directory",
    security(("session" = [])), request_body = CreateRequest, responses(
    (status = 201, body = UserDto, description = "The new user.", example = json!({
        "id": "u-bob", "username": "bob", "display_name": "Bob Meyer", "role": "standard", "mfa": "none"})),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 409, description = "`conflict`: Another user has the user name or the NameID, or a NameID was given and the \
        tenant has no identity provider."),
))]
async fn create(
    State(app): State<Arc<App>>,
    call: ApiRequest<CreateRequest>,
) -> ApiResult<(StatusCode, Json<UserDto>)> {
    let ApiRequest { body, request, .. } = call;
    body.password.as_ref().map(|password| acceptable(password, body.kind == KindDto::Contact)).transpose()?;
    // The form first; whether they fit in this tenant is known once it is.
    if !fits_somewhere(body.kind.into(), body.role.into()) {
        return Err(misfit());
    }
    let admin = request.administrator(&app).await?;
    let tenant = admin.tenant();
    if !fits(tenant, body.kind.into(), body.role.into()) {
        return Err(misfit());
    }
    let id = UserId::generate(&*app.entropy)?;
    let login = app.names()?.login(tenant, &LoginName::fold(&body.username));
    let asked = NewUserDetails {
        kind: body.kind.into(),
        role: body.role.into(),
        auth_type: body.auth_type.into(),
        username: &body.username,
        display_name: &body.display_name,
        email: body.email.as_deref(),
    };
    let mut person = NewUser::new(tenant.user(id), login, &asked, Nonce::generate(&*app.entropy)?, request.now);
    if let Some(name_id) = body.sso_name_id {
        person = person.linked(name_id.link(&app, &admin)?);
    }
    if let Some(idp) = admin.principal().idp() {
        person = person.beside_idp(app.names()?, &idp.entity_id);
    }
    if let Some(password) = &body.password {
        person.hash = Some(app.passwords.hash(password, &*app.entropy).await?);
    }
    let event = request.event(Action::UserCreated, Outcome::Success);
    let event = event.by(admin.key().user()).about(person.key.user());
    match app.store.create_user(&Actor::AdminContext(&admin), &person, &request.attempt(&app)?, &event).await? {
        Created::Done => {}
        Created::NameTaken => return Err(Problem::new(Code::Conflict).detail("somebody has this username")),
        Created::SubjectTaken => return Err(subject_taken()),
        Created::Ambiguous => return Err(ambiguous()),
        Created::IdTaken | Created::NoTenant | Created::NotFirst => return Err(Code::Unavailable.into()),
        Created::ActorRevoked => return Err(request.no_longer(&app).await),
    }
    Ok((StatusCode::CREATED, Json(UserDto::new(&person.key, &person.user, &person.profile))))
}

fn subject_taken() -> Problem {
    Problem::new(Code::Conflict).detail("the IdP calls somebody else so")
}

fn ambiguous() -> Problem {
    let why = "the sso_name_id of one user would be the username of another";
    Problem::new(Code::Conflict).detail(why)
}

fn misfit() -> Problem {
    let detail =
        "must fit the other: an employee is administrator or standard, a contact is portal, an operator is of support";
    Problem::field("/kind", detail).and_field("/role", detail)
}

fn acceptable(password: &SecretText, contact: bool) -> ApiResult<()> {
    password::acceptable(password.expose(), contact).map_err(|weak| Problem::weak("/password", weak))
}

/// List the users of the tenant
///
/// For an Administrator. The list is in the order of user names. Filters can be combined.
#[utoipa::path(get, path = "/v1/admin/users", operation_id = "listUsers", tag = "directory",
    security(("session" = [])), params(ListQuery), responses(
    (status = 200, body = UserList, description = "A page of users."),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
))]
async fn list(State(app): State<Arc<App>>, call: ApiRequest<NoBody, (), ListQuery>) -> ApiResult<Json<UserList>> {
    let ApiRequest { query, request, .. } = call;
    let after = cursor(List::Users, query.cursor.as_deref())?;
    let reader = request.administrator_reading(&app).await?;
    let tenant = reader.token().user().tenant();
    let filter = UserFilter {
        kind: query.kind.map(Into::into),
        mfa: query.mfa.map(Into::into),
        excluded: query.excluded,
        start: query.q.map(String::from),
    };
    let page = app.store.list_users(tenant, &filter, after.as_ref(), query.limit.get()).await?;
    let items = page.items.iter().map(|(key, user, profile)| UserDto::new(key, user, profile)).collect();
    Ok(Json(UserList { items, next_cursor: page.next.map(|next| next.text(List::Users)) }))
}

async fn ask(app: &App, request: &Request, user: UserId) -> ApiResult<(Principal, LoadedUser)> {
    let token = request.token(TokenClass::Session)?;
    Ok(app.store.load_user(token, user, request.now).await??)
}

async fn administer(app: &App, request: &Request, user: UserId) -> ApiResult<(AdminContext, LoadedUser)> {
    let (principal, named) = ask(app, request, user).await?;
    Ok((request.may_administer(app, principal).await?, named))
}

/// Get a user
///
/// For an Administrator of the user's tenant.
#[utoipa::path(get, path = "/v1/admin/users/{id}", operation_id = "getUser", tag = "directory",
    security(("session" = [])), params(("id" = String, Path, description = "The user's id.", example = "u-ann")), responses(
    (status = 200, body = UserDto, description = "The user."),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 404, description = "`not_found`"),
))]
async fn read(State(app): State<Arc<App>>, call: ApiRequest<NoBody, UserId>) -> ApiResult<Json<UserDto>> {
    let (principal, named) = ask(&app, &call.request, call.path).await?;
    call.request.may_read(&app, &principal).await?;
    let (user, profile) = named.read()?.ok_or(Code::NotFound)?;
    Ok(Json(UserDto::new(named.key(), &user, &profile)))
}

/// Change a user
///
/// For an Administrator with a fresh step-up. Every change but that of the display name and the e-mail address ends the
/// user's sessions: they have to sign in again.
#[utoipa::path(patch, path = "/v1/admin/users/{id}", operation_id = "updateUser", tag = "directory",
    security(("session" = [])), params(("id" = String, Path, description = "The user's id.", example = "u-ann")),
    request_body = ChangeRequest, responses(
    (status = 200, body = UserDto, description = "The user after the change.",
        example = json!({"display_name": "Ann Lee-Meyer"})),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this, and not for their own password."),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`conflict`: The tenant would lose its last active Administrator, or another user has the \
        NameID."),
))]
async fn change(
    State(app): State<Arc<App>>,
    call: ApiRequest<vestibule::http::OrEmpty<ChangeRequest>, UserId>,
) -> ApiResult<Json<UserDto>> {
    let ApiRequest { body: vestibule::http::OrEmpty(body), path: user, request, .. } = call;
    if let Some(password) = &body.password {
        // The form first; whether it has to be long enough for a contact is asked beside the change.
        acceptable(password, body.kind == Some(KindDto::Contact))?;
    }
    if let (Some(kind), Some(role)) = (body.kind, body.role)
        && !fits_somewhere(kind.into(), role.into())
    {
        return Err(misfit());
    }
    let (admin, named) = administer(&app, &request, user).await?;
    named.read()?.ok_or(Code::NotFound)?;
    let mut patch = Patch {
        kind: body.kind.map(Into::into),
        role: body.role.map(Into::into),
        auth_type: body.auth_type.map(Into::into),
        active: body.active,
        display_name: body.display_name.map(String::from),
        email: body.email.map(String::from),
        hash: None,
        linked: None,
    };
    if let Some(name_id) = body.sso_name_id {
        patch.linked = Some(name_id.link(&app, &admin)?);
    }
    let event = request.event(Action::UserChanged, Outcome::Success);
    let mut event = event.by(admin.key().user()).about(named.key().user());
    if let Some(password) = &body.password {
        if named.key() == admin.key() {
            let why = Problem::new(Code::Forbidden).detail("one's own password is changed by POST /v1/password");
            return Err(request.refused(&app, &admin, event, why).await);
        }
        patch.hash = Some(app.passwords.hash(password, &*app.entropy).await?);
    }
    event.changed = changed(&patch);
    if patch.hash.is_some() || patch.auth_type.is_some() || patch.linked.is_some() {
        event = event.notify(Notify::User);
    }
    let key = named.key().clone();
    match app.store.update_user(&admin, named, &patch, &request.attempt(&app)?, &event).await? {
        Changed::Done(now) => Ok(Json(UserDto::new(&key, &now.0, &now.1))),
        Changed::InvalidCombination => Err(misfit()),
        Changed::PasswordTooShort => Err(Problem::weak("/password", password::WeakPassword::TooShort)),
        refused => Err(refuse(&app, &request, &admin, event, &refused).await),
    }
}

fn changed(patch: &Patch) -> Vec<String> {
    let fields = [
        ("kind", patch.kind.is_some()),
        ("role", patch.role.is_some()),
        ("auth_type", patch.auth_type.is_some()),
        ("active", patch.active.is_some()),
        ("display_name", patch.display_name.is_some()),
        ("email", patch.email.is_some()),
        ("password", patch.hash.is_some()),
        ("sso_name_id", patch.linked.is_some()),
    ];
    fields.into_iter().filter(|(_, changes)| *changes).map(|(name, _)| name.to_owned()).collect()
}

async fn refuse(app: &App, request: &Request, by: &AdminContext, event: AuditEvent, refused: &Changed) -> Problem {
    match refused {
        Changed::LastAdministrator => {
            let why = "a tenant keeps its last active Administrator, and without an IdP the last who signs in locally";
            request.refused(app, by, event, Problem::new(Code::Conflict).detail(why)).await
        }
        Changed::SubjectTaken => request.refused(app, by, event, subject_taken()).await,
        Changed::Ambiguous => request.refused(app, by, event, ambiguous()).await,
        Changed::ActorRevoked => request.no_longer(app).await,
        Changed::NotFound | Changed::InvalidCombination | Changed::PasswordTooShort | Changed::Done(_) => {
            Code::NotFound.into()
        }
    }
}

/// Delete a user
///
/// For an Administrator with a fresh step-up. All tokens of the user are void, and the user name is free again. The audit
/// keeps its events.
#[utoipa::path(delete, path = "/v1/admin/users/{id}", operation_id = "deleteUser", tag = "directory",
    security(("session" = [])), params(("id" = String, Path, description = "The user's id.", example = "u-ann")), responses(
    (status = 204, description = "The user is deleted."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`conflict`: The tenant would lose its last active Administrator."),
))]
async fn delete(State(app): State<Arc<App>>, call: ApiRequest<NoBody, UserId>) -> ApiResult<StatusCode> {
    let ApiRequest { path: user, request, .. } = call;
    let (admin, named) = administer(&app, &request, user).await?;
    let event = request.event(Action::UserDeleted, Outcome::Success);
    let event = event.by(admin.key().user()).about(named.key().user());
    match app.store.delete_user(&admin, named, &request.attempt(&app)?, &event).await? {
        Changed::Done(_) => Ok(StatusCode::NO_CONTENT),
        refused => Err(refuse(&app, &request, &admin, event, &refused).await),
    }
}
