//! `users`, `exclusions` and `audit` through pipes.

use std::collections::BTreeSet;

use super::*;

/// A file of 200 people, half of them contacts. All are invited.
fn people() -> String {
    let row = |n: usize| {
        let (kind, role) = if n.is_multiple_of(2) { ("contact", "portal") } else { ("employee", "standard") };
        let name = if n == 7 { "'=2+3".to_owned() } else { format!("Person {n}") };
        format!("p{n:03},\"{name}\",{kind},{role},p{n}@acme.example\r\n")
    };
    format!("username,display_name,kind,role,email\r\n{}", (0..200).map(row).collect::<String>())
}

#[test]
fn people_are_imported_excluded_reset_and_audited() {
    let ann = Ann::signed_in(0);
    let file = ann.file("people.csv", &people());
    let import = ["users", "import", &file];

    let rows = ann.rows(&["users", "import", &file, "--dry-run"]);
    assert_eq!((rows.len(), count(&rows, "outcome", "created")), (200, 200));
    assert_eq!(ann.rows(&["users", "list"]).len(), 2, "a dry run creates nobody");
    let rows = ann.rows(&import);
    assert_eq!((rows.len(), count(&rows, "outcome", "created")), (200, 200));
    assert_eq!((&rows[0]["row"], &rows[0]["username"]), (&json!(2), &json!("p000")));
    assert!(!Path::new(&format!("{file}.progress")).exists());
    // Nobody is created twice.
    let table = ann.succeed(&import);
    assert_eq!(table.lines().next(), Some("row\tid\tusername\toutcome\tdetail"));
    assert_eq!(table.lines().filter(|line| line.contains("\texists\t")).count(), 200);
    assert_eq!(ann.rows(&["users", "list"]).len(), 202);

    // What was exported can be imported, and no spreadsheet program takes a name for a formula.
    let export = ann.succeed(&["users", "export"]);
    assert!(export.contains("p007,'=2+3,employee,standard,local,p7@acme.example,"), "{export}");
    let exported =
        ann.file("export.csv", &export.lines().filter(|line| !line.starts_with("a")).collect::<Vec<_>>().join("\n"));
    assert_eq!(count(&ann.rows(&["users", "import", &exported]), "outcome", "exists"), 200);
    let [p007] = &ann.rows(&["users", "show", "P007"])[..] else { panic!() };
    assert_eq!((&p007["display_name"], &p007["email"]), (&json!("=2+3"), &json!("p7@acme.example")));

    // 50 contacts of the file are excluded.
    let contacts = ann.succeed(&["users", "export", "--kind", "contact"]);
    let fifty: Vec<_> = contacts.lines().take(51).collect();
    let fifty = ann.file("fifty.csv", &fifty.join("\n"));
    let exclude = ["exclusions", "add", "--file", &fifty, "--reason", "no phones"];
    assert_eq!(count(&ann.rows(&[&exclude[..], &["--dry-run"]].concat()), "outcome", "excluded"), 50);
    assert_eq!(ann.rows(&["exclusions", "list"]).len(), 0);
    let rows = ann.rows(&exclude);
    assert_eq!((rows.len(), count(&rows, "outcome", "excluded")), (50, 50));
    assert_eq!(rows[0]["username"], "p000");
    assert_eq!(count(&ann.rows(&exclude), "outcome", "unchanged"), 50);
    let listed = ann.rows(&["exclusions", "list"]);
    assert_eq!((listed.len(), count(&listed, "reason", "no phones")), (50, 50));
    assert_eq!(ann.rows(&["users", "list", "--excluded", "true"]).len(), 50);
    let rows = ann.rows(&["exclusions", "remove", "p000", "P002", "--reason", "phones arrived"]);
    assert_eq!((rows.len(), count(&rows, "outcome", "included")), (2, 2));
    let output = ann.run(&["exclusions", "add", "p000", "p001", "--reason", "a try", "--json"], "");
    let rows = json_lines(&text(&output.stdout));
    assert_eq!((output.status.code(), rows.len()), (Some(1), 2));
    assert_eq!((&rows[0]["outcome"], &rows[1]["outcome"]), (&json!("excluded"), &json!("not_a_contact")));
    assert!(text(&output.stderr).contains("error: 1 of 2 rows failed"));

    // One reset.
    let [reset] = &ann.rows(&["users", "reset-mfa", "p001", "--reason", "lost the phone"])[..] else { panic!() };
    assert_eq!((&reset["user"]["username"], &reset["user"]["mfa"]), (&json!("p001"), &json!("none")));
    assert!(ann.refused(&["users", "reset-mfa", "ann", "--reason", "x"], "").contains("you cannot reset your own MFA"));
    check_audit(&ann);
}

