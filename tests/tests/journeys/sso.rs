//! People who come from their organisation's IdP (product.md P11 and P12).

use axum::http::Method;
use serde_json::{Value, json};
use tests::{
    Ask, People, Reply, Service,
    idp::{BROWSER, Idp, Says, Sp, asked, form},
};
use vestibule::env::Timestamp;

/// A tenant with an IdP, and an Administrator's session of it.
struct Office {
    service: Service,
    people: People,
    tenant: String,
    sp: Sp,
    idp: Idp,
    /// Ann's session, and when she gave her last code: the next takes half a minute to come.
    ann: Option<(i64, String)>,
}

async fn office() -> Office {
    let (service, people) = Service::given().await;
    let tenant = people["ann"].tenant.clone();
    let sp = service.sp(&tenant).await;
    let idp = Idp::new("https://idp.example/metadata");
    let mut office = Office { service, people, tenant, sp, idp, ann: None };
    let metadata = office.idp.metadata();
    office.configure(json!({"metadata_xml": metadata})).await.ok();
    office
}

impl Office {
    async fn ann(&mut self) -> String {
        let now = self.service.now();
        if let Some((_, session)) = self.ann.as_ref().filter(|(since, _)| now < since + 200) {
            return session.clone();
        }
        let session = self.service.fresh(self.people.get_mut("ann").unwrap()).await;
        self.ann = Some((now, session.clone()));
        session
    }

    async fn configure(&mut self, body: Value) -> Reply {
        let ann = self.ann().await;
        self.service.put("/v1/admin/sso", &ann, body).await
    }

    /// With more than the metadata says.
    async fn configure_with(&mut self, more: Value) {
        let mut body = self.idp.fields();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.configure(body).await.ok();
    }

    async fn change(&mut self, name: &str, change: Value) -> Reply {
        let ann = self.ann().await;
        self.service.patch(&format!("/v1/admin/users/{}", self.people[name].id), &ann, change).await
    }

    async fn make_sso(&mut self, name: &str) {
        self.change(name, json!({"auth_type": "saml_sso"})).await.ok();
    }

    /// A right answer to a new request, changed; signed.
    async fn arrives_with(&self, name_id: &str, change: impl FnOnce(&mut Says)) -> Reply {
        self.arrives_for("", name_id, change).await
    }

    /// The same, for a start with a query.
    async fn arrives_for(&self, query: &str, name_id: &str, change: impl FnOnce(&mut Says)) -> Reply {
        let asked = self.service.sso_request_for(&self.tenant, query).await;
        let mut says = self.idp.answer(&self.service, &self.sp, &asked, name_id);
        change(&mut says);
        self.service.acs(&self.tenant, &says.signed(&self.idp), &asked.relay_state).await
    }

    async fn arrives(&self, name_id: &str) -> Reply {
        self.arrives_with(name_id, |_| {}).await
    }

    /// Whether who signed in by this answer has a fresh step-up, as an Administrator needs it.
    async fn may_configure(&self, arrived: &Reply) -> bool {
        let ask = Ask::new(Method::GET, "/v1/admin/sso").token(&arrived.text("/session/token"));
        let reply = self.service.send(ask).await;
        assert!(reply.status == 200 || reply.is(401, "step_up_required"), "{reply:?}");
        reply.status == 200
    }

    /// It is refused, and the audit says which rule it breaks.
    async fn refuses(&mut self, reply: &Reply, rule: &str) {
        refused(reply);
        let ann = self.ann().await;
        let rows = self.service.get("/v1/admin/audit?limit=100", &ann).await.ok();
        let id = reply.headers["x-request-id"].to_str().unwrap();
        let row = rows.body["items"].as_array().unwrap().iter().find(|row| row["request_id"] == id).unwrap().clone();
        let said = [&row["action"], &row["outcome"], &row["reason"]];
        assert_eq!(said, ["sso.login", "refused", rule]);
    }

    /// Enrols by what an arrival gave.
    async fn enrol(&mut self, name: &str, arrived: &Reply) -> Reply {
        let token = arrived.text("/enrolment/token");
        let mut person = self.people.remove(name).unwrap();
        let reply = self.service.enrol_with(&mut person, &token, json!({})).await;
        self.people.insert(name.to_owned(), person);
        reply
    }
}

fn refused(reply: &Reply) {
    assert!(reply.is(401, "invalid_credentials"), "{reply:?}");
}

fn amr(reply: &Reply) -> Value {
    reply.body["session"]["amr"].clone()
}

