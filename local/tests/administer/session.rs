//! `login`, `logout`, `whoami`, and the fresh code that a change needs.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn session_is_kept_for_its_owner_until_logout() {
    let mut ann = Ann::enrolled(0);
    let before = ann.refused(&["whoami"], "");
    assert!(before.contains("error: nobody is signed in: run `") && before.contains(" login "), "{before}");

    let code = ann.app.code();
    let shown = ann.sign_in(&code);
    assert!(shown.contains("Signed in: ann (Ann), by pwd and otp, until ") && shown.contains(" whoami"), "{shown}");
    let mode = fs::metadata(ann.state_file()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let kept = fs::read_to_string(ann.state_file()).unwrap();
    assert!(!kept.contains(PASSWORD) && kept.contains(&ann.proxy.url), "{kept}");
    let who = ann.succeed(&["whoami"]);
    assert!(who.contains("tenant\tacme\n") && who.contains("role\tadministrator\n"), "{who}");
    let [who] = &ann.rows(&["whoami"])[..] else { panic!() };
    assert_eq!((&who["username"], &who["amr"]), (&json!("ann"), &json!(["pwd", "otp"])));
    assert!(who["step_up_until"].is_string());

    // A new sign-in ends the session before, and is from the same device.
    let first = ann.token().unwrap();
    let device = |kept: &str| serde_json::from_str::<Value>(kept).unwrap()["device_token"].clone();
    assert_eq!(ann.server.get("/v1/session", &first).0, 200);
    let code = ann.app.code();
    ann.sign_in(&code);
    let second = ann.token().unwrap();
    assert_eq!((ann.server.get("/v1/session", &first).0, ann.server.get("/v1/session", &second).0), (401, 200));

    let again = fs::read_to_string(ann.state_file()).unwrap();
    assert!(device(&kept).is_string());
    assert_eq!(device(&again), device(&kept));
    // Without a user, the last one signs in, at the same server.
    let output = ann.run(&["login", "--json"], &format!("{PASSWORD}\n{}\n", ann.recovery_token));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let signed_in = &json_lines(&text(&output.stdout))[0];
    assert_eq!((&signed_in["user"]["username"], signed_in.get("token")), (&json!("ann"), None));
    assert_eq!(ann.server.get("/v1/session", &second).0, 401);
    assert!(ann.succeed(&["whoami"]).contains(&format!("url\t{}\n", ann.proxy.url)));
    assert_eq!(ann.run(&["login", "--tenant", "acme"], "").status.code(), Some(2));

    fs::set_permissions(ann.state_file(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(ann.refused(&["whoami"], "").contains("chmod 600"));
    fs::set_permissions(ann.state_file(), fs::Permissions::from_mode(0o600)).unwrap();
    let last = ann.token().unwrap();
    assert_eq!(ann.succeed(&["logout"]), "Signed out.\n");
    assert!(!ann.state_file().exists());
    assert_eq!(ann.server.get("/v1/session", &last).0, 401);
    assert!(ann.refused(&["login"], "").contains("no earlier sign-in is saved: use --tenant"));
    assert!(ann.refused(&["logout"], "").contains("nobody is signed in"));
}

#[test]
fn ended_session_is_explained_and_can_be_forgotten() {
    let ann = Ann::signed_in(0);
    let kept = fs::read_to_string(ann.state_file()).unwrap();
    ann.succeed(&["logout"]);
    fs::write(ann.state_file(), kept).unwrap();
    fs::set_permissions(ann.state_file(), fs::Permissions::from_mode(0o600)).unwrap();
    let why = ann.refused(&["users", "list"], "");
    assert!(why.contains("invalid_token") && why.contains("sign in again with `"), "{why}");
    assert_eq!(ann.run(&["users", "list"], "").stdout, b"");
    let [out] = &ann.rows(&["logout"])[..] else { panic!() };
    assert_eq!(out, &json!({"signed_out": true, "was_alive": false}));
    assert!(!ann.state_file().exists());
}

#[test]
fn session_that_cannot_be_kept_is_ended() {
    let mut ann = Ann::enrolled(0);
    let login = ann.login();
    let mut command = ann.command(&login.each_ref().map(String::as_str));
    command.env("XDG_STATE_HOME", "/proc");
    let code = ann.app.code();
    let output = finish(command, &format!("{PASSWORD}\n{code}\n"));
    let why = text(&output.stderr);
    assert!(output.status.code() == Some(1) && why.contains("cannot keep the session in /proc/vestibule/"), "{why}");
    ann.sign_in(&ann.recovery_token.clone());
    let sessions: Value = serde_json::from_str(&ann.server.get("/v1/sessions", &ann.token().unwrap()).1).unwrap();
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1, "{sessions}");
}

#[test]
fn token_is_printed_only_on_request_and_then_not_kept() {
    let mut ann = Ann::enrolled(0);
    for json in [false, true] {
        let login = ann.login();
        let more = if json { &["--print-token", "--json"][..] } else { &["--print-token"] };
        let login = [&login.each_ref().map(String::as_str)[..], more].concat();
        let code = if json { ann.recovery_token.clone() } else { ann.app.code() };
        let output = ann.run(&login, &format!("{PASSWORD}\n{code}\n"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let stdout = text(&output.stdout);
        let token = if json {
            json_lines(&stdout)[0]["session"]["token"].as_str().unwrap().to_owned()
        } else {
            stdout.strip_suffix('\n').unwrap().to_owned()
        };
        assert!(token.starts_with("vs_") && !token.contains('\n'), "{stdout}");
        assert!(!text(&output.stderr).contains(&token));
        assert!(ann.server.get("/v1/session", &token).1.contains("\"username\":\"ann\""));
        assert!(!ann.state_file().exists());
    }
}

#[test]
fn change_asks_for_a_fresh_code_and_goes_on() {
    let mut ann = Ann::enrolled(0);
    // A sign-in with the recovery token never counts as a fresh code.
    ann.sign_in(&ann.recovery_token.clone());
    ann.succeed(&["users", "list"]);
    let before = ann.token().unwrap();
    let create = ["users", "create", "--username", "zoe", "--display-name", "Zoe", "--kind", "employee"];
    let create = [&create[..], &["--role", "standard", "--json"]].concat();

    let why = ann.refused(&create, "a good long password\n");
    assert!(why.contains("This needs a fresh code") && why.contains("Code: standard input is empty"), "{why}");
    let why = ann.refused(&create, "a good long password\n1\n2\n3\n4\n5\n");
    assert!(why.contains("a code has 6 digits") && why.contains("five wrong codes: the change was not made"), "{why}");
    assert_eq!(ann.rows(&["users", "list", "--query", "zoe"]).len(), 0);

    let code = ann.app.code();
    // The variable has ann's own password, which must not become another person's.
    let mut command = ann.command(&create);
    command.env("VESTIBULE_PASSWORD", PASSWORD);
    let output = finish(command, &format!("a good long password\n12345\n{code}\n"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(json_lines(&text(&output.stdout))[0]["username"], "zoe");
    let after = ann.token().unwrap();
    assert_ne!(before, after);
    assert_eq!((ann.server.get("/v1/session", &before).0, ann.server.get("/v1/session", &after).0), (401, 200));
    let mut stream = TcpStream::connect(ann.server.url.strip_prefix("http://").unwrap()).unwrap();
    let body = json!({"tenant": "acme", "username": "zoe", "password": "a good long password"}).to_string();
    let head = "POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("enrolment_required"), "{answer}");
    // It stays fresh.
    ann.succeed(&["users", "deactivate", "zoe"]);
}

#[test]
fn unreachable_server_and_bad_url_are_explained() {
    let home = TempDir::new().unwrap();
    let login = |url: &str| {
        let mut login = program(&["login", "--url", url, "--tenant", "acme", "--username", "ann"]);
        login.env("XDG_STATE_HOME", home.path());
        let output = finish(login, "a password\n");
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]));
        text(&output.stderr)
    };
    let why = login("http://127.0.0.1:1");
    assert!(why.contains("no server answers at http://127.0.0.1:1 (") && why.contains("is the URL right"), "{why}");
    let why = login("http://192.0.2.1");
    assert!(why.contains("is not the URL of a server: --url takes https://HOST"), "{why}");
    assert_eq!(why.lines().count(), 1);
}

#[test]
fn help_and_completions_name_the_program_as_it_was_started() {
    for (path, name) in [(env!("CARGO_BIN_EXE_vestibule"), "vestibule"), (env!("CARGO_BIN_EXE_local"), "local")] {
        let run = |arguments: &[&str]| {
            let output = Command::new(path).args(arguments).env_remove("CARGO").output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout)
        };
        let help = run(&["--help"]);
        assert!(help.contains(&format!("Usage: {name} ")) && help.contains("\n  enroll "), "{help}");
        assert!(!help.contains("enrol "), "the former name is hidden: {help}");
        assert!(run(&["enrol", "--help"]).contains("QR code"));
        assert!(run(&["users", "import", "--help"]).contains(&format!("Usage: {name} users import")));
        assert!(run(&["--version"]).starts_with(&format!("{name} ")));
        for (shell, expected) in [
            ("bash", format!("complete -F _{name} ")),
            ("zsh", format!("#compdef {name}")),
            ("fish", format!("complete -c {name} ")),
        ] {
            let script = run(&["completion", shell]);
            assert!(script.contains(&expected) && script.contains("reset-mfa"), "{shell}: {script}");
        }
        assert!(run(&["man"]).contains(&format!(".TH {name} 1")));
        let pages = TempDir::new().unwrap();
        run(&["man", "--dir", pages.path().to_str().unwrap()]);
        let page = fs::read_to_string(pages.path().join(format!("{name}-users-import.1"))).unwrap();
        assert!(page.contains("dry\\-run"), "{page}");
    }
    let syntax = format!("bash -n <('{}' completion bash)", env!("CARGO_BIN_EXE_vestibule"));
    assert!(Command::new("bash").args(["-c", &syntax]).status().unwrap().success());
}