/// The audit has each change once.
fn check_audit(ann: &Ann) {
    let events = ann.rows(&["audit", "export"]);
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len());
    let of = |action: &str| count(&events, "action", action);
    assert_eq!((of("exclusion.excluded"), of("exclusion.included"), of("mfa.reset")), (51, 2, 2));
    let created = events.iter().filter(|event| event["action"] == "user.created" && event["actor"].is_string());
    assert_eq!(created.count(), 200);
    let csv = ann.succeed(&["audit", "export"]);
    assert!(csv.starts_with("id,at,action,outcome,actor,target,request_id,"), "{csv}");
    assert!(csv.contains(",mfa.reset,success,") && csv.contains(",lost the phone,"), "{csv}");
    assert_eq!(csv.lines().count(), events.len() + 1);
    let table = ann.succeed(&["audit", "list", "--limit", "3"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    let of_p001 = ann.rows(&["audit", "list", "--user", "p001"]);
    assert_eq!(of_p001[0]["action"], "mfa.reset");
    assert!(of_p001.iter().all(|event| event["target"] == of_p001[0]["target"]));
    let later = ann.rows(&["audit", "list", "--from", "2999-01-01T00:00:00Z"]);
    assert_eq!(later.len(), 0);
    assert_eq!(ann.rows(&["audit", "list", "--to", "2999-01-01T00:00:00Z", "--limit", "120"]).len(), 120);
}

#[test]
fn user_is_created_invited_shown_and_deactivated() {
    let ann = Ann::signed_in(0);
    let create = |name: &str, more: &[&str], input: &str| {
        let create = ["users", "create", "--username", name, "--display-name", "Zoë", "--kind", "employee"];
        let create = [&create[..], &["--role", "standard", "--json"], more].concat();
        ann.run(&create, input)
    };
    let output = create("zoe", &[], "short\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("invalid_request (/password"), "{}", text(&output.stderr));
    assert!(create("zoe", &[], "a good long password\n").status.success());
    assert!(create("sam", &["--auth-type", "saml_sso"], "").status.success());
    assert!(create("ivy", &["--invite", "--email", "ivy@acme.example"], "").status.success());
    assert_eq!(create("ivy2", &["--invite"], "").status.code(), Some(2));
    let why = text(&create("ZOE", &[], "a good long password\n").stderr);
    assert!(why.contains("conflict (another user has this username)"), "{why}");

    let [invited] = &ann.rows(&["users", "invite", "ivy"])[..] else { panic!() };
    assert_eq!(invited, &json!({"invited": "ivy", "email": "ivy@acme.example"}));
    assert!(ann.refused(&["users", "invite", "zoe"], "").contains("conflict"));
    let shown = ann.succeed(&["users", "show", "zoe"]);
    assert!(shown.contains("display_name\tZoë\n") && shown.contains("active\ttrue\n"), "{shown}");
    let id = shown.lines().find_map(|line| line.strip_prefix("id\t")).unwrap();
    let [zoe] = &ann.rows(&["users", "deactivate", "--id", id])[..] else { panic!() };
    assert_eq!((&zoe["username"], &zoe["active"]), (&json!("zoe"), &json!(false)));
    assert!(ann.refused(&["users", "show", "nobody"], "").contains("tenant acme has no user nobody"));
    assert!(ann.refused(&["users", "show", "--id", "no id"], "").contains("no id is no id"));
    assert!(ann.refused(&["users", "show", "--id", "nobody"], "").contains("not_found"));
}

#[test]
fn invalid_file_changes_nothing() {
    let ann = Ann::signed_in(0);
    let import = |content: &str| {
        let file = ann.file("bad.csv", content);
        let why = ann.refused(&["users", "import", &file], "");
        assert!(!Path::new(&format!("{file}.progress")).exists());
        assert_eq!(why.lines().count(), 1, "{why}");
        why
    };
    assert!(
        import("username,display_name,kind,role\nzoe,Zoe,robot,x\n")
            .contains("line 2: kind must be employee or contact")
    );
    assert!(import("name\nzoe\n").contains("the column username is missing"));
    assert!(import("").contains("it has no rows"));
    let file = ann.file("bad.csv", "id\nu-1\nno id\n");
    assert!(ann.refused(&["exclusions", "add", "--file", &file, "--reason", "x"], "").contains("line 3: the id"));
    let file = ann.file("bad.csv", "name\nzoe\n");
    assert!(
        ann.refused(&["exclusions", "add", "--file", &file, "--reason", "x"], "").contains("the column id is missing")
    );
    let absent = ann.refused(&["users", "import", "absent.csv"], "");
    assert!(absent.contains("cannot read absent.csv"), "{absent}");
    assert_eq!(ann.rows(&["users", "list"]).len(), 2);
    assert_eq!(ann.run(&["exclusions", "add", "--reason", "x"], "").status.code(), Some(2));
}

#[test]
fn invalid_row_fails_and_the_others_are_created() {
    let ann = Ann::signed_in(0);
    let rows = "username,display_name,kind,role,password\n\
        zoe,Zoe,employee,standard,a good long password\nyan,Yan,employee,standard,short\nxia,Xia,contact,standard,\n";
    let file = ann.file("people.csv", rows);
    let output = ann.run(&["users", "import", &file, "--json"], "");
    assert_eq!(output.status.code(), Some(1));
    let rows = json_lines(&text(&output.stdout));
    let outcomes: Vec<_> = rows.iter().map(|row| row["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["created", "invalid", "invalid"]);
    assert!(rows[1]["detail"].as_str().unwrap().contains("/password"), "{rows:?}");
    assert!(text(&output.stderr).contains("error: 2 of 3 rows failed"));
    assert!(!Path::new(&format!("{file}.progress")).exists(), "every row has its result");
}

#[test]
fn audit_is_followed_and_each_event_printed_once() {
    let mut ann = Ann::enrolled(0);
    // A sign-in without a fresh code, so that the next command changes the token.
    ann.sign_in(&ann.recovery_token.clone());
    let mut follow = ann.command(&["audit", "follow", "--interval", "1"]).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines().map(Result::unwrap);
    // It has read the events before.
    assert_eq!(lines.next().unwrap(), "at\taction\toutcome\tactor\ttarget\treason");
    let code = ann.app.code();
    let create = |name: &str, input: &str| {
        let create =
            ["users", "create", "--username", name, "--display-name", "Z", "--kind", "employee", "--role", "standard"];
        assert!(ann.run(&[&create[..], &["--auth-type", "saml_sso"]].concat(), input).status.success());
    };
    create("zoe", &format!("{code}\n"));
    create("yan", "");
    create("xia", "");
    let action = |line: String| line.split('\t').nth(1).unwrap().to_owned();
    let mut actions: Vec<_> = lines.by_ref().take(4).map(action).collect();
    // It has asked again.
    sleep(Duration::from_secs(3));
    let interrupt = Command::new("kill").args(["-INT", &follow.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(follow.wait().unwrap().code(), Some(130));
    actions.extend(lines.map(action));
    assert_eq!(actions, ["step_up", "user.created", "user.created", "user.created"]);
}

#[test]
fn closed_pipe_ends_a_list_without_a_message() {
    let ann = Ann::signed_in(300);
    for arguments in [["users", "list"], ["users", "export"]] {
        let mut list = ann.command(&arguments).spawn().unwrap();
        drop(list.stdout.take());
        let output = list.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), String::new()));
    }
}