#[tokio::test]
async fn p11_enrols_once_and_is_asked_for_no_code_after_that() {
    let mut office = office().await;
    office.make_sso("bob").await;
    let first = office.arrives("bob").await.ok();
    assert_eq!(first.text("/status"), "enrolment_required");
    assert!(first.body.get("session").is_none());
    let enrolled = office.enrol("bob", &first).await;
    assert_eq!(amr(&enrolled), json!(["sso", "otp"]));
    for whole in [false, true] {
        let asked = office.service.sso_request(&office.tenant).await;
        let says = office.idp.answer(&office.service, &office.sp, &asked, "Bob");
        let response = if whole { says.signed_whole(&office.idp) } else { says.signed(&office.idp) };
        let again = office.service.acs(&office.tenant, &response, &asked.relay_state).await.ok();
        assert_eq!((again.text("/status"), amr(&again)), ("signed_in".to_owned(), json!(["sso"])));
        assert_eq!(again.text("/user/auth_type"), "saml_sso");
        let session = again.text("/session/token");
        let read = office.service.get("/v1/session", &session).await.ok();
        assert_eq!(read.body["session"]["amr"], json!(["sso"]));
    }
    let ann = office.ann().await;
    let listed = office.service.get("/v1/admin/users?q=bob", &ann).await.ok();
    assert_eq!(
        (&listed.body["items"][0]["auth_type"], &listed.body["items"][0]["mfa"]),
        (&json!("saml_sso"), &json!("active"))
    );
}

/// S10: what asks for a step-up asks for a code.
#[tokio::test]
async fn an_sso_session_steps_up_by_a_code() {
    let mut office = office().await;
    office.make_sso("amy").await;
    let first = office.arrives("amy").await.ok();
    office.enrol("amy", &first).await;
    let session = office.arrives("amy").await.ok().text("/session/token");
    let reset = format!("/v1/admin/users/{}/mfa-reset", office.people["eve"].id);
    let body = json!({"reason": "lost"});
    assert!(office.service.post(&reset, &session, body.clone()).await.is(401, "step_up_required"));
    let mut amy = office.people.remove("amy").unwrap();
    let code = office.service.code(&mut amy);
    let stepped = office.service.post("/v1/step-up", &session, json!({"code": code})).await.ok();
    assert_eq!(amr(&stepped), json!(["sso", "otp"]));
    office.service.post(&reset, &stepped.text("/session/token"), body).await.ok();
}

const MFA: &str = "https://refeds.org/profile/mfa";

/// The IdP's own second factor counts as a step-up where the tenant says so, in that context, as answer to a request for it.
#[tokio::test]
async fn idp_mfa_is_a_step_up_only_in_answer_to_a_request_for_it() {
    let mut office = office().await;
    office.make_sso("amy").await;
    let first = office.arrives("amy").await.ok();
    office.enrol("amy", &first).await;
    let mfa = |says: &mut Says| says.context = Some(MFA.to_owned());
    let step_up = "?step_up=true";
    let reply = office.arrives_for(step_up, "amy", mfa).await.ok();
    assert!(!office.may_configure(&reply).await, "the tenant lists no context");
    office.configure_with(json!({"mfa_contexts": [MFA]})).await;
    let reply = office.arrives_for(step_up, "amy", mfa).await.ok();
    assert!(office.may_configure(&reply).await);
    for query in ["", "?step_up=false", "?return_to=%2F"] {
        let reply = office.arrives_for(query, "amy", mfa).await.ok();
        assert!(!office.may_configure(&reply).await, "{query} asked for none");
    }
    for context in [None, Some("urn:oasis:names:tc:SAML:2.0:ac:classes:Password".to_owned())] {
        let reply = office.arrives_for(step_up, "amy", |says| says.context = context).await.ok();
        assert!(!office.may_configure(&reply).await);
    }
    for (query, forced) in [(step_up, true), ("", false), ("?step_up=false", false)] {
        let asked = office.service.sso_request_for(&office.tenant, query).await;
        assert_eq!(asked.xml.contains(" ForceAuthn=\"true\""), forced, "{query}");
    }
    let path = format!("/v1/sso/{}/login?step_up=yes", office.tenant);
    assert!(office.service.send(Ask::new(Method::GET, path)).await.is(400, "invalid_request"));
}

