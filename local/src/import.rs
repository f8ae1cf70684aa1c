//! `users import`: creates the users of a CSV file.

use std::ops::Range;

use serde_json::{Value, json};

use crate::{
    Failure,
    admin::Admin,
    args::admin::{AuthType, Import, Kind, Role, is_name},
    batch::{self, CHUNK, Rows},
    journal::{Journal, RowResult},
    sheet::{self, Row, Sheet},
};

/// The largest body of a request, in bytes. The service takes 256 KiB.
const MAX_BODY: usize = 200 * 1024;

/// The maximum number of passwords in a request. In the cloud the function has a third of a processor, and 20 seconds.
const MAX_PASSWORDS: usize = 25;

/// The columns that a file must have.
const REQUIRED: [&str; 4] = ["username", "display_name", "kind", "role"];

/// The columns that a file can have.
const OPTIONAL: [&str; 4] = ["auth_type", "email", "sso_name_id", "password"];

/// Other columns of `users export`. They are ignored.
const IGNORED: [&str; 6] = ["id", "active", "mfa", "excluded", "email_verified", "last_sign_in_at"];

/// Creates the users of a file, and prints a result for each row.
///
/// # Errors
/// The file is not valid: nobody was created. Or the run stopped, or rows failed.
pub async fn run(options: &Import) -> Result<(), Failure> {
    let shown = options.file.display();
    let sheet = Sheet::read(&options.file)?;
    let mut users = Users::read(&sheet).map_err(|why| format!("{shown}: {why}. Nobody was created"))?;
    users.dry_run = options.dry_run;
    let mut admin = Admin::open()?;
    let of = json!({"command": "users import", "file": sheet.digest, "account": admin.account()});
    let journal = if options.dry_run { Journal::unsaved()? } else { Journal::beside(&options.file, &of)? };
    batch::run(&mut admin, &users, journal, options.format).await
}

/// The users of a file.
struct Users {
    rows: Vec<User>,
    dry_run: bool,
}

/// A user of a file.
struct User {
    line: u64,
    /// As `POST /v1/admin/users` takes it.
    body: Value,
    /// The size of the body, in bytes.
    size: usize,
}

impl Users {
    fn read(sheet: &Sheet) -> Result<Self, String> {
        if let Some(missing) = REQUIRED.into_iter().find(|name| sheet.column(name).is_none()) {
            return Err(format!("the column {missing} is missing: the first line must have {}", REQUIRED.join(", ")));
        }
        let known = [&REQUIRED[..], &OPTIONAL, &IGNORED].concat();
        if let Some(unknown) = sheet.columns().find(|name| !known.contains(name)) {
            let names = [&REQUIRED[..], &OPTIONAL].concat().join(", ");
            return Err(format!("the column {unknown:?} is not known: the columns are {names}"));
        }
        let (mut rows, mut faults) = (Vec::new(), Vec::new());
        for row in &sheet.rows {
            match User::read(sheet, row) {
                Ok(user) => rows.push(user),
                Err(fault) => faults.push(fault),
            }
        }
        match &faults[..] {
            [] => Ok(Self { rows, dry_run: false }),
            [fault] => Err(fault.clone()),
            [fault, more @ ..] => Err(format!("{fault}; rows with faults after it: {}", more.len())),
        }
    }
}

impl User {
    /// A row with a password gets it. Another user is invited, unless the identity provider signs them in.
    fn read(sheet: &Sheet, row: &Row) -> Result<Self, String> {
        let cell = |name: &str| sheet::unescape_formula(row.cell(sheet.column(name)));
        let (kind, role) = (cell("kind"), cell("role"));
        let auth_type = Some(cell("auth_type")).filter(|text| !text.is_empty()).unwrap_or("local");
        let must = |name: &str, values: &str| Err(format!("line {}: {name} must be {values}", row.line));
        if !is_name::<Kind>(kind) {
            return must("kind", "employee or contact");
        }
        if !is_name::<Role>(role) {
            return must("role", "administrator, standard, portal or operator");
        }
        if !is_name::<AuthType>(auth_type) {
            return must("auth_type", "local or saml_sso");
        }
        let mut body = json!({"username": cell("username"), "display_name": cell("display_name"), "kind": kind,
            "role": role, "auth_type": auth_type});
        for name in ["email", "sso_name_id"] {
            if !cell(name).is_empty() {
                body[name] = json!(cell(name));
            }
        }
        // No program wrote it as a text: an export has no passwords.
        match row.cell(sheet.column("password")) {
            "" if auth_type == "local" => body["invite"] = json!(true),
            "" => {}
            password => body["password"] = json!(password),
        }
        let size = body.to_string().len();
        Ok(Self { line: row.line, body, size })
    }
}

impl User {
    /// What is not known if the answer to the creation was lost.
    fn doubt(&self) -> String {
        let doubt = "this run may have created the user: the answer to the first request was lost";
        match self.body.get("invite") {
            Some(_) => format!("{doubt}; if no invitation arrives, send another with `users invite`"),
            None => doubt.to_owned(),
        }
    }
}

impl Rows for Users {
    const ACTION: &str = "creating the users";
    const PATH: &str = "/v1/admin/users/batch";

    fn chunks(&self) -> Vec<Range<usize>> {
        let mut chunks: Vec<Range<usize>> = Vec::new();
        let (mut size, mut passwords) = (0, 0);
        for (n, user) in self.rows.iter().enumerate() {
            let (its_size, its_passwords) = (user.size + 1, usize::from(user.body.get("password").is_some()));
            (size, passwords) = (size + its_size, passwords + its_passwords);
            let fits =
                |chunk: &&mut Range<usize>| chunk.len() < CHUNK && size <= MAX_BODY && passwords <= MAX_PASSWORDS;
            match chunks.last_mut().filter(fits) {
                Some(chunk) => chunk.end = n + 1,
                None => {
                    chunks.push(n..n + 1);
                    (size, passwords) = (its_size, its_passwords);
                }
            }
        }
        chunks
    }

