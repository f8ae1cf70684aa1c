//! The page `/admin/settings`: the settings of the tenant. Each has a form of its own, so that nobody changes more than
//! they see.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{FromRequest, Request as HttpRequest, State},
    http::{HeaderValue, header},
};
use serde::Deserialize;
use vestibule::{
    domain::{AccentColor, Change, InvalidAccent},
    http::{
        ApiResult, App, Problem,
        page::{Field, FormErrors, Page, PageError, PageForm, PageRequest, PageResult, PageUpload, Text, redirect},
    },
    store::session::Principal,
};

use super::{Done, TextFields, value};
use crate::settings::{LogoDto, ResetCodeForDto, SettingsDto, SettingsRequest, change_settings, read_settings};

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
    RemoveLogo,
}

/// The form with the logo, which is a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogoForm {
    /// In Base64. Absent if no file was chosen.
    logo: Option<String>,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsTemplate {
    text: Text,
    changed: bool,
    issuer: Field,
    reset_code_for: Field,
    accent_color: Field,
    logo: Field,
    has_logo: bool,
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
            Setting::RemoveLogo => body.logo = Some(LogoDto(Change::Remove)),
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

/// A file comes in a form of another content type than the other settings.
pub(super) async fn submit(State(app): State<Arc<App>>, request: HttpRequest) -> PageResult {
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if kind.starts_with(b"multipart/form-data") {
        let PageUpload { page, form } = PageUpload::from_request(request, &app).await?;
        return submit_logo(&app, page, form).await;
    }
    let PageForm { page, form, .. }: PageForm<SettingsForm> = PageForm::from_request(request, &app).await?;
    let form = form?;
    let changed = match form.request() {
        Ok(body) => change_settings(&app, &page.request, body).await,
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(_) => Ok(redirect("/admin/settings?done=changed", [])),
        Err(problem) => {
            let errors = form.errors(&page, problem)?;
            refused(&app, page, &errors, Some(form)).await
        }
    }
}

async fn submit_logo(app: &App, page: Page, form: ApiResult<LogoForm>) -> PageResult {
    let read = form.and_then(|form| {
        let text = form.logo.ok_or_else(|| Problem::field("/logo", "is required"))?;
        LogoDto::try_from(text).map_err(|wrong| Problem::field("/logo", wrong))
    });
    let changed = match read {
        Ok(logo) => {
            let body = SettingsRequest { logo: Some(logo), ..SettingsRequest::default() };
            change_settings(app, &page.request, body).await
        }
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(_) => Ok(redirect("/admin/settings?done=changed", [])),
        Err(problem) => {
            let errors = page.errors(problem, "logo")?;
            refused(app, page, &errors, None).await
        }
    }
}

async fn refused(app: &App, mut page: Page, errors: &FormErrors, typed: Option<SettingsForm>) -> PageResult {
    let caller = page.principal(app).await?;
    settings_page(app, &page, errors, &caller, typed, false).await
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
    let SettingsDto { mut issuer, mut reset_code_for, accent_color, logo_path } =
        read_settings(app, &page.request, caller).await?;
    let mut accent = accent_color.unwrap_or_default();
    if let Some(typed) = typed {
        match typed.setting {
            Setting::Issuer => issuer = typed.issuer.unwrap_or_default(),
            Setting::ResetCodeFor => reset_code_for = typed.reset_code_for.unwrap_or(reset_code_for),
            Setting::AccentColor => accent = typed.accent_color.unwrap_or_default(),
            Setting::RemoveLogo => {}
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
        logo: Field::new(page, errors, "logo").binary_file(),
        has_logo: logo_path.is_some(),
        support: caller.token().user().tenant().is_support(),
    };
    page.show_form(&text.get("settings-title"), errors, &template)
}
