//! The form that chooses contacts, and the dry run that is its preview.

use askama::Template;
use vestibule::{
    http::{
        ApiResult, App, Limit, Line, Problem, cursor,
        page::{Field, FormErrors, Page, PageResult, Text, redirect, with_query},
    },
    id::{IdempotencyKey, TenantId, UserId},
    store::{
        item::Kind,
        lists::{List, UserFilter},
    },
};

use super::{
    Change, ExclusionsForm, PATH,
    contacts::{InvalidList, in_csv, pasted},
};
use crate::run::{BatchRequest, run_batch};

/// What was typed into the form. It is shown again with what is wrong.
#[derive(Default)]
struct Typed {
    change: Change,
    contact_ids: String,
    reason: String,
}

/// The contacts that the form offers to tick.
#[derive(Default)]
pub(super) struct Offered {
    /// Only this one.
    pub(super) contact: Option<UserId>,
    /// Only those whose name begins with this text.
    pub(super) start: Option<String>,
    pub(super) cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "choose.html")]
struct ChooseTemplate {
    text: Text,
    change: Change,
    contacts: Vec<Contact>,
    /// The form is about one contact, so it offers no other.
    one: bool,
    search: Field,
    searched: bool,
    next: Option<String>,
    contact_ids: Field,
    csv: Field,
    reason: Field,
}

struct Contact {
    id: String,
    username: String,
    display_name: String,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Self::Exclude => "exclude",
            Self::Include => "include",
        }
    }
}

pub(super) async fn show(app: &App, page: &Page, tenant: &TenantId, change: Change, offered: Offered) -> PageResult {
    let typed = Typed { change, ..Typed::default() };
    form(app, page, tenant, typed, offered, &FormErrors::none()).await
}

/// The form could not be read, so nothing that was typed is known.
pub(super) async fn unread(app: &App, page: &Page, tenant: &TenantId, problem: Problem) -> PageResult {
    form(app, page, tenant, Typed::default(), Offered::default(), &page.errors(problem, "csv")?).await
}

/// Runs a dry run. The browser goes to its results, which are the preview.
pub(super) async fn preview(app: &App, page: &Page, tenant: &TenantId, form_sent: ExclusionsForm) -> PageResult {
    let ExclusionsForm { change, chosen, contact_ids, csv, reason, .. } = form_sent;
    let (typed_ids, reason) = (contact_ids.unwrap_or_default(), reason.unwrap_or_default());
    let in_file = in_csv_of(csv.as_deref());
    // A file cannot be sent to the browser, so its ids join the typed ones.
    let all = typed_ids.lines().map(str::to_owned).chain(chosen);
    let all = all.chain(in_file.iter().flatten().map(ToString::to_string)).collect::<Vec<_>>().join("\n");
    let contacts = pasted(&typed_ids).and(in_file).and_then(|_| pasted(&all));
    let errors = match contacts {
        Ok(contacts) => match dry_run(app, page, change, contacts, &reason).await {
            Ok(path) => return Ok(redirect(&path, [])),
            Err(problem) => page.errors(problem, "main")?,
        },
        Err(wrong) => page.errors(wrong.problem(), "main")?.saying(wrong.text(page.text)),
    };
    form(app, page, tenant, Typed { change, contact_ids: all, reason }, Offered::default(), &errors).await
}

fn in_csv_of(csv: Option<&str>) -> Result<Vec<UserId>, InvalidList> {
    csv.map_or(Ok(Vec::new()), in_csv)
}

/// Returns where the preview is. A dry run changes nothing, so each has a key of its own.
async fn dry_run(app: &App, page: &Page, change: Change, contacts: Vec<UserId>, reason: &str) -> ApiResult<String> {
    let reason = Line::try_from(reason.to_owned()).map_err(|wrong| Problem::field("/reason", wrong))?;
    let body = BatchRequest { contact_ids: contacts, disable_mfa: change == Change::Exclude, reason, dry_run: true };
    let answer = run_batch(app, &page.request, IdempotencyKey::generate(&*app.entropy)?, body).await?;
    Ok(format!("{PATH}?batch={}", answer.batch_id))
}

async fn form(
    app: &App,
    page: &Page,
    tenant: &TenantId,
    typed: Typed,
    offered: Offered,
    errors: &FormErrors,
) -> PageResult {
    let Typed { change, contact_ids, reason } = typed;
    let (contacts, next) = contacts(app, tenant, change, &offered).await?;
    let start = offered.start.unwrap_or_default();
    let next = next.map(|next| with_query(PATH, [("change", change.name()), ("q", &start), ("cursor", &next)]));
    let template = ChooseTemplate {
        text: page.text,
        change,
        contacts,
        one: offered.contact.is_some(),
        search: Field::new(page, errors, "q").optional().value(start.as_str()),
        searched: !start.is_empty() || offered.cursor.is_some(),
        next,
        contact_ids: Field::new(page, errors, "contact_ids").long().optional().value(contact_ids),
        csv: Field::new(page, errors, "csv").file().optional(),
        reason: Field::new(page, errors, "reason").value(reason),
    };
    let title = match change {
        Change::Exclude => "exclusions-exclude-title",
        Change::Include => "exclusions-include-title",
    };
    page.show_form(&page.text.get(title), errors, &template)
}

/// The contacts that the change is about, and where the next page of them begins.
async fn contacts(
    app: &App,
    tenant: &TenantId,
    change: Change,
    offered: &Offered,
) -> ApiResult<(Vec<Contact>, Option<String>)> {
    if let Some(id) = &offered.contact {
        let names = app.store.names(tenant, [id]).await?;
        let contact = names.into_iter().map(|(id, profile)| Contact {
            id: id.into(),
            username: profile.username,
            display_name: profile.display_name,
        });
        return Ok((contact.collect(), None));
    }
    let filter = UserFilter {
        kind: Some(Kind::Contact),
        excluded: Some(change == Change::Include),
        start: offered.start.clone(),
        ..UserFilter::default()
    };
    let after = cursor(List::Users, offered.cursor.as_deref())?;
    let found = app.store.list_users(tenant, &filter, after.as_ref(), Limit::default().get()).await?;
    let contacts = found.items.into_iter().map(|(key, _, profile)| Contact {
        id: key.user().to_string(),
        username: profile.username,
        display_name: profile.display_name,
    });
    Ok((contacts.collect(), found.next.map(|next| next.text(List::Users))))
}