    fn number(&self, row: usize) -> u64 {
        self.rows.get(row).map_or(0, |user| user.line)
    }

    fn body(&self, chunk: &Range<usize>) -> Value {
        let users: Vec<_> = self.rows[chunk.clone()].iter().map(|user| &user.body).collect();
        json!({"users": users, "dry_run": self.dry_run})
    }

    fn results(&self, chunk: &Range<usize>, answer: &Value, again: bool) -> Result<Vec<RowResult>, Failure> {
        let rows = &self.rows[chunk.clone()];
        let results = answer["results"].as_array().filter(|results| results.len() == rows.len());
        let results = results.ok_or("unexpected response: it does not have one result for each row")?;
        let result = |(user, result): (&User, &Value)| {
            let text = |name: &str| result[name].as_str().map(str::to_owned);
            let outcome = text("outcome").ok_or("unexpected response: a row has no outcome")?;
            let detail = if outcome == "exists" && again { Some(user.doubt()) } else { text("detail") };
            let username = user.body["username"].as_str().map(str::to_owned);
            Ok(RowResult { row: user.line, username, id: text("id"), outcome, detail })
        };
        rows.iter().zip(results).map(result).collect()
    }

    fn has_failed(outcome: &str) -> bool {
        !matches!(outcome, "created" | "exists")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Users, String> {
        Users::read(&Sheet::of(text))
    }

    #[test]
    fn row_without_a_password_is_an_invitation() {
        let users = read(
            "username,display_name,kind,role,auth_type,email,password,mfa\n\
             ann,'=Ann,employee,administrator,local,ann@acme.example,,active\n\
             bob,Bob,employee,standard,,,'=secret,\n\
             sam,Sam,employee,standard,saml_sso,,,\n",
        )
        .unwrap();
        let bodies: Vec<_> = users.rows.iter().map(|user| user.body.clone()).collect();
        let common = |name: &str, display: &str, role: &str, auth_type: &str| json!({"username": name, "display_name": display, "kind": "employee", "role": role, "auth_type": auth_type});
        let mut expected = [
            common("ann", "=Ann", "administrator", "local"),
            common("bob", "Bob", "standard", "local"),
            common("sam", "Sam", "standard", "saml_sso"),
        ];
        (expected[0]["email"], expected[0]["invite"]) = (json!("ann@acme.example"), json!(true));
        expected[1]["password"] = json!("'=secret");
        assert_eq!(bodies, expected);
        assert_eq!(users.number(2), 4);
    }

    #[test]
    fn invalid_file_is_refused_as_a_whole() {
        for (text, expected) in [
            ("username,kind,role\na,contact,portal\n", "the column display_name is missing"),
            ("username,display_name,kind,role,e-mail\na,A,contact,portal,x\n", "the column \"e-mail\" is not known"),
            (
                "username,display_name,kind,role\na,A,robot,portal\nb,B,contact,boss\n",
                "line 2: kind must be employee or contact; rows with faults after it: 1",
            ),
            ("username,display_name,kind,role\na,A,contact,boss\n", "line 2: role must be"),
            ("username,display_name,kind,role,auth_type\na,A,contact,portal,magic\n", "line 2: auth_type must be"),
        ] {
            let why = read(text).err().unwrap();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn chunk_fits_into_a_request() {
        let file = |rows: usize, name: &str| {
            let row = |n| format!("u{n},{name},contact,portal\n");
            read(&format!("username,display_name,kind,role\n{}", (0..rows).map(row).collect::<String>())).unwrap()
        };
        let sizes = |users: &Users| users.chunks().iter().map(Range::len).collect::<Vec<_>>();
        assert_eq!(sizes(&file(401, "A")), [200, 200, 1]);
        let long = file(300, &"é".repeat(2_000));
        assert_eq!(sizes(&long).iter().sum::<usize>(), 300);
        for chunk in long.chunks() {
            assert!(long.body(&chunk).to_string().len() < 256 * 1024);
        }
        assert!(sizes(&long)[0] < 60);
        // A request with many passwords would take too long.
        let row = |n| format!("u{n},A,contact,portal,{}\n", if n < 60 { "a long password" } else { "" });
        let rows: String = (0..300).map(row).collect();
        let users = read(&format!("username,display_name,kind,role,password\n{rows}")).unwrap();
        assert_eq!(sizes(&users), [25, 25, 200, 50]);
    }

    #[test]
    fn repeated_chunk_does_not_hide_that_it_may_have_created_the_user() {
        let users = read("username,display_name,kind,role,auth_type\na,A,contact,portal,saml_sso\n").unwrap();
        let answer = json!({"results": [{"row": 1, "username": "a", "outcome": "exists", "id": "u-1"}]});
        let detail = |again| users.results(&(0..1), &answer, again).unwrap().remove(0).detail;
        assert!(detail(true).unwrap().ends_with("the answer to the first request was lost"));
        let invited = read("username,display_name,kind,role\na,A,contact,portal\n").unwrap();
        let detail_of_invited = invited.results(&(0..1), &answer, true).unwrap().remove(0).detail;
        assert!(detail_of_invited.unwrap().ends_with("send another with `users invite`"));
        assert_eq!(detail(false), None);
        assert!(users.results(&(0..1), &json!({"results": []}), false).is_err());
    }
}
