//! A server that runs somewhere: asked over HTTP, and given people through the API alone.

use std::{env, thread, time::Duration};

use axum::{
    body::Body,
    http::{Request, Response, header},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::OnceCell};
use vestibule::{env::SystemEntropy, id::UserId};

use crate::{People, Person, Service, password};

/// Where it answers.
pub(crate) struct Server {
    authority: String,
}

impl Server {
    /// The server at `VESTIBULE_URL`, where that is set.
    pub(crate) fn of_environment() -> Option<Self> {
        let url = env::var("VESTIBULE_URL").ok()?;
        let Some(authority) = url.strip_prefix("http://") else { panic!("VESTIBULE_URL has to be http://HOST:PORT") };
        Some(Self { authority: authority.trim_end_matches('/').to_owned() })
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Response<Body> {
        let stream = TcpStream::connect(&self.authority).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        request.headers_mut().insert(header::HOST, self.authority.parse().unwrap());
        sender.send_request(request).await.unwrap().map(Body::new)
    }
}

/// Lets so many seconds pass, if there are any.
pub(crate) fn wait(seconds: i64) {
    // Whoever waits is alone on their thread: every test has its own.
    thread::sleep(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
}

fn person(tenant: &str, username: &str) -> Person {
    Person {
        tenant: tenant.to_owned(),
        username: username.to_owned(),
        password: password(username),
        id: String::new(),
        secret: String::new(),
        step: 0,
        session: String::new(),
        device: String::new(),
    }
}

/// The session of the operator with whom all begins: `op` of the demo people, or `VESTIBULE_OPERATOR` with
/// `VESTIBULE_OPERATOR_PASSWORD`. Nobody has enrolled as them: they do it here, once in a run, which is over before the
/// step-up of their enrolment is old.
async fn operator(service: &Service) -> &'static str {
    static SESSION: OnceCell<String> = OnceCell::const_new();
    let enrolled = || async {
        let demo: Value = serde_json::from_str(local::seed::DEMO).unwrap();
        let users = demo["tenants"].as_array().unwrap().iter().flat_map(|tenant| tenant["users"].as_array().unwrap());
        let op = users.into_iter().find(|user| user["username"] == "op").unwrap();
        let mut operator = person("support", &env::var("VESTIBULE_OPERATOR").unwrap_or_else(|_| "op".into()));
        operator.password =
            env::var("VESTIBULE_OPERATOR_PASSWORD").unwrap_or_else(|_| op["password"].as_str().unwrap().to_owned());
        service.enrol(&mut operator).await;
        operator.session
    };
    SESSION.get_or_init(enrolled).await
}

/// Makes somebody, and says who it is.
async fn create(service: &Service, by: &str, tenant: &str, (username, kind, role): (&str, &str, &str)) -> Person {
    let mut person = person(tenant, username);
    let body = json!({"kind": kind, "role": role, "auth_type": "local", "username": username, "display_name": username,
        "password": person.password});
    person.id = service.post("/v1/admin/users", by, body).await.ok().text("/id");
    person
}

/// The people of [`Service::peopled`], in tenants of their own, and an operator of their own.
pub(crate) async fn populate(service: &Service) -> People {
    let operator = operator(service).await;
    let own = UserId::generate(&SystemEntropy).unwrap();
    let mut people = Vec::new();
    let acme = [
        ("ann", "employee", "administrator"),
        ("amy", "employee", "administrator"),
        ("bob", "employee", "standard"),
        ("eve", "employee", "standard"),
        ("con1", "contact", "portal"),
        ("con2", "contact", "portal"),
        ("con3", "contact", "portal"),
        ("off", "employee", "standard"),
    ];
    let globex = [("gus", "employee", "administrator"), ("gil", "employee", "standard")];
    for (name, users) in [("Acme", &acme[..]), ("Globex", &globex[..])] {
        let tenant = format!("{}-{own}", name.to_lowercase());
        // Whoever sets a tenant up is gone when it is.
        let mut first = person(&tenant, "first");
        let administrator =
            json!({"username": first.username, "password": first.password, "display_name": first.username});
        let new = json!({"id": tenant, "name": name, "administrator": administrator});
        service.post("/v1/support/tenants", operator, new).await.ok();
        service.enrol(&mut first).await;
        for user in users {
            let made = create(service, &first.session, &tenant, *user).await;
            if made.username == "off" {
                let path = format!("/v1/admin/users/{}", made.id);
                service.patch(&path, &first.session, json!({"active": false})).await.ok();
            }
            people.push(made);
        }
        service.delete(&format!("/v1/admin/users/{}", first.id), &first.session).await.ok();
    }
    let mut op = create(service, operator, "support", (&format!("op-{own}"), "employee", "operator")).await;
    let mut people: People = people.into_iter().map(|person| (person.username.clone(), person)).collect();
    op.password = password(&op.username);
    people.insert("op".to_owned(), op);
    people
}
