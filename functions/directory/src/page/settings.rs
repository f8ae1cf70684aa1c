//! The page `/admin/settings`: the settings of the tenant. Each has a form of its own, so that nobody changes more than
//! they see.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde::Deserialize;
use vestibule::{
    http::{
        ApiResult, App,
        page::{Field, FormErrors, Page, PageForm, PageRequest, PageResult, Text, redirect},
    },
    store::session::Principal,
};

use super::{Done, TextFields, value};
use crate::settings::{ResetCodeForDto, SettingsRequest, change_settings, read_settings};

#[derive(Deserialize)]
pub(super) struct SettingsQuery {
    done: Option<Done>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsForm {
    setting: Setting,
    issuer: Option<String>,
    reset_code_for: Option<ResetCodeForDto>,
}

/// What a form of the page changes.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Setting {
    Issuer,
    ResetCodeFor,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsTemplate {
    text: Text,
    changed: bool,
    issuer: Field,
    reset_code_for: Field,
    /// The tenant is the one of operators, which has no SSO.
    support: bool,
}

impl SettingsForm {
    /// The request of the API that the form makes.
    fn request(&self) -> ApiResult<SettingsRequest> {
        let mut fields = TextFields::default();
        let issuer = match self.setting {
            Setting::Issuer => fields.required("/issuer", self.issuer.as_deref()),
            Setting::ResetCodeFor => None,
        };
        let reset_code_for = self.reset_code_for.filter(|_| self.setting == Setting::ResetCodeFor);
        fields.finish(Some(SettingsRequest { issuer, reset_code_for }))
    }
}

pub(super) async fn show(State(app): State<Arc<App>>, get: PageRequest<(), SettingsQuery>) -> PageResult {
    let PageRequest { mut page, query, .. } = get;
    let caller = page.principal(&app).await?;
    page.request.may_read(&app, &caller).await?;
    page.stepped_up(&caller)?;
    settings_page(&app, &page, &FormErrors::none(), &caller, None, query.done == Some(Done::Changed)).await
}

pub(super) async fn submit(State(app): State<Arc<App>>, post: PageForm<SettingsForm>) -> PageResult {
    let PageForm { mut page, form, .. } = post;
    let form = form?;
    let changed = match form.request() {
        Ok(body) => change_settings(&app, &page.request, body).await,
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(_) => Ok(redirect("/admin/settings?done=changed", [])),
        Err(problem) => {
            let caller = page.principal(&app).await?;
            let errors = page.errors(problem, "issuer")?;
            settings_page(&app, &page, &errors, &caller, Some(form), false).await
        }
    }
}

async fn settings_page(
    app: &App,
    page: &Page,
    errors: &FormErrors,
    caller: &Principal,
    typed: Option<SettingsForm>,
    changed: bool,
) -> PageResult {
    let (text, now) = (page.text, read_settings(app, &page.request, caller).await?);
    let (issuer, reset_code_for) = match typed {
        Some(SettingsForm { setting: Setting::Issuer, issuer, .. }) => (issuer.unwrap_or_default(), now.reset_code_for),
        Some(typed) => (now.issuer, typed.reset_code_for.unwrap_or(now.reset_code_for)),
        None => (now.issuer, now.reset_code_for),
    };
    let options = [("administrators", "settings-administrators"), ("everyone", "settings-everyone")];
    let template = SettingsTemplate {
        text,
        changed,
        issuer: Field::new(page, errors, "issuer").value(issuer),
        reset_code_for: Field::new(page, errors, "reset_code_for")
            .options(options.map(|(value, id)| (value, text.get(id))))
            .value(value(Some(reset_code_for))),
        support: caller.token().user().tenant().is_support(),
    };
    page.show_form(&text.get("settings-title"), errors, &template)
}