/// An IdP that remembers a session may answer with an MFA of long ago.
#[tokio::test]
async fn step_up_is_as_old_as_the_idp_says() {
    let mut office = office().await;
    office.make_sso("amy").await;
    let first = office.arrives("amy").await.ok();
    office.enrol("amy", &first).await;
    office.configure_with(json!({"mfa_contexts": [MFA]})).await;
    for (ago, fresh) in [(0, true), (290, true), (301, false), (30 * 86_400, false), (-60, true), (-600, false)] {
        let at = Timestamp::from_secs(office.service.now() - ago).to_string();
        let reply = office.arrives_for("?step_up=true", "amy", |says| {
            (says.context, says.authenticated) = (Some(MFA.to_owned()), Some(at));
        });
        let reply = reply.await.ok();
        assert_eq!(office.may_configure(&reply).await, fresh, "{ago} s ago");
    }
    for instant in [None, Some("yesterday".to_owned())] {
        let reply = office.arrives_for("?step_up=true", "amy", |says| {
            (says.context, says.authenticated) = (Some(MFA.to_owned()), instant);
        });
        let reply = reply.await.ok();
        assert!(!office.may_configure(&reply).await, "it does not say when");
    }
}

/// S07: what an IdP opened ends when it is removed or replaced, and does not come back with it.
#[tokio::test]
async fn sessions_of_an_idp_end_with_it() {
    let mut office = office().await;
    office.make_sso("bob").await;
    let first = office.arrives("bob").await.ok();
    office.enrol("bob", &first).await;
    office.make_sso("eve").await;
    for removed in [false, true] {
        let session = office.arrives("bob").await.ok().text("/session/token");
        let enrolment = office.arrives("eve").await.ok().text("/enrolment/token");
        // Another certificate ends nothing.
        office.configure_with(json!({"idp_initiated": removed})).await;
        office.service.get("/v1/session", &session).await.ok();
        let ann = office.ann().await;
        if removed {
            office.service.delete("/v1/admin/sso", &ann).await.ok();
        } else {
            office.configure_with(json!({"idp_entity_id": "https://other.example/metadata"})).await;
        }
        let fields = office.idp.fields();
        office.configure(fields).await.ok();
        for path in ["/v1/session", "/v1/sessions", "/v1/mfa"] {
            assert!(office.service.get(path, &session).await.is(401, "invalid_token"), "{path}");
        }
        let mut bob = office.people.remove("bob").unwrap();
        let code = office.service.code(&mut bob);
        office.people.insert("bob".to_owned(), bob);
        let reply = office.service.post("/v1/step-up", &session, json!({"code": code})).await;
        assert!(reply.is(401, "invalid_token"), "{reply:?}");
        let reply = office.service.post("/v1/mfa/enrolments", &enrolment, json!({})).await;
        assert!(reply.is(401, "invalid_token"), "{reply:?}");
        office.service.get("/v1/session", &ann).await.ok();
    }
}

/// S05: the password of somebody of SSO opens nothing.
#[tokio::test]
async fn a_password_is_refused_and_an_assertion_about_somebody_local_too() {
    let mut office = office().await;
    office.make_sso("bob").await;
    refused(&office.service.login(&office.people["bob"]).await);
    let reply = office.arrives("eve").await;
    office.refuses(&reply, "not_of_sso").await;
    let reply = office.arrives("nobody").await;
    office.refuses(&reply, "unknown_subject").await;
    office.change("bob", json!({"active": false})).await.ok();
    refused(&office.arrives("bob").await);
}

/// S07 and P12: each change of the door ends what was open, and obliges anew.
#[tokio::test]
async fn a_change_of_the_door_asks_to_sign_in_again_each_time() {
    let mut office = office().await;
    let bob = office.people.get_mut("bob").unwrap();
    office.service.enrol(bob).await;
    let local = bob.session.clone();
    let challenge = office.service.challenge(&office.people["bob"]).await;
    office.make_sso("bob").await;
    assert!(office.service.get("/v1/session", &local).await.is(401, "session_refresh_required"));
    assert!(office.service.verify(&challenge, "123456").await.is(401, "invalid_token"));
    // The factor stays: no second enrolment.
    let sso = office.arrives("bob").await.ok();
    assert_eq!(sso.text("/status"), "signed_in");
    office.change("bob", json!({"auth_type": "local"})).await.ok();
    let session = sso.text("/session/token");
    assert!(office.service.get("/v1/session", &session).await.is(401, "session_refresh_required"));
    refused(&office.arrives("bob").await);
    assert_eq!(office.service.login(&office.people["bob"]).await.text("/status"), "mfa_required");
    // Without a factor: both doors give an enrolment token, and the flip ends it.
    office.make_sso("eve").await;
    let token = office.arrives("eve").await.ok().text("/enrolment/token");
    office.change("eve", json!({"auth_type": "local"})).await.ok();
    assert!(office.service.post("/v1/mfa/enrolments", &token, json!({})).await.is(401, "invalid_token"));
    assert_eq!(office.service.login(&office.people["eve"]).await.text("/status"), "enrolment_required");
}

