//! `enroll`: enrols an authenticator app through the HTTP API, with the QR code in the terminal.

use std::io;

use axum::http::Method;
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    Failure,
    args::{Account, DEFAULT_URL, Enroll},
    client::{Call, Server, text},
    code::CodeStep,
    output,
    terminal::{self, print},
};

/// The first code confirms the enrolment.
const CONFIRM: CodeStep = CodeStep {
    path: "/v1/mfa/enrolments/confirm",
    question: "Code in the app",
    action: "confirming the enrolment",
    exhausted: "five wrong codes: start again",
};

/// Signs in with the password, enrols an authenticator app, and issues a recovery token.
///
/// # Errors
/// A message that says which step failed, and why.
pub async fn run(options: &Enroll) -> Result<(), Failure> {
    let (account, format) = (&options.account, options.format);
    let server = Server::at(&account.url)?;
    let answer = sign_in(&server, account, None).await?;
    let token = match answer["status"].as_str() {
        Some("enrolment_required") => text(&answer["enrolment"]["token"])?,
        Some("mfa_required") => {
            return Err(
                "this user has an authenticator app: to replace it, sign in and use /v1/mfa/enrolments; if it \
                        is lost, use the recovery token or ask an Administrator for a reset"
                    .into(),
            );
        }
        _ => return Err("this user is excluded from MFA and signs in with the password only: nothing to enrol".into()),
    };
    let start = if answer["reset_code_required"] == true {
        json!({"reset_code": *terminal::line("Reset code (from the Administrator)").await?})
    } else {
        json!({})
    };
    let enrolment = server.send(Call::post("/v1/mfa/enrolments", &start).token(&token)).await?;
    let enrolment = enrolment.ok("starting the enrolment")?;
    if format.json {
        output::object(&json!({"otpauth_uri": enrolment["otpauth_uri"], "secret": enrolment["secret"]}), format)?;
    } else {
        show(&text(&enrolment["otpauth_uri"])?, &text(&enrolment["secret"])?)?;
    }
    let session = text(&CONFIRM.run(&server, &token).await?["session"]["token"])?;
    let recovery = server.send(Call::new(Method::POST, "/v1/mfa/recovery-token").token(&session)).await?;
    let recovery = recovery.ok("issuing the recovery token")?;
    if format.json {
        output::object(&json!({"recovery_token": recovery["recovery_token"]}), format)?;
    } else {
        print(&format!(
            "\nMFA is on for {}.\nRecovery token, shown only now. Do not keep it on your phone:\n\n  {}\n\n\
             Next, sign in with password and code. The code above is used up: wait for the next one.\n\n  {}\n\n",
            account.username,
            *text(&recovery["recovery_token"])?,
            command("login", account),
        ))?;
    }
    // The session is not needed any more.
    let end = Call::new(Method::DELETE, "/v1/session").token(&session);
    server.send(end).await?.ok("signing out").map(drop)
}

/// A command line for the same user at the same server.
pub(crate) fn command(name: &str, options: &Account) -> String {
    let mut arguments = vec![name, "--tenant", &options.tenant, "--username", &options.username];
    if options.url != DEFAULT_URL {
        arguments.extend(["--url", &options.url]);
    }
    terminal::command(&arguments)
}

/// Asks for the password and sends it. Returns the response of `POST /v1/login`.
pub(crate) async fn sign_in(server: &Server, options: &Account, device: Option<&str>) -> Result<Value, Failure> {
    let password = terminal::password("Password").await?;
    let mut body = json!({"tenant": options.tenant, "username": options.username, "password": password.expose()});
    if let Some(device) = device {
        body["device_token"] = json!(device);
    }
    server.send(Call::post("/v1/login", &body)).await?.ok("signing in")
}

fn show(uri: &str, key: &str) -> Result<(), Failure> {
    let qr = qr(uri, terminal::colors(&io::stdout()))?;
    let bare = Zeroizing::new(key.replace(' ', ""));
    let app = Zeroizing::new(terminal::command(&["totp", "code", "--secret", &bare]));
    print(&format!(
        "\n{qr}\n\nScan the QR code with an authenticator app, or type this key (time-based, 6 digits):\n\n  {key}\n\n\
         No phone? Run this command in another terminal to get the code:\n\n  {}\n\n",
        *app
    ))
}

/// The QR code in half blocks, with its quiet zone. Scanners need dark modules on a light background: with `colors` the text sets
/// both, without them it assumes a terminal that is light on dark.
fn qr(uri: &str, colors: bool) -> Result<String, Failure> {
    let code = QrCode::with_error_correction_level(uri, EcLevel::L)?;
    let mut renderer = code.render::<Dense1x2>();
    let renderer = renderer.quiet_zone(true);
    if !colors {
        return Ok(renderer.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build());
    }
    let text = renderer.dark_color(Dense1x2::Dark).light_color(Dense1x2::Light).build();
    Ok(text.lines().map(|line| format!("\u{1b}[30;107m{line}\u{1b}[0m")).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qr_code_is_dark_on_light() {
        let (plain, colored) = (qr("otpauth://x", false).unwrap(), qr("otpauth://x", true).unwrap());
        assert!(
            plain.starts_with('█'),
            "without colors the quiet zone is filled, because the terminal is light on dark"
        );
        assert!(
            colored.starts_with("\u{1b}[30;107m "),
            "with colors the quiet zone is empty, because the background is light"
        );
        let bare = colored.replace("\u{1b}[30;107m", "").replace("\u{1b}[0m", "");
        let inverted = |c| match c {
            '█' => ' ',
            ' ' => '█',
            '▀' => '▄',
            '▄' => '▀',
            other => other,
        };
        // If the code has an odd number of rows, the lower half of the last line is outside the code.
        let without_last_line = |text: &str| text.lines().rev().skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(without_last_line(&bare.chars().map(inverted).collect::<String>()), without_last_line(&plain));
    }
}
