//! The page `/admin/users/import`: create many users from a list. An Administrator gives a CSV file or pastes its text, sees
//! what would happen (a dry run), confirms, and sees what happened.
//!
//! Nothing is stored before the confirmation, so the form of the preview keeps the list. It may have passwords, so it is
//! sealed.

mod list;

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use miniz_oxide::{deflate::compress_to_vec, inflate::decompress_to_vec_with_limit};
use serde::Deserialize;
use vestibule::{
    http::{
        ApiResult, App, Code, Problem,
        page::{Field, FormErrors, Page, PageError, PageRequest, PageResult, PageUpload, Text, choice_name, csv_row},
    },
    id::UserKey,
    secret::SecretText,
    store::session::Principal,
};
use zeroize::Zeroizing;

use self::list::{InvalidList, List, ListRow};
use super::role_text;
use crate::users::batch::{RowDone, RowOutcome, create_users};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportForm {
    /// The list of the preview to confirm. Without it, the other fields are a new list.
    confirm: Option<String>,
    /// The content of the file.
    csv: Option<SecretText>,
    /// The pasted text.
    rows: Option<SecretText>,
}

#[derive(Template)]
#[template(path = "import.html")]
struct ImportTemplate {
    text: Text,
    csv: Field,
    rows: Field,
    /// Mails are configured, so users can be invited.
    mails: bool,
}

#[derive(Template)]
#[template(path = "imported.html")]
struct ImportedTemplate<'a> {
    text: Text,
    /// The text that says what the page shows, its class and its role.
    notice: Option<[&'static str; 3]>,
    ignored: String,
    /// How many rows have each outcome.
    counts: Vec<(String, usize)>,
    /// The sealed list and the text of the button, if there is something to confirm.
    confirmation: Option<(&'a str, String)>,
    rows: Vec<Row<'a>>,
    /// What happened, as a file.
    file: Option<String>,
}

/// What became of a row, or would become of it.
struct Row<'a> {
    from: &'a ListRow,
    role: String,
    done: RowDone,
    outcome: String,
    /// What is wrong with the row.
    why: String,
}

/// What the page shows of a list.
enum View {
    /// What would happen. The sealed list is for the confirmation.
    Preview(String),
    /// The confirmation was refused, or it was interrupted. It can be repeated with the sealed list.
    Again { sealed: String, interrupted: bool },
    /// What happened.
    Done,
}

pub(super) async fn show(State(app): State<Arc<App>>, get: PageRequest) -> PageResult {
    let mut page = get.page;
    let caller = page.principal(&app).await?;
    page.request.may_read(&app, &caller).await?;
    page.stepped_up(&caller)?;
    form_page(&app, &page, &FormErrors::none(), String::new())
}

pub(super) async fn submit(State(app): State<Arc<App>>, post: PageUpload<ImportForm>) -> PageResult {
    let PageUpload { mut page, form } = post;
    let caller = page.principal(&app).await?;
    page.request.may_read(&app, &caller).await?;
    match form {
        Ok(ImportForm { confirm: Some(sealed), .. }) => confirm(&app, &page, caller, sealed).await,
        Ok(form) => preview(&app, &page, caller, form).await,
        Err(problem) => form_page(&app, &page, &page.errors(problem, "csv")?, String::new()),
    }
}

fn form_page(app: &App, page: &Page, errors: &FormErrors, typed: String) -> PageResult {
    let field = |name, hint: &str| Field::new(page, errors, name).optional().hint(page.text.get(hint));
    let template = ImportTemplate {
        text: page.text,
        csv: field("csv", "hint-import-csv").file(),
        rows: field("rows", "hint-rows").long().value(typed),
        mails: app.mails.is_some(),
    };
    page.show_form(&page.text.get("import-title"), errors, &template)
}

/// Shows what would happen, or the form with what is wrong.
async fn preview(app: &App, page: &Page, caller: Principal, form: ImportForm) -> PageResult {
    let ImportForm { csv, rows, .. } = form;
    let typed = rows.as_ref().map(list::to_show_again).unwrap_or_default();
    let (field, given) = match (csv, rows) {
        (Some(csv), None) => ("/csv", Ok(csv)),
        (None, Some(rows)) => ("/rows", Ok(rows)),
        (None, None) => ("/csv", Err(InvalidList::None)),
        (Some(_), Some(_)) => ("/rows", Err(InvalidList::Two)),
    };
    let user = caller.token().user().clone();
    let errors = match given.and_then(|text| List::read(text.expose()).map(|list| (text, list))) {
        Ok((text, list)) => match run(app, page, caller, &list, true).await {
            Ok(done) => {
                let view = View::Preview(seal(app, &user, &text)?);
                return list_page(page, &FormErrors::none(), &view, &list, done);
            }
            Err(problem) => page.errors(problem, "main")?,
        },
        Err(wrong) => {
            page.errors(Problem::field(field, "must be a list of users"), "main")?.saying(wrong.text(page.text, field))
        }
    };
    form_page(app, page, &errors, typed)
}

