//! The page that creates many users from a list: what it creates, what it refuses, and what nobody can do with it.
#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use data_encoding::BASE64;
use tests::{PUBLIC_URL, Reply, Service, TestRequest, TestUser, TestUsers, browser::Browser};

const PAGE: &str = "/admin/users/import";
const SCRIPT: &str = "<script>alert(1)</script>";
const ESCAPED: &str = "&#60;script&#62;alert(1)&#60;/script&#62;";
const PASSWORD: &str = "nora has 5 quiet owls";

async fn signed_in<'a>(service: &'a Service, users: &mut TestUsers, name: &str) -> Browser<'a> {
    let user = users.get_mut(name).unwrap();
    service.stepped_up_session(user).await;
    Browser::signed_in(service, user)
}

#[track_caller]
fn assert_shows(reply: &Reply, status: u16, texts: &[&str]) {
    assert_eq!(reply.status, status, "{reply:?}");
    for text in texts {
        assert!(reply.html().contains(text), "{text} is missing: {}", reply.html());
    }
}

/// The sealed list in a preview.
fn sealed(reply: &Reply) -> String {
    let after = reply.html().split_once("name=\"confirm\" value=\"").unwrap_or_else(|| panic!("{}", reply.html())).1;
    after.split_once('"').unwrap().0.to_owned()
}

/// The file of a page.
fn file(reply: &Reply) -> String {
    let after = reply.html().split_once("href=\"data:text/csv;charset=utf-8,").unwrap().1;
    let encoded = format!("file={}", after.split_once('"').unwrap().0);
    serde_urlencoded::from_str::<Vec<(String, String)>>(&encoded).unwrap()[0].1.clone()
}

/// How many users the tenant has.
async fn count(service: &Service, ann: &Browser<'_>) -> usize {
    let list = service.get("/v1/admin/users?limit=100", &ann.cookies["__Host-vestibule"]).await.ok();
    list.body["items"].as_array().unwrap().len()
}

const LIST: &str = "username;display_name;role;email;password;auth_type;team\r\n\
    nora;Nora;standard;;nora has 5 quiet owls;;x\r\n\
    ivy;Ivy;Portal;ivy@acme.example;;local;x\r\n\
    sid;Sid;standard;;;saml_sso;x\r\n\
    BOB;Bob;standard;bob2@acme.example;;;x\r\n\
    ivy;Ivy again;standard;ivy2@acme.example;;;x\r\n\
    short;Short;standard;;short;;x\r\n\
    nomail;No mail;standard;;;;x\r\n\
    king;King;king;k@acme.example;;;x\r\n";

#[tokio::test]
async fn list_is_created_after_a_preview() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    assert_shows(&ann.open("/admin/users").await, 200, &["href=\"/admin/users/import\""]);
    assert_shows(&ann.open(PAGE).await, 200, &["enctype=\"multipart/form-data\"", "At most 200 users"]);
    let before = count(&service, &ann).await;
    let preview = ann.upload(PAGE, &[("csv", LIST), ("rows", "")]).await;
    let texts = ["Nobody is created yet", "Ignored columns: team", "Create 3 users", "the username is taken", "Line"];
    assert_shows(&preview, 200, &texts);
    assert_shows(&preview, 200, &["<dt>Created</dt><dd>2</dd>", "<dt>Created and invited by mail</dt><dd>1</dd>"]);
    assert_shows(
        &preview,
        200,
        &["at least 8 bytes", "e-mail address for the invitation", "The role must be standard"],
    );
    assert!(!preview.html().contains(PASSWORD) && !preview.html().contains(&BASE64.encode(PASSWORD.as_bytes())));
    assert_eq!(count(&service, &ann).await, before, "a preview creates nobody");
    assert!(service.mails().orders().is_empty());
    let done = ann.upload(PAGE, &[("confirm", &sealed(&preview))]).await;
    assert_shows(&done, 200, &["Done.", "<dt>Not created: the username is taken</dt><dd>2</dd>", "/admin/users/u"]);
    assert!(!done.html().contains("name=\"confirm\"") && !done.html().contains(PASSWORD));
    let rows: Vec<_> = file(&done).lines().map(|line| line.split("\",\"").nth(2).unwrap().to_owned()).collect();
    let expected = ["outcome", "created", "created", "created", "exists", "exists", "invalid", "invalid", "invalid"];
    assert_eq!(rows, expected);
    assert!(file(&done).lines().nth(1).unwrap().starts_with("\"2\",\"nora\",\"created\",\""), "{}", file(&done));
    assert_eq!(count(&service, &ann).await, before + 3);
    let mails = service.sent_mails().await;
    assert_eq!((mails.len(), &*mails[0].to), (1, "ivy@acme.example"));
    service.login(&TestUser::new("acme", "nora", PASSWORD)).await.ok();
    // Once more, as a reload does.
    let again = ann.upload(PAGE, &[("confirm", &sealed(&preview))]).await;
    assert_shows(&again, 200, &["<dt>Not created: the username is taken</dt><dd>5</dd>"]);
    assert_eq!(count(&service, &ann).await, before + 3);
    assert!(service.sent_mails().await.is_empty());
}

