//! The list of the excluded contacts.

use askama::Template;
use vestibule::{
    env::Timestamp,
    http::{
        App, Limit, cursor,
        page::{Page, PageResult, Text},
    },
    id::TenantId,
    store::lists::List,
};

use super::PATH;

#[derive(Template)]
#[template(path = "excluded.html")]
struct ExcludedTemplate {
    text: Text,
    contacts: Vec<Contact>,
    /// The list does not begin at its first contact.
    later: bool,
    next: Option<String>,
}

struct Contact {
    id: String,
    username: String,
    excluded_at: Timestamp,
    excluded_by: String,
    reason: String,
}

pub(super) async fn show(app: &App, page: &Page, tenant: &TenantId, after: Option<&str>) -> PageResult {
    let start = cursor(List::Exclusions, after)?;
    let found = app.store.exclusions(tenant, start.as_ref(), Limit::default().get()).await?;
    let names = app.store.names(tenant, found.items.iter().map(|row| &row.by)).await?;
    let next = found.next.map(|next| format!("{PATH}?cursor={}", next.text(List::Exclusions)));
    let contacts = found.items.into_iter().map(|row| Contact {
        id: row.contact.into(),
        username: row.username,
        excluded_at: row.at,
        excluded_by: names.get(&row.by).map_or_else(|| row.by.to_string(), |profile| profile.username.clone()),
        reason: row.reason,
    });
    let template = ExcludedTemplate { text: page.text, contacts: contacts.collect(), later: after.is_some(), next };
    page.show(&page.text.get("exclusions-title"), &template)
}
