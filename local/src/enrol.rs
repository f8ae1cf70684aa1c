//! Enrolment from the command line: the flows over HTTP, with the QR code in the terminal.

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
    args::{Account, OWN_URL},
    terminal,
};

/// The longest answer that is read.
const ANSWER: usize = 1024 * 1024;

/// Five wrong codes end a pending enrolment or a challenge: no more are asked for.
pub(crate) const MAX_ATTEMPTS: usize = 5;

/// Signs in with the password, enrols an authenticator, and makes the recovery token.
///
/// # Errors
/// Says which step did not work, and why.
pub async fn run(options: &Account) -> Result<(), Failure> {
    let server = Server::at(&options.url)?;
    let answer = sign_in(&server, options).await?;
    let token = match answer["status"].as_str() {
        Some("enrolment_required") => text(&answer["enrolment"]["token"])?,
        Some("mfa_required") => {
            return Err("this user has an authenticator: to replace it sign in and use /v1/mfa/enrolments; if it is \
                        lost, use the recovery token or ask an Administrator for a reset"
                .into());
        }
        _ => return Err("this user signs in with the password alone (excluded from MFA): nothing to enrol".into()),
    };
    let start = if answer["reset_code_required"] == true {
        json!({"reset_code": *terminal::line("Reset code (from the Administrator)")?})
    } else {
        json!({})
    };
    let enrolment =
        server.send(Method::POST, "/v1/mfa/enrolments", Some(&token), Some(&start)).await?.ok("starting enrolment")?;
    show(&text(&enrolment["otpauth_uri"])?, &text(&enrolment["secret"])?)?;
    let session = confirm(&server, &token).await?;
    let made = server.send(Method::POST, "/v1/mfa/recovery-token", Some(&session), None).await?;
    let made = made.ok("making the recovery token")?;
    print(&format!(
        "\nMFA is on for {}.\nRecovery token, shown this once; keep it where your phone is not:\n\n  {}\n\n\
         Next, sign in with password and code. That code is used: wait for the next one.\n\n  {}\n\n",
        options.username,
        *text(&made["recovery_token"])?,
        command("login", options),
    ))?;
    // Nobody goes on with this session.
    server.send(Method::DELETE, "/v1/session", Some(&session), None).await?.ok("signing out").map(drop)
}

/// A command for the same person at the same server.
pub(crate) fn command(name: &str, options: &Account) -> String {
    let mut arguments = vec![name, "--tenant", &options.tenant, "--username", &options.username];
    if options.url != OWN_URL {
        arguments.extend(["--url", &options.url]);
    }
    terminal::command(&arguments)
}

/// Asks for the password and sends it: what `POST /v1/login` answers.
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
        "\n{qr}\n\nScan it with an authenticator app, or type this key (time-based, 6 digits):\n\n  {key}\n\n\
         No phone at hand? This shows the code, in another terminal:\n\n  {}\n\n",
        *app
    ))
}

/// The QR code in half blocks, with its quiet zone. Dark on light, as scanners want it: in colors that say so, or else
/// for a terminal that is light on dark.
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

/// Asks for codes until one is right.
async fn confirm(server: &Server, token: &str) -> Result<Zeroizing<String>, Failure> {
    for _ in 0..MAX_ATTEMPTS {
        let code = terminal::line("Code it shows")?;
        let body = json!({"code": *code});
        let answer = server.send(Method::POST, "/v1/mfa/enrolments/confirm", Some(token), Some(&body)).await?;
        match answer.body["code"].as_str() {
            Some(code @ ("malformed_code" | "invalid_code")) => say_wrong(code),
            _ => return text(&answer.ok("confirming")?["session"]["token"]),
        }
    }
    Err("five codes were wrong: start again".into())
}

/// What somebody who is asked again has to know. The service does not say more either.
pub(crate) fn say_wrong(code: &str) {
    let text = match code {
        "malformed_code" => "That is no code: a code has 6 digits.",
        _ => {
            "That code is wrong or was used. Each code works once: wait for the next one. If that is wrong too, look at the \
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
    let text = value.as_str().ok_or("the server's answer is not of the contract: is it another program?")?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// A Vestibule, or another server, on this machine.
pub(crate) struct Server {
    authority: String,
}

pub(crate) struct Reply {
    status: u16,
    pub(crate) body: Value,
}

impl Reply {
    /// The body of a success; what a problem says, otherwise.
    pub(crate) fn ok(self, doing: &str) -> Result<Value, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let said = |name: &str| self.body[name].as_str().map(str::to_owned);
        let code = said("code").unwrap_or_else(|| format!("status {}", self.status));
        let more = said("detail").or_else(|| said("title")).map(|text| format!(" ({text})")).unwrap_or_default();
        Err(format!("{doing} was refused: {code}{more}").into())
    }
}

impl Server {
    pub(crate) fn at(url: &str) -> Result<Self, Failure> {
        let parsed: Option<Uri> = url.parse().ok();
        let here = |host: &str| {
            let bare = host.trim_matches(['[', ']']);
            host == "localhost" || bare.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        };
        match parsed {
            Some(uri) if uri.scheme_str() == Some("http") && uri.host().is_some_and(here) && uri.path() == "/" => {
                let authority = uri.authority().map_or_else(String::new, ToString::to_string);
                let port = if uri.port().is_some() { "" } else { ":80" };
                Ok(Self { authority: format!("{authority}{port}") })
            }
            _ => Err(format!("{url} is no server on this machine: --url takes http://127.0.0.1:PORT").into()),
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

    /// One request on a connection of its own: the answer's status and body.
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
        let answer = sender.send_request(request.body(body)?).await?;
        let status = answer.status().as_u16();
        Ok((status, Zeroizing::new(to_bytes(Body::new(answer.into_body()), ANSWER).await?.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_qr_code_is_dark_on_light() {
        let (plain, colored) = (qr("otpauth://x", false).unwrap(), qr("otpauth://x", true).unwrap());
        assert!(plain.starts_with('█'), "the quiet zone is light: ink, where ink is light");
        assert!(colored.starts_with("\u{1b}[30;107m "), "the quiet zone is light: paper, where ink is black");
        let bare = colored.replace("\u{1b}[30;107m", "").replace("\u{1b}[0m", "");
        let inverted = |c| match c {
            '█' => ' ',
            ' ' => '█',
            '▀' => '▄',
            '▄' => '▀',
            other => other,
        };
        // The last line is half beyond the code where that has an odd number of rows.
        let but_last = |text: &str| text.lines().rev().skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(but_last(&bare.chars().map(inverted).collect::<String>()), but_last(&plain));
    }

    #[test]
    fn passwords_stay_on_this_machine() {
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
