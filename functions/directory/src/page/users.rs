//! The page `/admin/users`: the users of the tenant.

use std::{borrow::Cow, sync::Arc};

use askama::Template;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use vestibule::{
    http::{
        App, Limit, cursor,
        dto::{KindDto, MfaDto, NameStart, UserDto},
        page::{Field, FormErrors, Page, PageRequest, PageResult, Text},
    },
    store::lists::{List, UserFilter},
};

use super::{Done, TextFields, filled, value};
use crate::users::list::{UserList, list_users};

/// The filters, and where the page begins.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct UsersQuery {
    #[serde(default, deserialize_with = "filled")]
    q: Option<String>,
    #[serde(default, deserialize_with = "filled")]
    kind: Option<KindDto>,
    #[serde(default, deserialize_with = "filled")]
    mfa: Option<MfaDto>,
    #[serde(default, deserialize_with = "filled")]
    excluded: Option<YesNo>,
    cursor: Option<String>,
    #[serde(skip_serializing)]
    done: Option<Done>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum YesNo {
    Yes,
    No,
}

#[derive(Template)]
#[template(path = "users.html")]
struct UsersTemplate {
    text: Text,
    deleted: bool,
    filters: [Field; 4],
    filtered: bool,
    /// The filter is wrong, so nothing was searched.
    wrong: bool,
    users: Vec<UserDto>,
    first: Option<String>,
    next: Option<String>,
}

impl UsersQuery {
    fn filtered(&self) -> bool {
        self.q.is_some() || self.kind.is_some() || self.mfa.is_some() || self.excluded.is_some()
    }

    /// The path of another page of the same list.
    fn at(&self, cursor: Option<String>) -> String {
        let query = Self { q: self.q.clone(), cursor, done: None, ..*self };
        format!("/admin/users?{}", serde_urlencoded::to_string(query).unwrap_or_default())
    }
}

pub(super) async fn show(State(app): State<Arc<App>>, get: PageRequest<(), UsersQuery>) -> PageResult {
    let PageRequest { mut page, query, .. } = get;
    let caller = page.principal(&app).await?;
    let after = cursor(List::Users, query.cursor.as_deref())?;
    let mut fields = TextFields::default();
    let start = fields.optional("/q", query.q.as_deref()).map(|start: NameStart| start.into());
    let filter = UserFilter {
        kind: query.kind.map(Into::into),
        mfa: query.mfa.map(Into::into),
        excluded: query.excluded.map(|it| it == YesNo::Yes),
        start,
    };
    match fields.finish(Some(filter)) {
        Ok(filter) => {
            let list = list_users(&app, &page.request, &caller, &filter, after.as_ref(), Limit::default()).await?;
            list_page(&page, &FormErrors::none(), &query, list)
        }
        Err(problem) => {
            page.request.may_read(&app, &caller).await?;
            list_page(&page, &page.errors(problem, "q")?, &query, UserList { items: Vec::new(), next_cursor: None })
        }
    }
}

fn list_page(page: &Page, errors: &FormErrors, query: &UsersQuery, list: UserList) -> PageResult {
    let text = page.text;
    let template = UsersTemplate {
        text,
        deleted: query.done == Some(Done::Deleted),
        filters: filters(page, errors, query),
        filtered: query.filtered(),
        wrong: !errors.is_empty(),
        users: list.items,
        first: query.cursor.as_ref().map(|_| query.at(None)),
        next: list.next_cursor.map(|next| query.at(Some(next))),
    };
    page.show_form(&text.get("users-title"), errors, &template)
}

fn filters(page: &Page, errors: &FormErrors, query: &UsersQuery) -> [Field; 4] {
    let text = page.text;
    let all = || [("", text.get("filter-all"))];
    let one = |value: &'static str, id: &str| (value, text.get(id));
    let kinds = [one("employee", "users-employees"), one("contact", "users-contacts")];
    let states = [one("active", "security-active"), one("none", "security-none"), one("disabled", "security-disabled")];
    let excluded = [one("yes", "users-excluded"), one("no", "users-included")];
    let select = |name: &'static str, options: &[(&'static str, Cow<'static, str>)]| {
        Field::new(page, errors, name).options(all().into_iter().chain(options.iter().cloned()))
    };
    [
        Field::new(page, errors, "q").optional().value(query.q.clone().unwrap_or_default()),
        select("kind", &kinds).value(value(query.kind)),
        select("mfa", &states).value(value(query.mfa)),
        select("excluded", &excluded).value(value(query.excluded)),
    ]
}