#[tokio::test]
async fn browser_is_sent_on_with_a_cookie() {
    let mut office = office().await;
    office.make_sso("bob").await;
    let path = format!("/v1/sso/{}/login?return_to=%2Fportal%3Fa%3D1", office.tenant);
    let sent = office.service.send(Ask::new(Method::GET, path).header("accept", BROWSER)).await;
    let encrypted = office.sp.acs_url.starts_with("https://");
    let started = sent.headers["set-cookie"].to_str().unwrap();
    let (prefix, site) = if encrypted { ("__Host-", "None; Secure") } else { ("", "Lax") };
    assert!(started.starts_with(&format!("{prefix}vestibule-sso=")), "{started}");
    assert!(started.ends_with(&format!("; Path=/; Max-Age=900; HttpOnly; SameSite={site}")), "{started}");
    let (request, started) = (asked(&sent), started.split(';').next().unwrap());
    let response = office.idp.answer(&office.service, &office.sp, &request, "bob").signed(&office.idp);
    // The start decides, not what the answer is brought with.
    let ask = Ask::new(Method::POST, format!("/v1/sso/{}/acs", office.tenant));
    let ask = ask.form(&form(&response, &request.relay_state)).header("accept", "application/json");
    let reply = office.service.send(ask.header("cookie", &format!("a=b; {started}; c=d"))).await;
    assert_eq!((reply.status.as_u16(), reply.headers["location"].to_str().unwrap()), (303, "/portal?a=1"));
    let cookie = reply.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("vestibule=ve_") && cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
    assert_eq!(cookie.starts_with("__Host-") && cookie.ends_with("; Secure"), encrypted, "{cookie}");
    for elsewhere in ["https%3A%2F%2Fevil.example", "%2F%2Fevil.example", "%2F%5Cevil.example"] {
        let path = format!("/v1/sso/{}/login?return_to={elsewhere}", office.tenant);
        assert!(office.service.send(Ask::new(Method::GET, path)).await.is(400, "invalid_request"));
    }
}

/// Another site's page can make a browser post an answer that its own user started (log-in CSRF).
#[tokio::test]
async fn answer_in_another_browser_is_refused_and_sets_nothing() {
    let mut office = office().await;
    office.make_sso("bob").await;
    let service = &office.service;
    let (request, mine) = service.browser_starts(&office.tenant, "", "").await;
    let (_, theirs) = service.browser_starts(&office.tenant, "", "").await;
    assert_ne!(mine, theirs);
    let response = office.idp.answer(service, &office.sp, &request, "bob").signed(&office.idp);
    let posted = form(&response, &request.relay_state);
    let name = mine.split('=').next().unwrap();
    for brings in ["", &theirs, &format!("{name}="), &mine.replacen(name, "vestibule", 1)] {
        let reply = office.service.browser_brings(&office.tenant, &posted, brings).await;
        office.refuses(&reply, "pre_session").await;
        assert!(!reply.headers.contains_key("set-cookie") && !reply.headers.contains_key("location"));
    }
    // It was not spent by that. A second tab has the same pre-session.
    let (second, again) = office.service.browser_starts(&office.tenant, "", &mine).await;
    assert_eq!(again, mine);
    let reply = office.service.browser_brings(&office.tenant, &posted, &mine).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    let response = office.idp.answer(&office.service, &office.sp, &second, "bob").signed(&office.idp);
    let reply = office.service.browser_brings(&office.tenant, &form(&response, &second.relay_state), &mine).await;
    assert_eq!(reply.status, 303, "{reply:?}");
}

/// What is no browser is bound to none: its answer sets no cookie in whichever browser brings it.
#[tokio::test]
async fn answer_to_an_unbound_start_is_json_and_sets_no_cookie() {
    let mut office = office().await;
    office.make_sso("bob").await;
    let (_, cookie) = office.service.browser_starts(&office.tenant, "", "").await;
    for brings in ["", &cookie] {
        for accept in [None, Some("application/json"), Some("*/*")] {
            let ask = Ask::new(Method::GET, format!("/v1/sso/{}/login", office.tenant));
            let ask = accept.into_iter().fold(ask, |ask, accept| ask.header("accept", accept));
            let sent = office.service.send(ask).await;
            assert!(!sent.headers.contains_key("set-cookie"), "{accept:?}");
            let request = asked(&sent);
            let response = office.idp.answer(&office.service, &office.sp, &request, "bob").signed(&office.idp);
            let posted = form(&response, &request.relay_state);
            let reply = office.service.browser_brings(&office.tenant, &posted, brings).await.ok();
            assert_eq!(reply.text("/status"), "enrolment_required");
            assert!(!reply.headers.contains_key("set-cookie"));
        }
    }
}

