//! The fields of a form, and what is wrong with what was sent.

use std::{borrow::Cow, time::Duration};

use askama::Template;
use axum::http::StatusCode;
use serde::Serialize;

use super::{Page, PageError, Text, with_return_to};
use crate::http::problem::{Code, Problem};

/// A labelled field of a form, with the error at the field. Label and hint are the texts `label-NAME` and `hint-NAME` of
/// the catalogue. A field with options is a list to choose from.
#[derive(Template)]
#[template(path = "field.html")]
pub struct Field {
    id: &'static str,
    name: &'static str,
    kind: &'static str,
    label: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    error: Option<String>,
    error_prefix: Cow<'static, str>,
    value: String,
    autocomplete: &'static str,
    required: bool,
    long: bool,
    binary: bool,
    options: Vec<(&'static str, Cow<'static, str>)>,
}

// The template escapes its values.
impl askama::filters::HtmlSafe for Field {}

impl Field {
    /// A field of one line that must be filled in.
    #[must_use]
    pub fn new(page: &Page, errors: &FormErrors, name: &'static str) -> Self {
        let (text, hint) = (page.text, format!("hint-{name}"));
        Self {
            id: name,
            name,
            kind: "text",
            label: text.get(&format!("label-{name}")),
            hint: text.has(&hint).then(|| text.get(&hint)),
            error: errors.of(name),
            error_prefix: text.get("error-prefix"),
            value: String::new(),
            autocomplete: "off",
            required: true,
            long: false,
            binary: false,
            options: Vec::new(),
        }
    }

    /// The id of the element, where a page has two fields of one name.
    #[must_use]
    pub const fn id(mut self, id: &'static str) -> Self {
        self.id = id;
        self
    }

    /// The value that the field begins with.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self
    }

    /// A hint that depends on the person.
    #[must_use]
    pub fn hint(mut self, hint: Cow<'static, str>) -> Self {
        self.hint = Some(hint);
        self
    }

    /// What a browser or a password manager may fill in (HTML, `autocomplete`).
    #[must_use]
    pub const fn autocomplete(mut self, autocomplete: &'static str) -> Self {
        self.autocomplete = autocomplete;
        self
    }

    /// A password: `current-password` or `new-password`. What was typed is never shown again.
    #[must_use]
    pub const fn password(mut self, autocomplete: &'static str) -> Self {
        (self.kind, self.autocomplete) = ("password", autocomplete);
        self
    }

    /// An e-mail address.
    #[must_use]
    pub const fn email(mut self) -> Self {
        self.kind = "email";
        self
    }

    /// A code of an authenticator app: digits, which a phone may fill in.
    #[must_use]
    pub const fn code(mut self) -> Self {
        (self.kind, self.autocomplete) = ("code", "one-time-code");
        self
    }

    /// A file, which the form sends as `multipart/form-data`.
    #[must_use]
    pub const fn file(mut self) -> Self {
        self.kind = "file";
        self
    }

    /// A file that need not be text. The form gets it in Base64.
    #[must_use]
    pub const fn binary_file(mut self) -> Self {
        (self.kind, self.binary) = ("file", true);
        self
    }

    /// A day. Browsers offer a calendar and send `2026-01-31`.
    #[must_use]
    pub const fn date(mut self) -> Self {
        self.kind = "date";
        self
    }

    /// A list to choose from: the values, and the texts that say what they are.
    #[must_use]
    pub fn options(mut self, options: impl IntoIterator<Item = (&'static str, Cow<'static, str>)>) -> Self {
        self.options = options.into_iter().collect();
        self
    }

    /// The field may stay empty.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// A text of several lines.
    #[must_use]
    pub const fn long(mut self) -> Self {
        self.long = true;
        self
    }
}

/// What is wrong with a sent form, in the language of the page. Empty for a form that is shown for the first time.
#[derive(Debug, Default)]
pub struct FormErrors {
    messages: Vec<Message>,
    status: StatusCode,
    /// The code of the problem, for the log.
    code: Option<Code>,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) field: String,
    pub(super) text: String,
    /// Where the message leads: to the field, or to a page that helps.
    pub(super) href: String,
}

impl FormErrors {
    /// Nothing is wrong.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The same, with another message: one that says more than the problem's code.
    #[must_use]
    pub fn saying(mut self, text: impl Into<String>) -> Self {
        if let Some(message) = self.messages.first_mut() {
            message.text = text.into();
        }
        self
    }

    /// The same, with another message at this field if there is one: it says more than `invalid-NAME`.
    #[must_use]
    pub fn saying_at(mut self, field: &str, text: impl Into<String>) -> Self {
        if let Some(message) = self.messages.iter_mut().find(|message| message.field == field) {
            message.text = text.into();
        }
        self
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What is wrong, as texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().map(|message| message.text.as_str())
    }

    fn of(&self, field: &str) -> Option<String> {
        self.messages.iter().find(|message| message.field == field).map(|message| message.text.clone())
    }

    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn code(&self) -> Option<Code> {
        self.code
    }
}

impl Page {
    /// What is wrong with the sent form. `field` gets the message if the problem names no field.
    ///
    /// # Errors
    /// Without a valid session the browser goes to the sign-in page. If the service does not respond, that is a page of its
    /// own.
    pub fn errors(&self, problem: Problem, field: &'static str) -> Result<FormErrors, PageError> {
        let code = problem.code();
        if matches!(code, Code::Unavailable | Code::InvalidToken | Code::SessionRefreshRequired) {
            return Err(self.refused(problem));
        }
        let at = |name: &str, text: String| Message { field: name.to_owned(), text, href: format!("#{name}") };
        let invalid = |name: &str| at(name, self.text.get(&format!("invalid-{name}")).into_owned());
        let named = problem.fields().filter_map(|name| name.strip_prefix('/'));
        let mut messages: Vec<_> = match code {
            Code::InvalidRequest => named.map(invalid).collect(),
            Code::MalformedCode => vec![invalid(field)],
            _ => Vec::new(),
        };
        if messages.is_empty() {
            messages.push(at(field, problem_text(self.text, &problem)));
        }
        if code == Code::StepUpRequired {
            messages[0].href = with_return_to("/step-up", &self.here());
        }
        Ok(FormErrors { messages, status: code.status(), code: Some(code) })
    }
}

/// The name of a choice, as the API and forms have it: `saml_sso`. Empty for a value that is no name.
#[must_use]
pub fn choice_name(choice: &impl Serialize) -> String {
    let pair = serde_urlencoded::to_string([("", choice)]).unwrap_or_default();
    pair.strip_prefix('=').unwrap_or_default().to_owned()
}

/// A problem in the language of the page.
pub(super) fn problem_text(text: Text, problem: &Problem) -> String {
    let id = format!("problem-{}", problem.code().as_str());
    match problem.retry_after_seconds() {
        Some(seconds) => text.with(&id, "wait", duration(text, Duration::from_secs(seconds.into()))),
        None => text.get(&id).into_owned(),
    }
}

/// A span of time, rounded up to whole minutes if it is longer than one.
fn duration(text: Text, span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..=60 => text.with("seconds", "count", seconds),
        seconds => text.with("minutes", "count", seconds.div_ceil(60)),
    }
}
