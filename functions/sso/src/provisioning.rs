//! Just-in-time provisioning: somebody whom the IdP vouches for and nobody created. Off unless the tenant asked for it.

use vestibule::{
    audit::{Action, Outcome},
    http::{
        ApiResult, App, Request,
        dto::{Email, Username},
    },
    id::{LoginName, UserId},
    secret::Nonce,
    sso::Assertion,
    store::{
        item::{AuthType, Kind, Provisioning},
        users::{Actor, Created, NewUser, NewUserDetails},
    },
};

/// Creates them as an employee, linked to what the IdP calls them. An Administrator only by a group that the tenant named for
/// it. `Err`: which rule keeps them out; somebody who has the login name is not taken over.
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
    // In the reserved tenant everybody is an operator: nobody becomes one by an attribute.
    if tenant.is_support() {
        return Ok(Err("provisioning_support"));
    }
    let asked = NewUserDetails {
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
    let mut person = NewUser::new(key, login, &asked, Nonce::generate(&*app.entropy)?, request.now);
    person = person.linked(link).beside_idp(app.names()?, assertion.entity_id());
    person.user.role_by_groups = true;
    let event = request.event(Action::UserCreated, Outcome::Success).about(person.key.user()).because("provisioned");
    let made = app.store.create_user(&Actor::Idp, &person, &request.attempt(app)?, &event).await?;
    Ok(match made {
        // Somebody else was as quick with the same one: they are there.
        Created::Done | Created::SubjectTaken => Ok(()),
        _ => Err("provisioning_username_taken"),
    })
}

/// What can be a login name, and so a name that is shown.
fn is_line(text: &str) -> bool {
    Username::try_from(text.to_owned()).is_ok()
}
