//! A change of a user, on the page `/admin/users/{id}`: one question at a time, so that nobody changes more than they see.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde::Deserialize;
use vestibule::{
    http::{
        ApiResult, App, Code, Problem,
        dto::{AuthTypeDto, RoleDto, UserDto},
        page::{Field, FormErrors, Page, PageForm, PageResult, Text, redirect},
    },
    id::UserId,
    secret::SecretText,
    store::session::Principal,
};

use super::{TextFields, auth_types, kind_of, roles, value};
use crate::users::{
    delete::delete_user,
    get::read_user,
    invite::invite_user,
    update::{ChangeRequest, change_user},
};

/// What a question is about.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    DisplayName,
    Email,
    Role,
    AuthType,
    Password,
    Invitation,
    Active,
    Delete,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeForm {
    change: Change,
    display_name: Option<String>,
    email: Option<String>,
    role: Option<RoleDto>,
    auth_type: Option<AuthTypeDto>,
    password: Option<SecretText>,
    active: Option<bool>,
}

#[derive(Template)]
#[template(path = "change_user.html")]
struct ChangeTemplate<'a> {
    text: Text,
    change: &'static str,
    user: &'a UserDto,
    /// The change is not possible here: the text that says why, the path that helps, and its text.
    blocked: Option<[&'static str; 3]>,
    field: Option<Field>,
    /// What the change leads to.
    effects: Vec<&'static str>,
    submit: &'static str,
    danger: bool,
}

impl Change {
    /// The field of the change in the API, if it has one.
    fn name(self) -> &'static str {
        match self {
            Self::DisplayName => "display_name",
            Self::Email => "email",
            Self::Role => "role",
            Self::AuthType => "auth_type",
            Self::Password => "password",
            Self::Invitation => "invitation",
            Self::Active => "active",
            Self::Delete => "delete",
        }
    }

    /// The page that comes next.
    fn after(self, id: &UserId) -> String {
        match self {
            Self::Delete => "/admin/users?done=deleted".to_owned(),
            Self::Invitation => format!("/admin/users/{id}?done=invited"),
            _ => format!("/admin/users/{id}?done=changed"),
        }
    }
}

impl ChangeForm {
    /// The request of the API that the form makes.
    fn request(&self) -> ApiResult<ChangeRequest> {
        let (mut fields, mut body) = (TextFields::default(), ChangeRequest::default());
        match self.change {
            Change::DisplayName => body.display_name = fields.required("/display_name", self.display_name.as_deref()),
            Change::Email => body.email = fields.required("/email", self.email.as_deref()),
            Change::Role => (body.kind, body.role) = (self.role.map(kind_of), self.role),
            Change::AuthType => body.auth_type = self.auth_type,
            Change::Password => body.password = fields.password(self.password.as_ref()),
            Change::Active => body.active = self.active,
            Change::Invitation | Change::Delete => {}
        }
        fields.finish(Some(body))
    }

    /// The answer as it was typed. A password is never shown.
    fn typed(self) -> String {
        match self.change {
            Change::DisplayName => self.display_name.unwrap_or_default(),
            Change::Email => self.email.unwrap_or_default(),
            Change::Role => value(self.role),
            Change::AuthType => value(self.auth_type),
            Change::Password | Change::Invitation | Change::Active | Change::Delete => String::new(),
        }
    }
}

/// Asks for a change. The field begins with what there is.
pub(super) fn ask(page: &Page, caller: &Principal, change: Change, user: &UserDto) -> PageResult {
    let now = match change {
        Change::DisplayName => user.display_name.clone(),
        Change::Email => user.email.clone().unwrap_or_default(),
        Change::Role => value(Some(user.role)),
        Change::AuthType => value(Some(user.auth_type)),
        Change::Password | Change::Invitation | Change::Active | Change::Delete => String::new(),
    };
    question(page, &FormErrors::none(), caller, change, user, now)
}

