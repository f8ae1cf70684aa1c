//! Runs that stop in the middle, and go on.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, process::ChildStderr};

use super::{
    proxy::{TIMED_OUT, UNAVAILABLE},
    *,
};

/// A run whose next change but some is held: the server has done it, and the program has no answer.
struct Held {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Held {
    fn start(ann: &Ann, arguments: &[&str], changes: usize) -> Self {
        ann.proxy.hold_after(changes);
        let mut child = ann.command(arguments).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        ann.proxy.wait();
        Self { child, said }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// The next line on standard error.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    /// Waits for the end. Returns the exit status, and the rest of both streams.
    fn end(mut self) -> (Option<i32>, String, String) {
        let mut said = String::new();
        self.said.read_to_string(&mut said).unwrap();
        let output = self.child.wait_with_output().unwrap();
        (output.status.code(), text(&output.stdout), said)
    }
}

/// Each row of the file has one result, with this outcome.
fn check_results(rows: &[Value], total: usize, outcome: &str) {
    let numbers: Vec<_> = rows.iter().map(|row| row["row"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (2..).take(total).collect::<Vec<_>>());
    assert_eq!(count(rows, "outcome", outcome), total, "{:?}", rows.iter().find(|row| row["outcome"] != outcome));
}

/// How many events of an action there are, each about another user.
fn targets(ann: &Ann, action: &str) -> usize {
    let events = ann.rows(&["audit", "export"]);
    let of_action: Vec<_> =
        events.iter().filter(|event| event["action"] == action && event["actor"].is_string()).collect();
    let targets: BTreeSet<_> = of_action.iter().map(|event| event["target"].as_str().unwrap()).collect();
    assert_eq!(targets.len(), of_action.len(), "a row was done twice");
    targets.len()
}

#[test]
fn interrupted_exclusion_continues_and_does_no_row_twice() {
    let ann = Ann::signed_in(1_000);
    let ids: String = (0..1_000).map(|n| format!("u-{n}\n")).collect();
    let file = ann.file("contacts.csv", &format!("id\n{ids}"));
    let journal = PathBuf::from(format!("{file}.progress"));
    let exclude = ["exclusions", "add", "--file", &file, "--reason", "no phones", "--json"];

    let mut run = Held::start(&ann, &exclude, 1);
    run.signal("-INT");
    assert_eq!(run.line(), "Stopping when these rows have their answer. Ctrl-C again stops at once.\n");
    ann.proxy.release();
    let (status, shown, said) = run.end();
    assert_eq!((status, shown), (Some(130), String::new()));
    assert_eq!(said, "400 of 1000 rows are done. Run the same command again to continue.\n");
    assert_eq!(ann.rows(&["exclusions", "list"]).len(), 400);

    // Another run of the same file is refused, and changes nothing.
    let other = ["exclusions", "remove", "--file", &file, "--reason", "no phones"];
    assert!(ann.refused(&other, "").contains("is of another run"));
    let other = ["exclusions", "add", "--file", &file, "--reason", "another reason"];
    assert!(ann.refused(&other, "").contains("is of another run"));

    // The process is killed: the answer to a chunk is lost.
    let mut run = Held::start(&ann, &exclude, 0);
    assert_eq!(run.line(), "Continuing: 400 of 1000 rows are done.\n");
    let again = ann.refused(&exclude, "");
    assert!(again.contains("another command is working on"), "{again}");
    run.signal("-KILL");
    assert_eq!(run.end().0, None);
    ann.proxy.release();
    assert_eq!(ann.rows(&["exclusions", "list"]).len(), 600);

    check_results(&ann.rows(&exclude[..6]), 1_000, "excluded");
    assert!(!journal.exists());
    assert_eq!((ann.rows(&["exclusions", "list"]).len(), targets(&ann, "exclusion.excluded")), (1_000, 1_000));
}

#[test]
fn interrupted_import_continues_and_creates_nobody_twice() {
    let ann = Ann::signed_in(0);
    let rows: String = (0..1_000).map(|n| format!("p{n},P {n},contact,portal,saml_sso\n")).collect();
    let file = ann.file("people.csv", &format!("username,display_name,kind,role,auth_type\n{rows}"));
    let journal = PathBuf::from(format!("{file}.progress"));
    let import = ["users", "import", &file, "--json"];
    let mut run = Held::start(&ann, &import, 1);
    run.signal("-INT");
    run.line();
    ann.proxy.release();
    let (status, _, said) = run.end();
    assert_eq!((status, &said[..20]), (Some(130), "400 of 1000 rows are"));
    assert!(!fs::read_to_string(&journal).unwrap().contains(&ann.token().unwrap()));
    assert_eq!(fs::metadata(&journal).unwrap().permissions().mode() & 0o777, 0o600);

    check_results(&ann.rows(&import[..3]), 1_000, "created");
    assert!(!journal.exists());
    assert_eq!(targets(&ann, "user.created"), 1_000);
}

#[test]
fn import_that_stops_at_once_says_which_users_it_may_have_created() {
    let ann = Ann::signed_in(0);
    let rows: String = (0..1_000).map(|n| format!("p{n},P {n},contact,portal,saml_sso\n")).collect();
    let file = ann.file("people.csv", &format!("username,display_name,kind,role,auth_type\n{rows}"));
    let import = ["users", "import", &file];
    let mut run = Held::start(&ann, &import, 2);
    run.signal("-INT");
    run.line();
    run.signal("-INT");
    let (status, shown, said) = run.end();
    assert_eq!((status, shown), (Some(130), String::new()));
    let unknown = "rows 402 to 601 were sent without an answer: they may or may not be done";
    assert_eq!(said, format!("400 of 1000 rows are done, and {unknown}. Run the same command again to continue.\n"));
    ann.proxy.release();

    let rows = ann.rows(&import);
    assert_eq!((count(&rows, "outcome", "created"), count(&rows, "outcome", "exists")), (800, 200));
    for row in rows.iter().filter(|row| row["outcome"] == "exists") {
        assert!((402..=601).contains(&row["row"].as_u64().unwrap()) && row["id"].is_string(), "{row}");
        assert!(row["detail"].as_str().unwrap().contains("this run may have created the user"), "{row}");
    }
    assert_eq!(targets(&ann, "user.created"), 1_000);
}

#[test]
fn run_that_needs_a_code_continues_when_it_gets_one() {
    let mut ann = Ann::enrolled(300);
    ann.sign_in(&ann.recovery_token.clone());
    let ids: String = (0..300).map(|n| format!("u-{n}\n")).collect();
    let file = ann.file("contacts.csv", &format!("id\n{ids}"));
    let exclude = ["exclusions", "add", "--file", &file, "--reason", "no phones", "--json"];
    let people = ann.file("people.csv", "username,display_name,kind,role,auth_type\nc0,C,contact,portal,saml_sso\n");
    let import = ["users", "import", &people];
    assert!(ann.refused(&import, "").contains("\n0 of 1 rows are done. Run the same command again to continue."));
    let why = ann.refused(&exclude, "");
    assert!(why.contains("standard input is empty"), "{why}");
    assert!(why.contains("\n0 of 300 rows are done. Run the same command again to continue."), "{why}");
    let code = ann.app.code();
    let output = ann.run(&exclude, &format!("{code}\n"));
    check_results(&json_lines(&text(&output.stdout)), 300, "excluded");
    // The refused import did not create the user.
    let [row] = &ann.rows(&import)[..] else { panic!() };
    assert_eq!((row["outcome"].as_str(), row["detail"].as_str()), (Some("exists"), None));
}

#[test]
fn lost_answer_is_asked_for_again() {
    let ann = Ann::signed_in(300);
    let ids: String = (0..300).map(|n| format!("u-{n}\n")).collect();
    let file = ann.file("contacts.csv", &format!("id\n{ids}"));
    ann.proxy.lose_after(1, UNAVAILABLE);
    let rows = ann.rows(&["exclusions", "add", "--file", &file, "--reason", "no phones"]);
    check_results(&rows, 300, "excluded");

    let file = ann.file("people.csv", "username,display_name,kind,role,auth_type\nzoe,Zoe,contact,portal,saml_sso\n");
    ann.proxy.lose_after(0, TIMED_OUT);
    let [row] = &ann.rows(&["users", "import", &file])[..] else { panic!() };
    assert_eq!(row["outcome"], "exists");
    assert!(row["detail"].as_str().unwrap().contains("this run may have created the user"), "{row}");
}

#[test]
fn interrupted_change_says_that_it_may_be_done() {
    let ann = Ann::signed_in(1);
    let run = Held::start(&ann, &["users", "deactivate", "c0"], 0);
    run.signal("-INT");
    let (status, shown, said) = run.end();
    ann.proxy.release();
    let expected = "The request was sent, but there is no answer. The change may or may not be made: check before you repeat it.\n";
    assert_eq!((status, shown.as_str(), said.as_str()), (Some(130), "", expected));
    assert!(ann.succeed(&["users", "show", "c0"]).contains("active\tfalse"));
}
