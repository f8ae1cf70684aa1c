//! The example portal (`examples/portal`), with Vestibule behind it.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::json;
use tests::{Service, TestRequest, TestUser, TestUsers, http};

const PUBLIC_URL: &str = "https://portal.example.com";

/// The portal's clock.
static NOW: AtomicU64 = AtomicU64::new(0);

struct Fixture {
    service: Service,
    ann: TestUser,
    users: TestUsers,
    portal: String,
}

impl Fixture {
    async fn new() -> Self {
        let (service, mut users) = Service::with_users().await;
        let mut ann = users.remove("ann").unwrap();
        service.enrol(&mut ann).await.ok();
        let client = service.post("/v1/admin/clients", &ann.session, json!({"name": "portal"})).await.ok();
        let portal = portal::router(portal::Config {
            public_url: PUBLIC_URL.to_owned(),
            vestibule: service.listen().await,
            client_id: client.text("/client_id"),
            client_secret: client.text("/client_secret"),
            clock: || NOW.load(Ordering::Relaxed),
        });
        let fixture = Self { service, ann, users, portal: http::listen(portal).await };
        fixture.advance(0);
        fixture
    }

    fn advance(&self, seconds: u64) {
        self.service.advance(seconds);
        NOW.store(self.service.now().try_into().unwrap(), Ordering::Relaxed);
    }

    /// Sends a request to the portal. Returns the status, where it leads, and the body.
    async fn send(
        &self,
        method: Method,
        path: &str,
        session: Option<&str>,
        origin: Option<&str>,
    ) -> (StatusCode, String, String) {
        let mut request = Request::builder().method(method.clone()).uri(path);
        if let Some(session) = session {
            request = request.header(header::COOKIE, format!("theme=dark; __Host-vestibule={session}"));
        }
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let body = match method {
            Method::POST => Body::from("amount=120"),
            _ => Body::empty(),
        };
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body).unwrap();
        let response = http::send(&self.portal, request).await;
        let location = response.headers().get(header::LOCATION).map(|to| to.to_str().unwrap().to_owned());
        let (status, body) = (response.status(), http::body(response).await);
        (status, location.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str, session: Option<&str>) -> (StatusCode, String, String) {
        self.send(Method::GET, path, session, None).await
    }
}

#[tokio::test]
async fn portal_shows_its_pages_to_signed_in_users_only() {
    let fixture = Fixture::new().await;
    for session in [None, Some("vs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), Some("nonsense")] {
        let (status, location, _) = fixture.get("/portal", session).await;
        assert_eq!((status.as_u16(), location.as_str()), (303, "/login?return_to=%2Fportal"), "{session:?}");
    }
    let (status, _, body) = fixture.get("/portal", Some(&fixture.ann.session)).await;
    assert!(status == 200 && body.contains("You are signed in as ann"), "{status}: {body}");

    fixture.service.delete("/v1/session", &fixture.ann.session).await.ok();
    assert_eq!(fixture.get("/portal", Some(&fixture.ann.session)).await.0, 303, "the session has ended");
}

#[tokio::test]
async fn payment_needs_a_fresh_code_and_a_form_of_the_portal() {
    let fixture = Fixture::new().await;
    let session = Some(fixture.ann.session.as_str());
    let own = Some(PUBLIC_URL);
    assert_eq!(fixture.get("/portal/pay", session).await.0, 200);
    let (status, _, body) = fixture.send(Method::POST, "/portal/pay", session, own).await;
    assert!(status == 200 && body.contains("ann has paid 120 euros"), "{status}: {body}");
    for origin in [None, Some("null"), Some("https://evil.example"), Some("https://portal.example.com.evil.example")] {
        assert_eq!(fixture.send(Method::POST, "/portal/pay", session, origin).await.0, 403, "{origin:?}");
    }

    fixture.advance(299);
    assert_eq!(fixture.get("/portal/pay", session).await.0, 200);
    fixture.advance(1);
    for method in [Method::GET, Method::POST] {
        let (status, location, _) = fixture.send(method, "/portal/pay", session, own).await;
        assert_eq!((status.as_u16(), location.as_str()), (303, "/step-up?return_to=/portal/pay"));
    }
}

#[tokio::test]
async fn user_without_a_second_factor_cannot_pay() {
    let fixture = Fixture::new().await;
    let (service, ann) = (&fixture.service, &fixture.ann);
    let body = json!({"contact_ids": ["u-con1"], "disable_mfa": true, "reason": "Kiosk"});
    let request = TestRequest::new(Method::POST, "/v1/admin/portal-exclusions").token(&ann.session).json(body);
    service.send(request.header("idempotency-key", "1")).await.ok();
    let session = service.login(&fixture.users["con1"]).await.ok().text("/session/token");
    assert_eq!(fixture.get("/portal", Some(&session)).await.0, 200);
    assert_eq!(fixture.get("/portal/pay", Some(&session)).await.0, 303);
}

#[tokio::test]
async fn user_who_signed_in_with_a_recovery_token_cannot_pay() {
    let fixture = Fixture::new().await;
    let (service, ann) = (&fixture.service, &fixture.ann);
    let issue = TestRequest::new(Method::POST, "/v1/mfa/recovery-token").token(&ann.session);
    let token = service.send(issue).await.ok().text("/recovery_token");
    let challenge = service.login(ann).await.ok().text("/challenge/token");
    let signed_in = service.post("/v1/verify", &challenge, json!({"code": token})).await.ok();
    let session = signed_in.text("/session/token");
    assert_eq!(fixture.get("/portal", Some(&session)).await.0, 200);
    assert_eq!(fixture.get("/portal/pay", Some(&session)).await.0, 303);
}

#[tokio::test]
async fn portal_forwards_other_paths_and_lets_nobody_in_without_vestibule() {
    let fixture = Fixture::new().await;
    let (status, _, body) = fixture.get("/login?tenant=acme", None).await;
    assert!(status == 200 && body.contains("action=\"/login"), "{status}: {body}");

    let down = portal::router(portal::Config {
        public_url: PUBLIC_URL.to_owned(),
        vestibule: "http://127.0.0.1:1".to_owned(),
        client_id: String::new(),
        client_secret: String::new(),
        clock: || 0,
    });
    let fixture = Fixture { portal: http::listen(down).await, ..fixture };
    assert_eq!(fixture.get("/portal", Some(&fixture.ann.session)).await.0, 503);
    assert_eq!(fixture.get("/login", None).await.0, 502);
}
