//! `login`, `logout` and `whoami`: the session of the person at this terminal.

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    Failure,
    admin::Admin,
    args::{Account, DEFAULT_URL, Format, Login},
    client::{Call, Server, text},
    code::CodeStep,
    enrol::{command, sign_in},
    output,
    state::{SavedSession, StateFile},
    terminal::{self, print, say},
};

/// The code after the password.
const VERIFY: CodeStep = CodeStep {
    path: "/v1/verify",
    question: "Code, or recovery token",
    action: "verifying the code",
    exhausted: "five wrong codes: start again",
};

/// Signs in with password and code. Keeps the session, or prints its token.
///
/// # Errors
/// A message that says which step failed, and why.
pub async fn run(options: &Login) -> Result<(), Failure> {
    let file = StateFile::locate();
    let earlier = file.as_ref().map_or(Ok(None), StateFile::read)?;
    let account = account(options, earlier.as_ref())?;
    let server = Server::at(&account.url)?;
    if options.print_token {
        let signed_in = authenticate(&server, &account, None).await?;
        return show_token(&server, &account, &signed_in, options.format);
    }
    let file = file?;
    let same = |kept: &&SavedSession| {
        (kept.url.as_str(), &kept.tenant, &kept.username) == (server.url(), &account.tenant, &account.username)
    };
    let device = earlier.as_ref().filter(same).and_then(|kept| kept.device_token.as_deref());
    let signed_in = authenticate(&server, &account, device).await?;
    let kept = SavedSession {
        url: server.url().to_owned(),
        tenant: account.tenant.clone(),
        username: account.username.clone(),
        user_id: text(&signed_in["user"]["id"])?.to_string(),
        token: text(&signed_in["session"]["token"])?.to_string(),
        // A response has none if the one that was sent goes on.
        device_token: signed_in["session"]["device_token"].as_str().or(device).map(str::to_owned),
    };
    if let Err(error) = file.write(&kept) {
        end(&server, &kept.token).await;
        return Err(error);
    }
    if let Some(earlier) = earlier
        && let Ok(server) = Server::at(&earlier.url)
    {
        end(&server, &earlier.token).await;
    }
    show(&file, &account, &signed_in, options.format)
}

/// Who signs in: the user of the options, otherwise the one who signed in last.
fn account(options: &Login, earlier: Option<&SavedSession>) -> Result<Account, Failure> {
    let (url, tenant, username) = match (&options.tenant, &options.username, earlier) {
        (Some(tenant), Some(username), _) => (options.url.as_deref().unwrap_or(DEFAULT_URL), tenant, username),
        (_, _, Some(kept)) => (kept.url.as_str(), &kept.tenant, &kept.username),
        _ => {
            return Err("no earlier sign-in is saved: use --tenant and --username, and --url for another server".into());
        }
    };
    Ok(Account { url: url.to_owned(), tenant: tenant.clone(), username: username.clone() })
}

/// Ends a session that nobody uses any more. It ends by itself if this fails.
async fn end(server: &Server, token: &str) {
    let _ = server.send(Call::new(Method::DELETE, "/v1/session").token(token)).await;
}

/// Signs in. Returns the response with the session.
async fn authenticate(server: &Server, account: &Account, device: Option<&str>) -> Result<Value, Failure> {
    let answer = sign_in(server, account, device).await?;
    match answer["status"].as_str() {
        Some("mfa_required") => VERIFY.run(server, &text(&answer["challenge"]["token"])?).await,
        Some("enrolment_required") => {
            let enroll = command("enroll", account);
            Err(format!("this user has no authenticator app: first run `{enroll}`").into())
        }
        _ => Ok(answer),
    }
}

/// Who signed in, how, and until when.
fn greeting(account: &Account, signed_in: &Value) -> Result<String, Failure> {
    let (session, user) = (&signed_in["session"], &signed_in["user"]);
    let methods: Vec<_> = session["amr"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let recovery = match signed_in["recovery"]["new_token_required"] == true {
        true => "\nThe recovery token is used up: issue a new one in My Settings, or with POST /v1/mfa/recovery-token.",
        false => "",
    };
    let (name, until) = (text(&user["display_name"])?, text(&session["expires_at"])?);
    let methods = methods.join(" and ");
    Ok(format!("Signed in: {} ({}), by {methods}, until {}.{recovery}", account.username, *name, *until))
}

fn show(file: &StateFile, account: &Account, signed_in: &Value, format: Format) -> Result<(), Failure> {
    if format.json {
        let session = &signed_in["session"];
        let item = json!({"user": signed_in["user"], "amr": session["amr"], "expires_at": session["expires_at"]});
        return output::object(&item, format);
    }
    let whoami = terminal::command(&["whoami"]);
    let (greeting, path) = (greeting(account, signed_in)?, file.path().display());
    print(&format!("{greeting}\nThe session is kept in {path}. Next:\n\n  {whoami}\n"))
}

/// Prints the token alone, so that a script can take it. The rest goes to standard error.
fn show_token(server: &Server, account: &Account, signed_in: &Value, format: Format) -> Result<(), Failure> {
    if format.json {
        return output::object(signed_in, format);
    }
    say(&greeting(account, signed_in)?);
    let url = server.url();
    say(&format!("A request with the token:\n\n  curl -s -H \"Authorization: Bearer $TOKEN\" {url}/v1/session\n"));
    print(&format!("{}\n", *text(&signed_in["session"]["token"])?))
}

/// Ends the session at the server, and forgets it.
///
/// # Errors
/// Nobody is signed in, or the server cannot be reached: the session stays then.
pub async fn log_out(format: Format) -> Result<(), Failure> {
    let mut admin = Admin::open()?;
    let file = admin.file().path().display().to_string();
    let alive = admin.end().await.map_err(|error| format!("{error}; the session stays in {file}"))?;
    admin.file().remove()?;
    if format.json {
        return output::object(&json!({"signed_out": true, "was_alive": alive}), format);
    }
    print(if alive { "Signed out.\n" } else { "Signed out: the session had ended before.\n" })
}

/// Prints who is signed in.
///
/// # Errors
/// Nobody is signed in, or the session has ended.
pub async fn who_am_i(format: Format) -> Result<(), Failure> {
    let mut admin = Admin::open()?;
    let answer = admin.ask(Call::get("/v1/session"), "reading the session").await?;
    let (session, user) = (&answer["session"], &answer["user"]);
    let mut item = json!({"url": admin.server().url(), "amr": session["amr"], "expires_at": session["expires_at"]});
    if let Some(until) = session.get("step_up_until") {
        item["step_up_until"] = until.clone();
    }
    for name in ["tenant", "username", "display_name", "id", "kind", "role", "mfa"] {
        item[name] = user[name].clone();
    }
    output::object(&item, format)
}
