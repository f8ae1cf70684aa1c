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
    BUSY, Connection, Person, ROUNDS, Server, Table, as_f64, bearer, code, http, login, millis, own_cpu, parallel,
    ratio, say, sign_in, spread,
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

struct Idp {
    certificate: String,
    key: String,
    sp: ServiceProvider,
}

/// A response, and what it answers.
struct Posted {
    base64: String,
    relay_state: String,
}

pub fn measure(server: &Server, people: &mut [Person], cores: usize, table: &mut Table) {
    say("SSO: enrolling");
    let session = sign_in(&mut Connection::open(&server.address), &mut people[0]);
    let idp = Idp::configured(server, &session);
    let mut connection = Connection::open(&server.address);
    for n in 0..PEOPLE {
        let posted = idp.answers(&mut connection, n, "");
        let token = bearer(&posted.send(&mut connection).ok().text("/enrolment/token"));
        let secret = connection.post("/v1/mfa/enrolments", &token, &json!({})).ok().text("/secret");
        let code = code(&mut Person { username: String::new(), secret, step: 0 });
        connection.post("/v1/mfa/enrolments/confirm", &token, &json!({"code": code})).ok();
    }
    rounds(server, &idp, cores, table);
    flood(server, &idp, &mut people[1..], table);
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

/// Codes while 64 connections send what is refused: a response that costs most, well formed and rightly digested, by another
/// key; and one as long to a tenant that has no IdP.
fn flood(server: &Server, idp: &Idp, people: &mut [Person], table: &mut Table) {
    let mut connection = Connection::open(&server.address);
    let body = longest_bad(idp, &mut connection);
    let size = as_f64(body.len()) / 1024.0;
    let (alone, people) = people.split_at_mut(CODES);
    let alone = codes(&mut connection, alone);
    for (n, path) in ["/v1/sso/acme/acs", "/v1/sso/nobody/acs"].into_iter().enumerate() {
        let (over, refusals) = (AtomicBool::new(false), AtomicUsize::new(0));
        let begun = Instant::now();
        let flooded = thread::scope(|scope| {
            for _ in 0..FLOOD {
                scope.spawn(|| {
                    let mut connection = Connection::open(&server.address);
                    while !over.load(Ordering::Relaxed) {
                        assert_eq!(connection.form(path, &body).status, 401);
                        refusals.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            thread::sleep(Duration::from_secs(1));
            let flooded = codes(&mut connection, &mut people[n * CODES..][..CODES]);
            over.store(true, Ordering::Relaxed);
            flooded
        });
        let rate = as_f64(refusals.load(Ordering::Relaxed)) / begun.elapsed().as_secs_f64();
        for (name, percent) in [("median", 50), ("95 %", 95)] {
            let at = |values: &[f64]| super::sorted(values)[values.len() * percent / 100];
            let (quiet, loud) = (at(&alone), at(&flooded));
            let what = format!("**Verify while {FLOOD} connections post {size:.0} KiB to `{path}` ÷ without, {name}**");
            table.row(&what, format!("{:.2} ({quiet:.2} ms, {loud:.2} ms)", loud / quiet), "≤ 2");
        }
        table.row("— refused meanwhile", format!("{rate:.0} /s"), "");
    }
    table.row("— resident memory, most", format!("{:.1} MiB", server.memory("VmHWM")), "");
}

/// As many attributes as there is room for.
fn longest_bad(idp: &Idp, connection: &mut Connection) -> String {
    let other = Idp::new(&idp.sp);
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
        connection.form("/v1/sso/acme/acs", &self.form())
    }
}

impl Idp {
    fn new(sp: &ServiceProvider) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::new(vec!["idp.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self { certificate: certificate.pem(), key: key.serialize_pem(), sp: sp.clone() }
    }

    /// One that acme's people come from.
    fn configured(server: &Server, session: &str) -> Self {
        let mut idp = Self::new(&ServiceProvider { entity_id: String::new(), acs_url: String::new() });
        let body =
            json!({"idp_entity_id": ENTITY, "sso_url": "https://idp.example/sso", "certificates": [idp.certificate]});
        let put = Connection::open(&server.address).put("/v1/admin/sso", &bearer(session), &body).ok();
        let said = |name: &str| put.text(&format!("/service_provider/{name}"));
        idp.sp = ServiceProvider { entity_id: said("entity_id"), acs_url: said("acs_url") };
        idp
    }

    /// A right answer to a new request, with more attributes.
    fn answers(&self, connection: &mut Connection, n: usize, attributes: &str) -> Posted {
        let location = connection.get("/v1/sso/acme/login", "").location.unwrap();
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
        Posted { base64: BASE64.encode(xml.as_bytes()), relay_state }
    }

    /// The check and nothing else.
    fn bare(&self, posted: &Posted) -> bool {
        let (tenant, now) = (TenantId::parse("acme").unwrap(), SystemClock.now());
        let idp = item::Idp {
            entity_id: ENTITY.to_owned(),
            sso_url: String::new(),
            certificates: vec![Certificate::from_pem(&self.certificate).unwrap().der.into()],
            idp_initiated: false,
            mfa_contexts: Vec::new(),
            link_attribute: None,
            provisioning: None,
            changed: 0,
        };
        let relay = Relay::parse(&posted.relay_state, RestoreEpoch::default()).unwrap();
        let request = SsoRequest { ends: (now + Duration::from_secs(60)).millis(), return_to: "/".to_owned() };
        let (relay, since) = (Some((relay, Some(request))), Timestamp::default());
        let expected = Expected { tenant: &tenant, idp: &idp, sp: &self.sp, relay, now, since };
        check(&posted.base64, expected).is_ok()
    }
}
