//! The other commands.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

#[test]
fn invalid_options_are_named() {
    for (arguments, named) in [
        (vec!["serve", "--prot", "1"], "--prot"),
        (vec!["serve", "--port", "70000"], "--port"),
        (vec!["serve", "--host", "example.com"], "--host"),
        (vec!["serve", "--data-dir", "x", "--ephemeral"], "--ephemeral"),
        (vec!["--log", "yaml"], "--log"),
        (vec!["totp", "code"], "--secret"),
        (vec!["fly"], "fly"),
    ] {
        let output = run(&arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains(named), "{arguments:?}");
        assert_eq!(output.stdout, b"");
    }
    assert!(refusal(&["serve", "--ephemeral", "--log-filter", "a=b=c"], "").contains("log filter"));
}

#[test]
fn first_administrator_and_operator_are_created_on_the_command_line() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data").to_str().unwrap().to_owned();
    let init =
        ["init", "--data-dir", &data, "--tenant", "acme", "--name", "Acme", "--username", "ann", "--display-name"];
    let init = [&init[..], &["Ann"]].concat();
    assert_eq!(
        refusal(&init, "short\n"),
        "error: the password is too short: it needs at least 8 bytes, and at least 15 characters for a contact; nothing was \
         created: run the command again"
    );
    let bad =
        ["init", "--data-dir", &data, "--tenant", "a b", "--name", "", "--username", " ann", "--display-name", ""];
    let message = refusal(&bad, "a good long password\n");
    for named in ["--tenant: ", "--name: is empty", "--username: has spaces around it", "--display-name: is empty"] {
        assert!(message.contains(named) && !message.contains("users[0]"), "{message}");
    }
    assert!(run(&init, "a good long password\n").status.success());
    assert!(refusal(&init, "a good long password\n").contains("tenant acme exists"));
    let operator = ["operator", "--data-dir", &data, "--username", "op"];
    assert!(run(&operator, "another good password\n").status.success());
    assert!(refusal(&operator, "another good password\n").contains("an operator exists"));
    let beta = ["init", "--data-dir", &data, "--tenant", "beta", "--name", "Beta", "--username", "bea", "--json"];
    let output = run(&[&beta[..], &["--display-name", "Bea"]].concat(), "a good long password\n");
    let created: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(created, json!({"tenant": "beta", "username": "bea", "role": "administrator"}));
    let server = Server::start(&["--data-dir", &data]);
    assert_eq!(server.login("acme", "ann", "a good long password")["status"], "enrolment_required");
    assert_eq!(server.login("support", "op", "another good password")["status"], "enrolment_required");
    assert!(refusal(&operator, "another good password\n").contains(DIRECTORY_IN_USE));
}

#[test]
fn command_line_resets_the_only_administrator_and_raises_the_restore_epoch() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data").to_str().unwrap().to_owned();
    let init = ["init", "--data-dir", &data, "--tenant", "acme", "--name", "Acme", "--username", "ann"];
    let init = [&init[..], &["--display-name", "Ann"]].concat();
    assert!(run(&init, "a good long password\n").status.success());
    let reset = |username, ticket| {
        let who = ["reset-mfa", "--data-dir", &data, "--tenant", "acme", "--username", username];
        [&who[..], &["--ticket", ticket, "--reason", "lost phone"]].concat()
    };
    let succeed = |arguments: &[&str]| -> Value {
        let output = run(&[arguments, &["--json"]].concat(), "");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert!(refusal(&reset("nobody", "T-1"), "").contains("no such tenant or user"));
    let done = succeed(&reset("ann", "T-1"));
    assert_eq!((&done["user"]["username"], &done["user"]["mfa"]), (&json!("ann"), &json!("none")));
    assert!(done["reset_code"].as_str().unwrap().len() > 8, "{done}");
    assert!(refusal(&reset("ann", "T-1"), "").contains("the ticket was used before"));
    let raise = ["raise-restore-epoch", "--data-dir", &data, "--reason", "a copy was put back"];
    assert_eq!(succeed(&raise)["restore_epoch"], 1);
    assert_eq!(succeed(&raise)["restore_epoch"], 2);

    let server = Server::start(&["--data-dir", &data]);
    let login = server.login("acme", "ann", "a good long password");
    assert_eq!((&login["status"], &login["reset_code_required"]), (&json!("enrolment_required"), &json!(true)));
    assert!(refusal(&reset("ann", "T-2"), "").contains(DIRECTORY_IN_USE));
    assert!(refusal(&raise, "").contains(DIRECTORY_IN_USE));
}

