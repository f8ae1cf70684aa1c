//! Which user a response signs in: sign-in methods, links and provisioning.

use serde_json::json;
use tests::idp::ResponseSpec;

use super::{assert_refused, fixture};

/// S05: a user of SSO cannot sign in by password, and a local user cannot sign in by SSO.
#[tokio::test]
async fn password_of_sso_user_and_assertion_of_local_user_are_refused() {
    let mut fixture = fixture().await;
    fixture.make_sso("bob").await;
    assert_refused(&fixture.service.login(&fixture.users["bob"]).await);
    let reply = fixture.sign_in("eve").await;
    fixture.assert_refused_by(&reply, "not_of_sso").await;
    let reply = fixture.sign_in("nobody").await;
    fixture.assert_refused_by(&reply, "unknown_subject").await;
    fixture.change("bob", json!({"active": false})).await.ok();
    assert_refused(&fixture.sign_in("bob").await);
}

/// S07 and P12: every change of the sign-in method ends sessions, challenges and enrolment tokens.
#[tokio::test]
async fn every_change_of_sign_in_method_requires_a_new_sign_in() {
    let mut fixture = fixture().await;
    let bob = fixture.users.get_mut("bob").unwrap();
    fixture.service.enrol(bob).await;
    let local = bob.session.clone();
    let challenge = fixture.service.challenge_token(&fixture.users["bob"]).await;
    fixture.make_sso("bob").await;
    assert!(fixture.service.get("/v1/session", &local).await.is(401, "session_refresh_required"));
    assert!(fixture.service.verify(&challenge, "123456").await.is(401, "invalid_token"));
    // The factor stays, so no second enrolment is required.
    let sso = fixture.sign_in("bob").await.ok();
    assert_eq!(sso.text("/status"), "signed_in");
    fixture.change("bob", json!({"auth_type": "local"})).await.ok();
    let session = sso.text("/session/token");
    assert!(fixture.service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    assert_refused(&fixture.sign_in("bob").await);
    assert_eq!(fixture.service.login(&fixture.users["bob"]).await.text("/status"), "mfa_required");
    // Without a factor, both sign-in methods give an enrolment token, which the next change ends.
    fixture.make_sso("eve").await;
    let token = fixture.sign_in("eve").await.ok().text("/enrolment/token");
    fixture.change("eve", json!({"auth_type": "local"})).await.ok();
    assert!(fixture.service.post("/v1/mfa/enrolments", &token, json!({})).await.is(401, "invalid_token"));
    assert_eq!(fixture.service.login(&fixture.users["eve"]).await.text("/status"), "enrolment_required");
}

/// An Administrator links a `NameID` to a user; it replaces the username.
#[tokio::test]
async fn administrator_links_a_name_id_to_a_user() {
    let mut fixture = fixture().await;
    fixture.make_sso("bob").await;
    let linked = fixture.change("bob", json!({"sso_name_id": "00u1a2b3"})).await.ok();
    assert_eq!(linked.text("/sso_name_id"), "00u1a2b3");
    assert_refused(&fixture.sign_in("bob").await);
    assert_refused(&fixture.sign_in("00U1A2B3").await);
    fixture.sign_in("00u1a2b3").await.ok();
    fixture.make_sso("eve").await;
    assert!(
        fixture.change("eve", json!({"sso_name_id": "00u1a2b3"})).await.is(409, "conflict"),
        "a NameID belongs to one user"
    );
    fixture.change("bob", json!({"sso_name_id": "00u9"})).await.ok();
    assert_refused(&fixture.sign_in("00u1a2b3").await);
    fixture.sign_in("00u9").await.ok();
    fixture.change("eve", json!({"sso_name_id": "00u1a2b3"})).await.ok();
    fixture.sign_in("00u1a2b3").await.ok();
    // Deleting a user deletes the link.
    let ann = fixture.admin_session().await;
    fixture.service.delete(&format!("/v1/admin/users/{}", fixture.users["bob"].id), &ann).await.ok();
    assert_refused(&fixture.sign_in("00u9").await);
    let new = json!({"kind": "employee", "role": "standard", "auth_type": "saml_sso", "username": "zoe",
        "display_name": "Zoe", "sso_name_id": "00u9"});
    fixture.service.post("/v1/admin/users", &ann, new).await.ok();
    assert_eq!(fixture.sign_in("00u9").await.ok().text("/status"), "enrolment_required");
}

#[tokio::test]
async fn name_id_must_not_match_another_users_username() {
    let mut fixture = fixture().await;
    let ann = fixture.admin_session().await;
    for name in ["bob", "Bob"] {
        let reply = fixture.change("eve", json!({"sso_name_id": name})).await;
        assert!(reply.is(409, "conflict"), "{reply:?}");
    }
    fixture.change("eve", json!({"sso_name_id": "zoe"})).await.ok();
    let new = |name: &str| json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": name, "display_name": "Zoe"});
    for name in ["zoe", "Zoe"] {
        assert!(fixture.service.post("/v1/admin/users", &ann, new(name)).await.is(409, "conflict"));
    }
    let mut linked = new("zed");
    linked["sso_name_id"] = json!("bob");
    assert!(fixture.service.post("/v1/admin/users", &ann, linked).await.is(409, "conflict"));
    fixture.change("bob", json!({"sso_name_id": "bob"})).await.ok();
}

/// Linking at the first sign-in is off by default. If on, an attribute must be the username; it links once, and e-mail
/// never links.
#[tokio::test]
async fn first_sign_in_links_if_the_tenant_has_a_link_rule() {
    let mut fixture = fixture().await;
    fixture.make_sso("bob").await;
    fixture.change("bob", json!({"email": "bob@acme.example"})).await.ok();
    let spec = |spec: &mut ResponseSpec| {
        spec.attributes =
            vec![("Username".into(), vec!["bob".into()]), ("Email".into(), vec!["bob@acme.example".into()])];
    };
    assert_refused(&fixture.sign_in_with("opaque-1", spec).await);
    fixture.configure_with(json!({"link_attribute": "Email"})).await;
    assert_refused(&fixture.sign_in_with("opaque-1", spec).await);
    fixture.configure_with(json!({"link_attribute": "Username"})).await;
    fixture.sign_in_with("opaque-1", spec).await.ok();
    assert_refused(&fixture.sign_in_with("opaque-2", spec).await);
    fixture.configure_with(json!({})).await;
    fixture.sign_in("opaque-1").await.ok();
    assert_refused(&fixture.sign_in("bob").await);
}

/// A person who registers at the IdP can choose a lookalike name.
#[tokio::test]
async fn lookalike_name_is_neither_signed_in_nor_provisioned() {
    let mut fixture = fixture().await;
    fixture.make_sso("bob").await;
    fixture.sign_in("BOB").await.ok();
    for name in ["ｂob", "ᵇob", "𝐛ob", "bₒb"] {
        let reply = fixture.sign_in(name).await;
        fixture.assert_refused_by(&reply, "unknown_subject").await;
    }
    fixture.configure_with(json!({"link_attribute": "Login", "provisioning": {}})).await;
    for (name, login) in [("ᵇob", None), ("opaque", Some("ᵇob"))] {
        let reply = fixture.sign_in_with(name, |spec: &mut ResponseSpec| {
            spec.attributes = vec![("Username".into(), vec!["robert".into()])];
            spec.attributes.extend(login.map(|login| ("Login".into(), vec![login.into()])));
        });
        let reply = reply.await;
        fixture.assert_refused_by(&reply, "unknown_subject").await;
    }
    let ann = fixture.admin_session().await;
    let listed = fixture.service.get("/v1/admin/users?q=robert", &ann).await.ok();
    assert_eq!(listed.body["items"], json!([]));
}

/// Sets the attributes from which a user is provisioned.
fn provisioned(name: &str, group: &str, company: &str) -> impl FnOnce(&mut ResponseSpec) + use<> {
    let attributes = [
        ("Username", name),
        ("FirstName", "Zoe"),
        ("LastName", "Zed"),
        ("Email", "zoe@acme.example"),
        ("SecurityGroup", group),
        ("CompanyName", company),
    ]
    .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
    move |spec| spec.attributes = attributes.into()
}

#[tokio::test]
async fn users_are_provisioned_if_the_tenant_allows_it() {
    let mut fixture = fixture().await;
    assert_refused(&fixture.sign_in_with("n-1", provisioned("zoe", "Staff", "Acme")).await);
    fixture.configure_with(json!({"provisioning": {"administrators": ["Admins"], "only_company": "Acme"}})).await;
    let reply = fixture.sign_in_with("n-1", provisioned("zoe", "Staff", "Globex")).await;
    fixture.assert_refused_by(&reply, "provisioning_company").await;
    let reply = fixture.sign_in_with("n-1", provisioned("bob", "Admins", "Acme")).await;
    fixture.assert_refused_by(&reply, "provisioning_username_taken").await;
    for (name_id, name, group, role) in [("n-1", "zoe", "Staff", "standard"), ("n-2", "zed", "Admins", "administrator")]
    {
        let signed_in = fixture.sign_in_with(name_id, provisioned(name, group, "Acme")).await.ok();
        assert_eq!(signed_in.text("/status"), "enrolment_required");
        let ann = fixture.admin_session().await;
        let listed = fixture.service.get(&format!("/v1/admin/users?q={name}"), &ann).await.ok();
        let made = &listed.body["items"][0];
        assert_eq!(
            (&made["role"], &made["auth_type"], &made["display_name"]),
            (&json!(role), &json!("saml_sso"), &json!("Zoe Zed"))
        );
        assert_eq!(made["sso_name_id"], json!(name_id));
    }
    // The link decides who the user is, not later attributes. Groups are mapped at every sign-in.
    for (group, role, changed) in [("Admins", "administrator", json!(["role"])), ("Staff", "standard", json!(["role"]))]
    {
        let again = fixture.sign_in_with("n-1", provisioned("other", group, "Acme")).await.ok();
        assert_eq!(again.text("/status"), "enrolment_required");
        let ann = fixture.admin_session().await;
        let listed = fixture.service.get("/v1/admin/users?q=zoe", &ann).await.ok();
        let listed = listed.body["items"].as_array().unwrap();
        let zoe = listed.iter().find(|user| user["username"] == "zoe").unwrap();
        assert_eq!((&zoe["role"], &zoe["sso_name_id"]), (&json!(role), &json!("n-1")));
        let rows = fixture.service.get("/v1/admin/audit?limit=100", &ann).await.ok();
        let id = again.headers["x-request-id"].to_str().unwrap();
        let row = rows.body["items"].as_array().unwrap().iter().find(|row| row["request_id"] == id).unwrap().clone();
        assert_eq!(row["changed"], changed);
    }
}

#[tokio::test]
async fn unusable_attributes_are_not_provisioned() {
    let mut fixture = fixture().await;
    fixture.configure_with(json!({"provisioning": {}})).await;
    // An existing user of another sign-in method is not provisioned again.
    let reply = fixture.sign_in_with("eve", provisioned("eve-2", "Staff", "Acme")).await;
    fixture.assert_refused_by(&reply, "not_of_sso").await;
    let long = "z".repeat(129);
    let reply = fixture.sign_in_with("n-3", provisioned(&long, "Staff", "Acme")).await;
    fixture.assert_refused_by(&reply, "provisioning_username").await;
    let two = |spec: &mut ResponseSpec| {
        provisioned("zach", "Staff", "Acme")(spec);
        spec.attributes[0].1.push("zora".into());
    };
    let reply = fixture.sign_in_with("n-3", two).await;
    fixture.assert_refused_by(&reply, "provisioning_username").await;
    // A display name that is too long and an address that is none are ignored.
    let reply = fixture.sign_in_with("n-4", |spec: &mut ResponseSpec| {
        provisioned("zia", "Staff", "Acme")(spec);
        spec.attributes[1].1 = vec!["Z".repeat(129)];
        spec.attributes[3].1 = vec!["zia at acme".to_owned()];
    });
    assert_eq!(reply.await.ok().text("/status"), "enrolment_required");
    let ann = fixture.admin_session().await;
    let listed = fixture.service.get("/v1/admin/users?q=zia", &ann).await.ok();
    assert_eq!(listed.body["items"][0]["display_name"], json!("zia"));
    assert!(listed.body["items"][0].get("email").is_none(), "{listed:?}");
}
