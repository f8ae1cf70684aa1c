//! Sign-in in a browser: cookies, redirects and unsolicited responses.

use axum::http::Method;
use serde_json::json;
use tests::{
    Reply, TestRequest,
    idp::{AuthnRequest, BROWSER, authn_request, form},
};

use super::{Fixture, fixture};

#[tokio::test]
async fn browser_is_redirected_with_a_cookie() {
    let mut fixture = fixture().await;
    fixture.make_sso("bob").await;
    let path = format!("/v1/sso/{}/login?return_to=%2Fportal%3Fa%3D1", fixture.tenant);
    let sent = fixture.service.send(TestRequest::new(Method::GET, path).header("accept", BROWSER)).await;
    let encrypted = fixture.sp.acs_url.starts_with("https://");
    let started = sent.headers["set-cookie"].to_str().unwrap();
    let (prefix, site) = if encrypted { ("__Host-", "None; Secure") } else { ("", "Lax") };
    assert!(started.starts_with(&format!("{prefix}vestibule-sso=")), "{started}");
    assert!(started.ends_with(&format!("; Path=/; Max-Age=900; HttpOnly; SameSite={site}")), "{started}");
    let (authn_request, started) = (authn_request(&sent), started.split(';').next().unwrap());
    let response =
        fixture.idp.valid_response(&fixture.service, &fixture.sp, &authn_request, "bob").sign_assertion(&fixture.idp);
    // The `Accept` header of the start decides, not that of the answer.
    let request = TestRequest::new(Method::POST, format!("/v1/sso/{}/acs", fixture.tenant));
    let request = request.form(&form(&response, &authn_request.relay_state)).header("accept", "application/json");
    let reply = fixture.service.send(request.header("cookie", &format!("a=b; {started}; c=d"))).await;
    // A new user sets up an authenticator first, and comes to the path afterwards.
    assert_eq!(reply.location(), "/enroll?return_to=%2Fportal%3Fa%3D1");
    let cookie = reply.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("vestibule-enrolment=ve_") && cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
    assert_eq!(cookie.starts_with("__Host-") && cookie.ends_with("; Secure"), encrypted, "{cookie}");
    for elsewhere in ["https%3A%2F%2Fevil.example", "%2F%2Fevil.example", "%2F%5Cevil.example"] {
        let path = format!("/v1/sso/{}/login?return_to={elsewhere}", fixture.tenant);
        assert!(fixture.service.send(TestRequest::new(Method::GET, path)).await.is(400, "invalid_request"));
    }
}

/// Login CSRF: a page of another site makes a browser post a response that another user started.
#[tokio::test]
async fn answer_in_another_browser_is_refused_and_sets_nothing() {
    let mut fixture = fixture().await;
    fixture.make_sso("bob").await;
    let service = &fixture.service;
    let (authn_request, mine) = service.start_in_browser(&fixture.tenant, "", "").await;
    let (_, theirs) = service.start_in_browser(&fixture.tenant, "", "").await;
    assert_ne!(mine, theirs);
    let response = fixture.idp.valid_response(service, &fixture.sp, &authn_request, "bob").sign_assertion(&fixture.idp);
    let posted = form(&response, &authn_request.relay_state);
    let name = mine.split('=').next().unwrap();
    for cookie in ["", &theirs, &format!("{name}="), &mine.replacen(name, "vestibule", 1)] {
        let reply = fixture.service.post_acs_in_browser(&fixture.tenant, &posted, cookie).await;
        fixture.assert_refused_by(&reply, "pre_session").await;
        let kind = if cookie == theirs { "text/html; charset=utf-8" } else { "application/problem+json" };
        assert_eq!(reply.headers["content-type"], kind, "only a browser with a pre-session gets a page: {cookie}");
        assert!(!reply.headers.contains_key("set-cookie") && !reply.headers.contains_key("location"));
    }
    // The refusals did not spend the assertion. A second tab has the same pre-session.
    let (second, again) = fixture.service.start_in_browser(&fixture.tenant, "", &mine).await;
    assert_eq!(again, mine);
    let reply = fixture.service.post_acs_in_browser(&fixture.tenant, &posted, &mine).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    let response =
        fixture.idp.valid_response(&fixture.service, &fixture.sp, &second, "bob").sign_assertion(&fixture.idp);
    let reply =
        fixture.service.post_acs_in_browser(&fixture.tenant, &form(&response, &second.relay_state), &mine).await;
    assert_eq!(reply.status, 303, "{reply:?}");
}

