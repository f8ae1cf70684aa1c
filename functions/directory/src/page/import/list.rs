//! The list of an import: CSV whose first row names the columns.

use serde::de::{DeserializeOwned, IntoDeserializer, value::Error, value::StringDeserializer};
use vestibule::{
    http::{
        ApiResult, Problem,
        dto::{AuthTypeDto, KindDto},
        page::{Csv, CsvRow, FormErrors, NotCsv, Page, PageError, Text},
    },
    secret::SecretText,
};

use super::super::{kind_of, new_user::NewUserForm};
use crate::users::{batch::MAX_USERS, create::CreateRequest};

/// The largest list. Sealed, it is a third larger and must still fit into a form.
pub(super) const MAX_BYTES: usize = 190 * 1024;

/// The columns that a list has to have.
const REQUIRED: [&str; 3] = ["username", "display_name", "role"];
/// The columns that a list may have.
const OPTIONAL: [&str; 4] = ["email", "password", "auth_type", "kind"];

/// A list of users to create.
pub(super) struct List {
    pub(super) rows: Vec<ListRow>,
    /// The columns that are ignored.
    pub(super) ignored: Vec<String>,
}

/// A row of the list.
pub(super) struct ListRow {
    /// The line in which it begins.
    pub(super) line: u64,
    pub(super) user: NewUserForm,
    /// Role, kind and sign-in as they were written. A wrong one is refused with its row.
    pub(super) role: String,
    kind: String,
    auth_type: String,
}

/// Why a list cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InvalidList {
    /// There is none.
    None,
    /// There are a file and a pasted text.
    Two,
    /// The text is too large.
    TooLarge,
    /// The text is not CSV.
    NotCsv,
    /// A column is missing.
    NoColumn(&'static str),
    /// There are no rows.
    NoRows,
    /// There are too many rows: this many.
    TooMany(usize),
}

impl InvalidList {
    /// What to say about the list of a field.
    pub(super) fn text(&self, text: Text, field: &str) -> String {
        let id = match self {
            Self::None => "import-none",
            Self::Two => "import-two",
            Self::TooLarge => "import-too-large",
            Self::NotCsv if field == "/csv" => "invalid-csv",
            Self::NotCsv => "invalid-rows",
            Self::NoColumn(column) => return text.with("import-no-column", "column", *column),
            Self::NoRows => "import-no-rows",
            Self::TooMany(count) => return text.with("import-too-many", "count", *count),
        };
        text.get(id).into_owned()
    }
}

impl List {
    pub(super) fn read(text: &str) -> Result<Self, InvalidList> {
        if text.len() > MAX_BYTES {
            return Err(InvalidList::TooLarge);
        }
        let table = Csv::read(text).map_err(|NotCsv| InvalidList::NotCsv)?;
        if let Some(missing) = REQUIRED.into_iter().find(|name| table.column(name).is_none()) {
            return Err(InvalidList::NoColumn(missing));
        }
        match table.rows().len() {
            0 => return Err(InvalidList::NoRows),
            1..=MAX_USERS => {}
            more => return Err(InvalidList::TooMany(more)),
        }
        let known = |name: &str| REQUIRED.iter().chain(&OPTIONAL).any(|known| name.eq_ignore_ascii_case(known));
        let ignored = table.columns().filter(|name| !known(name)).map(str::to_owned).collect();
        Ok(Self { rows: table.rows().map(|row| ListRow::new(&table, row)).collect(), ignored })
    }
}

impl ListRow {
    fn new(table: &Csv, row: CsvRow<'_>) -> Self {
        let cell = |name| table.column(name).map(|column| row.cell(column)).unwrap_or_default().to_owned();
        let filled = |name| Some(cell(name)).filter(|text| !text.is_empty());
        // Spaces belong to a password.
        let password = table.column("password").map(|column| row.exact(column)).filter(|text| !text.is_empty());
        let (role, auth_type) = (cell("role"), cell("auth_type"));
        let user = NewUserForm {
            role: choice(&role),
            auth_type: choice(&auth_type),
            username: filled("username"),
            display_name: filled("display_name"),
            email: filled("email"),
            password: password.map(|text| SecretText::new(text.to_owned())),
        };
        Self { line: row.line, user, role, kind: cell("kind"), auth_type }
    }

    pub(super) fn username(&self) -> &str {
        self.user.username.as_deref().unwrap_or_default()
    }

    pub(super) fn display_name(&self) -> &str {
        self.user.display_name.as_deref().unwrap_or_default()
    }

    /// Whether the user gets an invitation, if they are created.
    pub(super) fn is_invited(&self) -> bool {
        self.user.auth_type != Some(AuthTypeDto::SamlSso) && self.user.password.is_none()
    }

    /// The request of the API that the row makes, as [`NewUserForm`] makes it.
    pub(super) fn request(&self, mails: bool) -> ApiResult<CreateRequest> {
        let Some(role) = self.user.role else { return Err(Problem::field("/role", "must be a role")) };
        if !self.auth_type.is_empty() && self.user.auth_type.is_none() {
            return Err(Problem::field("/auth_type", "must be local or saml_sso"));
        }
        if !self.kind.is_empty() && choice::<KindDto>(&self.kind) != Some(kind_of(role)) {
            return Err(Problem::field("/kind", "must match the role"));
        }
        self.user.request(mails)
    }

