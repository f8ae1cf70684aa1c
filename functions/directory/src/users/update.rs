//! `PATCH /v1/admin/users/{id}`: change a user.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::ToSchema;
use vestibule::{
    audit::{AuditAction, Notify, Outcome},
    http::{
        ApiRequest, ApiResult, App, Code, Line, OrEmpty, Problem, Request,
        dto::{AuthTypeDto, Email, KindDto, RoleDto, UserDto},
    },
    id::{UserId, UserKey},
    mail_order::OrderedMail,
    secret::SecretText,
    store::users::{Patch, role_allowed_in_some_tenant},
};

use super::{NameId, check_password, invalid_combination, load_for_change, refusal};

/// The fields of a user to change. Absent fields do not change. An empty body is `{}`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"display_name": "Ann Lee-Meyer", "email": "ann@acme.example"}))]
pub(crate) struct ChangeRequest {
    /// Whether the user is an employee or a contact. It must match the role: send both.
    pub(crate) kind: Option<KindDto>,
    /// The role. It must match `kind`: send both.
    pub(crate) role: Option<RoleDto>,
    /// How the user signs in.
    pub(crate) auth_type: Option<AuthTypeDto>,
    /// Whether the user may sign in.
    pub(crate) active: Option<bool>,
    /// The display name.
    pub(crate) display_name: Option<Line>,
    /// Where notifications are mailed.
    pub(crate) email: Option<Email>,
    /// A new password, with the same limits as at creation. You cannot set your own password here: use `POST /v1/password`.
    #[schema(value_type = Option<String>)]
    pub(crate) password: Option<SecretText>,
    /// The NameID that the tenant's identity provider sends for this user. It replaces the earlier one.
    sso_name_id: Option<NameId>,
}

/// Change a user
///
/// For an Administrator with a fresh step-up. Every change except of the display name and the e-mail address ends the
/// user's sessions. A new e-mail address is not verified; links that were mailed become void, and the former address is told.
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
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    call: ApiRequest<OrEmpty<ChangeRequest>, UserId>,
) -> ApiResult<Json<UserDto>> {
    let ApiRequest { body: OrEmpty(body), path: user, request, .. } = call;
    change_user(&app, &request, user, body).await.map(Json)
}

/// Changes a user of the caller's tenant.
pub(crate) async fn change_user(app: &App, request: &Request, user: UserId, body: ChangeRequest) -> ApiResult<UserDto> {
    if let Some(password) = &body.password {
        // The form is checked before the caller. If the user may be a contact, the store checks the length with the change.
        check_password(password, body.kind)?;
    }
    if let (Some(kind), Some(role)) = (body.kind, body.role)
        && !role_allowed_in_some_tenant(kind.into(), role.into())
    {
        return Err(invalid_combination());
    }
    let (admin, target) = load_for_change(app, request, user).await?;
    let (_, profile) = target.read()?.ok_or(Code::NotFound)?;
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
        patch.linked = Some(name_id.link(app, &admin)?);
    }
    let event = request.event(AuditAction::UserChanged, Outcome::Success);
    let mut event = event.by(admin.key().user()).about(target.key().user());
    if let Some(password) = &body.password {
        if target.key() == admin.key() {
            let why = Problem::new(Code::Forbidden).detail("use POST /v1/password to change your own password");
            return Err(request.refused(app, &admin, event, why).await);
        }
        patch.hash = Some(app.passwords.hash(password, &*app.entropy).await?);
    }
    event.changed = changed_fields(&patch);
    if patch.hash.is_some() || patch.auth_type.is_some() || patch.linked.is_some() {
        event = event.notify(Notify::User);
    }
    let key = target.key().clone();
    match app.store.update_user(&admin, target, &patch, &request.attempt(app)?, &event).await {
        Ok((user, after)) => {
            tell_former_address(app, request, &key, profile.email, after.email.as_deref()).await;
            Ok(UserDto::in_directory(&key, &user, &after))
        }
        Err(error) => Err(refusal(app, request, &admin, event, error).await),
    }
}

/// Tells the former address that it was replaced. The change is durable, so a failure is only logged, which raises an alarm.
async fn tell_former_address(app: &App, request: &Request, key: &UserKey, former: Option<String>, now: Option<&str>) {
    if let Some(former) = former.filter(|former| Some(former.as_str()) != now) {
        let _ = request.order_mail(app, OrderedMail::address_changed(key, former)).await;
    }
}

/// The names of the fields that the patch changes, for the audit.
fn changed_fields(patch: &Patch) -> Vec<String> {
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
