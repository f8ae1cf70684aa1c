//! Sign-in by the tenant's IdP (product.md P11 and P12).

mod accounts;
mod browser;
mod configuration;

use axum::http::Method;
use serde_json::{Value, json};
use tests::{
    Reply, Service, TestRequest, TestUsers,
    idp::{Idp, ResponseSpec, Sp},
};
use vestibule::env::Timestamp;

/// A tenant with an IdP.
struct Fixture {
    service: Service,
    users: TestUsers,
    tenant: String,
    sp: Sp,
    idp: Idp,
    /// When ann signed in, and her session. Reused while its step-up is recent, because each code takes 30 seconds.
    ann: Option<(i64, String)>,
}

async fn fixture() -> Fixture {
    let (service, users) = Service::from_environment().await;
    let tenant = users["ann"].tenant.clone();
    let sp = service.sp(&tenant).await;
    let idp = Idp::new("https://idp.example/metadata");
    let mut fixture = Fixture { service, users, tenant, sp, idp, ann: None };
    let metadata = fixture.idp.metadata();
    fixture.configure(json!({"metadata_xml": metadata})).await.ok();
    fixture
}

impl Fixture {
    async fn admin_session(&mut self) -> String {
        let now = self.service.now();
        if let Some((_, session)) = self.ann.as_ref().filter(|(since, _)| now < since + 200) {
            return session.clone();
        }
        let session = self.service.stepped_up_session(self.users.get_mut("ann").unwrap()).await;
        self.ann = Some((now, session.clone()));
        session
    }

    async fn configure(&mut self, body: Value) -> Reply {
        let ann = self.admin_session().await;
        self.service.put("/v1/admin/sso", &ann, body).await
    }

    /// Configures the IdP by fields, with further settings.
    async fn configure_with(&mut self, more: Value) {
        let mut body = self.idp.fields();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.configure(body).await.ok();
    }

    async fn change(&mut self, name: &str, change: Value) -> Reply {
        let ann = self.admin_session().await;
        self.service.patch(&format!("/v1/admin/users/{}", self.users[name].id), &ann, change).await
    }

    async fn make_sso(&mut self, name: &str) {
        self.change(name, json!({"auth_type": "saml_sso"})).await.ok();
    }

    /// Signs in by a new response, changed by `change` before it is signed.
    async fn sign_in_with(&self, name_id: &str, change: impl FnOnce(&mut ResponseSpec)) -> Reply {
        self.sign_in_from("", name_id, change).await
    }

    /// Signs in like [`Self::sign_in_with`], with a query at the start.
    async fn sign_in_from(&self, query: &str, name_id: &str, change: impl FnOnce(&mut ResponseSpec)) -> Reply {
        let authn_request = self.service.sso_request_for(&self.tenant, query).await;
        let mut spec = self.idp.valid_response(&self.service, &self.sp, &authn_request, name_id);
        change(&mut spec);
        self.service.acs(&self.tenant, &spec.sign_assertion(&self.idp), &authn_request.relay_state).await
    }

    async fn sign_in(&self, name_id: &str) -> Reply {
        self.sign_in_with(name_id, |_| {}).await
    }

    /// Whether the new session may configure SSO, which requires a recent step-up.
    async fn may_configure(&self, signed_in: &Reply) -> bool {
        let request = TestRequest::new(Method::GET, "/v1/admin/sso").token(&signed_in.text("/session/token"));
        let reply = self.service.send(request).await;
        assert!(reply.status == 200 || reply.is(401, "step_up_required"), "{reply:?}");
        reply.status == 200
    }

    /// Asserts that a sign-in was refused, and that the audit names this rule.
    async fn assert_refused_by(&mut self, reply: &Reply, rule: &str) {
        assert_refused(reply);
        let ann = self.admin_session().await;
        let rows = self.service.get("/v1/admin/audit?limit=100", &ann).await.ok();
        let id = reply.headers["x-request-id"].to_str().unwrap();
        let row = rows.body["items"].as_array().unwrap().iter().find(|row| row["request_id"] == id).unwrap().clone();
        let said = [&row["action"], &row["outcome"], &row["reason"]];
        assert_eq!(said, ["sso.login", "refused", rule]);
    }

    /// Enrols with the enrolment token of a sign-in.
    async fn enrol(&mut self, name: &str, signed_in: &Reply) -> Reply {
        let token = signed_in.text("/enrolment/token");
        let mut user = self.users.remove(name).unwrap();
        let reply = self.service.enrol_with(&mut user, &token, json!({})).await;
        self.users.insert(name.to_owned(), user);
        reply
    }
}

fn assert_refused(reply: &Reply) {
    let page = reply.headers["content-type"] == "text/html; charset=utf-8";
    assert!(reply.status == 401 && (page || reply.code() == "invalid_credentials"), "{reply:?}");
}

fn amr(reply: &Reply) -> Value {
    reply.body["session"]["amr"].clone()
}

