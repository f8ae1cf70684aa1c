//! Just-in-time provisioning: creates a user at the first sign-in through the IdP. Off unless the tenant configured it.

use vestibule::{
    audit::{AuditAction, Outcome},
    http::{
        ApiResult, App, Request,
        dto::{Email, Username},
    },
    id::{LoginName, UserId},
    secret::Nonce,
    sso::Assertion,
    store::{
        item::{AuthType, Kind, Provisioning},
        users::{Actor, CreationError, CreationRejection, NewUser, NewUserDetails},
    },
};

/// Creates the user as an employee, linked to the NameID of the assertion. Only a group that the tenant configured makes the user
/// an Administrator. An existing user with the login name is never taken over. The inner `Err` names the rule that refused the
/// user, for the audit.
pub(crate) async fn create(
    app: &App,
    request: &Request,
    assertion: &Assertion,
    rules: &Provisioning,
) -> ApiResult<Result<(), &'static str>> {
    let company = assertion.attribute(&rules.company);
    if rules.only_company.as_deref().is_some_and(|only| company != Some(only)) {
        return Ok(Err("provisioning_company"));
    }
    let Some(username) = assertion.attribute(&rules.username).filter(|name| is_line(name)) else {
        return Ok(Err("provisioning_username"));
    };
    let names = [&rules.first_name, &rules.last_name].into_iter().filter_map(|name| assertion.attribute(name));
    let display_name = names.collect::<Vec<_>>().join(" ");
    let display_name = if is_line(&display_name) { display_name.as_str() } else { username };
    let tenant = assertion.tenant();
    // Every user of the reserved tenant is an operator, and an attribute must not make an operator.
    if tenant.is_support() {
        return Ok(Err("provisioning_support"));
    }
    let details = NewUserDetails {
        kind: Kind::Employee,
        role: rules.role(assertion.values(&rules.groups)),
        auth_type: AuthType::SamlSso,
        username,
        display_name,
        email: assertion.attribute(&rules.email).filter(|email| Email::try_from((*email).to_owned()).is_ok()),
    };
    let login = app.names()?.login(tenant, &LoginName::fold(username));
    let link = app.names()?.link(tenant, assertion.entity_id(), assertion.name_id());
    let key = tenant.user(UserId::generate(&*app.entropy)?);
    let mut user = NewUser::new(key, login, &details, Nonce::generate(&*app.entropy)?, request.now);
    user = user.linked(link).in_tenant_with_idp(app.names()?, assertion.entity_id());
    user.user.role_by_groups = true;
    let event = request.event(AuditAction::UserCreated, Outcome::Success).about(user.key.user()).because("provisioned");
    match app.store.create_user(&Actor::Idp, &user, &request.attempt(app)?, &event).await {
        // A parallel sign-in with the same NameID may have created the user.
        Ok(()) | Err(CreationError::Rejected(CreationRejection::SubjectTaken)) => Ok(Ok(())),
        Err(CreationError::Rejected(_)) => Ok(Err("provisioning_username_taken")),
        Err(CreationError::Store(error)) => Err(error.into()),
    }
}

/// Whether the text can be a login name, and so a display name too.
fn is_line(text: &str) -> bool {
    Username::try_from(text.to_owned()).is_ok()
}