#[tokio::test]
async fn the_configuration_is_an_administrators_and_is_read_back() {
    let mut office = office().await;
    let ann = office.ann().await;
    let shown = office.service.get("/v1/admin/sso", &ann).await.ok();
    assert_eq!(shown.text("/idp_entity_id"), office.idp.entity_id);
    assert_eq!(shown.text("/certificates/0").trim(), office.idp.certificate.trim().replace("\r\n", "\n"));
    assert_eq!(shown.body["certificates_seen"][0]["expired"], json!(false));
    assert_eq!(shown.text("/service_provider/acs_url"), office.sp.acs_url);
    let again = json!({"idp_entity_id": shown.text("/idp_entity_id"), "sso_url": shown.text("/sso_url"),
        "certificates": shown.body["certificates"]});
    office.configure(again).await.ok();
    let mut people = std::mem::take(&mut office.people);
    let bob = office.service.fresh(people.get_mut("bob").unwrap()).await;
    let gus = office.service.fresh(people.get_mut("gus").unwrap()).await;
    let fields = office.idp.fields();
    assert!(office.service.get("/v1/admin/sso", &bob).await.is(403, "forbidden"));
    assert!(office.service.put("/v1/admin/sso", &bob, fields).await.is(403, "forbidden"));
    assert!(office.service.get("/v1/admin/sso", &gus).await.is(404, "not_found"), "another tenant's is not seen");
    let foreign = format!("/v1/sso/{}/login", people["gus"].tenant);
    assert!(office.service.send(Ask::new(Method::GET, foreign)).await.is(404, "not_found"));
    for path in ["/v1/sso/nosuch/login", "/v1/sso/nosuch/metadata"] {
        assert!(office.service.send(Ask::new(Method::GET, path)).await.is(404, "not_found"), "{path}");
    }
    refused(&office.service.acs("nosuch", "<x/>", "").await);
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_whole() {
    let mut office = office().await;
    let fields = office.idp.fields();
    let with = |name: &str, value: Value| {
        let mut fields = fields.clone();
        fields[name] = value;
        fields
    };
    let metadata = office.idp.metadata();
    let both = with("metadata_xml", json!(metadata));
    let other = metadata.replace("<?xml version=\"1.0\"?>", "");
    let open = "<md:EntitiesDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\">";
    let two = format!("{open}{other}{}</md:EntitiesDescriptor>", other.replace("idp.example", "other.example"));
    let edwards = Idp::with_key(&office.idp.entity_id, &rcgen::PKCS_ED25519).certificate;
    let small = include_str!("../../keys/rsa-1024.pem");
    let short = include_str!("../../keys/rsa-2047.pem");
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
        with("certificates", json!(vec![office.idp.certificate.clone(); 9])),
        with("mfa", json!("none")),
    ] {
        assert!(office.configure(body.clone()).await.is(400, "invalid_request"), "{body}");
    }
    let ann = office.ann().await;
    assert_eq!(office.service.get("/v1/admin/sso", &ann).await.ok().text("/sso_url"), "https://idp.example/sso");
    // Who is reached over HTTPS sends nobody to plain HTTP.
    let plain = office.configure(with("sso_url", json!("http://idp.example/sso"))).await;
    assert_eq!(plain.status == 200, office.sp.acs_url.starts_with("http://"), "{plain:?}");
}

#[tokio::test]
async fn metadata_without_a_key_for_signing_is_refused() {
    let mut office = office().await;
    let metadata = office.idp.metadata().replace("use=\"signing\"", "use=\"encryption\"");
    assert!(office.configure(json!({"metadata_xml": metadata})).await.is(400, "invalid_request"));
}

