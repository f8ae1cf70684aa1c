//! Who is there to begin with: the seed file, read strictly. All faults of a file are told at once, each with its place,
//! and nothing is written before there are none.

use std::{
    collections::{HashMap, HashSet},
    fmt, fs,
    path::Path,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use vestibule::{
    id::{LoginName, MAX_FOLDED, TenantId, UserId, fold, is_display_control},
    password,
    secret::SecretText,
    store::{
        item::{AuthType, Kind, Role},
        users::fits,
    },
};
use zeroize::Zeroizing;

/// The demo tenant, in the form of a seed file.
pub const DEMO: &str = include_str!("demo.json");

/// The longest login name, in characters, as in the API.
const USERNAME: usize = 128;

/// The longest name that is shown, in characters, as in the API.
const SHOWN: usize = 200;

/// Which roles there are.
const ROLES: &str = "does not fit: an employee is administrator or standard, a contact is portal, and in tenant support \
                     everybody is an employee and operator";

/// Tenants and their people.
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
    /// Its people.
    pub users: Vec<SeedUser>,
}

/// A person of a seed.
pub struct SeedUser {
    /// The id, where the file gives one.
    pub id: Option<UserId>,
    /// Login name.
    pub username: String,
    /// The name that is shown.
    pub display_name: String,
    /// The password; somebody who signs in by SSO has none.
    pub password: Option<SecretText>,
    /// Employee or contact.
    pub kind: Kind,
    /// Role.
    pub role: Role,
    /// Which door.
    pub auth_type: AuthType,
    /// May sign in.
    pub active: bool,
}

/// A seed cannot be used. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The file cannot be read.
    #[error("cannot read the seed file {path}: {error}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is not JSON.
    #[error("the seed {name} is not JSON: {fault}")]
    NotJson {
        /// Which seed.
        name: String,
        /// Where, and how it showed.
        fault: String,
    },
    /// What was typed for one person cannot be used.
    #[error("{}; nothing was created: run the command again", .0.join("; "))]
    Arguments(Vec<String>),
    /// It is JSON and no seed; every fault with its place.
    #[error("the seed {name} has {} fault{}: {}", .faults.len(), if .faults.len() == 1 { "" } else { "s" },
            .faults.join("; "))]
    ConfigErrors {
        /// Which seed.
        name: String,
        /// The faults.
        faults: Vec<String>,
    },
}

impl Seed {
    /// Reads a seed file.
    ///
    /// # Errors
    /// [`SeedError`] tells every fault of it.
    pub fn read(path: &Path) -> Result<Self, SeedError> {
        let name = path.display().to_string();
        match fs::read(path).map(Zeroizing::new) {
            Ok(bytes) => Self::parse(&name, &bytes),
            Err(error) => Err(SeedError::Unreadable { path: name, error }),
        }
    }

    /// Reads a seed; `name` says which one in errors.
    ///
    /// # Errors
    /// As [`Seed::read`].
    pub fn parse(name: &str, json: &[u8]) -> Result<Self, SeedError> {
        let root = serde_json::from_slice(json)
            .map_err(|error| SeedError::NotJson { name: name.to_owned(), fault: error.to_string() })?;
        let mut faults = Vec::new();
        let seed = seed(root, &mut faults);
        match seed {
            Some(seed) if faults.is_empty() => Ok(seed),
            _ => Err(SeedError::ConfigErrors { name: name.to_owned(), faults }),
        }
    }

    /// One person of one tenant, told on the command line instead of in a file.
    ///
    /// # Errors
    /// [`SeedError::Arguments`] names each argument that cannot be used, and its limit.
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
            _ => Err(SeedError::Arguments(faults.iter().map(|fault| typed(fault)).collect())),
        }
    }
}

/// A fault of [`Seed::one`] by the name of the argument in which it is. Faults of passwords name the password themselves.
fn typed(fault: &str) -> String {
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

// ---------------------------------------------------------------- JSON that keeps what a map would lose

/// JSON with its duplicate keys, so that they can be refused.
enum Node {
    Text(String),
    Flag(bool),
    Other,
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Self::Text(text) = self {
            zeroize::Zeroize::zeroize(text); // it may be a password
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Flag(flag))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }
    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(entry) = map.next_entry()? {
            nodes.push(entry);
        }
        Ok(Node::Object(nodes))
    }
}

