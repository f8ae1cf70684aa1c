//! The seed: tenants and users to create at the start. A seed file is read strictly: an error lists all faults of the file with
//! their places, and nothing is written.

mod reader;

use std::{collections::HashSet, fs, path::Path};

use vestibule::{
    id::{LoginName, MAX_FOLDED, TenantId, UserId, fold, is_display_control},
    password,
    secret::SecretText,
    store::{
        item::{AuthType, Kind, Role},
        users::role_allowed,
    },
};
use zeroize::Zeroizing;

use self::reader::{Faults, Fields, Node, below, fault};

/// The demo tenant, in the form of a seed file.
pub const DEMO: &str = include_str!("demo.json");

/// The maximum length of a login name, in characters, as in the API.
const MAX_USERNAME: usize = 128;

/// The maximum length of a display name, in characters, as in the API.
const MAX_NAME: usize = 200;

const INVALID_ROLE: &str = "must match the kind: an employee is administrator or standard, a contact is portal; in tenant support \
                            every user is an employee and operator";

const KINDS: [(&str, Kind); 2] = [("employee", Kind::Employee), ("contact", Kind::Contact)];

const ROLES: [(&str, Role); 4] = [
    ("administrator", Role::Administrator),
    ("standard", Role::Standard),
    ("portal", Role::Portal),
    ("operator", Role::Operator),
];

const AUTH_TYPES: [(&str, AuthType); 2] = [("local", AuthType::Local), ("saml_sso", AuthType::SamlSso)];

/// Tenants and their users.
pub struct Seed {
    /// In the order of the file.
    pub tenants: Vec<SeedTenant>,
}

/// A tenant of a seed.
pub struct SeedTenant {
    /// Its id.
    pub id: TenantId,
    /// The company's name.
    pub name: String,
    /// Its users.
    pub users: Vec<SeedUser>,
}

/// A user of a seed.
pub struct SeedUser {
    /// The id, if the file has one.
    pub id: Option<UserId>,
    /// Login name.
    pub username: String,
    /// Display name.
    pub display_name: String,
    /// The password; optional for a user who signs in by SSO.
    pub password: Option<SecretText>,
    /// Employee or contact.
    pub kind: Kind,
    /// Role.
    pub role: Role,
    /// The sign-in method.
    pub auth_type: AuthType,
    /// Whether the user may sign in.
    pub active: bool,
}

/// Why a seed cannot be used. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The file cannot be read.
    #[error("cannot read the seed file {path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// It is not JSON.
    #[error("the seed {name} is not JSON: {fault}")]
    NotJson {
        /// The seed.
        name: String,
        /// The parser's message, with line and column.
        fault: String,
    },
    /// Arguments of [`Seed::one`] are invalid.
    #[error("{}; nothing was created: run the command again", .0.join("; "))]
    Arguments(Vec<String>),
    /// It is JSON but not a seed.
    #[error("the seed {name} has {} fault{}: {}", .faults.len(), if .faults.len() == 1 { "" } else { "s" },
            .faults.join("; "))]
    Invalid {
        /// The seed.
        name: String,
        /// Every fault, with its place.
        faults: Vec<String>,
    },
}

impl Seed {
    /// Reads a seed file.
    ///
    /// # Errors
    /// [`SeedError::Unreadable`], [`SeedError::NotJson`], or [`SeedError::Invalid`], which lists every fault.
    pub fn read(path: &Path) -> Result<Self, SeedError> {
        let name = path.display().to_string();
        match fs::read(path).map(Zeroizing::new) {
            Ok(bytes) => Self::parse(&name, &bytes),
            Err(error) => Err(SeedError::Unreadable { path: name, error }),
        }
    }

    /// Parses a seed. Errors contain `name`.
    ///
    /// # Errors
    /// [`SeedError::NotJson`] or [`SeedError::Invalid`].
    pub fn parse(name: &str, json: &[u8]) -> Result<Self, SeedError> {
        let root = serde_json::from_slice(json)
            .map_err(|error| SeedError::NotJson { name: name.to_owned(), fault: error.to_string() })?;
        let mut faults = Vec::new();
        let seed = seed(root, &mut faults);
        match seed {
            Some(seed) if faults.is_empty() => Ok(seed),
            _ => Err(SeedError::Invalid { name: name.to_owned(), faults }),
        }
    }