#[tokio::test]
async fn pasted_list_is_taken_as_well() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let pasted = "role\tUsername\tdisplay_name\temail\nstandard\tivy\tIvy\tivy@acme.example\n";
    let preview = ann.upload(PAGE, &[("rows", pasted)]).await;
    assert_shows(&preview, 200, &["Create 1 user<", "Ivy"]);
    assert!(!preview.html().contains("<dd>0</dd>"), "outcomes of no row are left out");
    assert_shows(&ann.upload(PAGE, &[("confirm", &sealed(&preview))]).await, 200, &["Done."]);
    let nothing = ann.upload(PAGE, &[("rows", pasted)]).await;
    assert_shows(&nothing, 200, &["there is nothing to confirm"]);
    assert!(!nothing.html().contains("name=\"confirm\""));
}

#[tokio::test]
async fn list_that_cannot_be_read_says_what_is_wrong_and_the_limit() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let header = "username,display_name,role,email\r\n";
    let rows = |count: usize| header.to_owned() + &"ivy,Ivy,standard,ivy@acme.example\r\n".repeat(count);
    let (many, long) = (rows(201), header.to_owned() + "ivy," + &"x".repeat(195 * 1024) + ",standard,\r\n");
    for (fields, says) in [
        (vec![], "Choose a file or paste a list."),
        (vec![("csv", LIST), ("rows", LIST)], "not both"),
        (vec![("csv", "ivy,Ivy,standard\r\n")], "does not name a column &#34;username&#34;"),
        (vec![("csv", header)], "no users"),
        (vec![("csv", "username,display_name,role\r\nivy\r\n")], "Save it as &#34;CSV UTF-8&#34;"),
        (vec![("rows", "username,display_name,role\r\nivy\r\n")], "as many cells as the first line"),
        (vec![("csv", "username\r\n\u{fffd}\r\n")], "Save it as &#34;CSV UTF-8&#34;"),
        (vec![("csv", &many)], "The list has 201 users. At most 200"),
        (vec![("csv", &long)], "larger than 190 KiB"),
    ] {
        assert_shows(&ann.upload(PAGE, &fields).await, 400, &[says, "<title>Error: Import users"]);
    }
    // What was pasted is kept, unless it may have passwords.
    let reply = ann.upload(PAGE, &[("rows", "username,display_name\r\nivy,Ivy")]).await;
    assert_shows(&reply, 400, &["column &#34;role&#34;", "ivy,Ivy</textarea>"]);
    let reply = ann.upload(PAGE, &[("rows", &format!("username,Password\r\nivy,{PASSWORD}"))]).await;
    assert!(reply.status == 400 && !reply.html().contains(PASSWORD), "{reply:?}");
    let large = "x".repeat(256 * 1024);
    assert_shows(&ann.upload(PAGE, &[("csv", &large)]).await, 413, &["too large", "<title>Error:"]);
    assert_eq!(ann.upload(PAGE, &[("extra", "x")]).await.status, 400);
    assert_shows(&ann.upload(PAGE, &[("csv", &rows(200))]).await, 200, &["Create 1 user<"]);
}

#[tokio::test]
async fn list_is_confirmed_only_as_it_was_previewed_and_by_the_same_person() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let list = sealed(&ann.upload(PAGE, &[("csv", LIST)]).await);
    let (mut amy, mut gus) =
        (signed_in(&service, &mut users, "amy").await, signed_in(&service, &mut users, "gus").await);
    let before = count(&service, &ann).await;
    for browser in [&mut amy, &mut gus] {
        assert_eq!(browser.upload(PAGE, &[("confirm", &list)]).await.status, 400, "sealed for ann");
    }
    let other = if list.ends_with('A') { "B" } else { "A" };
    let altered = format!("{}{other}", &list[..list.len() - 1]);
    for wrong in [&list[..list.len() - 8], &altered, LIST, "x"] {
        assert_eq!(ann.upload(PAGE, &[("confirm", wrong)]).await.status, 400);
    }
    assert_eq!(count(&service, &ann).await, before);
}

