//! The page `/support`: an operator looks up a tenant and its users, and resets a sole Administrator.

mod reset;

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, routing::get};
use serde::Deserialize;
use vestibule::{
    http::{
        App, Limit, Routes,
        dto::{MfaDto, NameStart, RoleDto},
        page::{Field, FormErrors, Page, PageRequest, PageResult, Text, with_query},
    },
    id::TenantId,
};

use crate::lookups::{Search, TenantDto, TenantUserDto, find_tenants, find_users};

/// The path of the page.
const PATH: &str = "/support";

pub(crate) fn routes() -> Routes {
    Routes::new().route(PATH, get(show).post(reset::submit))
}

/// Which of its views the page shows. Without `tenant`: the tenants.
#[derive(Deserialize)]
struct SupportQuery {
    /// The users of this tenant.
    tenant: Option<TenantId>,
    /// The form that resets this user of the tenant.
    reset: Option<String>,
    q: Option<NameStart>,
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "tenants.html")]
struct TenantsTemplate {
    text: Text,
    search: Field,
    tenants: Vec<TenantDto>,
    later: bool,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "tenant_users.html")]
struct UsersTemplate {
    text: Text,
    tenant: TenantId,
    search: Field,
    users: Vec<TenantUserDto>,
    later: bool,
    next: Option<String>,
}

impl UsersTemplate {
    /// Where a user is reset. `None`: support cannot reset them.
    fn reset(&self, user: &TenantUserDto) -> Option<String> {
        let possible = user.active && user.role == RoleDto::Administrator;
        possible.then(|| with_query(PATH, [("tenant", self.tenant.as_str()), ("reset", &user.username)]))
    }
}

async fn show(State(app): State<Arc<App>>, get: PageRequest<(), SupportQuery>) -> PageResult {
    let PageRequest { mut page, query, .. } = get;
    let principal = page.principal(&app).await?;
    page.request.may_look_up(&app, &principal).await?;
    let SupportQuery { tenant, reset, q, cursor } = query;
    match (tenant, reset) {
        (Some(tenant), Some(username)) => {
            page.stepped_up(&principal)?;
            reset::show(&page, tenant, username)
        }
        (Some(tenant), None) => users_page(&app, &page, tenant, q, cursor).await,
        (None, _) => tenants_page(&app, &page, q, cursor).await,
    }
}

async fn tenants_page(app: &App, page: &Page, q: Option<NameStart>, cursor: Option<String>) -> PageResult {
    let (start, later) = (text_of(q.as_ref()), cursor.is_some());
    let found = find_tenants(app, &page.request, Search { q, limit: Limit::default(), cursor }).await?;
    let next = found.next_cursor.map(|next| with_query(PATH, [("q", start.as_str()), ("cursor", &next)]));
    let search = Field::new(page, &FormErrors::none(), "q").optional().value(start);
    let template = TenantsTemplate { text: page.text, search, tenants: found.items, later, next };
    page.show(&page.text.get("support-title"), &template)
}

async fn users_page(
    app: &App,
    page: &Page,
    tenant: TenantId,
    q: Option<NameStart>,
    cursor: Option<String>,
) -> PageResult {
    let (start, later) = (text_of(q.as_ref()), cursor.is_some());
    let found = find_users(app, &page.request, &tenant, Search { q, limit: Limit::default(), cursor }).await?;
    let next = found.next_cursor;
    let next =
        next.map(|next| with_query(PATH, [("tenant", tenant.as_str()), ("q", start.as_str()), ("cursor", &next)]));
    let search = Field::new(page, &FormErrors::none(), "q").optional().value(start);
    let title = page.text.with("support-users-title", "tenant", tenant.as_str().to_owned());
    page.show(&title, &UsersTemplate { text: page.text, tenant, search, users: found.items, later, next })
}

fn text_of(start: Option<&NameStart>) -> String {
    start.cloned().map(String::from).unwrap_or_default()
}
