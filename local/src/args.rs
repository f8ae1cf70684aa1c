//! The command line.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use vestibule::{audit::AuditRetention, env::Timestamp};

/// Where a store is kept when nobody says where.
pub const OWN_DIRECTORY: &str = ".vestibule";

/// Where a server is when nobody says where.
pub const OWN_URL: &str = "http://127.0.0.1:8080";

/// All of Vestibule on one port, over an embedded store.
#[derive(Debug, Parser)]
#[command(name = "local", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; serving where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Serving without the word.
    #[command(flatten)]
    pub serve: Serve,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve all flows (what happens without a command, too)
    Serve(Serve),
    /// Enrol an authenticator at a running local server: shows the QR code in the terminal
    Enrol(Account),
    /// Sign in at a running local server with password and code; prints the session's token
    Login(Account),
    /// Play the authenticator app
    #[command(subcommand)]
    Totp(Totp),
    /// Create a tenant with its first Administrator; reads the password from standard input
    Init(Init),
    /// Create the first operator of the support team; reads the password from standard input
    Operator(Operator),
    /// Reset the MFA of a sole Administrator, or of the sole operator, who is locked out
    ResetMfa(ResetMfa),
    /// Make void every token and code that was handed out: after a copy of the data directory was put back
    RaiseRestoreEpoch(RaiseRestoreEpoch),
    /// Show the notifications that were "sent"
    Mail(Mail),
    /// Play an organisation's IdP, which vouches for anybody: for development, on loopback alone
    Idp(Idp),
}

/// `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Port; 0 picks a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_parser = host)]
    pub host: IpAddr,
    /// Where browsers and IdPs reach it [default: the address it listens on]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Directory of the store [default: .vestibule]
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    pub data_dir: Option<PathBuf>,
    /// Keep nothing: a store that is gone when the server stops
    #[arg(long)]
    pub ephemeral: bool,
    /// Keep audit rows for so many days, 1 to 3650
    #[arg(long, value_name = "DAYS", default_value_t)]
    pub audit_retention_days: AuditRetention,
    /// Keep the state in the embedded store, or in whatever answers as DynamoDB at `--endpoint`
    #[cfg(feature = "dynamodb")]
    #[arg(long, value_enum, default_value_t = StoreChoice::Sled, requires_if("dynamodb", "endpoint"))]
    pub store: StoreChoice,
    /// Address of DynamoDB Local or another emulator
    #[cfg(feature = "dynamodb")]
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Who is there to begin with: `demo`, `none`, or a file [default: demo; none for a --data-dir that holds a store]
    #[arg(long, value_name = "demo|none|FILE")]
    pub seed: Option<SeedChoice>,
    /// One line of JSON on standard output and nothing else
    #[arg(long)]
    pub json: bool,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogForm::Text)]
    pub log: LogForm,
    /// What is logged, such as `debug` or `vestibule=trace`
    #[arg(long, env = "VESTIBULE_LOG", default_value = "info", hide_env_values = true)]
    pub log_filter: String,
}

/// Which store.
#[cfg(feature = "dynamodb")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreChoice {
    /// The embedded one.
    Sled,
    /// DynamoDB, as an emulator plays it.
    Dynamodb,
}

/// `enrol` and `login`.
#[derive(Debug, Args)]
pub struct Account {
    /// The server, on this machine: passwords do not travel over plain HTTP
    #[arg(long, default_value = OWN_URL)]
    pub url: String,
    /// Tenant
    #[arg(long)]
    pub tenant: String,
    /// Login name
    #[arg(long)]
    pub username: String,
}

/// `totp`.
#[derive(Debug, Subcommand)]
pub enum Totp {
    /// Print the six digits of now
    Code(TotpCode),
}

/// `totp code`.
#[derive(Debug, Args)]
pub struct TotpCode {
    /// The secret key in base32, in any grouping; `-` reads it from standard input
    #[arg(long)]
    pub secret: String,
    /// The moment, RFC 3339, instead of now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub at: Option<Timestamp>,
}

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Directory of the store; made where there is none
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
    /// The Administrator's name
    #[arg(long)]
    pub display_name: String,
}

/// `operator`.
#[derive(Debug, Args)]
pub struct Operator {
    /// Directory of the store; made where there is none
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The operator's login name
    #[arg(long)]
    pub username: String,
    /// The operator's name [default: the login name]
    #[arg(long)]
    pub display_name: Option<String>,
}

/// `reset-mfa`.
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
    /// The ticket under which it was asked for; each works once
    #[arg(long)]
    pub ticket: String,
    /// Why; it is kept in the audit
    #[arg(long)]
    pub reason: String,
}

/// `raise-restore-security_version`.
#[derive(Debug, Args)]
pub struct RaiseRestoreEpoch {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Why; it is kept in the audit
    #[arg(long)]
    pub reason: String,
}

/// `mail`.
#[derive(Debug, Args)]
pub struct Mail {
    /// Directory of the store
    #[arg(long, value_name = "DIR", default_value = OWN_DIRECTORY)]
    pub data_dir: PathBuf,
}

/// `idp`.
#[derive(Debug, Args)]
pub struct Idp {
    /// Port; 0 picks a free one
    #[arg(long, default_value_t = 8081)]
    pub port: u16,
    /// Address to listen on, which has to be of loopback
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_parser = host)]
    pub host: IpAddr,
    /// Answer this service provider, whose metadata is there, and others of further `--sp` [default: all on this machine]
    #[arg(long = "sp", value_name = "URL")]
    pub service_providers: Vec<String>,
    /// One line of JSON on standard output and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Who is there to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeedChoice {
    /// The demo tenant.
    Demo,
    /// Nobody.
    None,
    /// Whoever a file says.
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

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn host(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => text.parse().map_err(|_| "not an IP address of this machine".to_owned()),
    }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "not an RFC 3339 time, such as 2026-11-24T09:00:00Z".to_owned())
}