    /// A seed of one user in one tenant, `(id, name)`, from the command line.
    ///
    /// # Errors
    /// [`SeedError::Arguments`] names each invalid argument, and its limit.
    pub fn one(
        tenant: (&str, &str),
        username: &str,
        display_name: &str,
        role: &str,
        password: &SecretText,
    ) -> Result<Self, SeedError> {
        let user = [
            ("username", username),
            ("display_name", display_name),
            ("password", password.expose()),
            ("kind", "employee"),
            ("role", role),
        ];
        let object = |fields: &[(&str, &str)]| -> Vec<(String, Node)> {
            fields.iter().map(|(name, value)| ((*name).to_owned(), Node::Text((*value).to_owned()))).collect()
        };
        let mut fields = object(&[("id", tenant.0), ("name", tenant.1)]);
        fields.push(("users".to_owned(), Node::List(vec![Node::Object(object(&user))])));
        let mut faults = Vec::new();
        match seed_tenant(Node::Object(fields), "", &mut faults) {
            Some(tenant) if faults.is_empty() => Ok(Self { tenants: vec![tenant] }),
            _ => Err(SeedError::Arguments(faults.iter().map(|fault| as_argument(fault)).collect())),
        }
    }
}

/// A fault of [`Seed::one`], with the name of the argument instead of the place. Faults of the password already name it.
fn as_argument(fault: &str) -> String {
    let arguments = [
        ("users[0].password: ", ""),
        ("users[0].username: ", "--username: "),
        ("users[0].display_name: ", "--display-name: "),
        ("id: ", "--tenant: "),
        ("name: ", "--name: "),
    ];
    let named =
        arguments.iter().find_map(|(place, argument)| Some(format!("{argument}{}", fault.strip_prefix(place)?)));
    named.unwrap_or_else(|| fault.to_owned())
}

// Each function reads every field even after a fault, so that one run reports all faults.

fn seed(root: Node, faults: &mut Faults) -> Option<Seed> {
    let mut fields = Fields::new(root, "", faults)?;
    let list = fields.list("tenants", faults);
    fields.end(faults);
    let mut ids = HashSet::new();
    let mut tenants = Vec::new();
    for (index, node) in list?.into_iter().enumerate() {
        let place = format!("tenants[{index}]");
        let Some(tenant) = seed_tenant(node, &place, faults) else { continue };
        if !ids.insert(tenant.id.clone()) {
            let _: Option<()> = fault(faults, &below(&place, "id"), "another tenant has this id");
        }
        tenants.push(tenant);
    }
    Some(Seed { tenants })
}

fn seed_tenant(node: Node, place: &str, faults: &mut Faults) -> Option<SeedTenant> {
    let mut fields = Fields::new(node, place, faults)?;
    let id = match fields.text("id", true, faults) {
        Some(Some(id)) => match TenantId::parse(&id) {
            Ok(id) => Some(id),
            Err(error) => fault(faults, &below(place, "id"), error),
        },
        _ => None,
    };
    let name = fields.name("name", MAX_NAME, faults);
    let list = fields.list("users", faults);
    fields.end(faults);
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    let mut users = Vec::new();
    for (index, node) in list?.into_iter().enumerate() {
        let place = below(place, &format!("users[{index}]"));
        let Some(user) = seed_user(node, &place, id.as_ref(), faults) else { continue };
        if user.id.as_ref().is_some_and(|id| !ids.insert(id.clone())) {
            let _: Option<()> = fault(faults, &below(&place, "id"), "another user has this id");
        }
        if !names.insert(LoginName::fold(&user.username)) {
            let _: Option<()> = fault(faults, &below(&place, "username"), "another user has this name");
        }
        users.push(user);
    }
    Some(SeedTenant { id: id?, name: name?, users })
}

fn seed_user(node: Node, place: &str, tenant: Option<&TenantId>, faults: &mut Faults) -> Option<SeedUser> {
    let mut fields = Fields::new(node, place, faults)?;
    let id = match fields.text("id", false, faults) {
        Some(Some(id)) => match UserId::parse(&id) {
            Ok(id) => Some(Some(id)),
            Err(error) => fault(faults, &below(place, "id"), error),
        },
        other => other.map(|_| None),
    };
    let username = username(&mut fields, place, faults);
    let display_name = fields.name("display_name", MAX_NAME, faults);
    let kind = fields.word("kind", None, &KINDS, faults);
    let role = fields.word("role", None, &ROLES, faults);
    let auth_type = fields.word("auth_type", Some(AuthType::Local), &AUTH_TYPES, faults);
    let password = fields.text("password", auth_type == Some(AuthType::Local), faults);
    let active = fields.flag("active", true, faults);
    fields.end(faults);
    if let (Some(kind), Some(role), Some(tenant)) = (kind, role, tenant)
        && !role_allowed(tenant, kind, role)
    {
        let _: Option<()> = fault(faults, &below(place, "role"), INVALID_ROLE);
    }
    let password = password?.map(SecretText::new);
    if let Some(password) = &password
        && let Err(weak) = password::acceptable(password.expose(), kind)
    {
        let _: Option<()> = fault(faults, &below(place, "password"), weak);
    }
    Some(SeedUser {
        id: id?,
        username: username?,
        display_name: display_name?,
        password,
        kind: kind?,
        role: role?,
        auth_type: auth_type?,
        active: active?,
    })
}

