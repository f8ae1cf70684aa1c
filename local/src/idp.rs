//! A SAML identity provider (IdP) for development. It asserts any name without a password. So it listens on loopback only, accepts
//! only requests with a loopback `Host`, and answers only service providers on loopback.

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
    http::{StatusCode, header},
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
    saml::{AuthnRequest, ServiceProvider, Statement},
};
use crate::{
    Failure,
    args::Idp as Options,
    client::{Call, Server},
    server::bind_error,
    signals::Signals,
    terminal,
};

/// The attributes that a user can set: those that the service maps when it provisions users (docs/sso.md).
const ATTRIBUTES: [&str; 6] = ["Username", "FirstName", "LastName", "Email", "SecurityGroup", "CompanyName"];
/// The default authentication context of the assertions.
const CONTEXT: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport";

/// Serves until a signal stops the IdP.
///
/// # Errors
/// A message that says why the IdP cannot serve: for example, the address is not a loopback address.
pub async fn run(options: &Options) -> Result<(), Failure> {
    let address = SocketAddr::new(options.host, options.port);
    if !on_this_machine(&format!("http://{address}")) {
        let host = options.host;
        return Err(format!(
            "this IdP signs in any user without a password, so it does not listen on {host}: keep --host 127.0.0.1"
        )
        .into());
    }
    let listener = TcpListener::bind(address).await.map_err(|error| bind_error(address, &error))?;
    let url = format!("http://{}", listener.local_addr()?);
    let mut known = Vec::new();
    for url in &options.service_providers {
        known.push(ServiceProvider::fetch(url).await.map_err(|error| format!("--sp {url}: {error}"))?);
    }
    let text = if options.json { format!("{}\n", json!({"url": url})) } else { welcome(&url, &known) };
    let router = router(url, known, Arc::new(SystemClock), Arc::new(SystemEntropy))?;
    let mut signals = Signals::new()?;
    // The IdP continues if standard output is closed.
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    tokio::select! {
        ended = axum::serve(listener, router) => Ok(ended?),
        () = signals.next() => Ok(()),
    }
}

/// The router of an IdP at `url`, with a new key. If `known` is empty, it answers every service provider on this machine, otherwise
/// only the known ones.
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
    Ok(router.with_state(idp).layer(from_fn(check_host)))
}

struct Idp {
    url: String,
    known: Vec<ServiceProvider>,
    signer: Signer,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// Whether an HTTP or HTTPS URL has a loopback host.
fn on_this_machine(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| is_https_or_loopback(&format!("http://{rest}")))
}

/// Refuses a request whose `Host` is not loopback: it came through a tunnel or by DNS rebinding.
async fn check_host(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut response = if on_this_machine(&format!("http://{host}")) {
        next.run(request).await
    } else {
        refusal("this IdP serves only this machine: use 127.0.0.1 or localhost in the URL")
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

/// Asks for the username unless the query has one, then answers the service provider.
async fn sso(State(idp): State<Arc<Idp>>, RawQuery(query): RawQuery) -> Response {
    let query = Query(serde_urlencoded::from_str(&query.unwrap_or_default()).unwrap_or_default());
    let (in_response_to, to) = match idp.destination(&query) {
        Ok(destination) => destination,
        Err(why) => return refusal(&why),
    };
    let Some(username) = query.get("username") else {
        return page::username_form(&to, &query).into_response();
    };
    match idp.respond(&query, username, in_response_to.as_deref(), &to) {
        Ok(response) => {
            tracing::info!(username, to = to.entity_id, "signed in a user");
            page::response_form(&to, username, &BASE64.encode(response.as_bytes()), query.get("RelayState"))
                .into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the response could not be created");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The query of a request. Empty fields count as absent.
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

    /// The id of the SAML request, if there is one, and the service provider to answer. An unsolicited response goes only to a known
    /// service provider.
    fn destination(&self, query: &Query) -> Result<(Option<String>, ServiceProvider), String> {
        let Some(request) = query.get("SAMLRequest") else {
            let known = self.known.iter().find(|it| query.get("sp") == Some(&it.entity_id));
            let known = known.ok_or("no SAMLRequest: start at the service, with its /v1/sso/TENANT/login")?;
            return Ok((None, known.clone()));
        };
        let request = AuthnRequest::read(request).map_err(|why| format!("the request is invalid: {why}"))?;
        let to = request.from.require_loopback()?;
        if !self.known.is_empty() && !self.known.contains(&to) {
            return Err(format!(
                "{} with the ACS {} is not one of the service providers given by --sp",
                to.entity_id, to.acs_url
            ));
        }
        Ok((Some(request.id), to))
    }

    /// The signed SAML response for a user.
    fn respond(
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
        let statement = Statement {
            issuer: &self.entity_id(),
            to,
            in_response_to,
            name_id: username,
            context: query.get("context").unwrap_or(CONTEXT),
            attributes: &attributes,
            ids: [id()?, id()?],
            now: self.clock.now(),
        };
        statement.signed(&self.signer)
    }
}

impl ServiceProvider {
    /// Reads the metadata of a service provider on this machine.
    async fn fetch(url: &str) -> Result<Self, Failure> {
        let path = url.splitn(4, '/').nth(3).filter(|_| on_this_machine(url));
        let path = path.ok_or("this is not the URL of metadata on this machine")?;
        let server = Server::at(&url[..url.len() - path.len()])?;
        let response = server.exchange(Call::get(&format!("/{path}"))).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("the server returned status {}", response.status().as_u16()).into());
        }
        Ok(Self::read(std::str::from_utf8(response.body())?)?.require_loopback()?)
    }
}

fn welcome(url: &str, known: &[ServiceProvider]) -> String {
    // The address of the first known service provider; otherwise the default address of the local server.
    let (service, tenant) = known
        .first()
        .and_then(|it| it.entity_id.strip_suffix("/metadata")?.rsplit_once("/v1/sso/"))
        .unwrap_or(("http://127.0.0.1:8080", "acme"));
    let audience = match known {
        [] => "service providers on this machine".to_owned(),
        known => known.iter().map(|it| it.entity_id.as_str()).collect::<Vec<_>>().join(", "),
    };
    let command = |arguments: &str| terminal::command(&arguments.split(' ').collect::<Vec<_>>());
    let login = command(&format!("login --url {service} --tenant {tenant} --username ann"));
    let set = command("sso set --metadata idp.xml");
    let create = "users create --username sam --display-name Sam --kind employee --role standard --auth-type saml_sso";
    let create = command(create);
    format!(
        r#"
Development IdP at {url}   (Ctrl-C stops it; each start makes a new key)
It signs in any user, without a password, at {audience}.

Next:
  # 1. Sign in as an Administrator, and configure it for the tenant
  {login}
  curl -s -o idp.xml {url}/metadata
  {set}

  # 2. Create a user who signs in through it
  {create}

  # 3. Sign in as sam, in a browser
  {service}/login?tenant={tenant}

"#
    )
}
