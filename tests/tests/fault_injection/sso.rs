//! The IdP's door.

use axum::http::Method;
use serde_json::{Value, json};
use tests::{
    Ask, People, Person, Reply,
    idp::{Asked, Idp, asked, form},
};

use super::{World, office, on_a_bad_day, works};

fn idp() -> Idp {
    Idp::new("https://idp.example/metadata")
}

impl World {
    /// Acme has an IdP, by its fields and more. Bob, who has a factor, and Eve, who has none, come from it.
    async fn has(&self, idp: &Idp, more: Value, people: &mut People) -> String {
        let ann = office(self, people).await;
        let mut fields = idp.fields();
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.service.put("/v1/admin/sso", &ann, fields).await.ok();
        for path in ["/v1/admin/users/u-bob", "/v1/admin/users/u-eve"] {
            self.service.patch(path, &ann, json!({"auth_type": "saml_sso"})).await.ok();
        }
        ann
    }

    /// The answer to a request, as a browser brings it.
    async fn brings(&self, idp: &Idp, request: &Asked, name_id: &str, attributes: &[(&str, &str)]) -> Ask {
        let sp = self.service.sp("acme").await;
        let mut says = idp.answer(&self.service, &sp, request, name_id);
        says.attributes = attributes.iter().map(|(name, value)| ((*name).into(), vec![(*value).into()])).collect();
        Ask::new(Method::POST, "/v1/sso/acme/acs").form(&form(&says.signed(idp), &request.relay_state))
    }

    async fn answer(&self, idp: &Idp, name_id: &str, attributes: &[(&str, &str)]) -> Ask {
        self.brings(idp, &self.service.sso_request("acme").await, name_id, attributes).await
    }

    /// Somebody who has enrolled comes from the IdP anew.
    async fn comes_in(&self, idp: &Idp, name_id: &str) {
        let reply = self.service.send(self.answer(idp, name_id, &[]).await).await.ok();
        works(self, &reply.text("/session/token")).await;
    }
}

/// What the browser brings once more was heard of, or not; never twice.
fn once(reply: &Reply) {
    assert!(reply.status == 200 || reply.is(401, "invalid_credentials"), "{reply:?}");
}

#[tokio::test]
async fn a_browser_is_sent_to_the_idp() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        world.has(&idp, json!({}), people).await;
        Ask::new(Method::GET, "/v1/sso/acme/login?return_to=/portal").header("accept", "text/html")
    };
    let sent = async |world: &World, _: People, reply: Reply| {
        assert_eq!(reply.status, 302, "{reply:?}");
        let answer = world.brings(&idp, &asked(&reply), "bob", &[]).await;
        let cookie = reply.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
        let arrived = world.service.send(answer.header("cookie", cookie)).await;
        assert_eq!((arrived.status.as_u16(), &arrived.headers["location"]), (303, &"/portal".parse().unwrap()));
    };
    on_a_bad_day(setup, sent, sent).await;
}

#[tokio::test]
async fn an_assertion_signs_in_once() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        world.has(&idp, json!({}), people).await;
        world.answer(&idp, "bob", &[]).await
    };
    let signed_in = async |world: &World, people: People, reply: Reply| {
        works(world, &reply.ok().text("/session/token")).await;
        assert_eq!(world.sessions(&people["bob"]), 2);
        world.comes_in(&idp, "bob").await;
    };
    let again = async |world: &World, people: People, reply: Reply| {
        once(&reply);
        assert_eq!(world.sessions(&people["bob"]), 2);
        world.comes_in(&idp, "bob").await;
    };
    on_a_bad_day(setup, signed_in, again).await;
}

#[tokio::test]
async fn an_assertion_opens_one_enrolment() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        world.has(&idp, json!({}), people).await;
        world.answer(&idp, "eve", &[]).await
    };
    let enrols = async |world: &World, eve: &mut Person, token: &str| {
        let reply = world.service.enrol_with(eve, token, json!({})).await;
        assert_eq!(reply.body["session"]["amr"], json!(["sso", "otp"]));
        world.comes_in(&idp, "eve").await;
    };
    let opened = async |world: &World, mut people: People, reply: Reply| {
        assert_eq!(world.user(&people["eve"])["e"]["M"].as_object().unwrap().len(), 1);
        enrols(world, people.get_mut("eve").unwrap(), &reply.ok().text("/enrolment/token")).await;
    };
    let again = async |world: &World, mut people: People, reply: Reply| {
        once(&reply);
        assert_eq!(world.user(&people["eve"])["e"]["M"].as_object().unwrap().len(), 1);
        let next = world.service.send(world.answer(&idp, "eve", &[]).await).await.ok();
        enrols(world, people.get_mut("eve").unwrap(), &next.text("/enrolment/token")).await;
    };
    on_a_bad_day(setup, opened, again).await;
}

