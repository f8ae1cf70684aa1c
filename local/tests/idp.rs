//! The development IdP as a process: which requests it answers, and sign-ins to a real server through it.
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

/// A running program that printed its URL in one line of JSON.
struct Running {
    child: Child,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(arguments: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
    command.args(arguments).args(["--port", "0", "--json"]).env_remove("VESTIBULE_LOG");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let first: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{arguments:?} printed {line:?}"));
    Running { child, url: first["url"].as_str().unwrap().to_owned() }
}

fn refusal(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
    let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        child.kill().unwrap();
        panic!("{arguments:?} printed {line:?}");
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Sends one request. Returns status, head and body.
fn send(method: &str, url: &str, headers: &str, body: &str) -> (u16, String, String) {
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
    let (status, _, body) = send("GET", url, "", "");
    (status, body)
}

/// Sends a JSON request that must be answered with `status`. Returns the body.
fn request_json(status: u16, method: &str, url: &str, token: &str, body: &Value) -> Value {
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let headers = if token.is_empty() { "Content-Type: application/json\r\n".to_owned() } else { headers };
    let (got, _, answer) = send(method, url, &headers, &body.to_string());
    assert_eq!(got, status, "{method} {url}: {answer}");
    serde_json::from_str(&answer).unwrap()
}

/// The URL of a sign-in at the IdP with a SAML request.
fn sso_url(idp: &Running, xml: &[u8], more: &[(&str, &str)]) -> String {
    let deflated = BASE64.encode(&miniz_oxide::deflate::compress_to_vec(xml, 6));
    let query = [&[("SAMLRequest", deflated.as_str())], more].concat();
    format!("{}/sso?{}", idp.url, serde_urlencoded::to_string(query).unwrap())
}

fn request(acs: &str) -> String {
    format!(
        r#"<q:AuthnRequest xmlns:q="urn:oasis:names:tc:SAML:2.0:protocol" ID="_1" Version="2.0" AssertionConsumerServiceURL="{acs}"><i:Issuer xmlns:i="urn:oasis:names:tc:SAML:2.0:assertion">http://127.0.0.1:1/me</i:Issuer></q:AuthnRequest>"#
    )
}

/// The value of a form field in a page.
fn form_value(page: &str, name: &str) -> String {
    let after = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no {name}: {page}")).1;
    after.split('"').next().unwrap().to_owned()
}

fn form_action(page: &str) -> String {
    page.split_once("action=\"").unwrap().1.split('"').next().unwrap().to_owned()
}

/// Posts the form of the IdP's page to the service.
fn post(page: &str) -> (u16, String, String) {
    post_with(page, "")
}

/// As [`post`], with a cookie.
fn post_with(page: &str, cookie: &str) -> (u16, String, String) {
    let mut form = vec![("SAMLResponse", form_value(page, "SAMLResponse"))];
    if page.contains("name=\"RelayState\"") {
        form.push(("RelayState", form_value(page, "RelayState")));
    }
    let headers = format!("Content-Type: application/x-www-form-urlencoded\r\nCookie: {cookie}\r\n");
    send("POST", &form_action(page), &headers, &serde_urlencoded::to_string(form).unwrap())
}

/// Enrols with an enrolment token. Returns a session token with a fresh step-up.
fn enrol(url: &str, token: &str) -> String {
    let enrolment = request_json(201, "POST", &format!("{url}/v1/mfa/enrolments"), token, &json!({}));
    let code = local::totp::code(enrolment["secret"].as_str().unwrap(), SystemClock.now()).unwrap();
    let confirmed =
        request_json(200, "POST", &format!("{url}/v1/mfa/enrolments/confirm"), token, &json!({"code": *code}));
    confirmed["session"]["token"].as_str().unwrap().to_owned()
}

/// Signs in the demo Administrator. Returns the session token.
fn sign_in_ann(url: &str) -> String {
    let ann = json!({"tenant": "acme", "username": "ann", "password": "ann waters 9 blue ferns"});
    let login = request_json(200, "POST", &format!("{url}/v1/login"), "", &ann);
    enrol(url, login["enrolment"]["token"].as_str().unwrap())
}

fn configure(service: &Running, idp: &Running, ann: &str, more: &Value) -> Value {
    let mut body = json!({"metadata_xml": get(&format!("{}/metadata", idp.url)).1});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request_json(200, "PUT", &format!("{}/v1/admin/sso", service.url), ann, &body)
}

/// Starts a sign-in as a client that is not a browser. Returns the URL at the IdP.
fn login_location(service: &Running, query: &str) -> String {
    start_login(service, query, "*/*").0
}

/// Starts a sign-in with an `Accept` header. Returns the URL at the IdP, and the cookie.
fn start_login(service: &Running, query: &str, accept: &str) -> (String, Option<String>) {
    let url = format!("{}/v1/sso/acme/login?{query}", service.url);
    let (status, head, _) = send("GET", &url, &format!("Accept: {accept}\r\n"), "");
    assert_eq!(status, 302);
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let cookie = header("set-cookie: ").map(|it| it.split(';').next().unwrap().to_owned());
    (header("location: ").unwrap(), cookie)
}

#[test]
fn idp_listens_on_loopback_only() {
    for host in ["0.0.0.0", "::", "192.0.2.1", "::ffff:127.0.0.1", "127.0.0.2"] {
        let message = refusal(&["idp", "--port", "0", "--json", "--host", host]);
        assert!(message.contains(&format!("does not listen on {host}")) && message.lines().count() == 1, "{message}");
    }
    for sp in ["http://192.0.2.1/metadata", "https://sp.example/metadata", "metadata.xml"] {
        let message = refusal(&["idp", "--port", "0", "--json", "--sp", sp]);
        assert!(message.starts_with(&format!("error: --sp {sp}: ")), "{message}");
    }
}

#[test]
fn request_with_foreign_host_is_refused() {
    let idp = start(&["idp"]);
    let url = format!("{}/metadata", idp.url);
    for host in ["login.example.com", "127.0.0.1.example.com:8081", "127.0.0.1@example.com", ""] {
        let (status, _, body) = send("GET", &url, &format!("Host: {host}\r\n"), "");
        assert_eq!(status, 400, "{host}: {body}");
    }
    assert_eq!(send("GET", &url, "Host: localhost:8081\r\n", "").0, 200);
}

#[test]
fn service_provider_on_another_machine_is_refused() {
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
        let (status, body) = get(&sso_url(&idp, request(acs).as_bytes(), &sam));
        assert_eq!(status, 400, "{acs}: {body}");
        assert!(body.contains("on this machine only") && !body.contains("SAMLResponse"), "{acs}: {body}");
    }
    for acs in ["http://127.0.0.1:8080/acs", "https://localhost:8443/acs", "http://[::1]/acs"] {
        assert_eq!(form_action(&get(&sso_url(&idp, request(acs).as_bytes(), &sam)).1), acs);
    }
}

#[test]
fn invalid_saml_request_is_refused() {
    let idp = start(&["idp"]);
    let dtd = format!("<!DOCTYPE q [<!ENTITY e \"x\">]>{}", request("http://127.0.0.1/acs"));
    for (bad, why) in [
        (&vec![b' '; 100_000][..], "inflate"),
        (dtd.as_bytes(), "DTD"),
        (b"\xff\xfe", "UTF-8"),
        (b"<AuthnRequest/>", "not an AuthnRequest"),
        (request("x").replace(" ID=\"_1\"", "").as_bytes(), "no ID"),
        (request("x").replace("AssertionConsumerServiceURL", "Other").as_bytes(), "no AssertionConsumerServiceURL"),
        (request("x").replace("Issuer", "Other").as_bytes(), "no Issuer"),
    ] {
        let (status, body) = get(&sso_url(&idp, bad, &[("username", "sam")]));
        assert!(status == 400 && body.contains(why), "{why}: {status} {body}");
    }
    for query in ["", "?username=sam", "?SAMLRequest=!", "?SAMLRequest=AAAA&username=sam", "?sp=x&username=sam"] {
        assert_eq!(get(&format!("{}/sso{query}", idp.url)).0, 400, "{query}");
    }
}

#[test]
fn input_is_escaped_on_pages() {
    let idp = start(&["idp"]);
    let evil = "\"><script>alert(1)</script>";
    let request = request("http://127.0.0.1/acs?a=1&amp;quot=&quot;&lt;script>alert(1)&lt;/script>");
    for more in [&[("RelayState", evil)][..], &[("RelayState", evil), ("username", evil)]] {
        let (status, page) = get(&sso_url(&idp, request.as_bytes(), more));
        assert_eq!(status, 200);
        assert!(!page.contains("<script>") && page.contains("&lt;script"), "{page}");
    }
}

#[test]
fn user_enrols_at_first_sign_in_and_then_signs_in_by_sso() {
    let (service, idp) = (start(&["serve", "--ephemeral"]), start(&["idp"]));
    let url = &service.url;
    let ann = sign_in_ann(url);
    let seen = configure(&service, &idp, &ann, &json!({}));
    assert_eq!(seen["idp_entity_id"], format!("{}/metadata", idp.url));
    assert_eq!(seen["certificates_seen"][0]["expired"], false);
    let sam = json!({"kind": "employee", "role": "standard", "auth_type": "saml_sso", "username": "sam", "display_name": "Sam"});
    request_json(201, "POST", &format!("{url}/v1/admin/users"), &ann, &sam);

    // In a browser: a page that asks for the username, and one that continues to the service.
    let location = login_location(&service, "");
    let (status, page) = get(&location);
    assert!(status == 200 && page.contains("<label for=\"username\">"), "{page}");
    assert!(location.contains(&format!("RelayState={}", form_value(&page, "RelayState"))));
    let (status, page) = get(&format!("{location}&username=sam"));
    assert!(
        status == 200 && page.contains("<button>Continue as sam</button>") && page.contains("/submit.js"),
        "{page}"
    );
    let (status, _, body) = post(&page);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["status"]), (200, &json!("enrolment_required")), "{answer}");
    enrol(url, answer["enrolment"]["token"].as_str().unwrap());
    assert_eq!(post(&page).0, 401, "a response works once");

    let again = get(&format!("{}&username=SAM", login_location(&service, ""))).1;
    let (status, _, body) = post(&again);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["session"]["amr"]), (200, &json!(["sso"])), "{answer}");
    let (location, cookie) = start_login(&service, "return_to=/portal", "text/html");
    let browser = get(&format!("{location}&username=sam")).1;
    assert_eq!(post(&browser).0, 401, "another browser");
    let (status, head, _) = post_with(&browser, &cookie.unwrap());
    assert!(status == 303 && head.contains("location: /portal\r\n"), "{head}");
    // A user whom the tenant does not have cannot sign in, whatever the IdP asserts.
    let nobody = get(&format!("{}&username=nobody", login_location(&service, ""))).1;
    assert_eq!(post(&nobody).0, 401);
    // Each start generates a new key, so the responses of another IdP are refused.
    let other = start(&["idp"]);
    let forged = get(&format!("{}&username=sam", login_location(&service, "").replace(&idp.url, &other.url))).1;
    assert_eq!(post(&forged).0, 401);
}