#[tokio::test]
async fn p11_known_device_enrols_once_and_needs_no_code_afterwards() {
    let mut fixture = fixture().await;
    fixture.make_sso("bob").await;
    let first = fixture.sign_in("bob").await.ok();
    assert_eq!(first.text("/status"), "enrolment_required");
    assert!(first.body.get("session").is_none());
    let enrolled = fixture.enrol("bob", &first).await;
    assert_eq!(amr(&enrolled), json!(["sso", "otp"]));
    for whole in [false, true] {
        let authn_request = fixture.service.sso_request(&fixture.tenant).await;
        let spec = fixture.idp.valid_response(&fixture.service, &fixture.sp, &authn_request, "Bob");
        let response = if whole { spec.sign_response(&fixture.idp) } else { spec.sign_assertion(&fixture.idp) };
        let again = fixture.service.acs(&fixture.tenant, &response, &authn_request.relay_state).await.ok();
        assert_eq!((again.text("/status"), amr(&again)), ("signed_in".to_owned(), json!(["sso"])));
        assert_eq!(again.text("/user/auth_type"), "saml_sso");
        let session = again.text("/session/token");
        let read = fixture.service.get("/v1/session", &session).await.ok();
        assert_eq!(read.body["session"]["amr"], json!(["sso"]));
    }
    let ann = fixture.admin_session().await;
    let listed = fixture.service.get("/v1/admin/users?q=bob", &ann).await.ok();
    assert_eq!(
        (&listed.body["items"][0]["auth_type"], &listed.body["items"][0]["mfa"]),
        (&json!("saml_sso"), &json!("active"))
    );
}

/// S10: an operation that requires a step-up requires a code.
#[tokio::test]
async fn sso_session_steps_up_by_a_code() {
    let mut fixture = fixture().await;
    fixture.make_sso("amy").await;
    let first = fixture.sign_in("amy").await.ok();
    fixture.enrol("amy", &first).await;
    let session = fixture.sign_in("amy").await.ok().text("/session/token");
    let reset = format!("/v1/admin/users/{}/mfa-reset", fixture.users["eve"].id);
    let body = json!({"reason": "lost"});
    assert!(fixture.service.post(&reset, &session, body.clone()).await.is(401, "step_up_required"));
    let mut amy = fixture.users.remove("amy").unwrap();
    let code = fixture.service.next_code(&mut amy);
    let stepped = fixture.service.post("/v1/step-up", &session, json!({"code": code})).await.ok();
    assert_eq!(amr(&stepped), json!(["sso", "otp"]));
    fixture.service.post(&reset, &stepped.text("/session/token"), body).await.ok();
}

const MFA: &str = "https://refeds.org/profile/mfa";

/// MFA at the IdP counts as a step-up only for the contexts that the tenant lists, and only if the request asked for
/// it.
#[tokio::test]
async fn idp_mfa_is_a_step_up_only_if_requested() {
    let mut fixture = fixture().await;
    fixture.make_sso("amy").await;
    let first = fixture.sign_in("amy").await.ok();
    fixture.enrol("amy", &first).await;
    let mfa = |spec: &mut ResponseSpec| spec.context = Some(MFA.to_owned());
    let step_up = "?step_up=true";
    let reply = fixture.sign_in_from(step_up, "amy", mfa).await.ok();
    assert!(!fixture.may_configure(&reply).await, "the tenant lists no context");
    fixture.configure_with(json!({"mfa_contexts": [MFA]})).await;
    let reply = fixture.sign_in_from(step_up, "amy", mfa).await.ok();
    assert!(fixture.may_configure(&reply).await);
    for query in ["", "?step_up=false", "?return_to=%2F"] {
        let reply = fixture.sign_in_from(query, "amy", mfa).await.ok();
        assert!(!fixture.may_configure(&reply).await, "{query} did not ask for a step-up");
    }
    for context in [None, Some("urn:oasis:names:tc:SAML:2.0:ac:classes:Password".to_owned())] {
        let reply = fixture.sign_in_from(step_up, "amy", |spec| spec.context = context).await.ok();
        assert!(!fixture.may_configure(&reply).await);
    }
    for (query, forced) in [(step_up, true), ("", false), ("?step_up=false", false)] {
        let authn_request = fixture.service.sso_request_for(&fixture.tenant, query).await;
        assert_eq!(authn_request.xml.contains(" ForceAuthn=\"true\""), forced, "{query}");
    }
    let path = format!("/v1/sso/{}/login?step_up=yes", fixture.tenant);
    assert!(fixture.service.send(TestRequest::new(Method::GET, path)).await.is(400, "invalid_request"));
}

/// An IdP that remembers a session may report an old MFA.
#[tokio::test]
async fn step_up_is_as_old_as_the_idp_says() {
    let mut fixture = fixture().await;
    fixture.make_sso("amy").await;
    let first = fixture.sign_in("amy").await.ok();
    fixture.enrol("amy", &first).await;
    fixture.configure_with(json!({"mfa_contexts": [MFA]})).await;
    for (ago, fresh) in [(0, true), (290, true), (301, false), (30 * 86_400, false), (-60, true), (-600, false)] {
        let at = Timestamp::from_secs(fixture.service.now() - ago).to_string();
        let reply = fixture.sign_in_from("?step_up=true", "amy", |spec| {
            (spec.context, spec.authenticated) = (Some(MFA.to_owned()), Some(at));
        });
        let reply = reply.await.ok();
        assert_eq!(fixture.may_configure(&reply).await, fresh, "{ago} s ago");
    }
    for instant in [None, Some("yesterday".to_owned())] {
        let reply = fixture.sign_in_from("?step_up=true", "amy", |spec| {
            (spec.context, spec.authenticated) = (Some(MFA.to_owned()), instant);
        });
        let reply = reply.await.ok();
        assert!(!fixture.may_configure(&reply).await, "no time of the MFA");
    }
}