#[tokio::test]
async fn a_first_sign_in_links_with_its_session() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        world.has(&idp, json!({"link_attribute": "Username"}), people).await;
        world.answer(&idp, "00u1", &[("Username", "bob")]).await
    };
    let linked = async |world: &World, people: People, reply: Reply| {
        once(&reply);
        assert_eq!(world.sessions(&people["bob"]), 2);
        world.comes_in(&idp, "00u1").await;
        let named = world.service.send(world.answer(&idp, "bob", &[]).await).await;
        assert!(named.is(401, "invalid_credentials"), "{named:?}");
    };
    on_a_bad_day(setup, linked, linked).await;
}

/// In two transactions: the person, then the enrolment. One without the other is somebody whom the next answer finds.
#[tokio::test]
async fn somebody_is_provisioned_once() {
    const ZOE: &[(&str, &str)] = &[("Username", "zoe"), ("CompanyName", "Acme")];
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        world.has(&idp, json!({"provisioning": {}}), people).await;
        world.answer(&idp, "00u9", ZOE).await
    };
    let made = async |world: &World, people: People, reply: Reply| {
        once(&reply);
        let next = world.service.send(world.answer(&idp, "00u9", ZOE).await).await.ok();
        assert_eq!(next.text("/status"), "enrolment_required");
        let list = world.service.get("/v1/admin/users?q=zoe", &people["ann"].session).await.ok();
        assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
    };
    on_a_bad_day(setup, made, made).await;
}

#[tokio::test]
async fn an_assertion_about_nobody_is_refused() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        world.has(&idp, json!({}), people).await;
        world.answer(&idp, "nobody", &[]).await
    };
    let refused = async |world: &World, people: People, reply: Reply| {
        assert!(reply.is(401, "invalid_credentials"), "{reply:?}");
        assert_eq!(world.sessions(&people["bob"]), 1);
    };
    on_a_bad_day(setup, refused, refused).await;
}

#[tokio::test]
async fn an_idp_is_configured_whole() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        let ann = office(world, people).await;
        Ask::new(Method::PUT, "/v1/admin/sso").token(&ann).json(idp.fields())
    };
    let configured = async |world: &World, people: People, reply: Reply| {
        assert_eq!(reply.ok().text("/idp_entity_id"), idp.entity_id);
        let ann = &people["ann"].session;
        assert_eq!(world.service.get("/v1/admin/sso", ann).await.ok().text("/idp_entity_id"), idp.entity_id);
        world.service.patch("/v1/admin/users/u-bob", ann, json!({"auth_type": "saml_sso"})).await.ok();
        world.comes_in(&idp, "bob").await;
    };
    on_a_bad_day(setup, configured, configured).await;
}

#[tokio::test]
async fn an_idp_is_gone_whole() {
    let idp = idp();
    let setup = async |world: &World, people: &mut People| {
        let ann = world.has(&idp, json!({}), people).await;
        Ask::new(Method::DELETE, "/v1/admin/sso").token(&ann)
    };
    let gone = async |world: &World, people: People, reply: Reply| {
        assert!(reply.status == 204 || reply.is(404, "not_found"), "{reply:?}");
        assert!(world.service.get("/v1/admin/sso", &people["ann"].session).await.is(404, "not_found"));
        let login = world.service.send(Ask::new(Method::GET, "/v1/sso/acme/login")).await;
        assert!(login.is(404, "not_found"), "{login:?}");
        // The one of the IdP's stays out, and an Administrator gets in.
        assert!(world.service.login(&people["bob"]).await.is(401, "invalid_credentials"));
        assert_eq!(world.service.login(&people["ann"]).await.ok().text("/status"), "mfa_required");
    };
    on_a_bad_day(setup, gone, gone).await;
}
