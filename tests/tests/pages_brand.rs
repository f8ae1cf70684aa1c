//! The colour and the name of a tenant on its pages: who sets them, where they are shown, and what they do not show.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Request, request::Builder},
};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::json;
use tests::{PUBLIC_URL, Reply, Service, TestUser, TestUsers, browser::Browser};
use vestibule::domain::logo::image;

const COLOR: &str = "#7a1f5c";
const STYLE: &str = "<link rel=\"stylesheet\" href=\"/assets/accent-7a1f5c.css\">";
const SCRIPT: &str = "<script>alert(1)</script>";

/// The service, with a colour for acme.
async fn with_color() -> (Service, TestUsers, String) {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    service.patch("/v1/admin/settings", &ann, json!({"issuer": "Acme Ltd", "accent_color": COLOR})).await.ok();
    (service, users, ann)
}

async fn log_in(browser: &mut Browser<'_>, user: &TestUser, password: &str) -> Reply {
    let fields = [("tenant", &*user.tenant), ("username", &*user.username), ("password", password)];
    browser.submit(&format!("/login?tenant={}", user.tenant), &fields).await
}

#[track_caller]
fn assert_branded(reply: &Reply) {
    let html = reply.html();
    assert!(html.contains(STYLE) && html.contains("– Acme Ltd</title>"), "{html}");
    assert!(html.contains("<a href=\"/\">Acme Ltd</a>") && !html.contains("Vestibule"), "{html}");
}

#[track_caller]
fn assert_plain(reply: &Reply) {
    let html = reply.html();
    assert!(
        !html.contains("accent-") && html.contains("<a href=\"/\">Vestibule</a>") && !html.contains("Acme Ltd"),
        "{html}"
    );
}

#[tokio::test]
async fn every_step_of_a_sign_in_is_in_the_colour_of_the_tenant() {
    let (service, mut users, _) = with_color().await;
    let mut bob = users.remove("bob").unwrap();
    let mut browser = Browser::new(&service);
    assert_plain(&browser.open("/login").await);
    let page = browser.open("/login?tenant=acme").await;
    assert_branded(&page);
    assert!(page.html().contains("action=\"/login?tenant=acme\""), "{}", page.html());
    assert!(page.html().contains("href=\"/password/forgot?tenant=acme\""), "{}", page.html());
    let page = browser.open("/password/forgot?tenant=acme").await;
    assert_branded(&page);
    for text in ["action=\"/password/forgot?tenant=acme\"", "value=\"acme\""] {
        assert!(page.html().contains(text), "{text}: {}", page.html());
    }
    let wrong = log_in(&mut browser, &bob, "wrong").await;
    assert_eq!(wrong.status, 401);
    assert_branded(&wrong);
    let password = bob.password.clone();
    assert_eq!(log_in(&mut browser, &bob, &password).await.location(), "/enroll");
    assert_branded(&browser.open("/enroll").await);
    service.enrol(&mut bob).await;
    let mut browser = Browser::new(&service);
    assert_eq!(log_in(&mut browser, &bob, &password).await.location(), "/verify");
    assert_branded(&browser.open("/verify").await);
    let code = service.next_code(&mut bob);
    browser.submit("/verify", &[("code", &code)]).await;
    for path in ["/settings/security", "/settings/email", "/settings/sessions", "/step-up", "/logout"] {
        assert_branded(&browser.open(path).await);
    }
    assert_eq!(browser.submit("/logout", &[]).await.location(), "/login");
    // The browser has signed in before.
    assert_branded(&browser.open("/login").await);
    assert_branded(&browser.open("/password/forgot").await);
}

#[tokio::test]
async fn pages_of_other_tenants_and_of_support_stay_plain() {
    let (service, mut users, _) = with_color().await;
    let mut gus = users.remove("gus").unwrap();
    service.stepped_up_session(&mut gus).await;
    let mut browser = Browser::signed_in(&service, &gus);
    for path in ["/settings/security", "/admin/users", "/admin/settings", "/login?tenant=acme"] {
        assert_plain(&browser.open(path).await);
    }
    let mut op = users.remove("op").unwrap();
    service.stepped_up_session(&mut op).await;
    let page = Browser::signed_in(&service, &op).open("/support?tenant=acme").await;
    assert!(!page.html().contains("accent-"), "{}", page.html());
}

