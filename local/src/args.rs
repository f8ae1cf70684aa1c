//! The command line.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use clap::{Args, Command as Definition, CommandFactory, Parser, Subcommand, ValueEnum};
use vestibule::{audit::AuditRetention, env::Timestamp, sso::PublicUrl};

pub mod admin;

use self::admin::{Audit, Exclusions, Sso, Users};

/// The data directory if `--data-dir` is not given.
pub const DEFAULT_DATA_DIR: &str = ".vestibule";

/// The address of the server if `--url` is not given.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Serve Vestibule on this machine, and administer it anywhere.
#[derive(Debug, Parser)]
#[command(name = "local", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// The command; `serve` if none is given.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `serve`, if no command is given.
    #[command(flatten)]
    pub serve: Serve,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve all flows (the default command)
    Serve(Serve),
    /// Enrol an authenticator app; shows the QR code in the terminal
    #[command(alias = "enrol")]
    Enroll(Enroll),
    /// Sign in with password and code; the session is kept for the next commands
    Login(Login),
    /// Sign out: end the session and forget it
    Logout(Format),
    /// Show who is signed in, and for how long
    Whoami(Format),
    /// List, create, import and change the users of the tenant
    #[command(subcommand)]
    Users(Users),
    /// Exclude contacts from MFA, or include them again
    #[command(subcommand)]
    Exclusions(Exclusions),
    /// Read the audit
    #[command(subcommand)]
    Audit(Audit),
    /// Set and test the identity provider of the tenant
    #[command(subcommand)]
    Sso(Sso),
    /// Act as an authenticator app
    #[command(subcommand)]
    Totp(Totp),
    /// Create a tenant with its first Administrator; reads the password from standard input
    Init(Init),
    /// Create the first operator of support; reads the password from standard input
    Operator(Operator),
    /// Reset the MFA of the only Administrator of a tenant, or of the only operator, who is locked out
    ResetMfa(ResetMfa),
    /// Make every earlier token and code void, after you restored a copy of the data directory
    RaiseRestoreEpoch(RaiseRestoreEpoch),
    /// Show the mails that a deployment would have sent
    Mail(Mail),
    /// Run a SAML identity provider for development: it signs in any user without a password, on loopback only
    Idp(Idp),
    /// Print the completions for a shell
    Completion(Completion),
    /// Print the manual page, or write the pages of all commands
    Man(Man),
}

/// The definition of the command line, for the program with this name.
#[must_use]
pub fn definition(program: &'static str) -> Definition {
    Cli::command().name(program)
}

/// `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Port; 0 selects a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_parser = host)]
    pub host: IpAddr,
    /// URL at which browsers and identity providers reach the server [default: the address it listens on]
    #[arg(long, value_name = "URL", value_parser = public_url)]
    pub public_url: Option<PublicUrl>,
    /// Directory of the store [default: .vestibule]
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    pub data_dir: Option<PathBuf>,
    /// Use a temporary store, which is deleted when the server stops
    #[arg(long)]
    pub ephemeral: bool,
    /// Days to keep audit rows, 1 to 3650
    #[arg(long, value_name = "DAYS", default_value_t)]
    pub audit_retention_days: AuditRetention,
    /// The store: the embedded one, or DynamoDB at `--endpoint`
    #[cfg(feature = "dynamodb")]
    #[arg(long, value_enum, default_value_t = StoreChoice::Sled, requires_if("dynamodb", "endpoint"))]
    pub store: StoreChoice,
    /// Address of DynamoDB Local or another emulator
    #[cfg(feature = "dynamodb")]
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Users to create at the start: `demo`, `none`, or a file [default: demo; none if --data-dir holds a store]
    #[arg(long, value_name = "demo|none|FILE")]
    pub seed: Option<SeedChoice>,
    /// Print one line of JSON to standard output and nothing else
    #[arg(long)]
    pub json: bool,
    /// Format of the log on standard error
    #[arg(long, value_enum, default_value_t = LogForm::Text)]
    pub log: LogForm,
    /// Filter of the log, such as `debug` or `vestibule=trace`
    #[arg(long, env = "VESTIBULE_LOG", default_value = "info", hide_env_values = true)]
    pub log_filter: String,
}

/// The store to use.
#[cfg(feature = "dynamodb")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreChoice {
    /// The embedded store.
    Sled,
    /// DynamoDB Local or another emulator.
    Dynamodb,
}

/// How to print the result.
#[derive(Debug, Clone, Copy, Args)]
pub struct Format {
    /// Print JSON: one object on each line
    #[arg(long)]
    pub json: bool,
}

