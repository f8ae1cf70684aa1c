//! Sign-in by an IdP.

use axum::http::Method;
use serde_json::{Value, json};
use tests::{
    Reply, TestRequest, TestUser, TestUsers,
    browser::Browser,
    faulty::DENIED,
    idp::{AuthnRequest, Idp, authn_request, form},
};

use super::{Harness, assert_valid_session, enrol_bob_and_ann, under_faults};

fn idp() -> Idp {
    Idp::new("https://idp.example/metadata")
}

impl Harness {
    /// Configures an IdP of acme. Bob, who has a factor, and eve, who has none, sign in by it.
    async fn configure_idp(&self, idp: &Idp, more: Value, users: &mut TestUsers) -> String {
        let ann = enrol_bob_and_ann(self, users).await;
        let mut fields = idp.fields();
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.service.put("/v1/admin/sso", &ann, fields).await.ok();
        for path in ["/v1/admin/users/u-bob", "/v1/admin/users/u-eve"] {
            self.service.patch(path, &ann, json!({"auth_type": "saml_sso"})).await.ok();
        }
        ann
    }

    /// The request with the IdP's response, as a browser posts it.
    async fn response_to(
        &self,
        idp: &Idp,
        request: &AuthnRequest,
        name_id: &str,
        attributes: &[(&str, &str)],
    ) -> TestRequest {
        let sp = self.service.sp("acme").await;
        let mut spec = idp.valid_response(&self.service, &sp, request, name_id);
        spec.attributes = attributes.iter().map(|(name, value)| ((*name).into(), vec![(*value).into()])).collect();
        TestRequest::new(Method::POST, "/v1/sso/acme/acs").form(&form(&spec.sign_assertion(idp), &request.relay_state))
    }

    async fn response(&self, idp: &Idp, name_id: &str, attributes: &[(&str, &str)]) -> TestRequest {
        self.response_to(idp, &self.service.sso_request("acme").await, name_id, attributes).await
    }

    /// Asserts that an enrolled user can sign in by SSO.
    async fn sign_in_by_sso(&self, idp: &Idp, name_id: &str) {
        let reply = self.service.send(self.response(idp, name_id, &[]).await).await.ok();
        assert_valid_session(self, &reply.text("/session/token")).await;
    }
}

/// A retry succeeds, or is refused because the first request was executed.
fn assert_accepted_once(reply: &Reply) {
    assert!(reply.status == 200 || reply.is(401, "invalid_credentials"), "{reply:?}");
}

/// A page without the IdP would look as if there were none, and its form would replace the IdP.
#[tokio::test]
async fn page_of_the_idp_is_not_shown_without_it() {
    let harness = Harness::new(|ring| std::sync::Arc::new(ring)).await;
    let mut users = harness.service.add_users().await;
    harness.configure_idp(&idp(), json!({}), &mut users).await;
    let mut ann = Browser::signed_in(&harness.service, &users["ann"]);
    harness.script.fine();
    let shown = ann.open("/admin/sso").await.ok();
    assert!(shown.html().contains("https://idp.example/sso"));
    let calls = harness.script.called();
    assert!(calls.len() > 3, "{calls:?}");
    for call in 0..calls.len() {
        harness.script.from(call, DENIED);
        let reply = ann.open("/admin/sso").await;
        assert_eq!(reply.status, 503, "from {call} of {calls:?}: {reply:?}");
    }
}

#[tokio::test]
async fn sso_start_survives_faults() {
    let idp = idp();
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        harness.configure_idp(&idp, json!({}), users).await;
        TestRequest::new(Method::GET, "/v1/sso/acme/login?return_to=/portal").header("accept", "text/html")
    };
    let sent = async |harness: &Harness, _: TestUsers, reply: Reply| {
        assert_eq!(reply.status, 302, "{reply:?}");
        let response = harness.response_to(&idp, &authn_request(&reply), "bob", &[]).await;
        let cookie = reply.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
        let arrived = harness.service.send(response.header("cookie", cookie)).await;
        assert_eq!((arrived.status.as_u16(), &arrived.headers["location"]), (303, &"/portal".parse().unwrap()));
    };
    under_faults(setup, sent, sent).await;
}

#[tokio::test]
async fn sso_sign_in_survives_faults() {
    let idp = idp();
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        harness.configure_idp(&idp, json!({}), users).await;
        harness.response(&idp, "bob", &[]).await
    };
    let signed_in = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert_valid_session(harness, &reply.ok().text("/session/token")).await;
        assert_eq!(harness.sessions(&users["bob"]), 2);
        harness.sign_in_by_sso(&idp, "bob").await;
    };
    let again = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert_accepted_once(&reply);
        assert_eq!(harness.sessions(&users["bob"]), 2);
        harness.sign_in_by_sso(&idp, "bob").await;
    };
    under_faults(setup, signed_in, again).await;
}

