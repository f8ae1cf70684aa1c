//! The command line of the local runner.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use local::{
    Failure,
    args::{Cli, Command, Init, LogForm, Operator, Serve, Totp, TotpCode},
    enrol, idp, log, login, mail,
    seed::Seed,
    seeding, server, terminal, totp,
};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use vestibule::{
    env::{Clock, SystemClock},
    id::TenantId,
};
use zeroize::Zeroizing;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => serve(&cli.serve),
        Some(Command::Serve(options)) => serve(&options),
        Some(Command::Enrol(options)) => runtime().and_then(|runtime| runtime.block_on(enrol::run(&options))),
        Some(Command::Login(options)) => runtime().and_then(|runtime| runtime.block_on(login::run(&options))),
        Some(Command::Totp(Totp::Code(options))) => totp_code(&options),
        Some(Command::Init(options)) => init(&options),
        Some(Command::Operator(options)) => operator(&options),
        Some(Command::ResetMfa(it)) => command(
            &it.data_dir,
            json!({"command": "reset_mfa", "tenant": it.tenant, "username": it.username, "ticket": it.ticket,
                "reason": it.reason}),
        ),
        Some(Command::RaiseRestoreEpoch(it)) => {
            command(&it.data_dir, json!({"command": "raise_restore_epoch", "reason": it.reason}))
        }
        Some(Command::Mail(options)) => show_mail(&options.data_dir),
        Some(Command::Idp(options)) => {
            log::start(LogForm::Text, "info").and_then(|()| runtime()?.block_on(idp::run(&options)))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Result<Runtime, Failure> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Into::into)
}

fn serve(options: &Serve) -> Result<(), Failure> {
    log::start(options.log, &options.log_filter)?;
    let runtime = runtime()?;
    let done = runtime.block_on(server::serve(options));
    // Requests that were cut off may still use the store. They get one second; each write is durable on its own.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

fn totp_code(options: &TotpCode) -> Result<(), Failure> {
    let secret = match options.secret.as_str() {
        "-" => terminal::line("Secret key")?,
        secret => Zeroizing::new(secret.to_owned()),
    };
    let at = options.at.unwrap_or_else(|| SystemClock.now());
    match totp::code(&secret, at) {
        Some(code) => print(&format!("{code}\n")),
        None => Err("the secret is not a base32 key of at least 128 bits, as the enrolment shows it".into()),
    }
}

fn init(options: &Init) -> Result<(), Failure> {
    log::start(LogForm::Text, "warn")?;
    let password = terminal::password("Password for the Administrator")?;
    let (tenant, user) = ((options.tenant.as_str(), options.name.as_str()), options.username.as_str());
    let seed = Seed::one(tenant, user, &options.display_name, "administrator", &password)?;
    let app = server::open(Some(&options.data_dir))?.app;
    runtime()?.block_on(async {
        if app.store.count_administrators(&TenantId::parse(&options.tenant)?).await?.is_some() {
            return Err(format!("tenant {} exists: its Administrators create its users", options.tenant).into());
        }
        seeding::add_missing(&app, seed).await
    })?;
    print(&format!(
        "Created tenant {} and its Administrator {user}.\n{}",
        options.tenant,
        next_commands(&options.data_dir, &options.tenant, user)
    ))
}

fn operator(options: &Operator) -> Result<(), Failure> {
    log::start(LogForm::Text, "warn")?;
    let password = terminal::password("Password for the operator")?;
    let display_name = options.display_name.as_deref().unwrap_or(&options.username);
    let seed = Seed::one(("support", "Support"), &options.username, display_name, "operator", &password)?;
    let app = server::open(Some(&options.data_dir))?.app;
    runtime()?.block_on(async {
        if app.store.count_administrators(&TenantId::support()).await?.is_some_and(|operators| operators > 0) {
            return Err(Failure::from("an operator exists: operators create further operators"));
        }
        seeding::add_missing(&app, seed).await
    })?;
    let next = next_commands(&options.data_dir, TenantId::support().as_str(), &options.username);
    print(&format!("Created operator {}.\n{next}", options.username))
}

/// The commands to run after a user was created.
fn next_commands(directory: &Path, tenant: &str, username: &str) -> String {
    let serve = terminal::command(&["serve", "--data-dir", &directory.to_string_lossy()]);
    let enrol = terminal::command(&["enrol", "--tenant", tenant, "--username", username]);
    format!("Next, serve the store. In another terminal, enrol an authenticator app:\n\n  {serve}\n  {enrol}\n")
}

/// Executes a command of the function `operators`. The server must be stopped.
fn command(directory: &Path, command: serde_json::Value) -> Result<(), Failure> {
    log::start(LogForm::Text, "warn")?;
    if !directory.try_exists()? {
        return Err(format!("{} holds no store", directory.display()).into());
    }
    let opened = server::open(Some(directory))?;
    let answer = runtime()?.block_on(async {
        let app = opened.at_restore_epoch().await?.app;
        operators::handle(&app, None, command, "local").await.map_err(Failure::from)
    })?;
    print(&format!("{answer:#}\n"))
}

fn show_mail(directory: &Path) -> Result<(), Failure> {
    let text =
        mail::read(directory).map_err(|error| format!("cannot read the mails in {}: {error}", directory.display()))?;
    print(&text)
}
