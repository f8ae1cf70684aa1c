//! The commands in a terminal, with and without colors.

use super::{
    pty::{CTRL_C, Colors, ESCAPE, Terminal, check},
    *,
};

impl Ann {
    /// A command in a terminal.
    fn terminal(&self, colors: Colors, arguments: &[&str]) -> Terminal {
        let command = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_vestibule")).args(arguments);
        let command = command.env("XDG_STATE_HOME", self.home.path().join("state")).current_dir(self.home.path());
        Terminal::spawn(colors, command)
    }

    /// The screen of a command that succeeds.
    pub fn screen(&self, colors: Colors, arguments: &[&str]) -> String {
        let (text, status) = self.terminal(colors, arguments).end();
        assert_eq!(status, Some(0), "{arguments:?}: {text}");
        check(&text, colors);
        assert!(!text.contains(ESCAPE), "no command uses colors: {text}");
        assert!(self.token().is_none_or(|token| !text.contains(&token)), "{arguments:?}: {text}");
        text
    }
}

#[test]
fn every_command_runs_in_a_terminal() {
    let mut ann = Ann::enrolled(400);
    for (colors, name) in [(Colors::Yes, "zoe"), (Colors::No, "yan")] {
        let login = ann.login();
        let mut terminal = ann.terminal(colors, &login.each_ref().map(String::as_str));
        terminal.wait_for("Password: ");
        terminal.press(&format!("{PASSWORD}\r"));
        terminal.wait_for("Code, or recovery token: ");
        terminal.press(&format!("{}\r", ann.app.code()));
        let (text, status) = terminal.end();
        check(&text, colors);
        assert!(status == Some(0) && text.contains("Signed in: ann (Ann)") && !text.contains("camels"), "{text}");
        for (arguments, expected) in
            [commands_for_users(&ann, name), commands_for_exclusions(&ann), other_commands(name)].concat()
        {
            let text = ann.screen(colors, &arguments.split(' ').collect::<Vec<_>>());
            assert!(text.contains(expected), "{arguments}: {text}");
        }
        let mut follow = ann.terminal(colors, &["audit", "follow", "--interval", "1"]);
        follow.wait_for("at\taction\toutcome");
        follow.press(CTRL_C);
        let (text, status) = follow.end();
        check(&text, colors);
        assert_eq!(status, Some(130), "{text}");
        assert!(ann.screen(colors, &["logout"]).contains("Signed out."));
    }
}

/// Commands, and what they show. No argument has a space.
type Commands = Vec<(String, &'static str)>;

fn commands_for_users(ann: &Ann, name: &str) -> Commands {
    let people = format!("username,display_name,kind,role,email\nx{name},X,contact,portal,x@acme.example\n");
    ann.file("people.csv", &people);
    let employee = "--kind employee --role standard --email z@acme.example --invite";
    vec![
        (format!("users create --username {name} --display-name Z {employee}"), "username\t"),
        (format!("users invite {name}"), "invited\t"),
        ("users list --query ann".into(), "\tann\tAnn\temployee\tadministrator\tlocal\ttrue\tactive\tfalse"),
        (format!("users show {name}"), "mfa\tnone"),
        ("users import people.csv".into(), "created"),
        ("users export --query ann".into(), "ann,Ann,employee,administrator"),
        (format!("users reset-mfa {name} --reason lost"), "enrol_by\t"),
        (format!("users deactivate {name}"), "active\tfalse"),
    ]
}

fn commands_for_exclusions(ann: &Ann) -> Commands {
    let ids: String = (0..400).map(|n| format!("u-{n}\n")).collect();
    ann.file("ids.csv", &format!("id\n{ids}"));
    vec![
        // The progress, and then the results.
        ("exclusions add --file ids.csv --reason migration".into(), "\r200 of 400 rows\r"),
        ("exclusions list".into(), "\tc7\t"),
        ("exclusions remove --file ids.csv --reason phones".into(), "\tincluded"),
    ]
}

fn other_commands(name: &str) -> Commands {
    vec![
        ("whoami".into(), "username\tann"),
        ("audit list".into(), "exclusion.included\tsuccess"),
        (format!("audit export --user {name}"), ",user.created,success,"),
        ("completion fish".into(), "complete -c"),
        ("man".into(), ".TH"),
    ]
}

#[test]
fn password_for_a_user_and_code_are_asked_for() {
    let mut ann = Ann::enrolled(0);
    ann.sign_in(&ann.recovery_token.clone());
    let create = ["users", "create", "--username", "zoe", "--display-name", "Zoe", "--kind", "employee"];
    let mut terminal = ann.terminal(Colors::No, &[&create[..], &["--role", "standard"]].concat());
    terminal.wait_for("Password for the user: ");
    terminal.press("a good long password\r");
    terminal.wait_for("This needs a fresh code");
    terminal.wait_for("Code: ");
    terminal.press("000000\r");
    terminal.wait_for("wait for the next one");
    terminal.wait_for("Code: ");
    terminal.press(&format!("{}\r", ann.app.code()));
    let (text, status) = terminal.end();
    check(&text, Colors::No);
    assert!(status == Some(0) && text.contains("username\tzoe") && !text.contains("good long"), "{text}");
}

#[test]
fn ctrl_c_at_a_question_ends_the_command_and_shows_typed_text_again() {
    let ann = Ann::enrolled(0);
    let login = ann.login().join(" ");
    // The shell stays, to look at the terminal afterwards.
    let line = format!("trap : INT; '{}' {login}; echo status $?; stty -a", env!("CARGO_BIN_EXE_vestibule"));
    let shell = pty_process::blocking::Command::new("sh").args(["-c", &line]);
    let mut terminal = Terminal::spawn(Colors::No, shell.env("XDG_STATE_HOME", ann.home.path().join("state")));
    terminal.wait_for("Password: ");
    // The terminal hides typed text before the question appears.
    terminal.press(CTRL_C);
    let (text, _) = terminal.end();
    assert!(text.contains("status 130") && text.contains(" echo ") && !text.contains(" -echo "), "{text}");

    let mut ann = ann;
    let code = ann.app.code();
    ann.sign_in(&code);
    let mut terminal = ann.terminal(
        Colors::No,
        &["users", "create", "--username", "z", "--display-name", "Z", "--kind", "contact", "--role", "portal"],
    );
    terminal.wait_for("Password for the user: ");
    terminal.press(CTRL_C);
    assert_eq!(terminal.end().1, Some(130));
    assert_eq!(ann.rows(&["users", "list"]).len(), 2);
}

#[test]
fn ctrl_c_stops_a_run_and_says_what_is_done() {
    let ann = Ann::signed_in(1_000);
    let ids: String = (0..1_000).map(|n| format!("u-{n}\n")).collect();
    let file = ann.file("contacts.csv", &format!("id\n{ids}"));
    let exclude = ["exclusions", "add", "--file", &file, "--reason", "no phones"];
    ann.proxy.hold_after(1);
    let mut terminal = ann.terminal(Colors::Yes, &exclude);
    terminal.wait_for("200 of 1000 rows");
    ann.proxy.wait();
    terminal.press(CTRL_C);
    terminal.wait_for("Stopping when these rows have their answer.");
    ann.proxy.release();
    terminal.wait_for("400 of 1000 rows are done. Run the same command again to continue.");
    let (text, status) = terminal.end();
    assert_eq!(status, Some(130), "{text}");
    let text = ann.screen(Colors::Yes, &exclude);
    assert_eq!(text.matches("\texcluded").count(), 1_000);
}