// ---------------------------------------------------------------- faults, with their places

type ConfigErrors = Vec<String>;

fn fault<T>(faults: &mut ConfigErrors, place: &str, what: impl fmt::Display) -> Option<T> {
    faults.push(if place.is_empty() { what.to_string() } else { format!("{place}: {what}") });
    None
}

fn below(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// An object's fields, taken out one by one; what is left at the end nobody knows.
struct Fields<'a> {
    place: &'a str,
    fields: HashMap<String, Node>,
}

impl<'a> Fields<'a> {
    fn new(mut node: Node, place: &'a str, faults: &mut ConfigErrors) -> Option<Self> {
        let Node::Object(object) = &mut node else { return fault(faults, place, "has to be an object") };
        let mut fields = HashMap::new();
        for (name, value) in std::mem::take(object) {
            if fields.contains_key(&name) {
                let _: Option<()> = fault(faults, &below(place, &name), "stands there twice");
            }
            fields.insert(name, value);
        }
        Some(Self { place, fields })
    }

    fn take(&mut self, name: &str) -> (String, Option<Node>) {
        (below(self.place, name), self.fields.remove(name))
    }

    /// A text; where the field is optional its absence is `Some(None)`.
    fn text(&mut self, name: &str, required: bool, faults: &mut ConfigErrors) -> Option<Option<String>> {
        let (place, node) = self.take(name);
        match node {
            None if required => fault(faults, &place, "is missing"),
            None => Some(None),
            Some(mut node) => match &mut node {
                Node::Text(text) => Some(Some(std::mem::take(text))),
                _ => fault(faults, &place, "has to be a text"),
            },
        }
    }

    fn name(&mut self, name: &str, longest: usize, faults: &mut ConfigErrors) -> Option<String> {
        let text = self.text(name, true, faults)??;
        let place = below(self.place, name);
        if text.is_empty() {
            fault(faults, &place, "is empty")
        } else if text.trim() != text {
            fault(faults, &place, "has spaces around it")
        } else if text.chars().any(char::is_control) {
            fault(faults, &place, "has control characters in it")
        } else if text.chars().count() > longest {
            fault(faults, &place, format!("is longer than {longest} characters"))
        } else {
            Some(text)
        }
    }

    /// One of a closed list of words.
    fn word<T: Copy>(
        &mut self,
        name: &str,
        otherwise: Option<T>,
        words: &[(&str, T)],
        faults: &mut ConfigErrors,
    ) -> Option<T> {
        let Some(text) = self.text(name, otherwise.is_none(), faults)? else { return otherwise };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Some(*value),
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                fault(faults, &below(self.place, name), format!("has to be one of {}", words.join(", ")))
            }
        }
    }

    fn list(&mut self, name: &str, faults: &mut ConfigErrors) -> Option<Vec<Node>> {
        let (place, node) = self.take(name);
        match node {
            None => fault(faults, &place, "is missing"),
            Some(mut node) => match &mut node {
                Node::List(list) => Some(std::mem::take(list)),
                _ => fault(faults, &place, "has to be a list"),
            },
        }
    }

    fn flag(&mut self, name: &str, otherwise: bool, faults: &mut ConfigErrors) -> Option<bool> {
        let (place, node) = self.take(name);
        match node.as_ref() {
            None => Some(otherwise),
            Some(Node::Flag(flag)) => Some(*flag),
            Some(_) => fault(faults, &place, "has to be true or false"),
        }
    }

    fn end(self, faults: &mut ConfigErrors) {
        let mut unknown: Vec<_> = self.fields.keys().collect();
        unknown.sort();
        for name in unknown {
            let _: Option<()> = fault(faults, &below(self.place, name), "is no field of a seed");
        }
    }
}

// ---------------------------------------------------------------- the seed

// Every part is looked at, whatever is wrong with the part before: so one run tells all faults.

