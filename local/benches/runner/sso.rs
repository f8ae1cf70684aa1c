//! People who come from an IdP: what its responses cost bare and at the door, and what a flood of bad ones does to others.

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
    BUSY, Connection, Person, ROUNDS, Server, Table, as_f64, bearer, code, http, login, login_at, millis, name,
    own_cpu, parallel, ratio, say, sign_in, spread,
};

const ENTITY: &str = "https://idp.example/metadata";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
/// Contacts who come from the IdP, each four times a round.
const PEOPLE: usize = 50;
const TIMES: usize = 4;
/// Connections that send bad responses.
const FLOOD: usize = 64;
/// Codes that are measured without a flood, and as many with each.
const CODES: usize = 130;
/// Sign-ins at another tenant that are measured without a flood, and as many with each.
const SIGN_INS: usize = 200;

struct Idp {
    tenant: &'static str,
    certificate: String,
    key: String,
    sp: ServiceProvider,
}

/// A response, and what it answers.
struct Posted {
    tenant: &'static str,
    base64: String,
    relay_state: String,
}

pub fn measure(server: &Server, people: &mut [Person], cores: usize, table: &mut Table) {
    say("SSO: enrolling");
    let session = sign_in(&mut Connection::open(&server.address), &mut people[0]);
    let idp = Idp::configured(server, "acme", &session);
    let mut connection = Connection::open(&server.address);
    for n in 0..PEOPLE {
        let posted = idp.answers(&mut connection, n, "");
        let token = posted.send(&mut connection).ok().text("/enrolment/token");
        enrol(&mut connection, &token);
    }
    rounds(server, &idp, cores, table);
    neighbour(server, &idp, table);
    flood(server, &idp, &mut people[1..], table);
}

/// A session.
fn enrol(connection: &mut Connection, token: &str) -> String {
    let token = bearer(token);
    let secret = connection.post("/v1/mfa/enrolments", &token, &json!({})).ok().text("/secret");
    let code = code(&mut Person { username: String::new(), secret, step: 0 });
    let confirmed = connection.post("/v1/mfa/enrolments/confirm", &token, &json!({"code": code})).ok();
    confirmed.text("/session/token")
}