/// The last who can sign in by a password stays, as long as there is no IdP; and an IdP on which all depend stays.
#[tokio::test]
async fn an_administrator_who_can_sign_in_always_stays() {
    let mut office = office().await;
    let ann = office.ann().await;
    office.service.delete("/v1/admin/sso", &ann).await.ok();
    assert!(office.service.delete("/v1/admin/sso", &ann).await.is(404, "not_found"));
    office.make_sso("amy").await;
    assert!(office.change("ann", json!({"auth_type": "saml_sso"})).await.is(409, "conflict"));
    assert!(office.change("ann", json!({"role": "standard"})).await.is(409, "conflict"));
    assert!(office.change("ann", json!({"active": false})).await.is(409, "conflict"));
    let fields = office.idp.fields();
    office.configure(fields).await.ok();
    office.make_sso("ann").await;
    let mut people = std::mem::take(&mut office.people);
    // Ann has her factor from before: SSO signs her in, and a code steps her up.
    let session = office.arrives("ann").await.ok().text("/session/token");
    let code = office.service.code(people.get_mut("ann").unwrap());
    let ann = office.service.post("/v1/step-up", &session, json!({"code": code})).await.ok().text("/session/token");
    assert!(office.service.delete("/v1/admin/sso", &ann).await.is(409, "conflict"));
    let amy = format!("/v1/admin/users/{}", people["amy"].id);
    office.service.patch(&amy, &ann, json!({"auth_type": "local"})).await.ok();
    office.service.delete("/v1/admin/sso", &ann).await.ok();
    refused(&office.arrives_unasked("ann").await);
}

impl Office {
    /// An answer that nobody asked for, as a form.
    fn unasked(&self, name_id: &str) -> String {
        let asked = tests::idp::Asked { xml: String::new(), id: String::new(), relay_state: String::new() };
        let mut says = self.idp.answer(&self.service, &self.sp, &asked, name_id);
        says.in_response_to = None;
        form(&says.signed(&self.idp), "")
    }

    async fn arrives_unasked(&self, name_id: &str) -> Reply {
        self.service.acs_body(&self.tenant, &self.unasked(name_id)).await
    }