/// A start by a client that is not a browser is not bound to a browser: its answer sets no cookie, with or without a cookie.
#[tokio::test]
async fn answer_to_an_unbound_start_is_json_and_sets_no_cookie() {
    let mut fixture = fixture().await;
    fixture.make_sso("bob").await;
    let (_, pre_session) = fixture.service.start_in_browser(&fixture.tenant, "", "").await;
    for cookie in ["", &pre_session] {
        for accept in [None, Some("application/json"), Some("*/*")] {
            let request = TestRequest::new(Method::GET, format!("/v1/sso/{}/login", fixture.tenant));
            let request = accept.into_iter().fold(request, |request, accept| request.header("accept", accept));
            let sent = fixture.service.send(request).await;
            assert!(!sent.headers.contains_key("set-cookie"), "{accept:?}");
            let authn_request = authn_request(&sent);
            let response = fixture
                .idp
                .valid_response(&fixture.service, &fixture.sp, &authn_request, "bob")
                .sign_assertion(&fixture.idp);
            let posted = form(&response, &authn_request.relay_state);
            let reply = fixture.service.post_acs_in_browser(&fixture.tenant, &posted, cookie).await.ok();
            assert_eq!(reply.text("/status"), "enrolment_required");
            assert!(!reply.headers.contains_key("set-cookie"));
        }
    }
}

impl Fixture {
    /// The form of an unsolicited response.
    fn unsolicited_form(&self, name_id: &str) -> String {
        let authn_request = AuthnRequest { xml: String::new(), id: String::new(), relay_state: String::new() };
        let mut spec = self.idp.valid_response(&self.service, &self.sp, &authn_request, name_id);
        spec.in_response_to = None;
        form(&spec.sign_assertion(&self.idp), "")
    }

    pub(super) async fn post_unsolicited(&self, name_id: &str) -> Reply {
        self.service.acs_body(&self.tenant, &self.unsolicited_form(name_id)).await
    }

    /// Posts an unsolicited response in a browser; returns the redirect's location.
    async fn post_unsolicited_in_browser(&self, cookie: &str) -> String {
        let reply = self.service.post_acs_in_browser(&self.tenant, &self.unsolicited_form("bob"), cookie).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        assert!(!reply.headers.contains_key("set-cookie"));
        reply.headers["location"].to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn unsolicited_response_starts_sign_in_if_the_tenant_allows_it() {
    let mut fixture = fixture().await;
    fixture.make_sso("bob").await;
    let reply = fixture.post_unsolicited("bob").await;
    fixture.assert_refused_by(&reply, "unsolicited").await;
    fixture.configure_with(json!({"idp_initiated": true})).await;
    // The response is not read, so its content does not matter.
    for posted in [fixture.unsolicited_form("bob"), form("<x/>", ""), form("<x/>", "https://portal.example.com/")] {
        let reply = fixture.service.acs_body(&fixture.tenant, &posted).await;
        assert_eq!((reply.status.as_u16(), reply.headers["location"].to_str().unwrap()), (303, LOGIN));
    }
    // The browser signs in with the request that the redirect starts.
    assert_eq!(fixture.post_unsolicited_in_browser("").await, LOGIN);
    let (authn_request, cookie) = fixture.service.start_in_browser(&fixture.tenant, "?unsolicited=true", "").await;
    let response =
        fixture.idp.valid_response(&fixture.service, &fixture.sp, &authn_request, "bob").sign_assertion(&fixture.idp);
    let reply = fixture
        .service
        .post_acs_in_browser(&fixture.tenant, &form(&response, &authn_request.relay_state), &cookie)
        .await;
    assert_eq!(reply.status, 303, "{reply:?}");
    // After a sign-in, the next unsolicited response counts as the first again.
    let set: Vec<_> = reply.headers.get_all("set-cookie").iter().map(|it| it.to_str().unwrap()).collect();
    let [_, kept] = set[..] else { panic!("{set:?}") };
    assert_eq!(fixture.post_unsolicited_in_browser(kept.split(';').next().unwrap()).await, LOGIN);
}

const LOGIN: &str = "login?unsolicited=true";

/// An IdP that answers the service's request with another unsolicited response must not cause a redirect loop.
#[tokio::test]
async fn second_unsolicited_response_of_a_pre_session_is_refused() {
    let mut fixture = fixture().await;
    fixture.configure_with(json!({"idp_initiated": true})).await;
    // An earlier start without `unsolicited=true` does not count.
    let (_, cookie) = fixture.service.start_in_browser(&fixture.tenant, "", "").await;
    assert_eq!(fixture.post_unsolicited_in_browser(&cookie).await, LOGIN);
    let (_, cookie) = fixture.service.start_in_browser(&fixture.tenant, "?unsolicited=true", &cookie).await;
    let reply = fixture.service.post_acs_in_browser(&fixture.tenant, &fixture.unsolicited_form("bob"), &cookie).await;
    fixture.assert_refused_by(&reply, "unsolicited").await;
    assert!(!reply.headers.contains_key("set-cookie") && !reply.headers.contains_key("location"));
    let (_, cookie) = fixture.service.start_in_browser(&fixture.tenant, "", &cookie).await;
    assert_eq!(fixture.post_unsolicited_in_browser(&cookie).await, LOGIN);
}
