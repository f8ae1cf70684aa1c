//! An organisation's IdP for development, which vouches for anybody by any name without asking for a password. So it listens on
//! loopback alone, is asked under a name of loopback alone, and answers service providers on loopback alone.

mod key;
pub(crate) mod page;
mod saml;

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
};

use axum::{
    Router,
    extract::{RawQuery, Request, State},
    http::{Method, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::json;
use tokio::net::TcpListener;
use vestibule::{
    env::{Clock, Entropy, SystemClock, SystemEntropy},
    sso::is_https_or_loopback,
};

use self::{
    key::Signer,
    saml::{AuthnRequest, Says, ServiceProvider},
};
use crate::{
    Failure,
    args::Idp as Options,
    enrol::Server,
    server::{Signals, unbound},
};

/// What may be said of somebody besides their name: what the service maps when it creates people (docs/sso.md).
const ATTRIBUTES: [&str; 6] = ["Username", "FirstName", "LastName", "Email", "SecurityGroup", "CompanyName"];
/// How people are said to have signed in, unless it is asked for otherwise.
const CONTEXT: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport";

/// Serves until a signal says to stop.
///
/// # Errors
/// Says what keeps it from serving: an address of more than this machine, above all.
pub async fn run(options: &Options) -> Result<(), Failure> {
    let address = SocketAddr::new(options.host, options.port);
    if !on_this_machine(&format!("http://{address}")) {
        let host = options.host;
        return Err(
            format!("this IdP vouches for anybody, so it does not listen on {host}: keep --host 127.0.0.1").into()
        );
    }
    let listener = TcpListener::bind(address).await.map_err(|error| unbound(address, &error))?;
    let url = format!("http://{}", listener.local_addr()?);
    let mut known = Vec::new();
    for url in &options.service_providers {
        known.push(ServiceProvider::fetch(url).await.map_err(|error| format!("--sp {url}: {error}"))?);
    }
    let text = if options.json { format!("{}\n", json!({"url": url})) } else { welcome(&url, &known) };
    let router = router(url, known, Arc::new(SystemClock), Arc::new(SystemEntropy))?;
    let mut signals = Signals::new()?;
    // Whoever does not read standard output is served all the same.
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    tokio::select! {
        ended = axum::serve(listener, router) => Ok(ended?),
        () = signals.next() => Ok(()),
    }
}

/// The IdP at an address, with a new key. It answers the service providers that it knows; where it knows none, all on this
/// machine.
fn router(
    url: String,
    known: Vec<ServiceProvider>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Router, Failure> {
    let signer = Signer::generate(clock.now(), &*entropy)?;
    let idp = Arc::new(Idp { url, known, signer, clock, entropy });
    let router = Router::new().route("/", get(home)).route("/metadata", get(metadata)).route("/sso", get(sso));
    let router =
        router.route("/submit.js", get(|| async { ([(header::CONTENT_TYPE, "text/javascript")], page::SUBMIT) }));
    Ok(router.with_state(idp).layer(from_fn(here)))
}

struct Idp {
    url: String,
    known: Vec<ServiceProvider>,
    signer: Signer,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// An address of this machine, encrypted or not.
fn on_this_machine(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| is_https_or_loopback(&format!("http://{rest}")))
}

/// Only who asks for a name of this machine: no tunnel from elsewhere, and no page whose name was pointed here.
async fn here(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut response = if on_this_machine(&format!("http://{host}")) {
        next.run(request).await
    } else {
        refusal("this IdP is for this machine alone: ask for it as 127.0.0.1 or localhost")
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, header::HeaderValue::from_static(page::POLICY));
    response
}

fn refusal(why: &str) -> Response {
    tracing::warn!(why, "refused");
    (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
}

async fn home(State(idp): State<Arc<Idp>>) -> Response {
    page::home(&idp.url, &idp.known).into_response()
}

async fn metadata(State(idp): State<Arc<Idp>>) -> Response {
    let xml = saml::metadata(&idp.entity_id(), &idp.sso_url(), &idp.signer);
    ([(header::CONTENT_TYPE, "application/samlmetadata+xml")], xml).into_response()
}

/// Asks who it is to be, unless the query says so; and answers for them.
async fn sso(State(idp): State<Arc<Idp>>, RawQuery(query): RawQuery) -> Response {
    let query = Query(serde_urlencoded::from_str(&query.unwrap_or_default()).unwrap_or_default());
    let (in_response_to, to) = match idp.asked(&query) {
        Ok(asked) => asked,
        Err(why) => return refusal(&why),
    };
    let Some(username) = query.get("username") else {
        return page::question(&to, &query).into_response();
    };
    let answered = idp.answer(&query, username, in_response_to.as_deref(), &to);
    match answered {
        Ok(response) => {
            tracing::info!(username, to = to.entity_id, "vouched for");
            page::answer(&to, username, &BASE64.encode(response.as_bytes()), query.get("RelayState")).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "no answer could be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What a browser brought. An empty field of a form says nothing.
struct Query(Vec<(String, String)>);

impl Query {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(it, value)| it == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(it, value)| it == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

impl Idp {
    fn entity_id(&self) -> String {
        format!("{}/metadata", self.url)
    }

    fn sso_url(&self) -> String {
        format!("{}/sso", self.url)
    }

    /// Which request it is, if it is one, and who gets the answer. Unasked only those are answered who are known.
    fn asked(&self, query: &Query) -> Result<(Option<String>, ServiceProvider), String> {
        let Some(request) = query.get("SAMLRequest") else {
            let known = self.known.iter().find(|it| query.get("sp") == Some(&it.entity_id));
            let known = known.ok_or("no SAMLRequest: begin at the service, with its /v1/sso/TENANT/login")?;
            return Ok((None, known.clone()));
        };
        let request = AuthnRequest::read(request).map_err(|why| format!("the request does not read: {why}"))?;
        let to = request.from.here()?;
        if !self.known.is_empty() && !self.known.contains(&to) {
            return Err(format!("{} with answers to {} is none of those given by --sp", to.entity_id, to.acs_url));
        }
        Ok((Some(request.id), to))
    }

    fn answer(
        &self,
        query: &Query,
        username: &str,
        in_response_to: Option<&str>,
        to: &ServiceProvider,
    ) -> Result<String, Failure> {
        let mut attributes = Vec::new();
        for name in ATTRIBUTES {
            attributes.extend(query.all(name).map(|value| (name.to_owned(), value.to_owned())));
        }
        if query.get("Username").is_none() {
            attributes.push(("Username".to_owned(), username.to_owned()));
        }
        let id = || Ok::<_, Failure>(format!("_{}", HEXLOWER.encode(&self.entropy.bytes::<20>()?)));
        let says = Says {
            issuer: &self.entity_id(),
            to,
            in_response_to,
            name_id: username,
            context: query.get("context").unwrap_or(CONTEXT),
            attributes: &attributes,
            ids: [id()?, id()?],
            now: self.clock.now(),
        };
        says.signed(&self.signer)
    }
}

impl ServiceProvider {
    /// Its metadata, over plain HTTP from this machine.
    async fn fetch(url: &str) -> Result<Self, Failure> {
        let path = url.splitn(4, '/').nth(3).ok_or("this is no address of metadata")?;
        let server = Server::at(&url[..url.len() - path.len()])?;
        let (status, body) = server.exchange(Method::GET, &format!("/{path}"), None, None).await?;
        if status != 200 {
            return Err(format!("it answers with status {status}").into());
        }
        Ok(Self::read(std::str::from_utf8(&body)?)?.here()?)
    }
}

fn welcome(url: &str, known: &[ServiceProvider]) -> String {
    // Of the first that is known; else as the local runner has it.
    let (service, tenant) = known
        .first()
        .and_then(|it| it.entity_id.strip_suffix("/metadata")?.rsplit_once("/v1/sso/"))
        .unwrap_or(("http://127.0.0.1:8080", "acme"));
    let whom = match known {
        [] => "service providers on this machine".to_owned(),
        known => known.iter().map(|it| it.entity_id.as_str()).collect::<Vec<_>>().join(", "),
    };
    format!(
        r#"
Development IdP at {url}   (Ctrl-C stops it; each start makes a new key)
It vouches for anybody, without a password, to {whom}.

Next:
  # 1. Believe it, with the session of an Administrator who gave a code within the last 5 minutes
  curl -s {url}/metadata | sed 's/"/\\"/g; s/.*/{{"metadata_xml":"&"}}/' |
    curl -s -X PUT {service}/v1/admin/sso -H "Authorization: Bearer $TOKEN" \
      -H 'Content-Type: application/json' -d @-

  # 2. Create somebody who comes from it
  curl -s {service}/v1/admin/users -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d '{{"kind":"employee","role":"standard","auth_type":"saml_sso","username":"sam","display_name":"Sam"}}'

  # 3. Sign in as sam, in a browser
  {service}/v1/sso/{tenant}/login

"#
    )
}
