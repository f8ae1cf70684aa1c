//! The command line: runs the command and ends the process.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use clap::FromArgMatches;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use vestibule::{
    env::{Clock, SystemClock},
    id::TenantId,
};
use zeroize::Zeroizing;

use crate::{
    Failure,
    args::{
        self, Cli, Command, Format, Init, LogForm, Mail, Operator, Serve, Totp, TotpCode,
        admin::{Exclusions, Users},
    },
    audit, completion, enrol, exclusions, idp, log, login, mail, output,
    seed::Seed,
    seeding, server,
    signals::{Interrupted, interruptible},
    sso,
    terminal::{self, print},
    totp, users,
};

/// The exit status of a command that Ctrl-C stopped, as shells have it.
const INTERRUPTED: u8 = 130;

/// Runs the program with this name.
#[must_use]
pub fn main(program: &'static str) -> ExitCode {
    let matches = args::definition(program).get_matches();
    let done = match Cli::from_arg_matches(&matches) {
        Ok(cli) => run(program, cli.command.unwrap_or(Command::Serve(cli.serve))),
        Err(error) => error.exit(),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    if error.is::<Interrupted>() {
        return ExitCode::from(INTERRUPTED);
    }
    // The reader of standard output wants no more, as `head` does.
    if !is_closed_pipe(&*error) {
        let _ = writeln!(io::stderr(), "error: {error}");
    }
    ExitCode::FAILURE
}

fn is_closed_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        || error.downcast_ref::<csv::Error>().is_some_and(
            |error| matches!(error.kind(), csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::BrokenPipe),
        )
}

fn run(program: &'static str, command: Command) -> Result<(), Failure> {
    // One thread, as in the functions. More would interrupt the threads that hash passwords (docs/performance.md).
    let runtime = Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Serve(options) => serve(&options, runtime),
        Command::Completion(options) => completion::completions(program, options.shell),
        Command::Man(options) => completion::manual(program, options.dir.as_deref()),
        command => {
            let done = runtime.block_on(execute(command));
            // A thread may still wait for standard input.
            runtime.shutdown_background();
            done
        }
    }
}

/// Runs a command. A signal stops it, unless it handles signals itself.
async fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Idp(options) => {
            log::start(LogForm::Text, "info")?;
            idp::run(&options).await
        }
        Command::Users(command @ Users::Import(_)) => users::run(&command).await,
        Command::Exclusions(command @ (Exclusions::Add(_) | Exclusions::Remove(_))) => exclusions::run(&command).await,
        command => interruptible(execute_until_signal(command)).await,
    }
}

async fn execute_until_signal(command: Command) -> Result<(), Failure> {
    match command {
        Command::Enroll(options) => enrol::run(&options).await,
        Command::Login(options) => login::run(&options).await,
        Command::Logout(format) => login::log_out(format).await,
        Command::Whoami(format) => login::who_am_i(format).await,
        Command::Users(command) => users::run(&command).await,
        Command::Exclusions(command) => exclusions::run(&command).await,
        Command::Audit(command) => audit::run(&command).await,
        Command::Sso(command) => sso::run(&command).await,
        Command::Totp(Totp::Code(options)) => totp_code(&options).await,
        Command::Init(options) => init(&options).await,
        Command::Operator(options) => operator(&options).await,
        Command::ResetMfa(it) => {
            let command = json!({"command": "reset_mfa", "tenant": it.tenant, "username": it.username,
                "ticket": it.ticket, "reason": it.reason});
            run_operators_command(&it.data_dir, command, it.format).await
        }
        Command::RaiseRestoreEpoch(it) => {
            run_operators_command(
                &it.data_dir,
                json!({"command": "raise_restore_epoch", "reason": it.reason}),
                it.format,
            )
            .await
        }
        Command::Mail(options) => show_mail(&options),
        Command::Serve(_) | Command::Idp(_) | Command::Completion(_) | Command::Man(_) => {
            Err("this command runs on its own".into())
        }
    }
}

