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

/// What the tenant's rules say about the user of an assertion.
pub(crate) enum Provisioned {
    /// The user exists now.
    Created,
    /// A rule refused the user. The audit names it.
    Refused(&'static str),
}

/// Creates the user as an employee, linked to the NameID of the assertion. Only a group that the tenant configured makes the user
/// an Administrator. An existing user with the login name is never taken over.
pub(crate) async fn create(
    app: &App,
    request: &Request,
    assertion: &Assertion,
    rules: &Provisioning,
) -> ApiResult<Provisioned> {
    let company = assertion.attribute(&rules.company);
    if rules.only_company.as_deref().is_some_and(|only| company != Some(only)) {
        return Ok(Provisioned::Refused("provisioning_company"));
    }
    let Some(username) = assertion.attribute(&rules.username).filter(|name| is_username(name)) else {
        return Ok(Provisioned::Refused("provisioning_username"));
    };
    let names = [&rules.first_name, &rules.last_name].into_iter().filter_map(|name| assertion.attribute(name));
    let display_name = names.collect::<Vec<_>>().join(" ");
    let display_name = if is_username(&display_name) { display_name.as_str() } else { username };
    let tenant = assertion.tenant();
    // Every user of the reserved tenant is an operator, and an attribute must not make an operator.
    if tenant.is_support() {
        return Ok(Provisioned::Refused("provisioning_support"));
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
    match app.store.create_user(&Actor::Idp(assertion), &user, &request.attempt(app)?, &event).await {
        // A parallel sign-in with the same NameID may have created the user.
        Ok(()) | Err(CreationError::Rejected(CreationRejection::SubjectTaken)) => Ok(Provisioned::Created),
        Err(CreationError::Rejected(CreationRejection::ActorRevoked)) => {
            Ok(Provisioned::Refused("provisioning_idp_changed"))
        }
        Err(CreationError::Rejected(CreationRejection::Ambiguous)) => {
            Ok(Provisioned::Refused("provisioning_name_id_taken"))
        }
        Err(CreationError::Rejected(_)) => Ok(Provisioned::Refused("provisioning_username_taken")),
        Err(CreationError::Store(error)) => Err(error.into()),
    }
}

/// Whether the text can be a login name, and so a display name too.
fn is_username(text: &str) -> bool {
    Username::try_from(text.to_owned()).is_ok()
}