#[tokio::test]
async fn cells_with_scripts_and_formulas_are_texts() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let list = format!(
        "username,display_name,role,email,{SCRIPT}\n{SCRIPT},{SCRIPT},{SCRIPT},{SCRIPT},{SCRIPT}\n\
         =cmd,{SCRIPT},standard,cmd@acme.example,x\n"
    );
    let preview = ann.upload(PAGE, &[("rows", &list)]).await;
    assert_shows(&preview, 200, &[ESCAPED]);
    let done = ann.upload(PAGE, &[("confirm", &sealed(&preview))]).await;
    assert_shows(&done, 200, &[ESCAPED]);
    let wrong = ann.upload(PAGE, &[("rows", &list.replace("role", "x"))]).await;
    assert_shows(&wrong, 400, &[ESCAPED]);
    for page in [&preview, &done, &wrong] {
        assert!(!page.html().contains(SCRIPT), "{}", page.html());
    }
    assert!(file(&done).contains("\"'=cmd\""), "a spreadsheet must not take it for a formula: {}", file(&done));
}

#[tokio::test]
async fn only_an_administrator_imports_and_only_from_the_page() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let confirm = sealed(&ann.upload(PAGE, &[("csv", LIST)]).await);
    let before = count(&service, &ann).await;
    let mut bob = signed_in(&service, &mut users, "bob").await;
    let forms: [&[(&str, &str)]; 3] = [&[("csv", LIST)], &[("confirm", &confirm)], &[("extra", "x")]];
    for fields in forms {
        assert_shows(&bob.upload(PAGE, fields).await, 403, &["You are not allowed to do this."]);
        let to_sign_in = Browser::new(&service).upload(PAGE, fields).await.location().to_owned();
        assert_eq!(to_sign_in, "/login?return_to=%2Fadmin%2Fusers%2Fimport");
        let form = TestRequest::new(Method::POST, PAGE).multipart(fields).header("accept", "text/html");
        for request in [
            form.clone(),
            form.clone().header("origin", "null"),
            form.clone().header("origin", "https://evil.example"),
            form.header("origin", PUBLIC_URL).header("sec-fetch-site", "cross-site"),
        ] {
            assert_eq!(ann.send(request).await.status, 403);
        }
    }
    assert_eq!(count(&service, &ann).await, before);
}

#[tokio::test]
async fn list_is_kept_while_a_step_up_is_repeated() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let preview = ann.upload(PAGE, &[("csv", LIST)]).await;
    service.advance(301);
    let again = "href=\"/step-up?return_to=%2Fadmin%2Fusers%2Fimport\"";
    let pasted = "username,display_name,role\nzoe,Zoe,standard";
    assert_shows(&ann.upload(PAGE, &[("rows", pasted)]).await, 401, &[again, "zoe,Zoe,standard</textarea>"]);
    let refused = ann.upload(PAGE, &[("confirm", &sealed(&preview))]).await;
    assert_shows(&refused, 401, &[again, "<title>Error:", "Create the users"]);
    assert!(!refused.html().contains("Done."));
    let mut ann = signed_in(&service, &mut users, "ann").await;
    assert_shows(&ann.upload(PAGE, &[("confirm", &sealed(&refused))]).await, 200, &["Done.", "<dd>2</dd>"]);
}

#[tokio::test]
async fn interrupted_import_is_continued_and_creates_nobody_twice() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    let list = "username,display_name,role,email\na1,A,standard,a1@acme.example\na2,A,standard,a2@acme.example\n";
    let preview = ann.upload(PAGE, &[("csv", list)]).await;
    let before = count(&service, &ann).await;
    service.mails().set_broken(true);
    let interrupted = ann.upload(PAGE, &[("confirm", &sealed(&preview))]).await;
    assert_shows(&interrupted, 503, &["The import was interrupted", "Create the users", "role=\"alert\""]);
    service.mails().set_broken(false);
    let done = ann.upload(PAGE, &[("confirm", &sealed(&interrupted))]).await;
    assert_shows(&done, 200, &["Done.", "<dt>Not created: the username is taken</dt><dd>1</dd>"]);
    assert_eq!(count(&service, &ann).await, before + 2);
}

#[tokio::test]
async fn page_is_in_german_too() {
    let (service, mut users) = Service::with_users().await;
    let mut ann = signed_in(&service, &mut users, "ann").await;
    assert_shows(&ann.open("/admin/users/import?lang=de").await, 200, &["Benutzer importieren", "Höchstens 200"]);
    let preview = ann.upload(PAGE, &[("csv", LIST)]).await;
    assert_shows(&preview, 200, &["3 Benutzer anlegen", "Nicht angelegt", "Die Rolle muss"]);
}
