//! The page `/admin/settings`: the settings of the tenant. Each has a form of its own, so that nobody changes more than
//! they see.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde::Deserialize;
use vestibule::{
    domain::{AccentColor, InvalidAccent},
    http::{
        ApiResult, App, Problem,
        page::{Field, FormErrors, Page, PageError, PageForm, PageRequest, PageResult, Text, redirect},
    },
    store::session::Principal,
};

use super::{Done, TextFields, value};
use crate::settings::{ResetCodeForDto, SettingsDto, SettingsRequest, change_settings, read_settings};

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
    /// Empty to remove the colour.
    accent_color: Option<String>,
}

/// What a form of the page changes.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Setting {
    Issuer,
    ResetCodeFor,
    AccentColor,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsTemplate {
    text: Text,
    changed: bool,
    issuer: Field,
    reset_code_for: Field,
    accent_color: Field,
    /// The tenant is the one of operators, which has no SSO.
    support: bool,
}

impl SettingsForm {
    /// The request of the API that the form makes.
    fn request(&self) -> ApiResult<SettingsRequest> {
        let mut fields = TextFields::default();
        let mut body = SettingsRequest::default();
        match self.setting {
            Setting::Issuer => body.issuer = fields.required("/issuer", self.issuer.as_deref()),
            Setting::ResetCodeFor => body.reset_code_for = self.reset_code_for,
            Setting::AccentColor => {
                let typed = self.accent_color.as_deref().unwrap_or_default();
                body.accent_color = fields.required("/accent_color", Some(typed));
            }
        }
        fields.finish(Some(body))
    }

    /// What is wrong with the form.
    fn errors(&self, page: &Page, problem: Problem) -> Result<FormErrors, PageError> {
        let errors = page.errors(problem, "issuer")?;
        let typed = self.accent_color.as_deref().unwrap_or_default().trim();
        Ok(match AccentColor::parse(typed) {
            Err(InvalidAccent::Contrast(contrast)) => {
                // Cut and not rounded: what is shown is under the limit too.
                let contrast = format!("{:.2}", (contrast * 100.0).floor() / 100.0);
                errors.saying_at("accent_color", page.text.with("settings-contrast", "contrast", contrast))
            }
            _ => errors,
        })
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
            let errors = form.errors(&page, problem)?;
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
    let text = page.text;
    let SettingsDto { mut issuer, mut reset_code_for, accent_color } =
        read_settings(app, &page.request, caller).await?;
    let mut accent = accent_color.unwrap_or_default();
    if let Some(typed) = typed {
        match typed.setting {
            Setting::Issuer => issuer = typed.issuer.unwrap_or_default(),
            Setting::ResetCodeFor => reset_code_for = typed.reset_code_for.unwrap_or(reset_code_for),
            Setting::AccentColor => accent = typed.accent_color.unwrap_or_default(),
        }
    }
    let options = [("administrators", "settings-administrators"), ("everyone", "settings-everyone")];
    let template = SettingsTemplate {
        text,
        changed,
        issuer: Field::new(page, errors, "issuer").value(issuer),
        reset_code_for: Field::new(page, errors, "reset_code_for")
            .options(options.map(|(value, id)| (value, text.get(id))))
            .value(value(Some(reset_code_for))),
        accent_color: Field::new(page, errors, "accent_color").optional().value(accent),
        support: caller.token().user().tenant().is_support(),
    };
    page.show_form(&text.get("settings-title"), errors, &template)
}