fn username(fields: &mut Fields<'_>, place: &str, faults: &mut Faults) -> Option<String> {
    let name = fields.name("username", MAX_USERNAME, faults)?;
    let wrong = if name.contains(is_display_control) {
        "has bidirectional control characters"
    } else if fold(&name).len() > MAX_FOLDED {
        "has more than 959 bytes after case folding"
    } else {
        return Some(name);
    };
    fault(faults, &below(place, "username"), wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: &str) -> Vec<String> {
        match Seed::parse("x", json.as_bytes()) {
            Ok(_) => panic!("the seed was accepted"),
            Err(SeedError::Invalid { faults, .. }) => faults,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn demo_is_a_valid_seed() {
        let seed = Seed::parse("demo", DEMO.as_bytes()).unwrap();
        assert_eq!(seed.tenants.len(), 2);
        assert_eq!(seed.tenants[0].users.len(), 6);
        assert!(seed.tenants[1].id.is_support());
    }

    /// Case folding makes eighteen characters of each one, and the index limits the length.
    #[test]
    fn username_that_is_too_long_after_folding_is_refused() {
        let name = "\u{fdfa}".repeat(128);
        let found = faults(&format!(
            r#"{{"tenants":[{{"id":"acme","name":"Acme","users":[{{"username":"{name}","display_name":"A","kind":"employee",
            "role":"standard","password":"long enough words"}}]}}]}}"#
        ));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("tenants[0].users[0].username") && found[0].contains("959 bytes"), "{found:?}");
    }

    #[test]
    fn all_faults_are_reported_with_their_places() {
        let found = faults(
            r#"{"tenants":[
            {"id":"a#b","name":" A","users":[{"username":"ann","password":"password","display_name":"Ann","kind":"employee",
              "role":"portal","admin":true}]},
            {"id":"acme","name":"Acme","name":"Acme","users":[
              {"id":"u 1","username":"bob","password":"bob rides 7 camels","display_name":"Bob","kind":"employee",
               "role":"standard","active":"yes"},
              {"id":"u2","username":"Straße","password":"short","display_name":"C","kind":"contact","role":"portal"},
              {"id":"u2","username":"STRASSE","password":"long enough words","display_name":"C","kind":"contact",
               "role":"portal","auth_type":"local"},
              {"username":7,"display_name":"D","kind":"robot","role":"operator","auth_type":"local"}, 5]},
            {"id":"acme","name":"Acme","users":[]},
            {"id":"support","name":"S","users":[{"username":"op","password":"op rides 7 camels","display_name":"O",
              "kind":"employee","role":"administrator"}]}], "version":1}"#,
        );
        let places: Vec<_> = found.iter().map(|fault| fault.split(':').next().unwrap()).collect();
        assert_eq!(
            places,
            [
                "version",
                "tenants[0].id",
                "tenants[0].name",
                "tenants[0].users[0].admin",
                "tenants[0].users[0].password",
                "tenants[1].name",
                "tenants[1].users[0].id",
                "tenants[1].users[0].active",
                "tenants[1].users[1].password",
                "tenants[1].users[2].id",
                "tenants[1].users[2].username",
                "tenants[1].users[3].username",
                "tenants[1].users[3].kind",
                "tenants[1].users[3].password",
                "tenants[1].users[4]",
                "tenants[2].id",
                "tenants[3].users[0].role",
            ],
            "{found:#?}"
        );
        assert!(!found.iter().any(|fault| fault.contains("camels") || fault.contains("short\"")), "{found:#?}");
    }

    #[test]
    fn invalid_json_is_reported_with_line_and_column() {
        let error = Seed::parse("users.json", b"{\"tenants\":\n [,]}").err().unwrap().to_string();
        assert!(error.contains("users.json") && error.contains("line 2"), "{error}");
        assert_eq!(faults("[]"), ["must be an object"]);
        assert_eq!(faults("{}"), ["tenants: is missing"]);
    }
}
