//! The page `/admin/sso`: an Administrator sees the identity provider (IdP) of the tenant, replaces its metadata and removes it.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{extract::State, routing::get};
use serde::Deserialize;
use vestibule::{
    audit::{AuditAction, AuditEvent, Outcome},
    env::Timestamp,
    http::{
        ApiResult, App, Code, Line, Problem, Routes,
        page::{Field, FormErrors, Page, PageRequest, PageResult, PageUpload, Text, redirect},
    },
    id::TenantId,
    store::{
        item::{Idp, Provisioning},
        lists::{AuditFilter, AuditRow},
    },
};

use super::{
    CertificateDto, EXPIRY_WARNING, IdpDto, IdpRequest, ProvisioningRequest, WarningDto, configure, configured,
    remove_idp,
};

/// The path of the page.
const PATH: &str = "/admin/sso";

/// Where the page looks for the last refused sign-in: in the latest events of the audit, and so far back. The whole audit
/// would take too many queries.
const LATEST_EVENTS: usize = 100;
const LATEST: Duration = Duration::from_secs(7 * 86_400);

pub(crate) fn routes() -> Routes {
    Routes::new().route(PATH, get(show).post(submit))
}

#[derive(Deserialize)]
struct SsoQuery {
    /// Ask whether to remove the IdP.
    remove: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SsoForm {
    step: Step,
    /// The pasted metadata.
    metadata_xml: Option<String>,
    /// The metadata in a file.
    metadata_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Save,
    Remove,
}

#[derive(Template)]
#[template(path = "sso.html")]
struct SsoTemplate {
    text: Text,
    tenant: TenantId,
    idp: Current,
    entity_id: String,
    acs_url: String,
    refused: Option<AuditRow>,
    metadata_xml: Field,
    metadata_file: Field,
    /// What exactly is wrong with the metadata, in English.
    detail: Option<String>,
    now: Timestamp,
}

/// The tenant's IdP, as far as the page may show it.
enum Current {
    Configured(Box<IdpDto>),
    None,
    /// The step-up has lapsed since the form was shown.
    Hidden,
}

impl SsoTemplate {
    fn expires_soon(&self, certificate: &CertificateDto) -> bool {
        certificate.not_after <= self.now + EXPIRY_WARNING
    }
}

#[derive(Template)]
#[template(path = "sso_remove.html")]
struct RemoveTemplate {
    text: Text,
    /// `None`: the step-up has lapsed since the form was shown.
    entity_id: Option<String>,
}

#[derive(Template)]
#[template(path = "sso_none.html")]
struct NoneTemplate {
    text: Text,
}

/// What was typed, and what is wrong with it.
#[derive(Default)]
struct Sent {
    metadata_xml: String,
    errors: FormErrors,
    detail: Option<String>,
}

async fn show(State(app): State<Arc<App>>, get: PageRequest<(), SsoQuery>) -> PageResult {
    let PageRequest { mut page, query, .. } = get;
    let principal = page.principal(&app).await?;
    page.request.may_read(&app, &principal).await?;
    page.stepped_up(&principal)?;
    let tenant = principal.token().user().tenant();
    if query.remove.unwrap_or(false) {
        let idp = configured(&app, &page.request).await?;
        return remove_page(&page, Some(idp.idp_entity_id), &FormErrors::none());
    }
    sso_page(&app, &page, tenant, Sent::default()).await
}

async fn submit(State(app): State<Arc<App>>, post: PageUpload<SsoForm>) -> PageResult {
    let PageUpload { mut page, form } = post;
    let principal = page.principal(&app).await?;
    page.request.may_read(&app, &principal).await?;
    let tenant = principal.token().user().tenant();
    let (step, xml) = match form {
        Ok(SsoForm { step, metadata_xml, metadata_file }) => (step, metadata_file.or(metadata_xml)),
        Err(problem) => {
            let errors = page.errors(problem, "metadata_file")?;
            return sso_page(&app, &page, tenant, Sent { errors, ..Sent::default() }).await;
        }
    };
    match step {
        Step::Save => save(&app, &page, tenant, xml.unwrap_or_default()).await,
        Step::Remove => remove(&app, &page).await,
    }
}

async fn save(app: &Arc<App>, page: &Page, tenant: &TenantId, xml: String) -> PageResult {
    let current = app.store.idp(tenant).await?.configured();
    let body = IdpRequest::with_metadata(xml.clone(), current);
    match configure(app, &page.request, body).await {
        Ok(_) => Ok(redirect(PATH, [])),
        Err(problem) if problem.code() == Code::InvalidRequest => {
            let detail = problem.field_detail().map(str::to_owned).filter(|_| !xml.is_empty());
            // Whatever is wrong, it is wrong in the metadata.
            let errors = page.errors(Problem::field("/metadata_xml", "is not valid"), "metadata_xml")?;
            sso_page(app, page, tenant, Sent { metadata_xml: xml, errors, detail }).await
        }
        Err(problem) => {
            let errors = page.errors(problem, "main")?;
            sso_page(app, page, tenant, Sent { metadata_xml: xml, errors, detail: None }).await
        }
    }
}

async fn remove(app: &App, page: &Page) -> PageResult {
    let problem = match remove_idp(app, &page.request).await {
        Ok(()) => return Ok(redirect(PATH, [])),
        // Somebody else removed it, which is what the person wanted.
        Err(problem) if problem.code() == Code::NotFound => return Ok(redirect(PATH, [])),
        Err(problem) => problem,
    };
    let needed = problem.code() == Code::Conflict;
    let errors = page.errors(problem, "main")?;
    let errors = if needed { errors.saying(page.text.get("sso-needed")) } else { errors };
    let entity_id = match current(app, page).await? {
        Current::Configured(idp) => Some(idp.idp_entity_id),
        Current::None | Current::Hidden => None,
    };
    remove_page(page, entity_id, &errors)
}

impl IdpRequest {
    /// New metadata for an IdP. Everything else stays as it is.
    fn with_metadata(xml: String, current: Option<Idp>) -> Self {
        let line = |text: String| Line::try_from(text).ok();
        let lines = |texts: Vec<String>| texts.into_iter().filter_map(line).collect();
        let provisioning = |it: Provisioning| ProvisioningRequest {
            username: line(it.username),
            first_name: line(it.first_name),
            last_name: line(it.last_name),
            email: line(it.email),
            groups: line(it.groups),
            company: line(it.company),
            only_company: it.only_company.and_then(line),
            administrators: Some(lines(it.administrators)),
        };
        let new = Self { metadata_xml: Some(xml), ..Self::default() };
        let Some(current) = current else { return new };
        Self {
            // Without a key, the metadata decides.
            sign_requests: current.request_key.map(|_| true),
            idp_initiated: Some(current.idp_initiated),
            mfa_contexts: Some(lines(current.mfa_contexts)),
            link_attribute: current.link_attribute.and_then(line),
            provisioning: current.provisioning.map(provisioning),
            ..new
        }
    }
}

async fn sso_page(app: &App, page: &Page, tenant: &TenantId, sent: Sent) -> PageResult {
    let title = page.text.get("sso-title");
    let sp = match app.service_provider(tenant) {
        Ok(sp) => sp,
        Err(_) => return page.show_form(&title, &sent.errors, &NoneTemplate { text: page.text }),
    };
    let idp = current(app, page).await?;
    let refused = match idp {
        Current::Configured(_) => last_refused(app, page, tenant).await?,
        Current::None | Current::Hidden => None,
    };
    let template = SsoTemplate {
        text: page.text,
        tenant: tenant.clone(),
        idp,
        entity_id: sp.entity_id,
        acs_url: sp.acs_url,
        refused,
        metadata_xml: Field::new(page, &sent.errors, "metadata_xml").long().optional().value(sent.metadata_xml),
        metadata_file: Field::new(page, &sent.errors, "metadata_file").file().optional(),
        detail: sent.detail,
        now: page.request.now,
    };
    page.show_form(&title, &sent.errors, &template)
}

/// The last sign-in that was refused, if it is among the latest events.
async fn last_refused(app: &App, page: &Page, tenant: &TenantId) -> ApiResult<Option<AuditRow>> {
    let now = page.request.now;
    let filter = AuditFilter { from: Some(now - LATEST), ..AuditFilter::default() };
    let latest = app.store.audit(tenant, &filter, (now - LATEST, now), None, LATEST_EVENTS).await?;
    let refused = |event: &AuditEvent| event.action == AuditAction::SsoLogin && event.outcome == Outcome::Refused;
    Ok(latest.items.into_iter().find(|row| refused(&row.event)))
}

async fn current(app: &App, page: &Page) -> ApiResult<Current> {
    match configured(app, &page.request).await {
        Ok(idp) => Ok(Current::Configured(Box::new(idp))),
        Err(problem) if problem.code() == Code::NotFound => Ok(Current::None),
        Err(problem) if problem.code() == Code::StepUpRequired => Ok(Current::Hidden),
        Err(problem) => Err(problem),
    }
}

fn remove_page(page: &Page, entity_id: Option<String>, errors: &FormErrors) -> PageResult {
    page.show_form(&page.text.get("sso-remove-title"), errors, &RemoveTemplate { text: page.text, entity_id })
}
