//! The commands of an Administrator: they use the session that `login` keeps.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use vestibule::env::Timestamp;

use super::{Format, time};

/// The subcommands of `users`.
#[derive(Debug, Subcommand)]
pub enum Users {
    /// List users
    List(List),
    /// Show a user
    Show(OneUser),
    /// Create a user; asks for the password
    Create(Create),
    /// Mail another invitation to a user without a password
    Invite(OneUser),
    /// Create the users of a CSV file
    Import(Import),
    /// Write the users as CSV, which `import` reads
    Export(List),
    /// Reset the MFA of a user, who then has to enrol again
    ResetMfa(Reset),
    /// Deactivate a user, who then cannot sign in
    Deactivate(OneUser),
}

/// Which users to list.
#[derive(Debug, Args)]
pub struct List {
    /// Only this kind
    #[arg(long, value_enum)]
    pub kind: Option<Kind>,
    /// Only users with this state of MFA
    #[arg(long, value_enum)]
    pub mfa: Option<Mfa>,
    /// Only users who are excluded from MFA (true), or who are not (false)
    #[arg(long, value_name = "true|false")]
    pub excluded: Option<bool>,
    /// Only users whose login name or display name begins with this text
    #[arg(long, value_name = "TEXT")]
    pub query: Option<String>,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// A user of the tenant.
#[derive(Debug, Clone, Args)]
pub struct UserArgument {
    /// The login name
    pub user: String,
    /// USER is an id, not a login name
    #[arg(long)]
    pub id: bool,
}

/// A command for one user.
#[derive(Debug, Args)]
pub struct OneUser {
    /// The user.
    #[command(flatten)]
    pub who: UserArgument,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The options of `users create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The login name
    #[arg(long)]
    pub username: String,
    /// The display name
    #[arg(long)]
    pub display_name: String,
    /// Whether the user works for the tenant or for one of its customers
    #[arg(long, value_enum)]
    pub kind: Kind,
    /// The role: an employee is administrator or standard, a contact is portal
    #[arg(long, value_enum)]
    pub role: Role,
    /// How the user signs in
    #[arg(long, value_enum, default_value_t = AuthType::Local)]
    pub auth_type: AuthType,
    /// The e-mail address
    #[arg(long)]
    pub email: Option<String>,
    /// Mail a link to choose a password, instead of asking you for one
    #[arg(long, requires = "email")]
    pub invite: bool,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The options of `users reset-mfa`.
#[derive(Debug, Args)]
pub struct Reset {
    /// The user.
    #[command(flatten)]
    pub who: UserArgument,
    /// The reason, which is kept in the audit
    #[arg(long)]
    pub reason: String,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The options of `users import`.
#[derive(Debug, Args)]
pub struct Import {
    /// CSV file with the columns username, display_name, kind, role and, if you like, auth_type, email, password, sso_name_id
    pub file: PathBuf,
    /// Check the rows and create nobody
    #[arg(long)]
    pub dry_run: bool,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The subcommands of `exclusions`.
#[derive(Debug, Subcommand)]
pub enum Exclusions {
    /// Exclude contacts from MFA
    Add(Change),
    /// Include contacts again: they have to use MFA
    Remove(Change),
    /// List the contacts who are excluded from MFA
    List(Format),
}

/// Which contacts to exclude, or to include again.
#[derive(Debug, Args)]
pub struct Change {
    /// The login names
    #[arg(value_name = "USER", required_unless_present = "file")]
    pub users: Vec<String>,
    /// Each USER is an id, not a login name
    #[arg(long)]
    pub id: bool,
    /// CSV file whose column `id` has the ids of the contacts
    #[arg(long, conflicts_with_all = ["users", "id"])]
    pub file: Option<PathBuf>,
    /// The reason, which is kept in the audit and in the list of exclusions
    #[arg(long)]
    pub reason: String,
    /// Show what would happen, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The subcommands of `audit`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List the most recent events, the newest first
    List(AuditList),
    /// Print each new event until Ctrl-C
    Follow(Follow),
    /// Write events as CSV, the newest first
    Export(Events),
}

/// Which events of the audit.
#[derive(Debug, Args)]
pub struct Events {
    /// Only events that this user caused, or that are about them
    #[arg(long)]
    pub user: Option<String>,
    /// USER is an id, not a login name
    #[arg(long, requires = "user")]
    pub id: bool,
    /// Only events at this time or later, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Timestamp>,
    /// Only events before this time, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<Timestamp>,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The options of `audit list`.
#[derive(Debug, Args)]
pub struct AuditList {
    /// Which events.
    #[command(flatten)]
    pub events: Events,
    /// The maximum number of events to print
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
}

/// The options of `audit follow`.
#[derive(Debug, Args)]
pub struct Follow {
    /// Only events that this user causes, or that are about them
    #[arg(long)]
    pub user: Option<String>,
    /// USER is an id, not a login name
    #[arg(long, requires = "user")]
    pub id: bool,
    /// Seconds between two requests
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The subcommands of `sso`.
#[derive(Debug, Subcommand)]
pub enum Sso {
    /// Set the identity provider
    Set(SsoSet),
    /// Check the configuration and the start of a sign-in, and show the last refused sign-in
    Test(Format),
}

/// The options of `sso set`.
#[derive(Debug, Args)]
pub struct SsoSet {
    /// What to set.
    #[command(flatten)]
    pub source: SsoSource,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// Where the settings of the identity provider are.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SsoSource {
    /// The identity provider's SAML metadata, an XML file; the other settings stay as they are
    #[arg(long, value_name = "FILE")]
    pub metadata: Option<PathBuf>,
    /// All settings, a JSON file with the body of `PUT /v1/admin/sso`
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Whether a user works for the tenant or for one of its customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Kind {
    Employee,
    Contact,
}

/// The role of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Role {
    Administrator,
    Standard,
    Portal,
    Operator,
}

/// How a user signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum AuthType {
    Local,
    SamlSso,
}

/// The state of a user's authenticator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Mfa {
    None,
    Active,
    Disabled,
}

/// The name of a value in the API.
#[must_use]
pub fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Whether a text is the name of a value of this list.
#[must_use]
pub fn is_name<V: ValueEnum>(text: &str) -> bool {
    V::from_str(text, false).is_ok()
}
