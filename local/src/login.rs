//! `login`: signs in through the HTTP API with password and code.

use serde_json::{Value, json};

use crate::{
    Failure,
    args::Account,
    client::{Call, Server, text},
    enrol::{MAX_ATTEMPTS, command, explain_refused_code, sign_in},
    terminal::{self, print},
};

/// Signs in with password and code, and prints the session token.
///
/// # Errors
/// A message that says which step failed, and why.
pub async fn run(options: &Account) -> Result<(), Failure> {
    let server = Server::at(&options.url)?;
    let answer = sign_in(&server, options, None).await?;
    let signed_in = match answer["status"].as_str() {
        Some("mfa_required") => verify(&server, &text(&answer["challenge"]["token"])?).await?,
        Some("enrolment_required") => {
            let enroll = command("enroll", options);
            return Err(format!("this user has no authenticator app: first run `{enroll}`").into());
        }
        _ => answer,
    };
    show(&server, options, &signed_in)
}

/// Asks for codes until one is right. Returns the response of `POST /v1/verify`.
async fn verify(server: &Server, challenge: &str) -> Result<Value, Failure> {
    for _ in 0..MAX_ATTEMPTS {
        let code = terminal::line("Code, or recovery token").await?;
        let body = json!({"code": *code});
        let answer = server.send(Call::post("/v1/verify", &body).token(challenge)).await?;
        match answer.code() {
            Some(code @ ("malformed_code" | "invalid_code")) => explain_refused_code(code),
            _ => return answer.ok("verifying the code"),
        }
    }
    Err("five wrong codes: start again".into())
}

fn show(server: &Server, options: &Account, signed_in: &Value) -> Result<(), Failure> {
    let (session, user) = (&signed_in["session"], &signed_in["user"]);
    let methods: Vec<_> = session["amr"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let recovery = match signed_in["recovery"]["new_token_required"] == true {
        true => "The recovery token is used up: issue a new one with POST /v1/mfa/recovery-token.\n\n",
        false => "",
    };
    let url = server.url();
    print(&format!(
        "\nSigned in: {} ({}), by {}, until {}.\n\n{recovery}The session token, and a request with it:\n\n  \
         TOKEN={}\n  curl -s -H \"Authorization: Bearer $TOKEN\" {url}/v1/session\n\n",
        options.username,
        *text(&user["display_name"])?,
        methods.join(" and "),
        *text(&session["expires_at"])?,
        *text(&session["token"])?,
    ))
}
