//! A step that needs a code: the person types codes until the server takes one.

use serde_json::{Value, json};

use crate::{
    Failure,
    client::{Call, Server},
    terminal,
};

/// How often a code is asked for. The server ends a pending enrolment or a challenge after five wrong codes.
const MAX_ATTEMPTS: usize = 5;

/// A request whose body is a code.
pub(crate) struct CodeStep {
    /// The path of the request.
    pub(crate) path: &'static str,
    /// The question to the person.
    pub(crate) question: &'static str,
    /// What the request does, for error messages.
    pub(crate) action: &'static str,
    /// The error after too many wrong codes.
    pub(crate) exhausted: &'static str,
}

impl CodeStep {
    /// Asks for codes until one is right. Returns the response.
    ///
    /// # Errors
    /// All codes were wrong, or the request was refused for another reason or cannot be sent.
    pub(crate) async fn run(&self, server: &Server, token: &str) -> Result<Value, Failure> {
        for _ in 0..MAX_ATTEMPTS {
            let body = json!({"code": *terminal::line(self.question).await?});
            let reply = server.send(Call::post(self.path, &body).token(token)).await?;
            match reply.code() {
                Some(code @ ("malformed_code" | "invalid_code")) => explain(code),
                _ => return reply.ok(self.action),
            }
        }
        Err(self.exhausted.into())
    }
}

/// Explains why a code was refused. The service does not tell a wrong code from a used one.
fn explain(code: &str) {
    let text = match code {
        "malformed_code" => "This is not a code: a code has 6 digits.",
        _ => {
            "This code is wrong or was used. Each code works once: wait for the next one. If that is refused too, check the \
             clock of the phone."
        }
    };
    terminal::say(text);
}
