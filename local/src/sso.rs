//! `sso`: the identity provider (IdP) of the tenant.

use std::{fs, path::Path};

use axum::http::{Method, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::{
    Failure,
    admin::Admin,
    args::{
        Format,
        admin::{Sso, SsoSet},
    },
    client::Call,
    output::{self, Listing},
    terminal::say,
};

const PATH: &str = "/v1/admin/sso";

/// The settings beside the metadata. `GET` and `PUT` have them in the same form.
const SETTINGS: [&str; 4] = ["idp_initiated", "mfa_contexts", "link_attribute", "provisioning"];

/// The columns of `sso test`.
const CHECKED: [&str; 3] = ["check", "outcome", "detail"];

/// Runs a command of this group.
///
/// # Errors
/// A message that says which step failed, and why.
pub async fn run(command: &Sso) -> Result<(), Failure> {
    match command {
        Sso::Set(options) => set(options).await,
        Sso::Test(format) => test(*format).await,
    }
}

async fn set(options: &SsoSet) -> Result<(), Failure> {
    let mut admin = Admin::open()?;
    let body = match (&options.source.metadata, &options.source.config) {
        (Some(file), _) => with_metadata(&mut admin, read(file)?).await?,
        (None, Some(file)) => serde_json::from_str(&read(file)?)
            .map_err(|error| format!("{}: it is not JSON ({error})", file.display()))?,
        (None, None) => return Err("nothing to set: use --metadata or --config".into()),
    };
    let call = Call { body: Some(&body), ..Call::new(Method::PUT, PATH) };
    let idp = admin.ask(call, "setting the identity provider").await?;
    if options.format.json {
        return output::object(&idp, options.format);
    }
    let sp = &idp["service_provider"];
    let mut item =
        json!({"idp_entity_id": idp["idp_entity_id"], "sso_url": idp["sso_url"], "warnings": idp["warnings"]});
    for name in ["entity_id", "acs_url"] {
        item[name] = sp[name].clone();
    }
    output::object(&item, options.format)
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()).into())
}

/// New metadata. The other settings stay as they are.
async fn with_metadata(admin: &mut Admin, xml: String) -> Result<Value, Failure> {
    let mut body = Map::from_iter([("metadata_xml".to_owned(), json!(xml))]);
    if let Some(current) = configured(admin).await? {
        let kept = SETTINGS.iter().filter_map(|name| Some(((*name).to_owned(), current.get(*name)?.clone())));
        body.extend(kept);
        // Otherwise the metadata decides.
        if current["sign_requests"] == true {
            body.insert("sign_requests".to_owned(), json!(true));
        }
    }
    Ok(Value::Object(body))
}

/// The IdP of the tenant, if there is one.
async fn configured(admin: &mut Admin) -> Result<Option<Value>, Failure> {
    let reply = admin.send(Call::get(PATH)).await?;
    match reply.code() {
        Some("not_found") => Ok(None),
        _ => reply.ok("reading the identity provider").map(Some),
    }
}

/// The result of one check.
struct Checked {
    passed: bool,
    detail: String,
}

impl Checked {
    fn passed(detail: String) -> Self {
        Self { passed: true, detail }
    }

    fn failed(detail: String) -> Self {
        Self { passed: false, detail }
    }
}

/// Checks what can be checked without the person's browser.
async fn test(format: Format) -> Result<(), Failure> {
    let mut admin = Admin::open()?;
    let Some(idp) = configured(&mut admin).await? else {
        return Err("the tenant has no identity provider: set one with `sso set --metadata FILE`".into());
    };
    let mut listing = Listing::new(&CHECKED, format);
    let mut failed = 0;
    let mut check = |name: &str, Checked { passed, detail }| {
        failed += usize::from(!passed);
        let outcome = if passed { "ok" } else { "failed" };
        listing.row(&json!({"check": name, "outcome": outcome, "detail": detail}))
    };
    let warnings: Vec<_> = idp["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let expiry = if warnings.is_empty() { Checked::passed(expiry(&idp)) } else { Checked::failed(warnings.join(" ")) };
    check("expiry", expiry)?;
    let start = format!("/v1/sso/{}/login", admin.tenant());
    check("start", begins(&admin, &start, &idp).await?)?;
    check("last sign-in", last_sign_in(&mut admin).await?)?;
    listing.end()?;
    if !format.json {
        say(&format!("To try a sign-in, open {}{start} in a browser.", admin.server().url()));
    }
    match failed {
        0 => Ok(()),
        failed => Err(format!("{failed} of 3 checks failed: the column detail says why").into()),
    }
}

/// The last day of each certificate.
fn expiry(idp: &Value) -> String {
    let certificates = idp["certificates_seen"].as_array().into_iter().flatten();
    let days: Vec<_> = certificates.filter_map(|it| it["not_after"].as_str()).collect();
    format!("certificates until {}", days.join(", "))
}

/// Whether a sign-in leads to the IdP, with a request.
async fn begins(admin: &Admin, start: &str, idp: &Value) -> Result<Checked, Failure> {
    let response = admin.server().exchange(Call::get(start)).await?;
    let location = response.headers().get(header::LOCATION).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let sso_url = idp["sso_url"].as_str().unwrap_or_default();
    let leads = response.status() == StatusCode::FOUND && location.starts_with(sso_url);
    Ok(if leads && location.contains("SAMLRequest=") {
        Checked::passed(format!("leads to {sso_url}"))
    } else {
        Checked::failed(format!(
            "{start} answered with status {} and did not lead to {sso_url}",
            response.status().as_u16()
        ))
    })
}

/// The last sign-in through the IdP: whether it was refused, and why.
async fn last_sign_in(admin: &mut Admin) -> Result<Checked, Failure> {
    let mut last = None;
    let mut left = 1_000;
    admin
        .list("/v1/admin/audit", &[], |event| {
            left -= 1;
            if event["action"] == "sso.login" {
                last = Some(event);
            }
            Ok(last.is_none() && left > 0)
        })
        .await?;
    let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    Ok(match last {
        None => Checked::passed("no sign-in among the last 1000 events".to_owned()),
        Some(event) if event["outcome"] == "refused" => {
            let name = event["name_id"].as_str().map(|name| format!(", NameID {name}")).unwrap_or_default();
            Checked::failed(format!(
                "the last sign-in, at {}, was refused: {}{name}",
                text(&event, "at"),
                text(&event, "reason")
            ))
        }
        Some(event) => Checked::passed(format!("the last sign-in, at {}, succeeded", text(&event, "at"))),
    })
}
