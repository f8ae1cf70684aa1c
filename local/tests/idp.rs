//! The development IdP from outside: whom it answers, and a sign-in through it, with the service beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use data_encoding::BASE64;
use serde_json::{Value, json};
use vestibule::env::{Clock, SystemClock};

/// A program that serves, and says where in one line.
struct Serving {
    child: Child,
    url: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(arguments: &[&str]) -> Serving {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
    command.args(arguments).args(["--port", "0", "--json"]).env_remove("VESTIBULE_LOG");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let first: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{arguments:?} said {line:?}"));
    Serving { child, url: first["url"].as_str().unwrap().to_owned() }
}

fn refused(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
    let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        child.kill().unwrap();
        panic!("{arguments:?} said {line:?}");
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// One request: status, head, body. The address is a whole one.
fn ask(method: &str, url: &str, headers: &str, body: &str) -> (u16, String, String) {
    let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(authority).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let host = if headers.contains("Host: ") { String::new() } else { format!("Host: {authority}\r\n") };
    let length = body.len();
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

fn get(url: &str) -> (u16, String) {
    let (status, _, body) = ask("GET", url, "", "");
    (status, body)
}

/// A request in JSON that has to be answered so.
fn json_of(status: u16, method: &str, url: &str, token: &str, body: &Value) -> Value {
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let headers = if token.is_empty() { "Content-Type: application/json\r\n".to_owned() } else { headers };
    let (got, _, answer) = ask(method, url, &headers, &body.to_string());
    assert_eq!(got, status, "{method} {url}: {answer}");
    serde_json::from_str(&answer).unwrap()
}

/// The address of a sign-in at the IdP by a request that says this.
fn asks(idp: &Serving, xml: &[u8], more: &[(&str, &str)]) -> String {
    let deflated = BASE64.encode(&miniz_oxide::deflate::compress_to_vec(xml, 6));
    let query = [&[("SAMLRequest", deflated.as_str())], more].concat();
    format!("{}/sso?{}", idp.url, serde_urlencoded::to_string(query).unwrap())
}

fn request(acs: &str) -> String {
    format!(
        r#"<q:AuthnRequest xmlns:q="urn:oasis:names:tc:SAML:2.0:protocol" ID="_1" Version="2.0" AssertionConsumerServiceURL="{acs}"><i:Issuer xmlns:i="urn:oasis:names:tc:SAML:2.0:assertion">http://127.0.0.1:1/me</i:Issuer></q:AuthnRequest>"#
    )
}

/// What a form of a page sends.
fn value(page: &str, name: &str) -> String {
    let after = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no {name}: {page}")).1;
    after.split('"').next().unwrap().to_owned()
}

fn action(page: &str) -> String {
    page.split_once("action=\"").unwrap().1.split('"').next().unwrap().to_owned()
}

/// Sends the form of the IdP's page to where it goes.
fn post(page: &str) -> (u16, String, String) {
    post_with(page, "")
}

/// The same with a cookie.
fn post_with(page: &str, cookie: &str) -> (u16, String, String) {
    let mut form = vec![("SAMLResponse", value(page, "SAMLResponse"))];
    if page.contains("name=\"RelayState\"") {
        form.push(("RelayState", value(page, "RelayState")));
    }
    let headers = format!("Content-Type: application/x-www-form-urlencoded\r\nCookie: {cookie}\r\n");
    ask("POST", &action(page), &headers, &serde_urlencoded::to_string(form).unwrap())
}

/// Enrols with an enrolment token: a session that stepped up.
fn enrol(url: &str, token: &str) -> String {
    let begun = json_of(201, "POST", &format!("{url}/v1/mfa/enrolments"), token, &json!({}));
    let code = local::totp::code(begun["secret"].as_str().unwrap(), SystemClock.now()).unwrap();
    let done = json_of(200, "POST", &format!("{url}/v1/mfa/enrolments/confirm"), token, &json!({"code": *code}));
    done["session"]["token"].as_str().unwrap().to_owned()
}

/// The Administrator of the demo.
fn ann(url: &str) -> String {
    let ann = json!({"tenant": "acme", "username": "ann", "password": "ann waters 9 blue ferns"});
    let login = json_of(200, "POST", &format!("{url}/v1/login"), "", &ann);
    enrol(url, login["enrolment"]["token"].as_str().unwrap())
}

fn configure(service: &Serving, idp: &Serving, ann: &str, more: &Value) -> Value {
    let mut body = json!({"metadata_xml": get(&format!("{}/metadata", idp.url)).1});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json_of(200, "PUT", &format!("{}/v1/admin/sso", service.url), ann, &body)
}

/// Where the service sends a client that is no browser.
fn sent(service: &Serving, query: &str) -> String {
    started(service, query, "*/*").0
}

/// Where the service sends whoever accepts that, and the cookie that it sets.
fn started(service: &Serving, query: &str, accept: &str) -> (String, Option<String>) {
    let url = format!("{}/v1/sso/acme/login?{query}", service.url);
    let (status, head, _) = ask("GET", &url, &format!("Accept: {accept}\r\n"), "");
    assert_eq!(status, 302);
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let cookie = header("set-cookie: ").map(|it| it.split(';').next().unwrap().to_owned());
    (header("location: ").unwrap(), cookie)
}

#[test]
fn it_listens_on_loopback_alone() {
    for host in ["0.0.0.0", "::", "192.0.2.1", "::ffff:127.0.0.1", "127.0.0.2"] {
        let said = refused(&["idp", "--port", "0", "--json", "--host", host]);
        assert!(said.contains(&format!("does not listen on {host}")) && said.lines().count() == 1, "{said}");
    }
    for sp in ["http://192.0.2.1/metadata", "https://sp.example/metadata", "metadata.xml"] {
        let said = refused(&["idp", "--port", "0", "--json", "--sp", sp]);
        assert!(said.starts_with(&format!("error: --sp {sp}: ")), "{said}");
    }
}

#[test]
fn it_is_asked_under_names_of_this_machine_alone() {
    let idp = start(&["idp"]);
    let url = format!("{}/metadata", idp.url);
    for host in ["login.example.com", "127.0.0.1.example.com:8081", "127.0.0.1@example.com", ""] {
        let (status, _, body) = ask("GET", &url, &format!("Host: {host}\r\n"), "");
        assert_eq!(status, 400, "{host}: {body}");
    }
    assert_eq!(ask("GET", &url, "Host: localhost:8081\r\n", "").0, 200);
}

#[test]
fn it_answers_service_providers_on_this_machine_alone() {
    let idp = start(&["idp"]);
    let sam = [("username", "sam")];
    for acs in [
        "https://sp.example/acs",
        "http://192.0.2.1/acs",
        "http://127.0.0.1.example.com/acs",
        "http://127.0.0.1@sp.example/acs",
        "https://localhost@sp.example/",
        "//sp.example/acs",
        "javascript:alert(1)",
        "",
    ] {
        let (status, body) = get(&asks(&idp, request(acs).as_bytes(), &sam));
        assert_eq!(status, 400, "{acs}: {body}");
        assert!(body.contains("on this machine only") && !body.contains("SAMLResponse"), "{acs}: {body}");
    }
    for acs in ["http://127.0.0.1:8080/acs", "https://localhost:8443/acs", "http://[::1]/acs"] {
        assert_eq!(action(&get(&asks(&idp, request(acs).as_bytes(), &sam)).1), acs);
    }
}

#[test]
fn a_request_that_does_not_read_is_refused() {
    let idp = start(&["idp"]);
    let dtd = format!("<!DOCTYPE q [<!ENTITY e \"x\">]>{}", request("http://127.0.0.1/acs"));
    for (bad, why) in [
        (&vec![b' '; 100_000][..], "inflate"),
        (dtd.as_bytes(), "DTD"),
        (b"\xff\xfe", "UTF-8"),
        (b"<AuthnRequest/>", "no AuthnRequest"),
        (request("x").replace(" ID=\"_1\"", "").as_bytes(), "no ID"),
        (request("x").replace("AssertionConsumerServiceURL", "Other").as_bytes(), "where the answer goes"),
        (request("x").replace("Issuer", "Other").as_bytes(), "whose it is"),
    ] {
        let (status, body) = get(&asks(&idp, bad, &[("username", "sam")]));
        assert!(status == 400 && body.contains(why), "{why}: {status} {body}");
    }
    for query in ["", "?username=sam", "?SAMLRequest=!", "?SAMLRequest=AAAA&username=sam", "?sp=x&username=sam"] {
        assert_eq!(get(&format!("{}/sso{query}", idp.url)).0, 400, "{query}");
    }
}

#[test]
fn what_is_typed_or_sent_is_text_on_its_pages() {
    let idp = start(&["idp"]);
    let evil = "\"><script>alert(1)</script>";
    let request = request("http://127.0.0.1/acs?a=1&amp;quot=&quot;&lt;script>alert(1)&lt;/script>");
    for more in [&[("RelayState", evil)][..], &[("RelayState", evil), ("username", evil)]] {
        let (status, page) = get(&asks(&idp, request.as_bytes(), more));
        assert_eq!(status, 200);
        assert!(!page.contains("<script>") && page.contains("&lt;script"), "{page}");
    }
}

#[test]
fn people_enrol_once_and_come_by_sso_from_then_on() {
    let (service, idp) = (start(&["serve", "--ephemeral"]), start(&["idp"]));
    let url = &service.url;
    let ann = ann(url);
    let seen = configure(&service, &idp, &ann, &json!({}));
    assert_eq!(seen["idp_entity_id"], format!("{}/metadata", idp.url));
    assert_eq!(seen["certificates_seen"][0]["expired"], false);
    let sam = json!({"kind": "employee", "role": "standard", "auth_type": "saml_sso", "username": "sam", "display_name": "Sam"});
    json_of(201, "POST", &format!("{url}/v1/admin/users"), &ann, &sam);

    // In a browser: a page that asks who, and one that goes on.
    let asked = sent(&service, "");
    let (status, page) = get(&asked);
    assert!(status == 200 && page.contains("<label for=\"username\">"), "{page}");
    assert!(asked.contains(&format!("RelayState={}", value(&page, "RelayState"))));
    let (status, page) = get(&format!("{asked}&username=sam"));
    assert!(
        status == 200 && page.contains("<button>Continue as sam</button>") && page.contains("/submit.js"),
        "{page}"
    );
    let (status, _, body) = post(&page);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["status"]), (200, &json!("enrolment_required")), "{answer}");
    enrol(url, answer["enrolment"]["token"].as_str().unwrap());
    assert_eq!(post(&page).0, 401, "an answer is good once");

    let again = get(&format!("{}&username=SAM", sent(&service, ""))).1;
    let (status, _, body) = post(&again);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["session"]["amr"]), (200, &json!(["sso"])), "{answer}");
    let (location, cookie) = started(&service, "return_to=/portal", "text/html");
    let browser = get(&format!("{location}&username=sam")).1;
    assert_eq!(post(&browser).0, 401, "another browser");
    let (status, head, _) = post_with(&browser, &cookie.unwrap());
    assert!(status == 303 && head.contains("location: /portal\r\n"), "{head}");
    // Who is not there does not come in, whatever the IdP says.
    let nobody = get(&format!("{}&username=nobody", sent(&service, ""))).1;
    assert_eq!(post(&nobody).0, 401);
    // Each start makes a new key: another's answers are not believed.
    let other = start(&["idp"]);
    let forged = get(&format!("{}&username=sam", sent(&service, "").replace(&idp.url, &other.url))).1;
    assert_eq!(post(&forged).0, 401);
}

