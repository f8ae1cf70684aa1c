//! `users`: the users of the tenant.

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    Failure,
    admin::{Admin, USERS},
    args::admin::{AuthType, Create, List, OneUser, Reset, Users, name},
    client::Call,
    import, output,
    output::Listing,
    terminal,
};

/// The columns of `users list`.
const LISTED: [&str; 9] = ["id", "username", "display_name", "kind", "role", "auth_type", "active", "mfa", "excluded"];

/// The columns of `users export`: those that `users import` reads come first.
const EXPORTED: [&str; 13] = [
    "username",
    "display_name",
    "kind",
    "role",
    "auth_type",
    "email",
    "sso_name_id",
    "id",
    "active",
    "mfa",
    "excluded",
    "email_verified",
    "last_sign_in_at",
];

/// Runs a command of this group.
///
/// # Errors
/// A message that says which step failed, and why.
pub async fn run(command: &Users) -> Result<(), Failure> {
    match command {
        Users::List(options) => list(options, Listing::new(&LISTED, options.format)).await,
        Users::Export(options) => list(options, Listing::csv(&EXPORTED, options.format)).await,
        Users::Show(options) => show(options).await,
        Users::Create(options) => create(options).await,
        Users::Invite(options) => invite(options).await,
        Users::ResetMfa(options) => reset_mfa(options).await,
        Users::Deactivate(options) => deactivate(options).await,
        Users::Import(options) => import::run(options).await,
    }
}

async fn list(options: &List, mut listing: Listing) -> Result<(), Failure> {
    let mut query = Vec::new();
    let fields = [
        ("kind", options.kind.as_ref().map(name)),
        ("mfa", options.mfa.as_ref().map(name)),
        ("excluded", options.excluded.map(|excluded| excluded.to_string())),
        ("q", options.query.clone()),
    ];
    query.extend(fields.into_iter().filter_map(|(field, value)| Some((field, value?))));
    Admin::open()?.list(USERS, &query, |user| listing.row(&user).map(|()| true)).await?;
    listing.end()
}

async fn show(options: &OneUser) -> Result<(), Failure> {
    let user = Admin::open()?.user(&options.who).await?;
    output::object(&user, options.format)
}

async fn create(options: &Create) -> Result<(), Failure> {
    let mut admin = Admin::open()?;
    let mut body = json!({"username": options.username, "display_name": options.display_name,
        "kind": name(&options.kind), "role": name(&options.role), "auth_type": name(&options.auth_type)});
    if let Some(email) = &options.email {
        body["email"] = json!(email);
    }
    if options.invite {
        body["invite"] = json!(true);
    } else if options.auth_type == AuthType::Local {
        // Not from the variable: that is the Administrator's own.
        body["password"] = json!(terminal::hidden_line("Password for the user").await?.expose());
    }
    let user = admin.ask(Call::post(USERS, &body), "creating the user").await?;
    output::object(&user, options.format)
}

async fn invite(options: &OneUser) -> Result<(), Failure> {
    let mut admin = Admin::open()?;
    let user = admin.user(&options.who).await?;
    let path = format!("{USERS}/{}/invitation", id(&user)?);
    admin.ask(Call::new(Method::POST, &path), "inviting the user").await?;
    output::object(&json!({"invited": user["username"], "email": user["email"]}), options.format)
}

async fn reset_mfa(options: &Reset) -> Result<(), Failure> {
    let mut admin = Admin::open()?;
    let user = admin.user(&options.who).await?;
    let (path, body) = (format!("{USERS}/{}/mfa-reset", id(&user)?), json!({"reason": options.reason}));
    let done = admin.ask(Call::post(&path, &body), "resetting the MFA").await?;
    if options.format.json {
        return output::object(&done, options.format);
    }
    let mut item = json!({"username": done["user"]["username"], "enrol_by": done["enrol_by"]});
    if let Some(code) = done.get("reset_code") {
        terminal::say("Give the reset code to the user in person or by telephone: it is shown only now.");
        item["reset_code"] = code.clone();
    }
    output::object(&item, options.format)
}

async fn deactivate(options: &OneUser) -> Result<(), Failure> {
    let mut admin = Admin::open()?;
    let user = admin.user(&options.who).await?;
    let (path, body) = (format!("{USERS}/{}", id(&user)?), json!({"active": false}));
    let call = Call { body: Some(&body), ..Call::new(Method::PATCH, &path) };
    let user = admin.ask(call, "deactivating the user").await?;
    output::object(&user, options.format)
}

/// The id in a user of a response.
fn id(user: &Value) -> Result<&str, Failure> {
    user["id"].as_str().ok_or_else(|| "unexpected response: is the server Vestibule?".into())
}
