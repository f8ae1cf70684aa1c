//! `POST /v1/admin/users/{id}/invitation`: mail another link to choose the first password.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use vestibule::{
    auth::mail_token::{MailRejection, may_be_mailed},
    domain::MailPurpose,
    http::{ApiRequest, ApiResult, App, Code, NoBody, Problem, Request},
    id::UserId,
    mail_order::OrderedMail,
};

use super::load_for_change;

/// Invite a user again
///
/// For an Administrator with a fresh step-up. The user gets a mail with a link to choose a password, valid for 7 days. An older
/// invitation becomes void.
#[utoipa::path(post, path = "/v1/admin/users/{id}/invitation", operation_id = "inviteUser", tag = "directory",
    security(("session" = [])), params(("id" = String, Path, description = "The user's id.", example = "u-ann")), responses(
    (status = 204, description = "The mail is queued."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`conflict`: The user has a password or no e-mail address, is inactive, or signs in through the \
        identity provider."),
))]
pub(crate) async fn invite(State(app): State<Arc<App>>, call: ApiRequest<NoBody, UserId>) -> ApiResult<StatusCode> {
    invite_user(&app, &call.request, call.path).await.map(|()| StatusCode::NO_CONTENT)
}

/// Invites a user of the caller's tenant again.
pub(crate) async fn invite_user(app: &App, request: &Request, user: UserId) -> ApiResult<()> {
    let (admin, target) = load_for_change(app, request, user).await?;
    let (user, profile) = target.read()?.ok_or(Code::NotFound)?;
    let has_password = app.store.has_password(target.key(), &user).await?;
    may_be_mailed(&user, MailPurpose::Invitation, profile.email.is_some(), has_password).map_err(conflict)?;
    request.order_mail(app, OrderedMail::invitation(target.key(), admin.key().user())).await
}

fn conflict(why: MailRejection) -> Problem {
    let detail = match why {
        MailRejection::NotEligible => "the user is inactive, or signs in through the identity provider",
        MailRejection::NoAddress => "the user has no e-mail address",
        MailRejection::HasPassword | MailRejection::Verified => "the user has a password",
    };
    Problem::new(Code::Conflict).detail(detail)
}
