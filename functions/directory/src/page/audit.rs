//! The page `/admin/audit`: the audit events of the tenant, as a table or as a file.

use std::{collections::HashMap, sync::Arc, time::Duration};

use askama::Template;
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use vestibule::{
    audit::{AuditAction, Notify, Outcome, Row},
    env::Timestamp,
    http::{
        ApiResult, App, Limit, cursor,
        page::{Field, FormErrors, Page, PageRequest, PageResult, Text},
    },
    id::{LoginName, UserId},
    store::{
        item::Profile,
        lists::{AuditFilter, List},
        session::Principal,
    },
};

use super::{TextFields, csv, filled};
use crate::audit::{AuditList, list_events};

/// A day, for the filter that includes its last day.
const DAY: Duration = Duration::from_secs(86_400);

/// The filters, and where the page begins.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct AuditPageQuery {
    #[serde(default, deserialize_with = "filled")]
    user: Option<String>,
    /// The first day.
    #[serde(default, deserialize_with = "filled")]
    from: Option<String>,
    /// The last day.
    #[serde(default, deserialize_with = "filled")]
    to: Option<String>,
    cursor: Option<String>,
    format: Option<Format>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    Csv,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditTemplate {
    text: Text,
    filters: [Field; 3],
    filtered: bool,
    /// The filter is wrong, so nothing was searched.
    wrong: bool,
    events: Vec<Event>,
    csv: String,
    first: Option<String>,
    next: Option<String>,
}

/// An event, as the table shows it.
struct Event {
    at: Timestamp,
    action: String,
    refused: bool,
    actor: Option<Person>,
    target: Option<Person>,
    /// The other fields that there are: the text of the name, and the value.
    details: Vec<(&'static str, String)>,
}

struct Person {
    id: String,
    /// `None` if the user was deleted, or is of another tenant.
    name: Option<String>,
    /// The person is an operator of support.
    operator: bool,
}

impl AuditPageQuery {
    fn filtered(&self) -> bool {
        self.user.is_some() || self.from.is_some() || self.to.is_some()
    }

    /// The path of another page of the same list, or of the same page in another format.
    fn at(&self, cursor: Option<String>, format: Option<Format>) -> String {
        let (user, from, to) = (self.user.clone(), self.from.clone(), self.to.clone());
        let query = serde_urlencoded::to_string(Self { user, from, to, cursor, format });
        format!("/admin/audit?{}", query.unwrap_or_default())
    }
}

impl AuditPageQuery {
    /// The filter that the form asks for. `user`: the user whom the form names.
    ///
    /// # Errors
    /// What is wrong with each field.
    fn filter(&self, user: Option<UserId>) -> ApiResult<AuditFilter> {
        let mut fields = TextFields::default();
        if self.user.is_some() && user.is_none() {
            fields.wrong("/user", "must be a user name or a user id");
        }
        let mut day = |field, text: Option<&str>| {
            let day = text.map(|text| Timestamp::parse(&format!("{text}T00:00:00Z")));
            if day == Some(None) {
                fields.wrong(field, "must be a day, such as 2026-01-31");
            }
            day.flatten()
        };
        let (from, to) = (day("/from", self.from.as_deref()), day("/to", self.to.as_deref()));
        fields.finish(Some(AuditFilter { user, from, to: to.map(|to| to + DAY) }))
    }
}

pub(super) async fn show(State(app): State<Arc<App>>, get: PageRequest<(), AuditPageQuery>) -> PageResult {
    let PageRequest { mut page, query, .. } = get;
    let caller = page.principal(&app).await?;
    page.request.may_read(&app, &caller).await?;
    let after = cursor(List::Audit, query.cursor.as_deref())?;
    let user = match &query.user {
        None => None,
        Some(name) => find_user(&app, &caller, name.trim()).await?,
    };
    let filter = match query.filter(user) {
        Ok(filter) => filter,
        Err(problem) => {
            let errors = page.errors(problem, "user")?;
            return table(&page, &errors, &query, AuditList { items: Vec::new(), next_cursor: None }, &HashMap::new());
        }
    };
    let list = list_events(&app, &page.request, &caller, &filter, after.as_ref(), Limit::default()).await?;
    let people: Vec<_> = list.items.iter().flat_map(|row| row.actor.iter().chain(&row.target)).collect();
    let names = app.store.names(caller.token().user().tenant(), people).await?;
    match query.format {
        Some(Format::Csv) => Ok(download(&list.items, &names)),
        None => table(&page, &FormErrors::none(), &query, list, &names),
    }
}

/// The user with this name. A deleted user has none any more, and is found by the id.
async fn find_user(app: &App, caller: &Principal, text: &str) -> ApiResult<Option<UserId>> {
    let login = app.names()?.login(caller.token().user().tenant(), &LoginName::fold(text));
    let named = app.store.login_owners(std::slice::from_ref(&login)).await?.remove(login.digest()).flatten();
    Ok(named.or_else(|| UserId::parse(text).ok()))
}

fn download(rows: &[Row], names: &HashMap<UserId, Profile>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"vestibule-audit.csv\""),
    ];
    (headers, csv::of(rows, names)).into_response()
}