/// The sign-in page does not show which tenants there are, except those that chose a colour.
#[tokio::test]
async fn tenant_without_a_colour_looks_like_none() {
    let (service, _, ann) = with_color().await;
    let page = async |tenant: &str| {
        let page = Browser::new(&service).open(&format!("/login?tenant={tenant}")).await;
        page.html().replace("for example acme", "").replace(tenant, "TENANT")
    };
    assert_eq!(page("globex").await, page("nobody").await);
    assert_ne!(page("acme").await, page("nobody").await);
    service.patch("/v1/admin/settings", &ann, json!({"accent_color": ""})).await.ok();
    assert_eq!(page("acme").await, page("nobody").await);
    for odd in ["", "a%20b", "%3Cscript%3E", &"x".repeat(65)] {
        assert_plain(&Browser::new(&service).open(&format!("/login?tenant={odd}")).await);
    }
}

#[tokio::test]
async fn colour_is_set_and_removed_on_the_page() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let mut browser = Browser::signed_in(&service, &users["ann"]);
    let settings = async || service.get("/v1/admin/settings", &ann).await.ok().body;
    let set = [("setting", "accent_color"), ("accent_color", " #7A1f5c "), ("issuer", "Other")];
    assert_eq!(browser.submit("/admin/settings", &set).await.location(), "/admin/settings?done=changed");
    assert_eq!(settings().await, json!({"issuer": "Acme", "reset_code_for": "administrators", "accent_color": COLOR}));
    let page = browser.open("/admin/settings").await;
    assert!(page.html().contains("value=\"#7a1f5c\"") && page.html().contains(STYLE), "{}", page.html());
    let audit = browser.open("/admin/audit").await;
    assert!(audit.html().contains("Changed:</span> Colour of your pages"), "{}", audit.html());
    for (typed, says) in [
        ("red", "Enter a colour as #rrggbb"),
        ("#7a1f5", "Enter a colour as #rrggbb"),
        (SCRIPT, "&#60;script&#62;"),
        ("#ffff00", "White text on this colour has a contrast of 1.07:1. It needs at least 4.5:1"),
        ("#777777", "a contrast of 4.47:1"),
    ] {
        let reply = browser.submit("/admin/settings", &[("setting", "accent_color"), ("accent_color", typed)]).await;
        assert_eq!(reply.status, 400, "{typed}");
        for text in [says, "<title>Error: Settings", "href=\"#accent_color\""] {
            assert!(reply.html().contains(text), "{text}: {}", reply.html());
        }
        assert!(!reply.html().contains(SCRIPT));
    }
    assert_eq!(settings().await["accent_color"], COLOR);
    let remove = [("setting", "accent_color"), ("accent_color", "")];
    assert_eq!(browser.submit("/admin/settings", &remove).await.location(), "/admin/settings?done=changed");
    assert_eq!(settings().await, json!({"issuer": "Acme", "reset_code_for": "administrators"}));
}

#[tokio::test]
async fn api_refuses_a_colour_that_cannot_be_read() {
    let (service, _, ann) = with_color().await;
    for wrong in [json!("red"), json!("#fff"), json!("#777777"), json!("#7a1f5c;}"), json!(null), json!(7)] {
        let reply = service.patch("/v1/admin/settings", &ann, json!({"accent_color": wrong})).await;
        assert!(reply.is(400, "invalid_request"), "{reply:?}");
        assert_eq!(reply.text("/errors/0/field"), "/accent_color");
    }
    let reply = service.patch("/v1/admin/settings", &ann, json!({"accent_color": "#777777"})).await;
    assert_eq!(reply.text("/errors/0/detail"), "must be #rrggbb with a contrast of at least 4.5:1 to white, or empty");
    assert_eq!(service.get("/v1/admin/settings", &ann).await.ok().body["accent_color"], COLOR);
}