fn serve(options: &Serve, runtime: Runtime) -> Result<(), Failure> {
    log::start(options.log, &options.log_filter)?;
    let done = runtime.block_on(server::serve(options));
    // Passwords and assertions of requests that were cut off may still be checked. They get one second.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn totp_code(options: &TotpCode) -> Result<(), Failure> {
    let secret = match options.secret.as_str() {
        "-" => terminal::line("Secret key").await?,
        secret => Zeroizing::new(secret.to_owned()),
    };
    let at = options.at.unwrap_or_else(|| SystemClock.now());
    match totp::code(&secret, at) {
        Some(code) if options.format.json => output::object(&json!({"code": code}), options.format),
        Some(code) => print(&format!("{code}\n")),
        None => Err("the secret is not a base32 key of at least 128 bits, as the enrolment shows it".into()),
    }
}

async fn init(options: &Init) -> Result<(), Failure> {
    log::start(LogForm::Text, "warn")?;
    let password = terminal::password("Password for the Administrator").await?;
    let (tenant, user) = ((options.tenant.as_str(), options.name.as_str()), options.username.as_str());
    let seed = Seed::one(tenant, user, &options.display_name, "administrator", &password)?;
    let app = server::open(Some(&options.data_dir))?.app;
    if app.store.count_administrators(&TenantId::parse(&options.tenant)?).await?.is_some() {
        return Err(format!("tenant {} exists: its Administrators create its users", options.tenant).into());
    }
    seeding::add_missing(&app, seed).await?;
    if options.format.json {
        return output::object(&created(&options.tenant, user, "administrator"), options.format);
    }
    print(&format!(
        "Created tenant {} and its Administrator {user}.\n{}",
        options.tenant,
        next_commands(&options.data_dir, &options.tenant, user)
    ))
}

async fn operator(options: &Operator) -> Result<(), Failure> {
    log::start(LogForm::Text, "warn")?;
    let password = terminal::password("Password for the operator").await?;
    let display_name = options.display_name.as_deref().unwrap_or(&options.username);
    let seed = Seed::one(("support", "Support"), &options.username, display_name, "operator", &password)?;
    let app = server::open(Some(&options.data_dir))?.app;
    if app.store.count_administrators(&TenantId::support()).await?.is_some_and(|operators| operators > 0) {
        return Err("an operator exists: operators create further operators".into());
    }
    seeding::add_missing(&app, seed).await?;
    let support = TenantId::support();
    if options.format.json {
        return output::object(&created(support.as_str(), &options.username, "operator"), options.format);
    }
    let next = next_commands(&options.data_dir, support.as_str(), &options.username);
    print(&format!("Created operator {}.\n{next}", options.username))
}

/// The user who was created, for `--json`.
fn created(tenant: &str, username: &str, role: &str) -> Value {
    json!({"tenant": tenant, "username": username, "role": role})
}

/// The commands to run after a user was created.
fn next_commands(directory: &Path, tenant: &str, username: &str) -> String {
    let serve = terminal::command(&["serve", "--data-dir", &directory.to_string_lossy()]);
    let enroll = terminal::command(&["enroll", "--tenant", tenant, "--username", username]);
    format!("Next, serve the store. In another terminal, enrol an authenticator app:\n\n  {serve}\n  {enroll}\n")
}

/// Executes a command of the function `operators`. The server must be stopped.
async fn run_operators_command(directory: &Path, command: Value, format: Format) -> Result<(), Failure> {
    log::start(LogForm::Text, "warn")?;
    if !directory.try_exists()? {
        return Err(format!("{} holds no store", directory.display()).into());
    }
    let app = server::open(Some(directory))?.at_restore_epoch().await?.app;
    let answer = operators::handle(&app, None, command, "local").await?;
    output::object(&answer, format)
}

fn show_mail(options: &Mail) -> Result<(), Failure> {
    let directory = &options.data_dir;
    let unreadable = |error| format!("cannot read the mails in {}: {error}", directory.display());
    let mails = mail::read(directory).map_err(unreadable)?;
    print(&if options.format.json { mails } else { mail::text(&mails) })
}
