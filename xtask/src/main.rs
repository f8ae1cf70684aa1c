//! `cargo xtask COMMAND`: see [`USAGE`].
#![allow(clippy::print_stderr)]

use std::{env, process::ExitCode};

use xtask::{cloud::Cloud, saml_mutants, seed, watch};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  cloud [COMMAND…]     runs a command while every flow runs as a Lambda function; without a command, serves until it is stopped.
                       `.ci/with-cloud` starts it
  demo-tenants ID…     creates tenants in that cloud, each with the users of the demo tenant
  mails FILE           delivers the mails with links of that cloud until it is stopped, and writes all mails to the file
  function PROGRAM…    runs a function of the cloud with its variables only (Cargo's runner under cargo-lambda)
  saml-mutants [--check | NAME…]
                       removes one protection of the SAML code at a time: a test has to fail (docs/mutation.md)";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (command, arguments) =
        arguments.split_first().map_or(("", &[][..]), |(command, rest)| (command.as_str(), rest));
    let success = match (command, arguments) {
        ("cloud", command) => watch::cloud(command).await,
        ("demo-tenants", ids) => {
            seed::create_demo_tenants(&Cloud::from_environment(), ids).await;
            true
        }
        ("mails", [file]) => watch::write_mails(&Cloud::from_environment(), file.as_ref()).await,
        ("function", [program, arguments @ ..]) => watch::function(program, arguments),
        ("saml-mutants", arguments) => saml_mutants::saml_mutants(arguments),
        _ => {
            eprintln!("{USAGE}");
            false
        }
    };
    if success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