#[tokio::test]
async fn stylesheet_of_a_colour_is_kept_by_browsers() {
    let (service, _) = Service::with_users().await;
    let mut browser = Browser::new(&service);
    let style = browser.open("/assets/accent-7a1f5c.css").await;
    assert_eq!(
        (style.status.as_u16(), &style.headers["content-type"]),
        (200, &"text/css; charset=utf-8".parse().unwrap())
    );
    assert_eq!(style.headers["cache-control"], "public, max-age=31536000, immutable");
    let text = style.body.as_str().unwrap();
    assert!(
        text.starts_with(":root { --accent: #7a1f5c; --accent-text: #fff; }\n@media (prefers-color-scheme: dark)"),
        "{text}"
    );
    for wrong in ["777777", "7a1f5", "7a1f5c7", "zzzzzz", "7a1f5c%7D", "%3Ca%3E", ""] {
        assert_eq!(browser.open(&format!("/assets/accent-{wrong}.css")).await.status, 404, "{wrong}");
    }
}

#[tokio::test]
async fn name_with_a_script_is_escaped() {
    let (service, _, ann) = with_color().await;
    service.patch("/v1/admin/settings", &ann, json!({"issuer": SCRIPT})).await.ok();
    let page = Browser::new(&service).open("/login?tenant=acme").await;
    assert!(!page.html().contains(SCRIPT) && page.html().contains("&#60;script&#62;"), "{}", page.html());
}

/// An image of 64 by 32 pixels.
const PNG: &str = "89504e470d0a1a0a0000000d49484452000000400000002001030000009853ecc700000006504c54457a1f5cffffff6c0b01330000005\
                   24944415478da9dcfb10d80300c05d18b49e1320503444c6236f368305928ac48602a70757abf32fc3c85315c600540a60b6c2fd967b8a7\
                   a96049841e516969523449a346f4d0db6494872c1c508cf3d39b1727f406e72e746cbb0000000049454e44ae426082";
const LOGO_PATH: &str = "/assets/logo-acme-";

fn png() -> Vec<u8> {
    HEXLOWER.decode(PNG.as_bytes()).unwrap()
}

/// The request of the form with the logo, which a page of this origin sent.
fn logo_form(token: &str) -> Builder {
    let request = Request::post("/admin/settings").header("content-type", "multipart/form-data; boundary=part");
    request.header("accept", "text/html").header("cookie", format!("__Host-vestibule={token}"))
}

async fn upload(service: &Service, request: Builder, file: &[u8]) -> Reply {
    let disposition = b"Content-Disposition: form-data; name=\"logo[base64]\"; filename=\"a.png\"";
    let body =
        [b"--part\r\n", &disposition[..], b"\r\nContent-Type: image/png\r\n\r\n", file, b"\r\n--part--\r\n"].concat();
    let mut request = request.body(Body::from(body)).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
    service.raw(request).await
}

#[tokio::test]
async fn logo_is_uploaded_shown_and_removed_on_the_page() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let mut browser = Browser::signed_in(&service, &users["ann"]);
    let page = browser.open("/admin/settings").await;
    assert!(page.html().contains("type=\"file\"") && !page.html().contains("remove_logo"), "{}", page.html());
    let done = upload(&service, logo_form(&ann).header("origin", PUBLIC_URL), &png()).await;
    assert_eq!(done.location(), "/admin/settings?done=changed");
    let path = service.get("/v1/admin/settings", &ann).await.ok().text("/logo_path");
    assert!(path.starts_with(LOGO_PATH), "{path}");
    let mut stranger = Browser::new(&service);
    let page = stranger.open("/login?tenant=acme").await;
    assert!(page.html().contains(&format!("<img src=\"{path}\" alt=\"\"> Acme</a>")), "{}", page.html());
    assert!(!page.html().contains("accent-"));
    let file = stranger.open(&path).await;
    assert_eq!((file.status.as_u16(), &file.headers["content-type"]), (200, &"image/svg+xml".parse().unwrap()));
    assert_eq!(file.headers["cache-control"], "public, max-age=31536000, immutable");
    let svg = file.body.as_str().unwrap();
    assert!(svg.contains("viewBox=\"0 0 64 32\"") && svg.contains(&BASE64.encode(&png())), "{svg}");
    let digest = path.strip_prefix(LOGO_PATH).unwrap();
    for wrong in [
        "logo-acme-0000000000000000.svg",
        &format!("logo-globex-{digest}"),
        &format!("logo-%2e-{digest}"),
        "logo-acme.svg",
    ] {
        assert_eq!(stranger.open(&format!("/assets/{wrong}")).await.status, 404, "{wrong}");
    }
    let audit = browser.open("/admin/audit").await;
    assert!(audit.html().contains("Changed:</span> Logo"), "{}", audit.html());
    assert!(browser.open("/admin/settings").await.html().contains("value=\"remove_logo\""));
    let removed = browser.submit("/admin/settings", &[("setting", "remove_logo")]).await;
    assert_eq!(removed.location(), "/admin/settings?done=changed");
    assert_eq!(stranger.open(&path).await.status, 404);
    assert_plain(&stranger.open("/login?tenant=acme").await);
}