fn seed(root: Node, faults: &mut ConfigErrors) -> Option<Seed> {
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

fn seed_tenant(node: Node, place: &str, faults: &mut ConfigErrors) -> Option<SeedTenant> {
    let mut fields = Fields::new(node, place, faults)?;
    let id = match fields.text("id", true, faults) {
        Some(Some(id)) => match TenantId::parse(&id) {
            Ok(id) => Some(id),
            Err(error) => fault(faults, &below(place, "id"), error),
        },
        _ => None,
    };
    let name = fields.name("name", SHOWN, faults);
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

fn seed_user(node: Node, place: &str, tenant: Option<&TenantId>, faults: &mut ConfigErrors) -> Option<SeedUser> {
    let mut fields = Fields::new(node, place, faults)?;
    let id = match fields.text("id", false, faults) {
        Some(Some(id)) => match UserId::parse(&id) {
            Ok(id) => Some(Some(id)),
            Err(error) => fault(faults, &below(place, "id"), error),
        },
        other => other.map(|_| None),
    };
    let username = fields.name("username", USERNAME, faults).and_then(|name| {
        let wrong = if name.contains(is_display_control) {
            "has bidirectional controls in it"
        } else if fold(&name).len() > MAX_FOLDED {
            "has more than 959 bytes when it is folded"
        } else {
            return Some(name);
        };
        fault(faults, &below(place, "username"), wrong)
    });
    let display_name = fields.name("display_name", SHOWN, faults);
    let kinds = [("employee", Kind::Employee), ("contact", Kind::Contact)];
    let kind = fields.word("kind", None, &kinds, faults);
    let roles = [
        ("administrator", Role::Administrator),
        ("standard", Role::Standard),
        ("portal", Role::Portal),
        ("operator", Role::Operator),
    ];
    let role = fields.word("role", None, &roles, faults);
    let doors = [("local", AuthType::Local), ("saml_sso", AuthType::SamlSso)];
    let auth_type = fields.word("auth_type", Some(AuthType::Local), &doors, faults);
    let password = fields.text("password", auth_type == Some(AuthType::Local), faults);
    let active = fields.flag("active", true, faults);
    fields.end(faults);
    if let (Some(kind), Some(role), Some(tenant)) = (kind, role, tenant)
        && !fits(tenant, kind, role)
    {
        let _: Option<()> = fault(faults, &below(place, "role"), ROLES);
    }
    let password = password?.map(SecretText::new);
    if let Some(password) = &password
        && let Err(weak) = password::acceptable(password.expose(), kind == Some(Kind::Contact))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: &str) -> Vec<String> {
        match Seed::parse("x", json.as_bytes()) {
            Ok(_) => panic!("it was taken"),
            Err(SeedError::ConfigErrors { faults, .. }) => faults,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_demo_is_a_seed() {
        let seed = Seed::parse("demo", DEMO.as_bytes()).unwrap();
        assert_eq!(seed.tenants.len(), 2);
        assert_eq!(seed.tenants[0].users.len(), 6);
        assert!(seed.tenants[1].id.is_support());
    }

    /// Each character becomes eighteen, which the index does not take.
    #[test]
    fn a_name_that_becomes_too_long_is_a_fault() {
        let name = "\u{fdfa}".repeat(128);
        let found = faults(&format!(
            r#"{{"tenants":[{{"id":"acme","name":"Acme","users":[{{"username":"{name}","display_name":"A","kind":"employee",
            "role":"standard","password":"long enough words"}}]}}]}}"#
        ));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("tenants[0].users[0].username") && found[0].contains("959 bytes"), "{found:?}");
    }

    #[test]
    fn all_faults_are_told_at_once_with_their_places() {
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
    fn what_is_not_json_is_said_with_line_and_column() {
        let error = Seed::parse("people.json", b"{\"tenants\":\n [,]}").err().unwrap().to_string();
        assert!(error.contains("people.json") && error.contains("line 2"), "{error}");
        assert_eq!(faults("[]"), ["has to be an object"]);
        assert_eq!(faults("{}"), ["tenants: is missing"]);
    }
}
