//! The page `/admin/users/new`: create a user.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde::Deserialize;
use vestibule::{
    http::{
        ApiResult, App, Code, Problem,
        dto::{AuthTypeDto, RoleDto},
        page::{Field, FormErrors, Page, PageError, PageForm, PageRequest, PageResult, Text, redirect},
    },
    secret::SecretText,
    store::session::Principal,
};

use super::{TextFields, auth_types, kind_of, roles, value};
use crate::users::create::{CreateRequest, create_user};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUserForm {
    pub(super) role: Option<RoleDto>,
    /// Absent where the tenant has no identity provider.
    pub(super) auth_type: Option<AuthTypeDto>,
    pub(super) username: Option<String>,
    pub(super) display_name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) password: Option<SecretText>,
}

#[derive(Template)]
#[template(path = "new_user.html")]
struct NewUserTemplate {
    text: Text,
    username: Field,
    display_name: Field,
    email: Field,
    role: Field,
    /// `None` where the tenant has no identity provider.
    auth_type: Option<Field>,
    password: Field,
    /// Mails are configured, so a user can be invited.
    mails: bool,
}

impl NewUserForm {
    /// The request of the API that the form makes. A user who signs in with a password needs one, or an invitation where
    /// mails are configured.
    pub(super) fn request(&self, mails: bool) -> ApiResult<CreateRequest> {
        let (mut fields, auth_type) = (TextFields::default(), self.auth_type.unwrap_or(AuthTypeDto::Local));
        let username = fields.required("/username", self.username.as_deref());
        let display_name = fields.required("/display_name", self.display_name.as_deref());
        let email = fields.optional("/email", self.email.as_deref());
        let without = auth_type == AuthTypeDto::Local && self.password.is_none();
        let (invite, required) = (without && mails, self.password.is_some() || (without && !mails));
        let password = if required { fields.password(self.password.as_ref()) } else { None };
        if invite && self.email.is_none() {
            fields.wrong("/email", "is needed for an invitation");
        }
        let named = username.zip(display_name).zip(self.role);
        let body = named.map(|((username, display_name), role)| CreateRequest {
            kind: kind_of(role),
            role,
            auth_type,
            username,
            display_name,
            email,
            password,
            sso_name_id: None,
            invite,
        });
        fields.finish(body)
    }

    /// What is wrong with the form.
    pub(super) fn errors(&self, page: &Page, problem: Problem) -> Result<FormErrors, PageError> {
        let errors = page.errors(problem, "username")?;
        let errors = errors.saying_at("password", page.text.get("invalid-user-password"));
        Ok(match self.email {
            None => errors.saying_at("email", page.text.get("new-user-email-needed")),
            Some(_) => errors,
        })
    }
}

pub(super) async fn show(State(app): State<Arc<App>>, get: PageRequest) -> PageResult {
    let mut page = get.page;
    let caller = page.principal(&app).await?;
    page.request.may_read(&app, &caller).await?;
    page.stepped_up(&caller)?;
    form_page(&app, &page, &FormErrors::none(), &caller, NewUserForm::default())
}

pub(super) async fn submit(State(app): State<Arc<App>>, post: PageForm<NewUserForm>) -> PageResult {
    let PageForm { mut page, form, .. } = post;
    let form = form?;
    let created = match form.request(app.mails.is_some()) {
        Ok(body) => create_user(&app, &page.request, &body).await.map(|user| (user.id, body.invite)),
        Err(problem) => Err(problem),
    };
    match created {
        Ok((id, true)) => Ok(redirect(&format!("/admin/users/{id}?done=invited"), [])),
        Ok((id, false)) => Ok(redirect(&format!("/admin/users/{id}?done=created"), [])),
        Err(problem) => {
            let caller = page.principal(&app).await?;
            page.request.may_read(&app, &caller).await?;
            let taken = problem.code() == Code::Conflict;
            let errors = form.errors(&page, problem)?;
            let errors = if taken { errors.saying(page.text.get("new-user-taken")) } else { errors };
            form_page(&app, &page, &errors, &caller, form)
        }
    }
}

fn form_page(app: &App, page: &Page, errors: &FormErrors, caller: &Principal, form: NewUserForm) -> PageResult {
    let (text, has_idp, mails) = (page.text, caller.idp().is_some(), app.mails.is_some());
    let field = |name: &'static str| Field::new(page, errors, name);
    let hint = if mails { "hint-new-user-password" } else { "hint-user-password" };
    let password = field("password").password("new-password").hint(text.get(hint));
    let template = NewUserTemplate {
        text,
        username: field("username").value(form.username.unwrap_or_default()),
        display_name: field("display_name").value(form.display_name.unwrap_or_default()),
        email: field("email")
            .email()
            .optional()
            .hint(text.get("hint-email-optional"))
            .value(form.email.unwrap_or_default()),
        role: field("role").options(roles(text, caller.token().user().tenant())).value(value(form.role)),
        auth_type: has_idp.then(|| field("auth_type").options(auth_types(text)).value(value(form.auth_type))),
        password: if mails || has_idp { password.optional() } else { password },
        mails,
    };
    page.show_form(&text.get("new-user-title"), errors, &template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_user_needs_a_password_unless_they_can_be_invited() {
        let form = |email: Option<&str>, password: Option<&str>, auth_type| NewUserForm {
            role: Some(RoleDto::Standard),
            auth_type,
            username: Some("nora".to_owned()),
            display_name: Some("Nora".to_owned()),
            email: email.map(str::to_owned),
            password: password.map(|text| SecretText::new(text.to_owned())),
        };
        let (email, password, sso) =
            (Some("nora@acme.example"), Some("a good long password"), Some(AuthTypeDto::SamlSso));
        // Whether mails are configured, the form, and whether it makes an invitation.
        for (mails, form, invite) in [
            (true, form(email, None, None), Some(true)),
            (true, form(None, None, None), None),
            (true, form(email, password, None), Some(false)),
            (false, form(email, None, None), None),
            (false, form(None, password, None), Some(false)),
            (false, form(None, None, sso), Some(false)),
            (true, form(email, None, sso), Some(false)),
        ] {
            assert_eq!(form.request(mails).ok().map(|body| body.invite), invite);
        }
    }
}
