//! `enrol`: enrols an authenticator app through the HTTP API, with the QR code in the terminal. Also the HTTP client of `login`
//! and `idp`.

use std::io::{self, Write};

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, Uri, header},
};
use hyper_util::rt::TokioIo;
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::{
    Failure,
    args::{Account, DEFAULT_URL},
    terminal,
};

/// The maximum size of a response, in bytes.
const MAX_RESPONSE: usize = 1024 * 1024;

/// How often a code is asked for. The server ends a pending enrolment or a challenge after five wrong codes.
pub(crate) const MAX_ATTEMPTS: usize = 5;

/// Signs in with the password, enrols an authenticator app, and issues a recovery token.
///
/// # Errors
/// A message that says which step failed, and why.
pub async fn run(options: &Account) -> Result<(), Failure> {
    let server = Server::at(&options.url)?;
    let answer = sign_in(&server, options).await?;
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
        json!({"reset_code": *terminal::line("Reset code (from the Administrator)")?})
    } else {
        json!({})
    };
    let enrolment = server
        .send(Method::POST, "/v1/mfa/enrolments", Some(&token), Some(&start))
        .await?
        .ok("starting the enrolment")?;
    show(&text(&enrolment["otpauth_uri"])?, &text(&enrolment["secret"])?)?;
    let session = confirm(&server, &token).await?;
    let recovery = server.send(Method::POST, "/v1/mfa/recovery-token", Some(&session), None).await?;
    let recovery = recovery.ok("issuing the recovery token")?;
    print(&format!(
        "\nMFA is on for {}.\nRecovery token, shown only now. Do not keep it on your phone:\n\n  {}\n\n\
         Next, sign in with password and code. The code above is used up: wait for the next one.\n\n  {}\n\n",
        options.username,
        *text(&recovery["recovery_token"])?,
        command("login", options),
    ))?;
    // The session is not needed any more.
    server.send(Method::DELETE, "/v1/session", Some(&session), None).await?.ok("signing out").map(drop)
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
pub(crate) async fn sign_in(server: &Server, options: &Account) -> Result<Value, Failure> {
    let password = terminal::password("Password")?;
    let body = json!({"tenant": options.tenant, "username": options.username, "password": password.expose()});
    server.send(Method::POST, "/v1/login", None, Some(&body)).await?.ok("signing in")
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

/// Asks for codes until one is right. Returns the session token.
async fn confirm(server: &Server, token: &str) -> Result<Zeroizing<String>, Failure> {
    for _ in 0..MAX_ATTEMPTS {
        let code = terminal::line("Code in the app")?;
        let body = json!({"code": *code});
        let answer = server.send(Method::POST, "/v1/mfa/enrolments/confirm", Some(token), Some(&body)).await?;
        match answer.body["code"].as_str() {
            Some(code @ ("malformed_code" | "invalid_code")) => explain_refused_code(code),
            _ => return text(&answer.ok("confirming the enrolment")?["session"]["token"]),
        }
    }
    Err("five wrong codes: start again".into())
}

/// Explains why a code was refused. The service does not tell a wrong code from a used one.
pub(crate) fn explain_refused_code(code: &str) {
    let text = match code {
        "malformed_code" => "This is not a code: a code has 6 digits.",
        _ => {
            "This code is wrong or was used. Each code works once: wait for the next one. If that is refused too, check the \
             clock of the phone."
        }
    };
    let _ = writeln!(io::stderr(), "{text}");
}

pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Into::into)
}

pub(crate) fn text(value: &Value) -> Result<Zeroizing<String>, Failure> {
    let text = value.as_str().ok_or("unexpected response: is the server Vestibule?")?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// An HTTP server on this machine.
pub(crate) struct Server {
    authority: String,
}

/// A response with a JSON body.
pub(crate) struct Reply {
    status: u16,
    pub(crate) body: Value,
}

impl Reply {
    /// The body of a success. `action` names the request in the error message.
    ///
    /// # Errors
    /// The code and the detail of the problem.
    pub(crate) fn ok(self, action: &str) -> Result<Value, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let field = |name: &str| self.body[name].as_str().map(str::to_owned);
        let code = field("code").unwrap_or_else(|| format!("status {}", self.status));
        let detail = field("detail").or_else(|| field("title")).map(|text| format!(" ({text})")).unwrap_or_default();
        Err(format!("{action} was refused: {code}{detail}").into())
    }
}

impl Server {
    /// # Errors
    /// The URL is not an HTTP URL of this machine, or has a path.
    pub(crate) fn at(url: &str) -> Result<Self, Failure> {
        let parsed: Option<Uri> = url.parse().ok();
        let is_loopback = |host: &str| {
            let bare = host.trim_matches(['[', ']']);
            host == "localhost" || bare.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        };
        match parsed {
            Some(uri)
                if uri.scheme_str() == Some("http") && uri.host().is_some_and(is_loopback) && uri.path() == "/" =>
            {
                let authority = uri.authority().map_or_else(String::new, ToString::to_string);
                let port = if uri.port().is_some() { "" } else { ":80" };
                Ok(Self { authority: format!("{authority}{port}") })
            }
            _ => Err(format!("{url} is not a server on this machine: --url takes http://127.0.0.1:PORT").into()),
        }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Reply, Failure> {
        let (status, bytes) = self.exchange(method, path, token, body).await?;
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
        Ok(Reply { status, body })
    }

    /// Sends one request on a new connection. Returns the response's status and body.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<(u16, Zeroizing<Vec<u8>>), Failure> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|error| {
            format!("no server answers at {} ({error}): is the server running there?", self.authority)
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let response = sender.send_request(request.body(body)?).await?;
        let status = response.status().as_u16();
        Ok((status, Zeroizing::new(to_bytes(Body::new(response.into_body()), MAX_RESPONSE).await?.to_vec())))
    }
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

    #[test]
    fn server_must_be_on_this_machine() {
        for good in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080/"] {
            assert!(Server::at(good).is_ok(), "{good}");
        }
        for bad in [
            "https://127.0.0.1:1",
            "http://10.0.0.1:80",
            "http://example.com",
            "127.0.0.1:8080",
            "http://127.0.0.1.evil/",
        ] {
            assert!(Server::at(bad).is_err(), "{bad}");
        }
    }
}