    /// Brought by a browser; and where it is sent then.
    async fn browser_unasked(&self, brings: &str) -> String {
        let reply = self.service.browser_brings(&self.tenant, &self.unasked("bob"), brings).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        assert!(!reply.headers.contains_key("set-cookie"));
        reply.headers["location"].to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn unsolicited_answer_leads_to_a_start_where_the_tenant_allows_it() {
    let mut office = office().await;
    office.make_sso("bob").await;
    let reply = office.arrives_unasked("bob").await;
    office.refuses(&reply, "unsolicited").await;
    office.configure_with(json!({"idp_initiated": true})).await;
    // It is not looked into: whatever it says, whoever brings it.
    for posted in [office.unasked("bob"), form("<x/>", ""), form("<x/>", "https://portal.example.com/")] {
        let reply = office.service.acs_body(&office.tenant, &posted).await;
        assert_eq!((reply.status.as_u16(), reply.headers["location"].to_str().unwrap()), (303, LOGIN));
    }
    // A browser signs in by what it starts there.
    assert_eq!(office.browser_unasked("").await, LOGIN);
    let (request, cookie) = office.service.browser_starts(&office.tenant, "?unsolicited=true", "").await;
    let response = office.idp.answer(&office.service, &office.sp, &request, "bob").signed(&office.idp);
    let reply = office.service.browser_brings(&office.tenant, &form(&response, &request.relay_state), &cookie).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    // After a sign-in the next is the first again.
    let set: Vec<_> = reply.headers.get_all("set-cookie").iter().map(|it| it.to_str().unwrap()).collect();
    let [_, kept] = set[..] else { panic!("{set:?}") };
    assert_eq!(office.browser_unasked(kept.split(';').next().unwrap()).await, LOGIN);
}

const LOGIN: &str = "login?unsolicited=true";

/// An IdP that answers our request by another unsolicited answer would send a browser round and round.
#[tokio::test]
async fn second_unsolicited_answer_of_a_pre_session_is_refused() {
    let mut office = office().await;
    office.configure_with(json!({"idp_initiated": true})).await;
    // A start of another kind before it does not count.
    let (_, cookie) = office.service.browser_starts(&office.tenant, "", "").await;
    assert_eq!(office.browser_unasked(&cookie).await, LOGIN);
    let (_, cookie) = office.service.browser_starts(&office.tenant, "?unsolicited=true", &cookie).await;
    let reply = office.service.browser_brings(&office.tenant, &office.unasked("bob"), &cookie).await;
    office.refuses(&reply, "unsolicited").await;
    assert!(!reply.headers.contains_key("set-cookie") && !reply.headers.contains_key("location"));
    let (_, cookie) = office.service.browser_starts(&office.tenant, "", &cookie).await;
    assert_eq!(office.browser_unasked(&cookie).await, LOGIN);
}

/// Several certificates while the IdP changes its key; none of them for longer than it is configured.
#[tokio::test]
async fn keys_roll_over() {
    let mut office = office().await;
    office.make_sso("bob").await;
    let old = std::mem::replace(&mut office.idp, Idp::new("https://idp.example/metadata"));
    let reply = office.arrives("bob").await;
    office.refuses(&reply, "signature").await;
    office.configure_with(json!({"certificates": [old.certificate, office.idp.certificate]})).await;
    office.arrives("bob").await.ok();
    let new = std::mem::replace(&mut office.idp, old);
    office.arrives("bob").await.ok();
    office.idp = new;
    let fields = office.idp.fields();
    office.configure(fields).await.ok();
    office.arrives("bob").await.ok();
}

/// Linked by an Administrator: what the IdP calls them, instead of the login name.
#[tokio::test]
async fn an_administrator_links_what_the_idp_calls_somebody() {
    let mut office = office().await;
    office.make_sso("bob").await;
    let linked = office.change("bob", json!({"sso_name_id": "00u1a2b3"})).await.ok();
    assert_eq!(linked.text("/sso_name_id"), "00u1a2b3");
    refused(&office.arrives("bob").await);
    refused(&office.arrives("00U1A2B3").await);
    office.arrives("00u1a2b3").await.ok();
    office.make_sso("eve").await;
    assert!(office.change("eve", json!({"sso_name_id": "00u1a2b3"})).await.is(409, "conflict"), "one name, one person");
    office.change("bob", json!({"sso_name_id": "00u9"})).await.ok();
    refused(&office.arrives("00u1a2b3").await);
    office.arrives("00u9").await.ok();
    office.change("eve", json!({"sso_name_id": "00u1a2b3"})).await.ok();
    office.arrives("00u1a2b3").await.ok();
    // Who is gone takes the link along.
    let ann = office.ann().await;
    office.service.delete(&format!("/v1/admin/users/{}", office.people["bob"].id), &ann).await.ok();
    refused(&office.arrives("00u9").await);
    let new = json!({"kind": "employee", "role": "standard", "auth_type": "saml_sso", "username": "zoe",
        "display_name": "Zoe", "sso_name_id": "00u9"});
    office.service.post("/v1/admin/users", &ann, new).await.ok();
    assert_eq!(office.arrives("00u9").await.ok().text("/status"), "enrolment_required");
}

#[tokio::test]
async fn name_id_is_not_another_persons_login_name() {
    let mut office = office().await;
    let ann = office.ann().await;
    for name in ["bob", "Bob"] {
        let reply = office.change("eve", json!({"sso_name_id": name})).await;
        assert!(reply.is(409, "conflict"), "{reply:?}");
    }
    office.change("eve", json!({"sso_name_id": "zoe"})).await.ok();
    let new = |name: &str| json!({"kind": "employee", "role": "standard", "auth_type": "local", "username": name, "display_name": "Zoe"});
    for name in ["zoe", "Zoe"] {
        assert!(office.service.post("/v1/admin/users", &ann, new(name)).await.is(409, "conflict"));
    }
    let mut linked = new("zed");
    linked["sso_name_id"] = json!("bob");
    assert!(office.service.post("/v1/admin/users", &ann, linked).await.is(409, "conflict"));
    office.change("bob", json!({"sso_name_id": "bob"})).await.ok();
}

/// The rule of the first sign-in: off; and if on, by an attribute that is the login name, once, and never by e-mail.
#[tokio::test]
async fn a_first_sign_in_links_where_the_tenant_has_that_rule() {
    let mut office = office().await;
    office.make_sso("bob").await;
    office.change("bob", json!({"email": "bob@acme.example"})).await.ok();
    let says = |says: &mut Says| {
        says.attributes =
            vec![("Username".into(), vec!["bob".into()]), ("Email".into(), vec!["bob@acme.example".into()])];
    };
    refused(&office.arrives_with("opaque-1", says).await);
    office.configure_with(json!({"link_attribute": "Email"})).await;
    refused(&office.arrives_with("opaque-1", says).await);
    office.configure_with(json!({"link_attribute": "Username"})).await;
    office.arrives_with("opaque-1", says).await.ok();
    refused(&office.arrives_with("opaque-2", says).await);
    office.configure_with(json!({})).await;
    office.arrives("opaque-1").await.ok();
    refused(&office.arrives("bob").await);
}

/// Whoever can register at the IdP chooses what it calls them.
#[tokio::test]
async fn look_alike_name_neither_signs_in_nor_is_provisioned() {
    let mut office = office().await;
    office.make_sso("bob").await;
    office.arrives("BOB").await.ok();
    for name in ["ｂob", "ᵇob", "𝐛ob", "bₒb"] {
        let reply = office.arrives(name).await;
        office.refuses(&reply, "unknown_subject").await;
    }
    office.configure_with(json!({"link_attribute": "Login", "provisioning": {}})).await;
    for (name, login) in [("ᵇob", None), ("opaque", Some("ᵇob"))] {
        let reply = office.arrives_with(name, |says: &mut Says| {
            says.attributes = vec![("Username".into(), vec!["robert".into()])];
            says.attributes.extend(login.map(|login| ("Login".into(), vec![login.into()])));
        });
        let reply = reply.await;
        office.refuses(&reply, "unknown_subject").await;
    }
    let ann = office.ann().await;
    let listed = office.service.get("/v1/admin/users?q=robert", &ann).await.ok();
    assert_eq!(listed.body["items"], json!([]));
}

#[tokio::test]
async fn people_are_provisioned_where_the_tenant_wants_that() {
    let mut office = office().await;
    let says = |name: &'static str, group: &'static str, company: &'static str| {
        move |says: &mut Says| {
            says.attributes = [
                ("Username", name),
                ("FirstName", "Zoe"),
                ("LastName", "Zed"),
                ("Email", "zoe@acme.example"),
                ("SecurityGroup", group),
                ("CompanyName", company),
            ]
            .map(|(name, value)| (name.into(), vec![value.into()]))
            .into();
        }
    };
    refused(&office.arrives_with("n-1", says("zoe", "Staff", "Acme")).await);
    office.configure_with(json!({"provisioning": {"administrators": ["Admins"], "only_company": "Acme"}})).await;
    let reply = office.arrives_with("n-1", says("zoe", "Staff", "Globex")).await;
    office.refuses(&reply, "provisioning_company").await;
    let reply = office.arrives_with("n-1", says("bob", "Admins", "Acme")).await;
    office.refuses(&reply, "provisioning_username_taken").await;
    for (name_id, name, group, role) in [("n-1", "zoe", "Staff", "standard"), ("n-2", "zed", "Admins", "administrator")]
    {
        let arrived = office.arrives_with(name_id, says(name, group, "Acme")).await.ok();
        assert_eq!(arrived.text("/status"), "enrolment_required");
        let ann = office.ann().await;
        let listed = office.service.get(&format!("/v1/admin/users?q={name}"), &ann).await.ok();
        let made = &listed.body["items"][0];
        assert_eq!(
            (&made["role"], &made["auth_type"], &made["display_name"]),
            (&json!(role), &json!("saml_sso"), &json!("Zoe Zed"))
        );
        assert_eq!(made["sso_name_id"], json!(name_id));
    }
    // Somebody who is there, but of another door, becomes nobody new.
    let reply = office.arrives_with("eve", says("eve-2", "Staff", "Acme")).await;
    office.refuses(&reply, "not_of_sso").await;
    let long: &'static str = "z".repeat(129).leak();
    let reply = office.arrives_with("n-3", says(long, "Staff", "Acme")).await;
    office.refuses(&reply, "provisioning_username").await;
    let two = |mark: &mut Says| {
        says("zach", "Staff", "Acme")(mark);
        mark.attributes[0].1.push("zora".into());
    };
    let reply = office.arrives_with("n-3", two).await;
    office.refuses(&reply, "provisioning_username").await;
    // A name that cannot be shown is none.
    let reply = office.arrives_with("n-4", |mark: &mut Says| {
        says("zia", "Staff", "Acme")(mark);
        mark.attributes[1].1 = vec!["Z".repeat(129)];
    });
    assert_eq!(reply.await.ok().text("/status"), "enrolment_required");
    let ann = office.ann().await;
    let listed = office.service.get("/v1/admin/users?q=zia", &ann).await.ok();
    assert_eq!(listed.body["items"][0]["display_name"], json!("zia"));
    // They are who they are, whatever the attributes say later; but groups are mapped at every sign-in.
    for (group, role, changed) in [("Admins", "administrator", json!(["role"])), ("Staff", "standard", json!(["role"]))]
    {
        let again = office.arrives_with("n-1", says("other", group, "Acme")).await.ok();
        assert_eq!(again.text("/status"), "enrolment_required");
        let ann = office.ann().await;
        let listed = office.service.get("/v1/admin/users?q=zoe", &ann).await.ok();
        let listed = listed.body["items"].as_array().unwrap();
        let zoe = listed.iter().find(|user| user["username"] == "zoe").unwrap();
        assert_eq!((&zoe["role"], &zoe["sso_name_id"]), (&json!(role), &json!("n-1")));
        let rows = office.service.get("/v1/admin/audit?limit=100", &ann).await.ok();
        let id = again.headers["x-request-id"].to_str().unwrap();
        let row = rows.body["items"].as_array().unwrap().iter().find(|row| row["request_id"] == id).unwrap().clone();
        assert_eq!(row["changed"], changed);
    }
}