/// Sign-ins through the door and bare checks, in turns.
fn rounds(server: &Server, idp: &Idp, cores: usize, table: &mut Table) {
    let (mut bare, mut cpu, mut rates, mut costs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut connection = Connection::open(&server.address);
    let count = PEOPLE * TIMES;
    for round in 1..=ROUNDS {
        say(&format!("SSO: round {round} of {ROUNDS}"));
        let all: Vec<_> = (0..count).map(|n| idp.answers(&mut connection, n % PEOPLE, "")).collect();
        let (before, begun) = (server.cpu(), Instant::now());
        parallel(&server.address, BUSY * cores, &all, |connection, posted| {
            posted.send(connection).ok();
        });
        rates.push(as_f64(count) / begun.elapsed().as_secs_f64());
        costs.push(millis(server.cpu() - before) / as_f64(count));
        let posted = idp.answers(&mut connection, 0, "");
        let (before, begun) = (own_cpu(), Instant::now());
        (0..count).for_each(|_| assert!(black_box(idp.bare(&posted))));
        bare.push(as_f64(count) / begun.elapsed().as_secs_f64());
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

/// Sign-ins at another tenant, from the same client network, during a flood: at the first tenant; and at tenants that do not
/// exist, a different one for each connection.
fn neighbour(server: &Server, idp: &Idp, table: &mut Table) {
    say("SSO: another tenant");
    let mut connection = Connection::open(&server.address);
    let token = login_at("globex", &mut connection, &name(0)).ok().text("/enrolment/token");
    let session = enrol(&mut connection, &token);
    let other = Idp::configured(server, "globex", &session);
    let first = other.answers(&mut connection, 0, "").send(&mut connection).ok().text("/enrolment/token");
    enrol(&mut connection, &first);
    let body = longest_bad(idp, &mut connection);
    let size = as_f64(body.len()) / 1024.0;
    let mut sign_ins = || -> Vec<f64> {
        let one = |_| {
            let posted = other.answers(&mut connection, 0, "");
            let begun = Instant::now();
            posted.send(&mut connection).ok();
            millis(begun.elapsed())
        };
        (0..SIGN_INS).map(one).collect()
    };
    let quiet = sign_ins();
    let at_one = vec!["/v1/sso/acme/acs".to_owned(); FLOOD];
    let at_many: Vec<_> = (0..FLOOD * 3 / 4).map(|n| format!("/v1/sso/nobody{n}/acs")).collect();
    for (paths, at) in [(at_one, "at one tenant"), (at_many, "at as many tenants that do not exist")] {
        let (loud, refusals) = during_flood(server, &paths, &body, &mut sign_ins);
        let what = format!("Sign-in at another tenant while {} connections post {size:.0} KiB {at}", paths.len());
        compared(table, &what, &quiet, &loud);
        table.row("— refused during the flood", refusals, "");
    }
}

/// Codes while 64 connections send what is refused: a response that costs most, well formed and rightly digested, by another
/// key; and one as long to a tenant that has no IdP.
fn flood(server: &Server, idp: &Idp, people: &mut [Person], table: &mut Table) {
    let mut connection = Connection::open(&server.address);
    let body = longest_bad(idp, &mut connection);
    let size = as_f64(body.len()) / 1024.0;
    let (alone, people) = people.split_at_mut(CODES);
    let quiet = codes(&mut connection, alone);
    for (n, path) in ["/v1/sso/acme/acs", "/v1/sso/nobody/acs"].into_iter().enumerate() {
        let paths = vec![path.to_owned(); FLOOD];
        let people = &mut people[n * CODES..][..CODES];
        let (loud, refusals) = during_flood(server, &paths, &body, || codes(&mut connection, people));
        let what = format!("Verify while {FLOOD} connections post {size:.0} KiB to `{path}`");
        compared(table, &what, &quiet, &loud);
        table.row("— refused during the flood", refusals, "");
    }
    table.row("— resident memory, maximum", format!("{:.1} MiB", server.memory("VmHWM")), "");
}

/// What is measured while each connection posts to its path, again as soon as it has an answer; and the answers per second.
fn during_flood(
    server: &Server,
    paths: &[String],
    body: &str,
    measure: impl FnOnce() -> Vec<f64>,
) -> (Vec<f64>, String) {
    let (over, refused, full) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let begun = Instant::now();
    let measured = thread::scope(|scope| {
        for path in paths {
            scope.spawn(|| {
                let mut connection = Connection::open(&server.address);
                while !over.load(Ordering::Relaxed) {
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
        over.store(true, Ordering::Relaxed);
        measured
    });
    let rate = |count: AtomicUsize| as_f64(count.into_inner()) / begun.elapsed().as_secs_f64();
    (measured, format!("{:.0} /s, and {:.0} /s answered 503", rate(refused), rate(full)))
}

fn compared(table: &mut Table, what: &str, quiet: &[f64], loud: &[f64]) {
    for (name, percent) in [("median", 50), ("95 %", 95)] {
        let at = |values: &[f64]| super::sorted(values)[values.len() * percent / 100];
        let (quiet, loud) = (at(quiet), at(loud));
        let ratio = format!("{:.2} ({quiet:.2} ms, {loud:.2} ms)", loud / quiet);
        table.row(&format!("**{what} ÷ without, {name}**"), ratio, "≤ 2");
    }
}

/// As many attributes as there is room for.
fn longest_bad(idp: &Idp, connection: &mut Connection) -> String {
    let other = Idp::new(idp.tenant, &idp.sp);
    let (mut padding, mut body) = (String::new(), String::new());
    for n in 0.. {
        for n in n * 100..(n + 1) * 100 {
            let _ = write!(
                padding,
                "<saml:Attribute Name=\"a{n}\"><saml:AttributeValue>x</saml:AttributeValue></saml:Attribute>"
            );
        }
        let next = other.answers(connection, 0, &padding).form();
        if next.len() > 256 * 1024 {
            break;
        }
        body = next;
    }
    body
}

/// How long each takes, one after the other.
fn codes(connection: &mut Connection, people: &mut [Person]) -> Vec<f64> {
    let one = |person: &mut Person| {
        let token = bearer(&login(connection, &person.username).ok().text("/challenge/token"));
        let body = json!({"code": code(person)});
        let begun = Instant::now();
        connection.post("/v1/verify", &token, &body).ok();
        millis(begun.elapsed())
    };
    people.iter_mut().map(one).collect()
}

impl Posted {
    fn form(&self) -> String {
        let form = [("SAMLResponse", &self.base64), ("RelayState", &self.relay_state)];
        serde_urlencoded::to_string(form).unwrap()
    }

    fn send(&self, connection: &mut Connection) -> http::Answer {
        connection.form(&format!("/v1/sso/{}/acs", self.tenant), &self.form())
    }
}

impl Idp {
    fn new(tenant: &'static str, sp: &ServiceProvider) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::new(vec!["idp.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self { tenant, certificate: certificate.pem(), key: key.serialize_pem(), sp: sp.clone() }
    }

    /// One that a tenant's people come from.
    fn configured(server: &Server, tenant: &'static str, session: &str) -> Self {
        let mut idp = Self::new(tenant, &ServiceProvider { entity_id: String::new(), acs_url: String::new() });
        let body =
            json!({"idp_entity_id": ENTITY, "sso_url": "https://idp.example/sso", "certificates": [idp.certificate]});
        let put = Connection::open(&server.address).put("/v1/admin/sso", &bearer(session), &body).ok();
        let said = |name: &str| put.text(&format!("/service_provider/{name}"));
        idp.sp = ServiceProvider { entity_id: said("entity_id"), acs_url: said("acs_url") };
        idp
    }

    /// A right answer to a new request, with more attributes.
    fn answers(&self, connection: &mut Connection, n: usize, attributes: &str) -> Posted {
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
        Posted { tenant: self.tenant, base64: BASE64.encode(xml.as_bytes()), relay_state }
    }

    /// The check and nothing else.
    fn bare(&self, posted: &Posted) -> bool {
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
            changed: 0,
        };
        let relay = Relay::parse(&posted.relay_state, RestoreEpoch::default()).unwrap();
        let request = SsoRequest::new("/".to_owned(), now);
        let (relay, since) = (Some((relay, Some(request))), Timestamp::default());
        let expected = Expected { tenant: &tenant, idp: &idp, sp: &self.sp, relay, now, since };
        check(&posted.base64, expected).is_ok()
    }
}
