//! What a page weighs, compressed, with its stylesheet and its script.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use axum::http::Method;
use miniz_oxide::deflate::compress_to_vec;
use tests::{Reply, Service, TestRequest, TestUser, browser::Browser};

/// The maximum weight of a page.
const MOST: usize = 20 * 1024;

/// The head and the checksum of a gzip file.
const GZIP: usize = 18;

fn weight(text: &str) -> usize {
    GZIP + compress_to_vec(text.as_bytes(), 6).len()
}

/// The value of an attribute of the first element that begins like this.
fn attribute<'a>(html: &'a str, start: &str) -> &'a str {
    html.split_once(start).unwrap().1.split_once('"').unwrap().0
}

/// The preview and the result of an import of 200 users. The form of the preview keeps the list, which cannot be compressed.
async fn import(service: &Service, ann: &TestUser) -> [Reply; 2] {
    let row = |n| format!("long.username.{n},Person with the number {n},portal,person.{n}@customer.example\n");
    let list = "username,display_name,role,email\n".to_owned() + &(0..200).map(row).collect::<String>();
    let mut browser = Browser::signed_in(service, ann);
    let preview = browser.upload("/admin/users/import", &[("csv", &list)]).await;
    let sealed = attribute(preview.html(), "name=\"confirm\" value=\"").to_owned();
    let done = browser.upload("/admin/users/import", &[("confirm", &sealed)]).await;
    assert!(done.html().matches("person.").count() + done.html().matches("long.username.").count() >= 200);
    [preview, done]
}

#[tokio::test]
async fn page_weighs_at_most_20_kib_with_style_and_script() {
    let (service, mut users) = Service::with_users().await;
    let (mut ann, mut op) = (users.remove("ann").unwrap(), users.remove("op").unwrap());
    service.enrol(&mut ann).await.ok();
    service.enrol(&mut op).await.ok();
    let [preview, imported] = import(&service, &ann).await;
    let bob = service.enrolment_token(&users["bob"]).await;

    let html = Browser::new(&service).open("/login").await.html().to_owned();
    let mut files = 0;
    for start in ["<link rel=\"stylesheet\" href=\"", "<script type=\"module\" src=\"", "<link rel=\"icon\" href=\""] {
        let file = service.send(TestRequest::new(Method::GET, attribute(&html, start))).await;
        files += weight(file.body.as_str().unwrap());
    }
    let mut heaviest = (0, "");
    let mut measure = |path: &'static str, html: &str| {
        let all = files + weight(html);
        println!("{path}: {all} bytes compressed, {} of them the page", all - files);
        heaviest = heaviest.max((all, path));
    };
    measure("/admin/users/import, preview", preview.html());
    measure("/admin/users/import, result", imported.html());
    for path in ["/login", "/password/forgot"] {
        measure(path, Browser::new(&service).open(path).await.html());
    }
    let mut enrolling = Browser::new(&service);
    enrolling.cookies.insert("__Host-vestibule-enrolment".to_owned(), bob);
    measure("/enroll", enrolling.submit("/enroll", &[("step", "start")]).await.html());
    for path in [
        "/settings/security",
        "/settings/sessions",
        "/settings/password",
        "/settings/recovery-token",
        "/admin/users",
        "/admin/users/new",
        "/admin/users/u-bob",
        "/admin/users/u-bob/mfa-reset",
        "/admin/exclusions",
        "/admin/exclusions?change=exclude",
        "/admin/audit",
        "/admin/settings",
        "/admin/sso",
    ] {
        measure(path, Browser::signed_in(&service, &ann).open(path).await.html());
    }
    for path in ["/support", "/support?tenant=acme"] {
        measure(path, Browser::signed_in(&service, &op).open(path).await.html());
    }
    assert!(heaviest.0 <= MOST, "{heaviest:?}");
}