#[tokio::test]
async fn sso_enrolment_survives_faults() {
    let idp = idp();
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        harness.configure_idp(&idp, json!({}), users).await;
        harness.response(&idp, "eve", &[]).await
    };
    let enrols = async |harness: &Harness, eve: &mut TestUser, token: &str| {
        let reply = harness.service.enrol_with(eve, token, json!({})).await;
        assert_eq!(reply.body["session"]["amr"], json!(["sso", "otp"]));
        harness.sign_in_by_sso(&idp, "eve").await;
    };
    let opened = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        assert_eq!(harness.user_item(&users["eve"])["e"]["M"].as_object().unwrap().len(), 1);
        enrols(harness, users.get_mut("eve").unwrap(), &reply.ok().text("/enrolment/token")).await;
    };
    let again = async |harness: &Harness, mut users: TestUsers, reply: Reply| {
        assert_accepted_once(&reply);
        assert_eq!(harness.user_item(&users["eve"])["e"]["M"].as_object().unwrap().len(), 1);
        let next = harness.service.send(harness.response(&idp, "eve", &[]).await).await.ok();
        enrols(harness, users.get_mut("eve").unwrap(), &next.text("/enrolment/token")).await;
    };
    under_faults(setup, opened, again).await;
}

#[tokio::test]
async fn sso_linking_survives_faults() {
    let idp = idp();
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        harness.configure_idp(&idp, json!({"link_attribute": "Username"}), users).await;
        harness.response(&idp, "00u1", &[("Username", "bob")]).await
    };
    let linked = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert_accepted_once(&reply);
        assert_eq!(harness.sessions(&users["bob"]), 2);
        harness.sign_in_by_sso(&idp, "00u1").await;
        let named = harness.service.send(harness.response(&idp, "bob", &[]).await).await;
        assert!(named.is(401, "invalid_credentials"), "{named:?}");
    };
    under_faults(setup, linked, linked).await;
}

/// Provisioning takes two transactions: the user, then the enrolment. The next response finds a user without enrolment.
#[tokio::test]
async fn sso_provisioning_survives_faults() {
    const ZOE: &[(&str, &str)] = &[("Username", "zoe"), ("CompanyName", "Acme")];
    let idp = idp();
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        harness.configure_idp(&idp, json!({"provisioning": {}}), users).await;
        harness.response(&idp, "00u9", ZOE).await
    };
    let created = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert_accepted_once(&reply);
        let next = harness.service.send(harness.response(&idp, "00u9", ZOE).await).await.ok();
        assert_eq!(next.text("/status"), "enrolment_required");
        let list = harness.service.get("/v1/admin/users?q=zoe", &users["ann"].session).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
    };
    under_faults(setup, created, created).await;
}

#[tokio::test]
async fn assertion_about_an_unknown_user_is_refused() {
    let idp = idp();
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        harness.configure_idp(&idp, json!({}), users).await;
        harness.response(&idp, "nobody", &[]).await
    };
    let refused = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert!(reply.is(401, "invalid_credentials"), "{reply:?}");
        assert_eq!(harness.sessions(&users["bob"]), 1);
    };
    under_faults(setup, refused, refused).await;
}

#[tokio::test]
async fn idp_configuration_survives_faults() {
    let idp = idp();
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = enrol_bob_and_ann(harness, users).await;
        TestRequest::new(Method::PUT, "/v1/admin/sso").token(&ann).json(idp.fields())
    };
    let configured = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert_eq!(reply.ok().text("/idp_entity_id"), idp.entity_id);
        let ann = &users["ann"].session;
        assert_eq!(harness.service.get("/v1/admin/sso", ann).await.ok().text("/idp_entity_id"), idp.entity_id);
        harness.service.patch("/v1/admin/users/u-bob", ann, json!({"auth_type": "saml_sso"})).await.ok();
        harness.sign_in_by_sso(&idp, "bob").await;
    };
    under_faults(setup, configured, configured).await;
}

#[tokio::test]
async fn idp_deletion_survives_faults() {
    let idp = idp();
    let setup = async |harness: &Harness, users: &mut TestUsers| {
        let ann = harness.configure_idp(&idp, json!({}), users).await;
        TestRequest::new(Method::DELETE, "/v1/admin/sso").token(&ann)
    };
    let gone = async |harness: &Harness, users: TestUsers, reply: Reply| {
        assert!(reply.status == 204 || reply.is(404, "not_found"), "{reply:?}");
        assert!(harness.service.get("/v1/admin/sso", &users["ann"].session).await.is(404, "not_found"));
        let login = harness.service.send(TestRequest::new(Method::GET, "/v1/sso/acme/login")).await;
        assert!(login.is(404, "not_found"), "{login:?}");
        // The user of the IdP cannot sign in, and an Administrator can.
        assert!(harness.service.login(&users["bob"]).await.is(401, "invalid_credentials"));
        assert_eq!(harness.service.login(&users["ann"]).await.ok().text("/status"), "mfa_required");
    };
    under_faults(setup, gone, gone).await;
}
