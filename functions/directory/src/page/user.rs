//! The page `/admin/users/{id}`: what there is to know of a user, and where it can be changed.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde::Deserialize;
use vestibule::{
    http::{
        App,
        dto::{KindDto, MfaDto, UserDto},
        page::{PageRequest, PageResult, Text},
    },
    id::UserId,
    store::{
        item::{Profile, User},
        session::Principal,
    },
};

use super::{
    Done,
    change_user::{self, Change},
};
use crate::users::get::read_user;

#[derive(Deserialize)]
pub(super) struct UserQuery {
    /// The question to ask instead.
    change: Option<Change>,
    done: Option<Done>,
}

#[derive(Template)]
#[template(path = "user.html")]
struct UserTemplate {
    text: Text,
    created: bool,
    changed: bool,
    user: UserDto,
    email: Option<String>,
    /// When the authenticator was set up.
    enrolled_at: Option<String>,
    /// Until when a user who was reset can set one up.
    enrol_by: Option<String>,
    excluded_at: Option<String>,
    /// The password is too short to be the only proof, so the contact cannot be excluded.
    password_too_short: bool,
    /// The page is about the caller.
    own: bool,
    /// The tenant cannot be without this Administrator.
    last: bool,
    /// The tenant is the one of operators, who have no other role.
    support: bool,
}

pub(super) async fn show(State(app): State<Arc<App>>, get: PageRequest<UserId, UserQuery>) -> PageResult {
    let PageRequest { mut page, path: id, query } = get;
    let caller = page.principal(&app).await?;
    let (key, user, profile) = read_user(&app, &page.request, id).await?;
    let dto = UserDto::new(&key, &user, &profile);
    if let Some(change) = query.change {
        page.stepped_up(&caller)?;
        return change_user::ask(&page, &caller, change, &dto, profile.email);
    }
    let last = user.administers_now() && app.store.is_last_administrator(&key).await?;
    let title = dto.display_name.clone();
    page.show(&title, &template(page.text, &caller, query.done, last, (dto, &user, profile)))
}

fn template(
    text: Text,
    caller: &Principal,
    done: Option<Done>,
    last: bool,
    (dto, user, profile): (UserDto, &User, Profile),
) -> UserTemplate {
    let waits = !user.has_factor() && user.excluded.is_none();
    UserTemplate {
        text,
        created: done == Some(Done::Created),
        changed: done == Some(Done::Changed),
        email: profile.email,
        enrolled_at: user.factor.active().map(|it| text.time(it.enrolled_at)),
        enrol_by: user.enrol_by.filter(|_| waits).map(|at| text.time(at)),
        excluded_at: user.excluded.as_ref().map(|it| text.time(it.at)),
        password_too_short: !user.password_fits_contact,
        own: change_user::is_own(caller, &dto),
        last,
        support: caller.token().user().tenant().is_support(),
        user: dto,
    }
}