/// Creates the users of a preview. Nobody is created twice, so it can be repeated.
async fn confirm(app: &App, page: &Page, caller: Principal, sealed: String) -> PageResult {
    let text = open(app, caller.token().user(), &sealed)?;
    let list = List::read(text.expose()).map_err(|_| Code::InvalidRequest)?;
    match run(app, page, caller, &list, false).await {
        Ok(done) => list_page(page, &FormErrors::none(), &View::Done, &list, done),
        Err(problem) if problem.code() == Code::Unavailable => {
            let view = View::Again { sealed, interrupted: true };
            let mut response = list_page(page, &FormErrors::none(), &view, &list, Vec::new())?;
            *response.status_mut() = problem.code().status();
            Ok(response)
        }
        Err(problem) => {
            let (errors, view) = (page.errors(problem, "main")?, View::Again { sealed, interrupted: false });
            list_page(page, &errors, &view, &list, Vec::new())
        }
    }
}

/// Seals a list for the form of its preview. A list becomes small before it is sealed, and cannot afterwards.
fn seal(app: &App, user: &UserKey, text: &SecretText) -> ApiResult<String> {
    let packed = Zeroizing::new(compress_to_vec(text.expose().as_bytes(), 6));
    Ok(app.names()?.seal_form(user, &packed, &*app.entropy)?)
}

fn open(app: &App, user: &UserKey, sealed: &str) -> ApiResult<SecretText> {
    let packed = app.names()?.open_form(user, sealed).ok();
    let text = packed.and_then(|packed| decompress_to_vec_with_limit(&packed, list::MAX_BYTES).ok());
    let text = text.and_then(|text| String::from_utf8(text).ok()).map(SecretText::new);
    text.ok_or_else(|| Problem::field("/confirm", "must be from a preview"))
}

async fn run(app: &App, page: &Page, caller: Principal, list: &List, dry_run: bool) -> ApiResult<Vec<RowDone>> {
    let admin = page.request.may_administer(app, caller).await?;
    let rows = list.rows.iter().map(|row| row.request(app.mails.is_some()));
    create_users(app, &page.request, &admin, rows, dry_run).await
}

fn list_page(page: &Page, errors: &FormErrors, view: &View, list: &List, done: Vec<RowDone>) -> PageResult {
    let text = page.text;
    let rows = list.rows.iter().zip(done).map(|(from, done)| Row::new(page, from, done));
    let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
    let outcomes = ["import-created", "import-invited", "import-exists", "import-invalid"].map(|id| text.get(id));
    let counts = outcomes.map(|outcome| (rows.iter().filter(|row| row.outcome == outcome).count(), outcome));
    let title = match view {
        View::Done => "import-done-title",
        View::Preview(_) | View::Again { .. } => "import-preview-title",
    };
    let to_create = rows.iter().filter(|row| row.done.outcome == RowOutcome::Created).count();
    let template = ImportedTemplate {
        text,
        notice: view.notice(to_create),
        confirmation: view.confirmation(text, to_create),
        ignored: list.ignored.join(", "),
        counts: counts.into_iter().filter(|(n, _)| *n > 0).map(|(n, outcome)| (outcome.into_owned(), n)).collect(),
        file: matches!(view, View::Done).then(|| file(&rows)),
        rows,
    };
    page.show_form(&text.get(title), errors, &template)
}

impl View {
    fn notice(&self, to_create: usize) -> Option<[&'static str; 3]> {
        match self {
            Self::Preview(_) if to_create > 0 => Some(["import-preview-notice", "", "note"]),
            Self::Preview(_) => Some(["import-preview-nothing", "bad", "note"]),
            Self::Again { interrupted, .. } => interrupted.then_some(["import-interrupted", "bad", "alert"]),
            Self::Done => Some(["import-done", "good", "status"]),
        }
    }

    fn confirmation(&self, text: Text, to_create: usize) -> Option<(&str, String)> {
        match self {
            Self::Preview(sealed) if to_create > 0 => Some((sealed, text.with("import-confirm", "count", to_create))),
            Self::Again { sealed, .. } => Some((sealed, text.get("import-confirm-again").into_owned())),
            Self::Preview(_) | Self::Done => None,
        }
    }
}

impl<'a> Row<'a> {
    fn new(page: &Page, from: &'a ListRow, mut done: RowDone) -> Result<Self, PageError> {
        let text = page.text;
        let outcome = match done.outcome {
            RowOutcome::Created if from.is_invited() => "import-invited",
            RowOutcome::Created => "import-created",
            RowOutcome::Exists => "import-exists",
            RowOutcome::Invalid => "import-invalid",
        };
        let why = match done.why.take() {
            Some(why) => from.errors(page, why)?.texts().collect::<Vec<_>>().join(" "),
            None => String::new(),
        };
        let role = from.user.role.map_or_else(|| from.role.clone(), |role| text.get(role_text(&role)).into_owned());
        Ok(Self { from, role, done, outcome: text.get(outcome).into_owned(), why })
    }
}

/// The outcomes as CSV.
fn file(rows: &[Row<'_>]) -> String {
    let mut text = String::new();
    csv_row(&mut text, ["line", "username", "outcome", "id", "detail"]);
    for row in rows {
        let (line, outcome) = (row.from.line.to_string(), choice_name(&row.done.outcome));
        let id = row.done.id.as_ref().map_or("", |id| id.as_str());
        csv_row(&mut text, [&line, row.from.username(), &outcome, id, &row.why]);
    }
    text
}