pub(super) async fn submit(State(app): State<Arc<App>>, post: PageForm<ChangeForm, UserId>) -> PageResult {
    let PageForm { page, path: id, form } = post;
    let form = form?;
    let done = match (form.change, form.request()) {
        (_, Err(problem)) => Err(problem),
        (Change::Invitation, _) => invite_user(&app, &page.request, id.clone()).await,
        (Change::Delete, _) => delete_user(&app, &page.request, id.clone()).await,
        (_, Ok(body)) => change_user(&app, &page.request, id.clone(), body).await.map(drop),
    };
    match done {
        Ok(()) => Ok(redirect(&form.change.after(&id), [])),
        Err(problem) => ask_again(&app, page, id, form, problem).await,
    }
}

async fn ask_again(app: &App, mut page: Page, id: UserId, form: ChangeForm, problem: Problem) -> PageResult {
    let caller = page.principal(app).await?;
    let (key, user, profile) = read_user(app, &page.request, id).await?;
    let (change, conflict) = (form.change, problem.code() == Code::Conflict);
    let errors = page.errors(problem, change.name())?.saying_at("password", page.text.get("invalid-user-password"));
    let why = if change == Change::Invitation { "user-not-invited" } else { "user-last" };
    let errors = if conflict { errors.saying(page.text.get(why)) } else { errors };
    question(&page, &errors, &caller, change, &UserDto::in_directory(&key, &user, &profile), form.typed())
}

fn question(
    page: &Page,
    errors: &FormErrors,
    caller: &Principal,
    change: Change,
    user: &UserDto,
    now: String,
) -> PageResult {
    let title = match change {
        Change::Active if user.active => "change-title-deactivate",
        Change::Active => "change-title-activate",
        _ => &format!("change-title-{}", change.name()),
    };
    let template = ChangeTemplate {
        text: page.text,
        change: change.name(),
        user,
        blocked: blocked(caller, change, user),
        field: field(page, errors, caller, change).map(|field| field.value(now)),
        effects: effects(caller, change, user),
        submit: match change {
            Change::Active if user.active => "user-deactivate",
            Change::Active => "user-activate",
            Change::Delete => "user-delete",
            Change::Invitation => "user-invite",
            _ => "save",
        },
        danger: change == Change::Delete || (change == Change::Active && user.active),
    };
    page.show_form(&page.text.with(title, "name", user.display_name.as_str()), errors, &template)
}

/// Why the change is not possible here, as far as it is known before.
fn blocked(caller: &Principal, change: Change, user: &UserDto) -> Option<[&'static str; 3]> {
    match change {
        Change::AuthType if caller.idp().is_none() && user.auth_type == AuthTypeDto::Local => {
            Some(["auth-type-no-idp", "/admin/sso", "settings-sso"])
        }
        Change::Password if is_own(caller, user) => {
            Some(["user-password-own", "/settings/password", "security-password-change"])
        }
        _ => None,
    }
}

fn field(page: &Page, errors: &FormErrors, caller: &Principal, change: Change) -> Option<Field> {
    let field = || Field::new(page, errors, change.name());
    Some(match change {
        Change::DisplayName => field(),
        Change::Email => field().email(),
        Change::Role => field().options(roles(page.text, caller.token().user().tenant())),
        Change::AuthType => field().options(auth_types(page.text)),
        Change::Password => field().password("new-password").hint(page.text.get("hint-user-password")),
        Change::Invitation | Change::Active | Change::Delete => return None,
    })
}

/// The texts that say what the change leads to.
fn effects(caller: &Principal, change: Change, user: &UserDto) -> Vec<&'static str> {
    let mut effects = match change {
        Change::DisplayName | Change::Email => return Vec::new(),
        Change::Role if user.excluded => vec!["change-ends-sessions", "change-ends-exclusion"],
        Change::Role => vec!["change-ends-sessions"],
        Change::AuthType => vec!["change-auth-type", "change-ends-sessions"],
        Change::Password => vec!["change-password", "change-ends-sessions"],
        Change::Active if user.active => vec!["change-deactivate"],
        Change::Active => vec!["change-activate"],
        Change::Invitation => vec!["change-invitation"],
        Change::Delete => vec!["change-delete"],
    };
    effects.extend(is_own(caller, user).then_some("user-own"));
    effects
}

/// Whether the user is the caller.
pub(super) fn is_own(caller: &Principal, user: &UserDto) -> bool {
    caller.token().user().user().as_str() == user.id
}