#[test]
fn it_says_of_people_what_it_is_told_to() {
    let service = start(&["serve", "--ephemeral"]);
    let sp = format!("{}/v1/sso/acme/metadata", service.url);
    let idp = start(&["idp", "--sp", &sp]);
    let strong = "https://refeds.org/profile/mfa";
    let rules = json!({"administrators": ["boss"], "only_company": "Acme & Sons"});
    let ann = ann(&service.url);
    configure(&service, &idp, &ann, &json!({"provisioning": rules, "idp_initiated": true, "mfa_contexts": [strong]}));
    let more = serde_urlencoded::to_string([
        ("username", "x-7"),
        ("Username", "tess"),
        ("FirstName", "Tess"),
        ("LastName", "<i>"),
        ("Email", ""),
        ("SecurityGroup", "staff"),
        ("SecurityGroup", "boss"),
        ("CompanyName", "Acme & Sons"),
        ("context", strong),
    ]);
    let page = get(&format!("{}&{}", sent(&service, ""), more.unwrap())).1;
    let (status, _, body) = post(&page);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["status"]), (200, &json!("enrolment_required")), "{answer}");
    enrol(&service.url, answer["enrolment"]["token"].as_str().unwrap());
    // Unasked, from the IdP's own page.
    assert_eq!(value(&get(&format!("{}/", idp.url)).1, "sp"), sp);
    let query = serde_urlencoded::to_string([("sp", &*sp), ("username", "x-7")]).unwrap();
    let page = get(&format!("{}/sso?{query}", idp.url)).1;
    let (status, head, _) = post(&page);
    assert!(status == 303 && head.contains("location: login?unsolicited=true\r\n"), "{head}");
    // Asked for a step-up.
    let query = serde_urlencoded::to_string([("username", "x-7"), ("context", strong)]).unwrap();
    let page = get(&format!("{}&{query}", sent(&service, "step_up=true"))).1;
    let (status, _, body) = post(&page);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["session"]["amr"]), (200, &json!(["sso"])), "{answer}");
    let user = &answer["user"];
    assert_eq!((&user["username"], &user["display_name"]), (&json!("tess"), &json!("Tess <i>")), "{user}");
    assert_eq!(user["role"], "administrator", "{user}");
    // It counts as a step-up, as the tenant wants it to.
    let token = answer["session"]["token"].as_str().unwrap();
    json_of(201, "POST", &format!("{}/v1/admin/clients", service.url), token, &json!({"name": "portal"}));
    // Others than those of --sp are none of its business.
    let (status, body) = get(&asks(&idp, request("http://127.0.0.1:1/acs").as_bytes(), &[("username", "sam")]));
    assert!(status == 400 && body.contains("none of those given by --sp"), "{body}");
}
