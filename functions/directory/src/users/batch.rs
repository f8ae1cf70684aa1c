//! `POST /v1/admin/users/batch`: create many users.

use std::{collections::HashMap, fmt, sync::Arc};

use axum::{Json, extract::State};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};
use utoipa::ToSchema;
use vestibule::{
    http::{
        ApiRequest, ApiResult, App, Code, Large, Line, Problem, Request,
        dto::{AuthTypeDto, Email, KindDto, RoleDto, Username},
    },
    id::UserId,
    secret::{LoginKey, SecretText},
    store::session::AdminContext,
};

use super::{
    NameId,
    create::{CreateRequest, create_checked},
};

/// The maximum number of users in one request.
pub(crate) const MAX_USERS: usize = 200;

/// Users to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserBatchRequest {
    /// 1 to 200 users.
    #[serde(deserialize_with = "rows")]
    #[schema(min_items = 1, max_items = 200)]
    users: Vec<UserRow>,
    /// Whether to check only, and create nobody.
    #[serde(default)]
    dry_run: bool,
}

const WRONG_LENGTH: &str = "must be a list of 1 to 200 users";

/// Reads the rows. The length is checked before the rows.
fn rows<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<UserRow>, D::Error> {
    struct Rows;
    impl<'de> Visitor<'de> for Rows {
        type Value = Vec<UserRow>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of 1 to 200 users")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut rows = Vec::new();
            if list.size_hint().is_none_or(|size| (1..=MAX_USERS).contains(&size)) {
                while let Some(row) = list.next_element()? {
                    rows.push(row);
                }
            }
            if (1..=MAX_USERS).contains(&rows.len()) { Ok(rows) } else { Err(A::Error::custom(WRONG_LENGTH)) }
        }
    }
    deserializer.deserialize_seq(Rows)
}

/// A user to create, as `POST /v1/admin/users` takes it. A value that is not allowed makes this row `invalid`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"role": "standard", "username": "bob", "display_name": "Bob Meyer", "email": "bob@acme.example", "invite": true}))]
struct UserRow {
    /// Whether the user is an employee or a contact.
    kind: KindDto,
    /// The role. It must match `kind`.
    role: RoleDto,
    /// How the user signs in.
    auth_type: AuthTypeDto,
    /// The user name.
    username: String,
    /// The display name.
    display_name: String,
    /// Where notifications and links are mailed.
    email: Option<String>,
    /// The password.
    #[schema(value_type = Option<String>)]
    password: Option<SecretText>,
    /// The NameID that the tenant's identity provider sends for this user.
    sso_name_id: Option<String>,
    /// Whether the user gets a mail with a link to choose a password.
    #[serde(default)]
    invite: bool,
}

/// What became of a row: the user was created (`created`; at a dry run: would be created), a user has the name already and
/// nothing was changed (`exists`), or the row is not allowed for the reason in `detail` (`invalid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RowOutcome {
    Created,
    Exists,
    Invalid,
}

/// The result of a row.
#[derive(Serialize, ToSchema)]
struct RowResult {
    /// The number of the row in the request, from 1.
    #[schema(example = 1)]
    row: usize,
    /// The user name, as it was sent.
    #[schema(example = "bob")]
    username: String,
    /// What became of the row.
    outcome: RowOutcome,
    /// The id of the user who was created or exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Why the row is invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// How many rows have each outcome.
#[derive(Default, Serialize, ToSchema)]
struct UserBatchCounts {
    /// Users who were created.
    #[schema(example = 1)]
    created: usize,
    /// Names that exist already.
    #[schema(example = 0)]
    exists: usize,
    /// Rows that are not allowed.
    #[schema(example = 0)]
    invalid: usize,
}

/// The results, in the order of the request.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserBatchAnswer {
    /// How many rows have each outcome.
    counts: UserBatchCounts,
    /// One result for each row.
    results: Vec<RowResult>,
}

/// Create many users
///
/// For an Administrator with a fresh step-up. Each row is created on its own. If there is no answer, send the request again:
/// nobody is created twice. A user who was created by the first request may have no invitation: send one with
/// `POST /v1/admin/users/{id}/invitation`.
#[utoipa::path(post, path = "/v1/admin/users/batch", operation_id = "createUsers", tag = "directory",
    security(("session" = [])), request_body = UserBatchRequest, responses(
    (status = 200, body = UserBatchAnswer, description = "What became of each row."),
    (status = 401, description = "`invalid_token`, `session_refresh_required`, `step_up_required`"),
    (status = 403, description = "`forbidden`: Only an Administrator may do this."),
    (status = 404, description = "`not_found`: A user is to be invited, and the deployment sends no mails with links."),
))]
pub(crate) async fn create_many(
    State(app): State<Arc<App>>,
    call: ApiRequest<Large<UserBatchRequest>>,
) -> ApiResult<Json<UserBatchAnswer>> {
    let ApiRequest { body: Large(body), request, .. } = call;
    let admin = request.administrator(&app).await?;
    let rows: Vec<_> = body.users.into_iter().map(|row| (row.username.clone(), row.request())).collect();
    let usernames: Vec<_> = rows.iter().map(|(username, _)| username.clone()).collect();
    let done = create_users(&app, &request, &admin, rows.into_iter().map(|(_, user)| user), body.dry_run).await?;
    Ok(Json(UserBatchAnswer::new(usernames, done)))
}