#[test]
fn enrolment_on_the_command_line_writes_mails() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data").to_str().unwrap().to_owned();
    let server = Server::start(&["--data-dir", &data, "--seed", "demo"]);
    let url = server.first["url"].as_str().unwrap().to_owned();
    let mut enrol = program(&["enrol", "--url", &url, "--tenant", "acme", "--username", "bob"]);
    let mut child = enrol.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "bob bakes 6 rye loaves").unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut shown, mut line) = (String::new(), String::new());
    let key = loop {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "no key was shown: {shown}");
        shown.push_str(&line);
        if line.trim().split(' ').count() == 8 && line.trim().len() == 39 {
            break line.trim().to_owned();
        }
    };
    assert!(shown.contains('▀') || shown.contains('▄'), "no QR code: {shown}");
    let code = run(&["totp", "code", "--secret", &key], "").stdout;
    input.write_all(&code).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("MFA is on for bob") && rest.contains("Recovery token"), "{rest}");
    assert!(child.wait().unwrap().success());
    assert_eq!(server.login("acme", "bob", "bob bakes 6 rye loaves")["status"], "mfa_required");
    let mail = String::from_utf8(run(&["mail", "--data-dir", &data], "").stdout).unwrap();
    assert!(mail.contains("acme  To bob: An authenticator was enrolled"), "{mail}");
    assert!(mail.contains("A new recovery token was made"), "{mail}");
    assert!(!mail.contains(&key.replace(' ', "")));
    for _ in 0..5 {
        assert_eq!(server.login("acme", "con1", "wrong")["code"], "invalid_credentials");
    }
    let mail = String::from_utf8(run(&["mail", "--data-dir", &data], "").stdout).unwrap();
    assert!(mail.contains("To con1: Five wrong passwords in a row"), "{mail}");
    server.stop();
    Server::start(&["--data-dir", &data]).stop(); // the file of mails is not a foreign file
}

#[test]
fn enrolment_and_mails_are_printed_as_json() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data").to_str().unwrap().to_owned();
    let server = Server::start(&["--data-dir", &data, "--seed", "demo"]);
    let url = server.first["url"].as_str().unwrap().to_owned();
    let mut enroll = program(&["enroll", "--url", &url, "--tenant", "acme", "--username", "bob", "--json"]);
    let mut child = enroll.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "bob bakes 6 rye loaves").unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let enrolment = next();
    assert!(enrolment["otpauth_uri"].as_str().unwrap().starts_with("otpauth://totp/"), "{enrolment}");
    let code = run(&["totp", "code", "--secret", enrolment["secret"].as_str().unwrap()], "").stdout;
    input.write_all(&code).unwrap();
    assert!(next()["recovery_token"].is_string());
    assert!(lines.next().is_none() && child.wait().unwrap().success());
    let mails = String::from_utf8(run(&["mail", "--data-dir", &data, "--json"], "").stdout).unwrap();
    let mails: Vec<Value> = mails.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(mails.iter().any(|mail| mail["username"] == "bob" && mail["action"] == "factor.activated"), "{mails:?}");
}

#[test]
fn totp_code_prints_the_code_of_a_given_time() {
    let key = "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ";
    let at = ["totp", "code", "--at", "2009-02-13T23:31:30Z", "--secret"];
    let output = run(&[&at[..], &[key]].concat(), "");
    assert_eq!(output.stdout, b"005924\n");
    assert_eq!(run(&[&at[..], &[key, "--json"]].concat(), "").stdout, b"{\"code\":\"005924\"}\n");
    assert_eq!(run(&[&at[..], &["-"]].concat(), key).stdout, b"005924\n");
    assert!(refusal(&["totp", "code", "--secret", "hello!"], "").contains("not a base32 key"));
}