#[test]
fn attributes_and_context_reach_the_service() {
    let service = start(&["serve", "--ephemeral"]);
    let sp = format!("{}/v1/sso/acme/metadata", service.url);
    let idp = start(&["idp", "--sp", &sp]);
    let strong = "https://refeds.org/profile/mfa";
    let rules = json!({"administrators": ["boss"], "only_company": "Acme & Sons"});
    let ann = sign_in_ann(&service.url);
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
    let page = get(&format!("{}&{}", login_location(&service, ""), more.unwrap())).1;
    let (status, _, body) = post(&page);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["status"]), (200, &json!("enrolment_required")), "{answer}");
    enrol(&service.url, answer["enrolment"]["token"].as_str().unwrap());
    // Unsolicited, from the IdP's own page.
    assert_eq!(form_value(&get(&format!("{}/", idp.url)).1, "sp"), sp);
    let query = serde_urlencoded::to_string([("sp", &*sp), ("username", "x-7")]).unwrap();
    let page = get(&format!("{}/sso?{query}", idp.url)).1;
    let (status, head, _) = post(&page);
    assert!(status == 303 && head.contains("location: login?unsolicited=true\r\n"), "{head}");
    // With a step-up request.
    let query = serde_urlencoded::to_string([("username", "x-7"), ("context", strong)]).unwrap();
    let page = get(&format!("{}&{query}", login_location(&service, "step_up=true"))).1;
    let (status, _, body) = post(&page);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["session"]["amr"]), (200, &json!(["sso"])), "{answer}");
    let user = &answer["user"];
    assert_eq!((&user["username"], &user["display_name"]), (&json!("tess"), &json!("Tess <i>")), "{user}");
    assert_eq!(user["role"], "administrator", "{user}");
    // The context counts as a step-up, as the tenant configured it.
    let token = answer["session"]["token"].as_str().unwrap();
    request_json(201, "POST", &format!("{}/v1/admin/clients", service.url), token, &json!({"name": "portal"}));
    // A service provider that is not given by --sp is refused.
    let (status, body) = get(&sso_url(&idp, request("http://127.0.0.1:1/acs").as_bytes(), &[("username", "sam")]));
    assert!(status == 400 && body.contains("not one of the service providers given by --sp"), "{body}");
}