fn table(
    page: &Page,
    errors: &FormErrors,
    query: &AuditPageQuery,
    list: AuditList,
    names: &HashMap<UserId, Profile>,
) -> PageResult {
    let text = page.text;
    let field = |name: &'static str, value: &Option<String>| {
        Field::new(page, errors, name).optional().value(value.clone().unwrap_or_default())
    };
    let template = AuditTemplate {
        text,
        filters: [field("user", &query.user), field("from", &query.from).date(), field("to", &query.to).date()],
        filtered: query.filtered(),
        wrong: !errors.is_empty(),
        events: list.items.into_iter().map(|row| Event::new(text, row, names)).collect(),
        csv: query.at(query.cursor.clone(), Some(Format::Csv)),
        first: query.cursor.as_ref().map(|_| query.at(None, None)),
        next: list.next_cursor.map(|next| query.at(Some(next), None)),
    };
    page.show_form(&text.get("audit-title"), errors, &template)
}

/// The text of an action. The names of texts have no dots.
fn action_text(action: AuditAction) -> String {
    format!("action-{}", action.as_str().replace('.', "-"))
}

impl Event {
    fn new(text: Text, row: Row, names: &HashMap<UserId, Profile>) -> Self {
        let operator = row.actor_tenant.is_some();
        let person = |id: &UserId, operator: bool| Person {
            id: id.to_string(),
            name: names.get(id).filter(|_| !operator).map(|profile| profile.display_name.clone()),
            operator,
        };
        Self {
            at: row.at,
            action: text.get(&action_text(row.action)).into_owned(),
            refused: row.outcome == Outcome::Refused,
            actor: row.actor.as_ref().map(|id| person(id, operator)),
            target: row.target.as_ref().filter(|id| Some(*id) != row.actor.as_ref()).map(|id| person(id, false)),
            details: details(text, row),
        }
    }
}

/// The fields that only some events have.
fn details(text: Text, row: Row) -> Vec<(&'static str, String)> {
    let changed = row.changed.iter().map(|field| {
        let label = format!("label-{field}");
        if text.has(&label) { text.get(&label).into_owned() } else { field.clone() }
    });
    let notified = row.notified.iter().map(|group| match group {
        Notify::User => text.get("audit-notified-user"),
        Notify::Administrators => text.get("audit-notified-administrators"),
    });
    let list = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join(", "));
    let all = [
        ("audit-reason", row.reason),
        ("audit-ticket", row.ticket),
        ("audit-changed", list(changed.collect())),
        ("audit-user-agent", row.user_agent),
        ("audit-name-id", row.name_id),
        ("audit-name-id-format", row.name_id_format),
        ("audit-algorithm", row.algorithm),
        ("audit-batch", row.batch_id.map(String::from)),
        ("audit-client", row.client_id.map(String::from)),
        ("audit-notified", list(notified.map(Into::into).collect())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
