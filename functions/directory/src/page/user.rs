//! The page `/admin/users/{id}`: what there is to know of a user, and where it can be changed.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde::Deserialize;
use vestibule::{
    auth::mail_token::may_be_mailed,
    domain::{MailPurpose, User},
    http::{
        App,
        dto::{KindDto, MfaDto, UserDto},
        page::{PageRequest, PageResult, Text},
    },
    id::UserId,
    store::session::Principal,
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
    invited: bool,
    changed: bool,
    user: UserDto,
    /// When the user last got a session.
    last_sign_in: Option<String>,
    has_password: bool,
    /// The user can be invited by mail.
    may_be_invited: bool,
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
    let dto = UserDto::in_directory(&key, &user, &profile);
    if let Some(change) = query.change {
        page.stepped_up(&caller)?;
        return change_user::ask(&page, &caller, change, &dto);
    }
    let knows = Knows {
        last: user.administers_now() && app.store.is_last_administrator(&key).await?,
        has_password: app.store.has_password(&key, &user).await?,
        mails: app.mails.is_some(),
    };
    let title = dto.display_name.clone();
    page.show(&title, &template(page.text, &caller, query.done, &knows, (dto, &user)))
}

/// What decides about the changes that the page offers, besides the user.
struct Knows {
    /// The tenant cannot be without this Administrator.
    last: bool,
    has_password: bool,
    /// Mails are configured.
    mails: bool,
}

fn template(
    text: Text,
    caller: &Principal,
    done: Option<Done>,
    knows: &Knows,
    (dto, user): (UserDto, &User),
) -> UserTemplate {
    let invitation = may_be_mailed(user, MailPurpose::Invitation, dto.email.is_some(), knows.has_password);
    UserTemplate {
        text,
        created: done == Some(Done::Created),
        invited: done == Some(Done::Invited),
        changed: done == Some(Done::Changed),
        last_sign_in: dto.last_sign_in_at.map(|at| text.time(at)),
        has_password: knows.has_password,
        may_be_invited: knows.mails && invitation.is_ok(),
        enrolled_at: user.factor.active().map(|it| text.time(it.enrolled_at)),
        // The deadline of a reset does not apply while the contact is excluded.
        enrol_by: user.enrol_by.filter(|_| user.excluded.is_none()).map(|at| text.time(at)),
        excluded_at: user.excluded.as_ref().map(|it| text.time(it.at)),
        password_too_short: !user.password_fits_contact,
        own: change_user::is_own(caller, &dto),
        last: knows.last,
        support: caller.token().user().tenant().is_support(),
        user: dto,
    }
}