/// Creates the users, or only checks them. A row that is not allowed has an error instead of a user.
pub(crate) async fn create_users(
    app: &App,
    request: &Request,
    admin: &AdminContext,
    rows: impl IntoIterator<Item = ApiResult<CreateRequest>>,
    dry_run: bool,
) -> ApiResult<Vec<RowDone>> {
    let rows: Vec<_> = rows.into_iter().map(|row| CheckedRow::new(app, admin, row)).collect::<ApiResult<_>>()?;
    let logins: Vec<_> = rows.iter().filter_map(CheckedRow::login).cloned().collect();
    let mut owners = app.store.login_owners(&logins).await?;
    let mut done = Vec::with_capacity(rows.len());
    for row in rows {
        done.push(row.run(app, request, admin, &mut owners, dry_run).await?);
    }
    Ok(done)
}

impl UserBatchAnswer {
    fn new(usernames: Vec<String>, done: Vec<RowDone>) -> Self {
        let mut counts = UserBatchCounts::default();
        let results =
            usernames.into_iter().zip(done).enumerate().map(|(n, (username, RowDone { outcome, id, why }))| {
                *match outcome {
                    RowOutcome::Created => &mut counts.created,
                    RowOutcome::Exists => &mut counts.exists,
                    RowOutcome::Invalid => &mut counts.invalid,
                } += 1;
                let detail = why.map(|why| why.text().unwrap_or("is not allowed").to_owned());
                RowResult { row: n + 1, username, outcome, id: id.map(String::from), detail }
            });
        Self { results: results.collect(), counts }
    }
}

/// What became of a row.
pub(crate) struct RowDone {
    pub(crate) outcome: RowOutcome,
    /// The user who was created or exists.
    pub(crate) id: Option<UserId>,
    /// Why the row is invalid.
    pub(crate) why: Option<Problem>,
}

impl RowDone {
    fn created(id: Option<UserId>) -> Self {
        Self { outcome: RowOutcome::Created, id, why: None }
    }

    fn exists(id: Option<UserId>) -> Self {
        Self { outcome: RowOutcome::Exists, id, why: None }
    }

    fn invalid(why: Problem) -> Self {
        Self { outcome: RowOutcome::Invalid, id: None, why: Some(why) }
    }
}

/// A row whose values were checked.
enum CheckedRow {
    Valid { user: CreateRequest, login: LoginKey },
    Invalid(Problem),
}

impl CheckedRow {
    fn new(app: &App, admin: &AdminContext, row: ApiResult<CreateRequest>) -> ApiResult<Self> {
        let tenant = admin.tenant();
        let checked = row.and_then(|user| {
            user.check_form()?;
            user.check_in(tenant)?;
            Ok(user)
        });
        Ok(match checked {
            Ok(user) => Self::Valid { login: user.login(app, tenant)?, user },
            Err(why) => Self::Invalid(why),
        })
    }

    /// The login name, if the row is valid.
    fn login(&self) -> Option<&LoginKey> {
        match self {
            Self::Valid { login, .. } => Some(login),
            Self::Invalid(_) => None,
        }
    }

    /// Creates the user, unless the name exists. `owners` has who owns which name, and gets the new user.
    async fn run(
        self,
        app: &App,
        request: &Request,
        admin: &AdminContext,
        owners: &mut HashMap<String, Option<UserId>>,
        dry_run: bool,
    ) -> ApiResult<RowDone> {
        let (user, login) = match self {
            Self::Valid { user, login } => (user, login),
            Self::Invalid(why) => return Ok(RowDone::invalid(why)),
        };
        if let Some(owner) = owners.get(login.digest()) {
            return Ok(RowDone::exists(owner.clone()));
        }
        if dry_run {
            owners.insert(login.digest().to_owned(), None);
            return Ok(RowDone::created(None));
        }
        match create_checked(app, request, admin, &user).await {
            Ok(created) => {
                let id = created.key.user().clone();
                owners.insert(login.digest().to_owned(), Some(id.clone()));
                Ok(RowDone::created(Some(id)))
            }
            // Another request can have created the user since the names were read.
            Err(why) if why.code() == Code::Conflict => {
                match app.store.login_owners(std::slice::from_ref(&login)).await?.remove(login.digest()) {
                    Some(owner) => Ok(RowDone::exists(owner)),
                    None => Ok(RowDone::invalid(why)),
                }
            }
            Err(why) => Err(why),
        }
    }
}

impl UserRow {
    fn request(self) -> ApiResult<CreateRequest> {
        let Self { kind, role, auth_type, password, invite, .. } = self;
        Ok(CreateRequest {
            kind,
            role,
            auth_type,
            username: field("/username", Username::try_from(self.username))?,
            display_name: field("/display_name", Line::try_from(self.display_name))?,
            email: self.email.map(|email| field("/email", Email::try_from(email))).transpose()?,
            password,
            sso_name_id: self.sso_name_id.map(|name| field("/sso_name_id", NameId::try_from(name))).transpose()?,
            invite,
        })
    }
}

fn field<T>(name: &'static str, value: Result<T, &'static str>) -> ApiResult<T> {
    value.map_err(|detail| Problem::field(name, detail))
}
