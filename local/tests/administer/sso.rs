//! `sso`, with the identity provider for development.

use super::{pty::Colors, *};

/// The identity provider for development.
struct Idp {
    child: Child,
    url: String,
}

impl Idp {
    fn start() -> Self {
        let mut child = program(&["idp", "--port", "0", "--json"]).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let first: Value = serde_json::from_str(&line).unwrap();
        Self { child, url: first["url"].as_str().unwrap().to_owned() }
    }

    fn metadata(&self) -> String {
        let authority = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(authority).unwrap();
        write!(stream, "GET /metadata HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn identity_provider_is_set_and_tested() {
    let ann = Ann::signed_in(0);
    assert!(ann.refused(&["sso", "test"], "").contains("has no identity provider"));
    assert_eq!(ann.run(&["sso", "set"], "").status.code(), Some(2));
    let idp = Idp::start();
    let xml = idp.metadata();
    let metadata = ann.file("idp.xml", &xml);
    let set = ann.screen(Colors::Yes, &["sso", "set", "--metadata", &metadata]);
    assert!(set.contains(&format!("sso_url\t{}/sso\n", idp.url)), "{set}");
    assert!(set.contains(&format!("acs_url\t{}/v1/sso/acme/acs\n", ann.server.url)), "{set}");
    let checks = ann.rows(&["sso", "test"]);
    let names: Vec<_> = checks.iter().map(|check| check["check"].as_str().unwrap()).collect();
    assert_eq!((names, count(&checks, "outcome", "ok")), (vec!["expiry", "start", "last sign-in"], 3));
    assert!(ann.screen(Colors::No, &["sso", "test"]).contains("start\tok\tleads to "));

    // A refused sign-in is shown.
    let body = "SAMLResponse=AAAA";
    let mut stream = TcpStream::connect(ann.server.url.strip_prefix("http://").unwrap()).unwrap();
    let head = "POST /v1/sso/acme/acs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded";
    write!(stream, "{head}{form}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let output = ann.run(&["sso", "test"], "");
    assert_eq!(output.status.code(), Some(1), "{answer}");
    let shown = text(&output.stdout);
    assert!(
        shown.contains("last sign-in\tfailed\tthe last sign-in, at ") && shown.contains("was refused: "),
        "{shown}"
    );
    assert!(text(&output.stderr).contains(&format!("{}/v1/sso/acme/login", ann.proxy.url)));

    // New metadata keeps the other settings.
    let config = json!({"metadata_xml": xml, "idp_initiated": true, "link_attribute": "Email", "sign_requests": true,
        "mfa_contexts": ["urn:mfa"], "provisioning": {"administrators": ["admins"]}});
    let config = ann.file("idp.json", &config.to_string());
    let [first] = &ann.rows(&["sso", "set", "--config", &config])[..] else { panic!() };
    let [second] = &ann.rows(&["sso", "set", "--metadata", &metadata])[..] else { panic!() };
    assert_eq!(second["idp_initiated"], true);
    for name in ["idp_initiated", "link_attribute", "sign_requests", "mfa_contexts", "provisioning"] {
        assert_eq!(first[name], second[name], "{name}");
    }

    let bad = ann.file("bad.xml", "<a/>");
    assert!(ann.refused(&["sso", "set", "--metadata", &bad], "").contains("/metadata_xml"));
    let bad = ann.file("bad.json", "{");
    assert!(ann.refused(&["sso", "set", "--config", &bad], "").contains("it is not JSON"));
    assert!(ann.refused(&["sso", "set", "--metadata", "absent.xml"], "").contains("cannot read absent.xml"));
}
