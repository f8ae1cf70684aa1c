//! Requests of the person who signed in with `login`. A change needs a fresh code: it is asked for when the server wants it.

use axum::http::Method;
use serde_json::{Value, json};
use vestibule::id::{UserId, fold};

use crate::{
    Failure,
    args::admin::UserArgument,
    client::{Call, NoAnswer, Reply, Server, text},
    code::CodeStep,
    state::{SavedSession, StateFile},
    terminal,
};

/// The number of items of a page of a list.
const PAGE: &str = "100";

/// The path of the users.
pub(crate) const USERS: &str = "/v1/admin/users";

/// The code that makes the session fresh.
const STEP_UP: CodeStep = CodeStep {
    path: "/v1/step-up",
    question: "Code",
    action: "checking the code",
    exhausted: "five wrong codes: the change was not made",
};

/// The person who signed in, at their server.
pub(crate) struct Admin {
    server: Server,
    file: StateFile,
    kept: SavedSession,
}

/// Tells the person when it is dropped that a change was sent and has no answer. Ctrl-C drops it, too.
struct Unanswered(bool);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if self.0 {
            terminal::say(
                "The request was sent, but there is no answer. The change may or may not be made: check before you repeat it.",
            );
        }
    }
}

impl Admin {
    /// # Errors
    /// Nobody is signed in.
    pub(crate) fn open() -> Result<Self, Failure> {
        let file = StateFile::locate()?;
        let Some(kept) = file.read()? else {
            let login = terminal::command(&["login", "--tenant", "TENANT", "--username", "NAME"]);
            return Err(
                format!("nobody is signed in: run `{login}` first, with --url if the server is elsewhere").into()
            );
        };
        Ok(Self { server: Server::at(&kept.url)?, file, kept })
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn file(&self) -> &StateFile {
        &self.file
    }

    /// Who is signed in, and where.
    pub(crate) fn account(&self) -> Value {
        json!({"url": self.kept.url, "tenant": self.kept.tenant, "user_id": self.kept.user_id})
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.kept.tenant
    }

    /// Sends a request with the session.
    ///
    /// # Errors
    /// The server cannot be reached, or no fresh code was given.
    pub(crate) async fn send(&mut self, call: Call<'_>) -> Result<Reply, Failure> {
        let mut stepped_up = false;
        loop {
            // A batch says itself which rows have no answer.
            let mut unanswered = Unanswered(call.method != Method::GET && call.idempotency_key.is_none());
            let reply = self.server.send(call.clone().token(&self.kept.token)).await;
            unanswered.0 &= reply.as_ref().is_err_and(|error| error.is::<NoAnswer>());
            let reply = reply?;
            match reply.code() {
                Some("step_up_required") if !stepped_up => {
                    self.step_up().await?;
                    stepped_up = true;
                }
                // Another command stepped the session up, so that it has another token.
                Some("invalid_token") if self.reload()? => {}
                _ => return Ok(reply),
            }
        }
    }

    /// Sends a request. Returns the body of a success. `action` names the request in the error message.
    ///
    /// # Errors
    /// As [`Self::send`], or the request was refused.
    pub(crate) async fn ask(&mut self, call: Call<'_>, action: &str) -> Result<Value, Failure> {
        self.send(call).await?.ok(action)
    }

    /// Reads the file again. Returns whether the session has another token now.
    fn reload(&mut self) -> Result<bool, Failure> {
        let same = |now: &SavedSession| (&now.url, &now.user_id) == (&self.kept.url, &self.kept.user_id);
        match self.file.read()?.filter(same) {
            Some(now) if now.token != self.kept.token => {
                self.kept = now;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Asks for codes until one is right. The session has a new token then, which is kept at once.
    async fn step_up(&mut self) -> Result<(), Failure> {
        terminal::say("This needs a fresh code of your authenticator app.");
        let answer = STEP_UP.run(&self.server, &self.kept.token).await?;
        self.kept.token.clone_from(&*text(&answer["session"]["token"])?);
        self.file.write(&self.kept)
    }

    /// Reads a list, page by page, until `each` returns `false`.
    ///
    /// # Errors
    /// A page cannot be read, or `each` failed.
    pub(crate) async fn list(
        &mut self,
        path: &str,
        query: &[(&str, String)],
        mut each: impl FnMut(Value) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut cursor: Option<String> = None;
        loop {
            let page = [("limit", PAGE.to_owned())];
            let fields = query.iter().cloned().chain(page).chain(cursor.map(|cursor| ("cursor", cursor)));
            let path = format!("{path}?{}", serde_urlencoded::to_string(fields.collect::<Vec<_>>())?);
            let mut answer = self.ask(Call::get(&path), "reading the list").await?;
            let Value::Array(items) = answer["items"].take() else {
                return Err("unexpected response: is the server Vestibule?".into());
            };
            for item in items {
                if !each(item)? {
                    return Ok(());
                }
            }
            cursor = answer["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Finds a user by login name or id.
    ///
    /// # Errors
    /// The tenant has no such user.
    pub(crate) async fn user(&mut self, who: &UserArgument) -> Result<Value, Failure> {
        let name = &who.user;
        if who.id {
            let id = UserId::parse(name).map_err(|why| format!("{name} is no id ({why}): see `users list`"))?;
            return self.ask(Call::get(&format!("{USERS}/{id}")), "reading the user").await;
        }
        let (wanted, mut found) = (fold(name), None);
        self.list(USERS, &[("q", name.clone())], |user| {
            if user["username"].as_str().is_some_and(|name| fold(name) == wanted) {
                found = Some(user);
            }
            Ok(found.is_none())
        })
        .await?;
        let tenant = self.tenant();
        found.ok_or_else(|| format!("tenant {tenant} has no user {name}: see `users list`; --id takes an id").into())
    }

    /// The id of a user.
    ///
    /// # Errors
    /// As [`Self::user`].
    pub(crate) async fn user_id(&mut self, who: &UserArgument) -> Result<String, Failure> {
        let user = self.user(who).await?;
        Ok(text(&user["id"])?.to_string())
    }

    /// Ends the session at the server. Returns whether it was still alive.
    ///
    /// # Errors
    /// The server cannot be reached, or refused for another reason.
    pub(crate) async fn end(&mut self) -> Result<bool, Failure> {
        let reply = self.send(Call::new(Method::DELETE, "/v1/session")).await?;
        match reply.code() {
            Some("invalid_token" | "session_refresh_required") => Ok(false),
            _ => reply.ok("signing out").map(|_| true),
        }
    }
}