/// The options of `login`. Without a user: the one who signed in last.
#[derive(Debug, Args)]
pub struct Login {
    /// URL of the server: HTTPS, or plain HTTP on this machine [default: http://127.0.0.1:8080]
    #[arg(long, requires = "username")]
    pub url: Option<String>,
    /// Tenant
    #[arg(long, requires = "username")]
    pub tenant: Option<String>,
    /// Login name [default: tenant, login name and URL of the last sign-in]
    #[arg(long, requires = "tenant")]
    pub username: Option<String>,
    /// Print the session token instead of keeping the session
    #[arg(long)]
    pub print_token: bool,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The options of `completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell with completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The options of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for each command into this directory instead
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Who signs in, and where.
#[derive(Debug, Clone, Args)]
pub struct Account {
    /// URL of the server: HTTPS, or plain HTTP on this machine, because plain HTTP must not carry passwords over a network
    #[arg(long, default_value = DEFAULT_URL)]
    pub url: String,
    /// Tenant
    #[arg(long)]
    pub tenant: String,
    /// Login name
    #[arg(long)]
    pub username: String,
}

/// The options of `enroll`.
#[derive(Debug, Args)]
pub struct Enroll {
    /// Who enrols, and where.
    #[command(flatten)]
    pub account: Account,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The subcommands of `totp`.
#[derive(Debug, Subcommand)]
pub enum Totp {
    /// Print the current code: six digits
    Code(TotpCode),
}

/// The options of `totp code`.
#[derive(Debug, Args)]
pub struct TotpCode {
    /// The secret key in base32, with or without spaces; `-` reads it from standard input
    #[arg(long)]
    pub secret: String,
    /// Time of the code instead of now, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub at: Option<Timestamp>,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The options of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Directory of the store; created if it does not exist
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The tenant's id
    #[arg(long, value_name = "ID")]
    pub tenant: String,
    /// The company's name
    #[arg(long)]
    pub name: String,
    /// The Administrator's login name
    #[arg(long)]
    pub username: String,
    /// The Administrator's display name
    #[arg(long)]
    pub display_name: String,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The options of `operator`.
#[derive(Debug, Args)]
pub struct Operator {
    /// Directory of the store; created if it does not exist
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The operator's login name
    #[arg(long)]
    pub username: String,
    /// The operator's display name [default: the login name]
    #[arg(long)]
    pub display_name: Option<String>,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The options of `reset-mfa`.
#[derive(Debug, Args)]
pub struct ResetMfa {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The tenant's id
    #[arg(long, value_name = "ID")]
    pub tenant: String,
    /// The login name
    #[arg(long)]
    pub username: String,
    /// The support ticket of the request; it works for one reset
    #[arg(long)]
    pub ticket: String,
    /// The reason, which is kept in the audit
    #[arg(long)]
    pub reason: String,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The options of `raise-restore-epoch`.
#[derive(Debug, Args)]
pub struct RaiseRestoreEpoch {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The reason, which is kept in the audit
    #[arg(long)]
    pub reason: String,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The options of `mail`.
#[derive(Debug, Args)]
pub struct Mail {
    /// Directory of the store
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    pub data_dir: PathBuf,
    /// The form of the result.
    #[command(flatten)]
    pub format: Format,
}

/// The options of `idp`.
#[derive(Debug, Args)]
pub struct Idp {
    /// Port; 0 selects a free one
    #[arg(long, default_value_t = 8081)]
    pub port: u16,
    /// Address to listen on, which must be a loopback address
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_parser = host)]
    pub host: IpAddr,
    /// Metadata URL of a service provider to answer; repeatable [default: all service providers on this machine]
    #[arg(long = "sp", value_name = "URL")]
    pub service_providers: Vec<String>,
    /// Print one line of JSON to standard output and nothing else
    #[arg(long)]
    pub json: bool,
}

/// The users to create at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeedChoice {
    /// The demo tenant.
    Demo,
    /// No users.
    None,
    /// The users of a seed file.
    File(PathBuf),
}

impl From<&str> for SeedChoice {
    fn from(text: &str) -> Self {
        match text {
            "demo" => Self::Demo,
            "none" => Self::None,
            file => Self::File(file.into()),
        }
    }
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    /// Text, for humans.
    Text,
    /// One JSON object on each line.
    Json,
}

fn host(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => text.parse().map_err(|_| "not an IP address of this machine".to_owned()),
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let since_1970 = Timestamp::parse(text).filter(|time| time.secs() >= 0);
    since_1970.ok_or_else(|| "not an RFC 3339 time since 1970, such as 2026-11-24T09:00:00Z".to_owned())
}

fn public_url(text: &str) -> Result<PublicUrl, String> {
    PublicUrl::parse(text).map_err(|required| format!("it must be {required}"))
}