#[tokio::test]
async fn file_that_is_no_small_png_image_is_refused() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>".to_vec();
    for file in [Vec::new(), svg, [&png()[..], b"<script>"].concat(), image(1025, 1, &[]), image(1, 1, &[0; 10 * 1024])]
    {
        let reply = upload(&service, logo_form(&ann).header("origin", PUBLIC_URL), &file).await;
        assert_eq!(reply.status, 400);
        for text in ["<title>Error: Settings", "href=\"#logo\"", "at most 10 KiB and 1,024 by 1,024 pixels"] {
            assert!(reply.html().contains(text), "{text}: {}", reply.html());
        }
        let reply = service.patch("/v1/admin/settings", &ann, json!({"logo": BASE64.encode(&file)})).await;
        assert!(file.is_empty() || reply.text("/errors/0/field") == "/logo", "{reply:?}");
    }
    for wrong in [json!("x"), json!(BASE64.encode(&png()).trim_end_matches('=')), json!(null), json!(["a"])] {
        let reply = service.patch("/v1/admin/settings", &ann, json!({"logo": wrong})).await;
        assert!(reply.is(400, "invalid_request") && reply.text("/errors/0/field") == "/logo", "{reply:?}");
    }
    assert!(service.get("/v1/admin/settings", &ann).await.ok().body.get("logo_path").is_none());
}

#[tokio::test]
async fn only_an_administrator_sets_the_logo_and_only_from_the_page() {
    let (service, mut users) = Service::with_users().await;
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let bob = service.stepped_up_session(users.get_mut("bob").unwrap()).await;
    assert_eq!(upload(&service, logo_form(&bob).header("origin", PUBLIC_URL), &png()).await.status, 403);
    for form in [
        logo_form(&ann),
        logo_form(&ann).header("origin", "null"),
        logo_form(&ann).header("origin", "https://evil.example"),
    ] {
        assert_eq!(upload(&service, form, &png()).await.status, 403);
    }
    let stranger = upload(&service, logo_form("").header("origin", PUBLIC_URL), &png()).await;
    assert_eq!(stranger.location(), "/login?return_to=%2Fadmin%2Fsettings");
    service.advance(301);
    let late = upload(&service, logo_form(&ann).header("origin", PUBLIC_URL), &png()).await;
    assert_eq!(late.status, 401);
    assert!(late.html().contains("href=\"/step-up?return_to=%2Fadmin%2Fsettings\""), "{}", late.html());
    assert!(service.get("/v1/admin/settings", &ann).await.ok().body.get("logo_path").is_none());
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    let set = service.patch("/v1/admin/settings", &ann, json!({"logo": BASE64.encode(&png())})).await.ok();
    assert!(set.text("/logo_path").starts_with(LOGO_PATH));
    let same = service.patch("/v1/admin/settings", &ann, json!({"accent_color": COLOR})).await.ok();
    assert_eq!(same.body["logo_path"], set.body["logo_path"]);
    assert!(service.patch("/v1/admin/settings", &ann, json!({"logo": ""})).await.ok().body.get("logo_path").is_none());
}
