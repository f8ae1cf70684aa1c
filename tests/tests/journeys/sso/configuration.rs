//! The configuration of a tenant's IdP.

use axum::http::Method;
use serde_json::{Value, json};
use tests::{TestRequest, idp::Idp};

use super::{assert_refused, fixture};

/// S07: a removed or replaced IdP ends the sessions and enrolment tokens it opened. They do not return with it.
#[tokio::test]
async fn removed_idp_ends_its_sessions() {
    let mut fixture = fixture().await;
    fixture.make_sso("bob").await;
    let first = fixture.sign_in("bob").await.ok();
    fixture.enrol("bob", &first).await;
    fixture.make_sso("eve").await;
    for removed in [false, true] {
        let session = fixture.sign_in("bob").await.ok().text("/session/token");
        let enrolment = fixture.sign_in("eve").await.ok().text("/enrolment/token");
        // A change of other settings ends nothing.
        fixture.configure_with(json!({"idp_initiated": removed})).await;
        fixture.service.get("/v1/session", &session).await.ok();
        let ann = fixture.admin_session().await;
        if removed {
            fixture.service.delete("/v1/admin/sso", &ann).await.ok();
        } else {
            fixture.configure_with(json!({"idp_entity_id": "https://other.example/metadata"})).await;
        }
        let fields = fixture.idp.fields();
        fixture.configure(fields).await.ok();
        for path in ["/v1/session", "/v1/sessions", "/v1/mfa"] {
            assert!(fixture.service.get(path, &session).await.is(401, "invalid_token"), "{path}");
        }
        let mut bob = fixture.users.remove("bob").unwrap();
        let code = fixture.service.next_code(&mut bob);
        fixture.users.insert("bob".to_owned(), bob);
        let reply = fixture.service.post("/v1/step-up", &session, json!({"code": code})).await;
        assert!(reply.is(401, "invalid_token"), "{reply:?}");
        let reply = fixture.service.post("/v1/mfa/enrolments", &enrolment, json!({})).await;
        assert!(reply.is(401, "invalid_token"), "{reply:?}");
        fixture.service.get("/v1/session", &ann).await.ok();
    }
}

#[tokio::test]
async fn only_administrators_configure_an_idp_and_can_read_it() {
    let mut fixture = fixture().await;
    let ann = fixture.admin_session().await;
    let shown = fixture.service.get("/v1/admin/sso", &ann).await.ok();
    assert_eq!(shown.text("/idp_entity_id"), fixture.idp.entity_id);
    assert_eq!(shown.text("/certificates/0").trim(), fixture.idp.certificate.trim().replace("\r\n", "\n"));
    assert_eq!(shown.body["certificates_seen"][0]["expired"], json!(false));
    assert_eq!(shown.text("/service_provider/acs_url"), fixture.sp.acs_url);
    let again = json!({"idp_entity_id": shown.text("/idp_entity_id"), "sso_url": shown.text("/sso_url"),
        "certificates": shown.body["certificates"]});
    fixture.configure(again).await.ok();
    let mut users = std::mem::take(&mut fixture.users);
    let bob = fixture.service.stepped_up_session(users.get_mut("bob").unwrap()).await;
    let gus = fixture.service.stepped_up_session(users.get_mut("gus").unwrap()).await;
    let fields = fixture.idp.fields();
    assert!(fixture.service.get("/v1/admin/sso", &bob).await.is(403, "forbidden"));
    assert!(fixture.service.put("/v1/admin/sso", &bob, fields).await.is(403, "forbidden"));
    assert!(
        fixture.service.get("/v1/admin/sso", &gus).await.is(404, "not_found"),
        "the configuration of another tenant is not visible"
    );
    let foreign = format!("/v1/sso/{}/login", users["gus"].tenant);
    assert!(fixture.service.send(TestRequest::new(Method::GET, foreign)).await.is(404, "not_found"));
    for path in ["/v1/sso/nosuch/login", "/v1/sso/nosuch/metadata"] {
        assert!(fixture.service.send(TestRequest::new(Method::GET, path)).await.is(404, "not_found"), "{path}");
    }
    assert_refused(&fixture.service.acs("nosuch", "<x/>", "").await);
}

