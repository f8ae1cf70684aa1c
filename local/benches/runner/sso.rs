//! Sign-ins by SSO: the cost of a SAML response, checked directly and through HTTP, and the effect of a flood of invalid responses on
//! other users.

use std::{
    fmt::Write,
    hint::black_box,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use bergshamra_dsig::{context::DsigContext, sign::sign};
use bergshamra_keys::{KeysManager, loader::load_pem_auto};
use data_encoding::BASE64;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;
use vestibule::{
    env::{Clock, SystemClock, Timestamp},
    id::TenantId,
    saml::{Certificate, Expected, check},
    secret::RestoreEpoch,
    sso::{Relay, ServiceProvider},
    store::item::{self, SsoRequest},
};

use super::{
    BUSY, Connection, ROUNDS, Server, Table, User, as_f64, bearer, code, connections, http, login, login_at, millis,
    name, own_cpu, parallel, progress, ratio, sign_in, spread,
};

const ENTITY: &str = "https://idp.example/metadata";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
/// Number of contacts who sign in through the IdP, each four times a round.
const USERS: usize = 50;
const TIMES: usize = 4;
/// Connections that send invalid responses.
const FLOOD: usize = 64;
/// Number of verifications to measure without a flood, and with each flood.
const CODES: usize = 130;
/// Number of sign-ins at another tenant to measure without a flood, and with each flood.
const SIGN_INS: usize = 200;

struct Idp {
    tenant: &'static str,
    certificate: String,
    key: String,
    sp: ServiceProvider,
}

/// A SAML response with the relay state of its request.
struct SamlResponse {
    tenant: &'static str,
    base64: String,
    relay_state: String,
}

pub fn measure(server: &Server, users: &mut [User], cores: usize, table: &mut Table) {
    progress("SSO: enrolling users");
    let session = sign_in(&mut Connection::open(&server.address), &mut users[0]);
    let idp = Idp::configured(server, "acme", &session);
    let mut connection = Connection::open(&server.address);
    for n in 0..USERS {
        let response = idp.respond(&mut connection, n, "");
        let token = response.send(&mut connection).ok().text("/enrolment/token");
        enrol(&mut connection, &token);
    }
    rounds(server, &idp, cores, table);
    other_tenant(server, &idp, table);
    flood(server, &idp, &mut users[1..], table);
}

/// Enrols with an enrolment token. Returns a session token.
fn enrol(connection: &mut Connection, token: &str) -> String {
    let token = bearer(token);
    let secret = connection.post("/v1/mfa/enrolments", &token, &json!({})).ok().text("/secret");
    let code = code(&mut User { username: String::new(), secret, step: 0 });
    let confirmed = connection.post("/v1/mfa/enrolments/confirm", &token, &json!({"code": code})).ok();
    confirmed.text("/session/token")
}

/// Sign-ins through HTTP and direct checks, alternately.
fn rounds(server: &Server, idp: &Idp, cores: usize, table: &mut Table) {
    let (mut bare, mut cpu, mut rates, mut costs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut connection = Connection::open(&server.address);
    let count = USERS * TIMES;
    for round in 1..=ROUNDS {
        progress(&format!("SSO: round {round} of {ROUNDS}"));
        let all: Vec<_> = (0..count).map(|n| idp.respond(&mut connection, n % USERS, "")).collect();
        let (before, started_at) = (server.cpu(), Instant::now());
        parallel(&mut connections(&server.address, BUSY * cores), &all, |connection, response| {
            response.send(connection).ok();
        });
        rates.push(as_f64(count) / started_at.elapsed().as_secs_f64());
        costs.push(millis(server.cpu() - before) / as_f64(count));
        let response = idp.respond(&mut connection, 0, "");
        let (before, started_at) = (own_cpu(), Instant::now());
        (0..count).for_each(|_| assert!(black_box(idp.check_directly(&response))));
        bare.push(as_f64(count) / started_at.elapsed().as_secs_f64());
        cpu.push(millis(own_cpu() - before) / as_f64(count));
    }
    let name = "**CPU of a bare check ÷ CPU of the server for a sign-in by SSO**";
    table.row(name, spread(&ratio(&cpu, &costs), 2, ""), "");
    table.row("— bare, each", spread(&cpu, 2, "ms CPU"), "");
    table.row("— the server, each sign-in", spread(&costs, 2, "ms CPU"), "");
    let name = "**Sign-ins by SSO per second ÷ bare checks per second on one core**";
    table.row(name, spread(&ratio(&rates, &bare), 2, ""), "");
    table.row("— sign-ins, wall time, driver included", spread(&rates, 0, "/s"), "");
    table.row("— bare checks, one core", spread(&bare, 0, "/s"), "");
}

/// Sign-ins at another tenant, from the same client network, during two floods: one at the first tenant, and one at tenants that do
/// not exist, a different one for each connection.
fn other_tenant(server: &Server, idp: &Idp, table: &mut Table) {
    progress("SSO: another tenant");
    let mut connection = Connection::open(&server.address);
    let token = login_at("globex", &mut connection, &name(0)).ok().text("/enrolment/token");
    let session = enrol(&mut connection, &token);
    let other = Idp::configured(server, "globex", &session);
    let first = other.respond(&mut connection, 0, "").send(&mut connection).ok().text("/enrolment/token");
    enrol(&mut connection, &first);
    let body = longest_invalid_form(idp, &mut connection);
    let size = as_f64(body.len()) / 1024.0;
    let mut sign_ins = || -> Vec<f64> {
        let one = |_| {
            let response = other.respond(&mut connection, 0, "");
            let started_at = Instant::now();
            response.send(&mut connection).ok();
            millis(started_at.elapsed())
        };
        (0..SIGN_INS).map(one).collect()
    };
    let quiet = sign_ins();
    let at_one = vec!["/v1/sso/acme/acs".to_owned(); FLOOD];
    let at_many: Vec<_> = (0..FLOOD * 3 / 4).map(|n| format!("/v1/sso/nobody{n}/acs")).collect();
    for (paths, at) in [(at_one, "at one tenant"), (at_many, "at as many tenants that do not exist")] {
        let (loud, refusals) = during_flood(server, &paths, &body, &mut sign_ins);
        let what = format!("Sign-in at another tenant while {} connections post {size:.0} KiB {at}", paths.len());
        add_comparison(table, &what, &quiet, &loud);
        table.row("— refused during the flood", refusals, "");
    }
}

/// Verifications while 64 connections send refused responses: the most expensive one, well formed and with the right digest but signed
/// with another key; and one of the same size to a tenant that has no IdP.
fn flood(server: &Server, idp: &Idp, users: &mut [User], table: &mut Table) {
    let mut connection = Connection::open(&server.address);
    let body = longest_invalid_form(idp, &mut connection);
    let size = as_f64(body.len()) / 1024.0;
    let (quiet_users, users) = users.split_at_mut(CODES);
    let quiet = codes(&mut connection, quiet_users);
    for (n, path) in ["/v1/sso/acme/acs", "/v1/sso/nobody/acs"].into_iter().enumerate() {
        let paths = vec![path.to_owned(); FLOOD];
        let users = &mut users[n * CODES..][..CODES];
        let (loud, refusals) = during_flood(server, &paths, &body, || codes(&mut connection, users));
        let what = format!("Verify while {FLOOD} connections post {size:.0} KiB to `{path}`");
        add_comparison(table, &what, &quiet, &loud);
        table.row("— refused during the flood", refusals, "");
    }
    table.row("— resident memory, maximum", format!("{:.1} MiB", server.memory("VmHWM")), "");
}

/// Runs `measure` while each connection posts to its path in a loop. Returns the measurements, and the responses per second as text.
fn during_flood(
    server: &Server,
    paths: &[String],
    body: &str,
    measure: impl FnOnce() -> Vec<f64>,
) -> (Vec<f64>, String) {
    let (stop, refused, full) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let started_at = Instant::now();
    let measured = thread::scope(|scope| {
        for path in paths {
            scope.spawn(|| {
                let mut connection = Connection::open(&server.address);
                while !stop.load(Ordering::Relaxed) {
                    let counter = match connection.form(path, body).status {
                        401 => &refused,
                        503 => &full,
                        status => panic!("{status}"),
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(Duration::from_secs(1));
        let measured = measure();
        stop.store(true, Ordering::Relaxed);
        measured
    });
    let rate = |count: AtomicUsize| as_f64(count.into_inner()) / started_at.elapsed().as_secs_f64();
    (measured, format!("{:.0} /s, and {:.0} /s answered 503", rate(refused), rate(full)))
}

/// Adds the ratio of the latencies with and without a flood.
fn add_comparison(table: &mut Table, what: &str, quiet: &[f64], loud: &[f64]) {
    for (name, percent) in [("median", 50), ("95 %", 95)] {
        let at = |values: &[f64]| super::sorted(values)[values.len() * percent / 100];
        let (quiet, loud) = (at(quiet), at(loud));
        let ratio = format!("{:.2} ({quiet:.2} ms, {loud:.2} ms)", loud / quiet);
        table.row(&format!("**{what} ÷ without, {name}**"), ratio, "≤ 2");
    }
}

/// The form with the largest invalid response that the server accepts to read.
fn longest_invalid_form(idp: &Idp, connection: &mut Connection) -> String {
    let other = Idp::new(idp.tenant, &idp.sp);
    let (mut padding, mut body) = (String::new(), String::new());
    for n in 0.. {
        for n in n * 100..(n + 1) * 100 {
            let _ = write!(
                padding,
                "<saml:Attribute Name=\"a{n}\"><saml:AttributeValue>x</saml:AttributeValue></saml:Attribute>"
            );
        }
        let next = other.respond(connection, 0, &padding).form();
        if next.len() > 256 * 1024 {
            break;
        }
        body = next;
    }
    body
}

/// The latency of one verification for each user, sequentially, in milliseconds.
fn codes(connection: &mut Connection, users: &mut [User]) -> Vec<f64> {
    let one = |user: &mut User| {
        let token = bearer(&login(connection, &user.username).ok().text("/challenge/token"));
        let body = json!({"code": code(user)});
        let started_at = Instant::now();
        connection.post("/v1/verify", &token, &body).ok();
        millis(started_at.elapsed())
    };
    users.iter_mut().map(one).collect()
}

impl SamlResponse {
    fn form(&self) -> String {
        let form = [("SAMLResponse", &self.base64), ("RelayState", &self.relay_state)];
        serde_urlencoded::to_string(form).unwrap()
    }

    fn send(&self, connection: &mut Connection) -> http::Response {
        connection.form(&format!("/v1/sso/{}/acs", self.tenant), &self.form())
    }
}

impl Idp {
    fn new(tenant: &'static str, sp: &ServiceProvider) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::new(vec!["idp.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self { tenant, certificate: certificate.pem(), key: key.serialize_pem(), sp: sp.clone() }
    }

    /// Configures a new IdP for a tenant.
    fn configured(server: &Server, tenant: &'static str, session: &str) -> Self {
        let mut idp = Self::new(tenant, &ServiceProvider { entity_id: String::new(), acs_url: String::new() });
        let body =
            json!({"idp_entity_id": ENTITY, "sso_url": "https://idp.example/sso", "certificates": [idp.certificate]});
        let put = Connection::open(&server.address).put("/v1/admin/sso", &bearer(session), &body).ok();
        let field = |name: &str| put.text(&format!("/service_provider/{name}"));
        idp.sp = ServiceProvider { entity_id: field("entity_id"), acs_url: field("acs_url") };
        idp
    }

    /// Starts a sign-in, and returns the valid response for contact `n` with additional attributes.
    fn respond(&self, connection: &mut Connection, n: usize, attributes: &str) -> SamlResponse {
        let location = connection.get(&format!("/v1/sso/{}/login", self.tenant), "").location.unwrap();
        let relay_state = location.split_once("RelayState=").unwrap().1.to_owned();
        let relay = Relay::parse(&relay_state, RestoreEpoch::default()).unwrap();
        let (now, Self { sp, .. }) = (SystemClock.now(), self);
        let (until, to) = (now + Duration::from_secs(300), format!("InResponseTo=\"{}\"", relay.request_id()));
        let id = format!("_a{}", &relay.request_id()[1..]);
        let issuer = format!("<saml:Issuer>{ENTITY}</saml:Issuer>");
        let unsigned = format!(
            r##"<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_r{id}" Version="2.0" IssueInstant="{now}" Destination="{acs}" {to}>{issuer}<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status><saml:Assertion ID="{id}" Version="2.0" IssueInstant="{now}">{issuer}<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"/><ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"/><ds:Reference URI="#{id}"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/><ds:Transform Algorithm="{EXCLUSIVE}"/></ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue></ds:DigestValue></ds:Reference></ds:SignedInfo><ds:SignatureValue></ds:SignatureValue></ds:Signature><saml:Subject><saml:NameID>contact{n}</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="{until}" Recipient="{acs}" {to}/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="{now}" NotOnOrAfter="{until}"><saml:AudienceRestriction><saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="{now}"/><saml:AttributeStatement>{attributes}<saml:Attribute Name="Username"><saml:AttributeValue>contact{n}</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion></samlp:Response>"##,
            acs = sp.acs_url,
            audience = sp.entity_id,
        );
        let mut keys = KeysManager::new();
        keys.add_key(load_pem_auto(self.key.as_bytes(), None).unwrap());
        let xml = sign(&DsigContext::new(keys), &unsigned).unwrap();
        SamlResponse { tenant: self.tenant, base64: BASE64.encode(xml.as_bytes()), relay_state }
    }

    /// Only the check of a response.
    fn check_directly(&self, response: &SamlResponse) -> bool {
        let (tenant, now) = (TenantId::parse(self.tenant).unwrap(), SystemClock.now());
        let idp = item::Idp {
            generation: None,
            entity_id: ENTITY.to_owned(),
            sso_url: String::new(),
            certificates: vec![Certificate::from_pem(&self.certificate).unwrap().der.into()],
            idp_initiated: false,
            mfa_contexts: Vec::new(),
            link_attribute: None,
            provisioning: None,
            request_key: None,
            valid_until: None,
            changed: Timestamp::default(),
        };
        let relay = Relay::parse(&response.relay_state, RestoreEpoch::default()).unwrap();
        let request = SsoRequest::new("/".to_owned(), now);
        let (relay, since) = (Some((relay, Some(request))), Timestamp::default());
        let expected = Expected { tenant: &tenant, idp: &idp, sp: &self.sp, relay, now, since };
        check(&response.base64, expected).is_ok()
    }
}