    /// What is wrong with the row.
    pub(super) fn errors(&self, page: &Page, problem: Problem) -> Result<FormErrors, PageError> {
        let choices = ["role", "kind", "auth_type"];
        let errors = self.user.errors(page, problem)?;
        Ok(choices
            .into_iter()
            .fold(errors, |errors, name| errors.saying_at(name, page.text.get(&format!("import-invalid-{name}")))))
    }
}

/// Reads a choice as the API has it, in capital or small letters.
fn choice<T: DeserializeOwned>(text: &str) -> Option<T> {
    let one: StringDeserializer<Error> = text.to_ascii_lowercase().into_deserializer();
    T::deserialize(one).ok()
}

/// A pasted list as the form shows it again: none if it may have passwords.
pub(super) fn to_show_again(text: &SecretText) -> String {
    let names = text.expose().lines().next().unwrap_or_default().to_ascii_lowercase();
    if names.contains("password") { String::new() } else { text.expose().to_owned() }
}

#[cfg(test)]
mod tests {
    use vestibule::http::dto::RoleDto;

    use super::*;

    fn wrong(text: &str) -> Option<InvalidList> {
        List::read(text).err()
    }

    #[test]
    fn columns_are_found_in_any_order() {
        let list = List::read(
            "Email;Username;Team;DISPLAY_NAME;role;password;auth_type;kind\r\n\
             ;bob;x;Bob; Standard ; a b ;SAML_SSO;\r\nc@acme.example; con ;;'=Con;portal;;;contact\r\n",
        );
        let list = list.ok().unwrap();
        assert_eq!(list.ignored, ["Team"]);
        let [bob, con] = &list.rows[..] else { panic!("{} rows", list.rows.len()) };
        assert_eq!((bob.line, bob.username(), bob.display_name(), bob.user.email.as_deref()), (2, "bob", "Bob", None));
        assert!(bob.user.role == Some(RoleDto::Standard) && bob.user.auth_type == Some(AuthTypeDto::SamlSso));
        assert_eq!(bob.user.password.as_ref().unwrap().expose(), " a b ", "spaces belong to a password");
        assert_eq!((con.line, con.username(), con.display_name()), (3, "con", "=Con"));
        assert_eq!(con.user.email.as_deref(), Some("c@acme.example"));
        assert!(con.user.role == Some(RoleDto::Portal) && con.user.auth_type.is_none() && con.user.password.is_none());
    }

    #[test]
    fn list_that_cannot_be_read_says_why() {
        let header = "username,display_name,role\n";
        let rows = |count: usize| header.to_owned() + &"bob,Bob,standard\n".repeat(count);
        assert_eq!(wrong(""), Some(InvalidList::NoColumn("username")));
        assert_eq!(wrong("bob,Bob,standard\n"), Some(InvalidList::NoColumn("username")));
        assert_eq!(wrong("username,role\nbob,standard\n"), Some(InvalidList::NoColumn("display_name")));
        assert_eq!(wrong(header), Some(InvalidList::NoRows));
        assert_eq!(wrong(&(header.to_owned() + "bob,Bob\n")), Some(InvalidList::NotCsv));
        assert_eq!(
            (wrong(&rows(1)), wrong(&rows(200)), wrong(&rows(201))),
            (None, None, Some(InvalidList::TooMany(201)))
        );
        let large = header.to_owned() + "bob," + &"x".repeat(MAX_BYTES) + ",standard\n";
        assert_eq!(wrong(&large), Some(InvalidList::TooLarge));
    }

    #[test]
    fn wrong_choice_is_an_error_of_its_row() {
        let field = |row: &str| {
            let list = List::read(&format!("username,display_name,role,auth_type,kind,password\nbob,Bob,{row}\n"));
            list.ok().unwrap().rows[0].request(true).err().and_then(|why| why.text().map(str::to_owned))
        };
        let password = "a good long password";
        assert_eq!(field(&format!("standard,,,{password}")), None);
        assert_eq!(field(&format!("standard,local,employee,{password}")), None);
        for (row, about) in [
            (format!("king,,,{password}"), "/role"),
            (format!(",,,{password}"), "/role"),
            (format!("standard,x,,{password}"), "/auth_type"),
            (format!("standard,,contact,{password}"), "/kind"),
            (format!("standard,,x,{password}"), "/kind"),
            ("standard,,,".to_owned(), "/email"),
        ] {
            assert!(field(&row).is_some_and(|why| why.starts_with(about)), "{row}");
        }
    }

    #[test]
    fn list_with_passwords_is_not_shown_again() {
        let again = |text: &str| to_show_again(&SecretText::new(text.to_owned()));
        assert_eq!(again("username,role\nbob,x"), "username,role\nbob,x");
        assert_eq!(again("username,Password\nbob,x"), "");
    }
}