#[tokio::test]
async fn unusable_idp_configuration_is_refused() {
    let mut fixture = fixture().await;
    let fields = fixture.idp.fields();
    let with = |name: &str, value: Value| {
        let mut fields = fields.clone();
        fields[name] = value;
        fields
    };
    let metadata = fixture.idp.metadata();
    let both = with("metadata_xml", json!(metadata));
    let other = metadata.replace("<?xml version=\"1.0\"?>", "");
    let open = "<md:EntitiesDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\">";
    let two = format!("{open}{other}{}</md:EntitiesDescriptor>", other.replace("idp.example", "other.example"));
    let edwards = Idp::with_key(&fixture.idp.entity_id, &rcgen::PKCS_ED25519).certificate;
    let small = include_str!("../../../keys/rsa-1024.pem");
    let short = include_str!("../../../keys/rsa-2047.pem");
    for body in [
        json!({}),
        both,
        json!({"metadata_xml": "<x/>"}),
        json!({"metadata_xml": format!("<!DOCTYPE x>{}", metadata.replace("<?xml version=\"1.0\"?>", ""))}),
        json!({"metadata_xml": metadata.replace("HTTP-Redirect", "HTTP-POST")}),
        json!({"metadata_xml": metadata.replace("use=\"signing\"", "use=\"encryption\"")}),
        json!({"metadata_xml": metadata.replace("SAML:2.0:protocol", "SAML:1.1:protocol")}),
        json!({"metadata_xml": two}),
        with("idp_entity_id", json!("an IdP")),
        with("sso_url", json!("javascript:alert(1)")),
        with("sso_url", json!("https://idp.example/a b")),
        with("sso_url", json!("https://idp.example/#x")),
        with("certificates", json!([edwards])),
        with("certificates", json!([])),
        with("certificates", json!(["no certificate"])),
        with("certificates", json!([small])),
        with("certificates", json!([short])),
        with("certificates", json!(vec![fixture.idp.certificate.clone(); 9])),
        with("mfa", json!("none")),
    ] {
        assert!(fixture.configure(body.clone()).await.is(400, "invalid_request"), "{body}");
    }
    let ann = fixture.admin_session().await;
    assert_eq!(fixture.service.get("/v1/admin/sso", &ann).await.ok().text("/sso_url"), "https://idp.example/sso");
    // A service behind HTTPS sends no browser to plain HTTP.
    let plain = fixture.configure(with("sso_url", json!("http://idp.example/sso"))).await;
    assert_eq!(plain.status == 200, fixture.sp.acs_url.starts_with("http://"), "{plain:?}");
}

#[tokio::test]
async fn metadata_without_a_key_for_signing_is_refused() {
    let mut fixture = fixture().await;
    let metadata = fixture.idp.metadata().replace("use=\"signing\"", "use=\"encryption\"");
    assert!(fixture.configure(json!({"metadata_xml": metadata})).await.is(400, "invalid_request"));
}

/// The last Administrator with a password stays while there is no IdP, and an IdP that all Administrators depend on
/// stays.
#[tokio::test]
async fn one_administrator_able_to_sign_in_always_remains() {
    let mut fixture = fixture().await;
    let ann = fixture.admin_session().await;
    fixture.service.delete("/v1/admin/sso", &ann).await.ok();
    assert!(fixture.service.delete("/v1/admin/sso", &ann).await.is(404, "not_found"));
    fixture.make_sso("amy").await;
    assert!(fixture.change("ann", json!({"auth_type": "saml_sso"})).await.is(409, "conflict"));
    assert!(fixture.change("ann", json!({"role": "standard"})).await.is(409, "conflict"));
    assert!(fixture.change("ann", json!({"active": false})).await.is(409, "conflict"));
    let fields = fixture.idp.fields();
    fixture.configure(fields).await.ok();
    fixture.make_sso("ann").await;
    let mut users = std::mem::take(&mut fixture.users);
    // Ann still has her factor: SSO signs her in, and a code steps her up.
    let session = fixture.sign_in("ann").await.ok().text("/session/token");
    let code = fixture.service.next_code(users.get_mut("ann").unwrap());
    let ann = fixture.service.post("/v1/step-up", &session, json!({"code": code})).await.ok().text("/session/token");
    assert!(fixture.service.delete("/v1/admin/sso", &ann).await.is(409, "conflict"));
    let amy = format!("/v1/admin/users/{}", users["amy"].id);
    fixture.service.patch(&amy, &ann, json!({"auth_type": "local"})).await.ok();
    fixture.service.delete("/v1/admin/sso", &ann).await.ok();
    assert_refused(&fixture.post_unsolicited("ann").await);
}

/// Several certificates may be configured while the IdP changes its key. Removed ones are refused.
#[tokio::test]
async fn old_and_new_idp_certificates_are_accepted_while_configured() {
    let mut fixture = fixture().await;
    fixture.make_sso("bob").await;
    let old = std::mem::replace(&mut fixture.idp, Idp::new("https://idp.example/metadata"));
    let reply = fixture.sign_in("bob").await;
    fixture.assert_refused_by(&reply, "signature").await;
    fixture.configure_with(json!({"certificates": [old.certificate, fixture.idp.certificate]})).await;
    fixture.sign_in("bob").await.ok();
    let new = std::mem::replace(&mut fixture.idp, old);
    fixture.sign_in("bob").await.ok();
    fixture.idp = new;
    let fields = fixture.idp.fields();
    fixture.configure(fields).await.ok();
    fixture.sign_in("bob").await.ok();
}
