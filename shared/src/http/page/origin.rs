//! Which requests may change something: those that a page of this service sent.

use axum::http::{HeaderMap, Uri, header};

use super::super::{ApiResult, App, Code, call::one};
use crate::sso::PublicUrl;

/// Maximum length of a path to return to, in bytes.
const MAX_PATH: usize = 1024;

/// Refuses a POST that no page of this service sent. A browser sends `Origin` with every POST, and no script can change it.
/// `null` and no `Origin` at all are refused too, and so is a `Sec-Fetch-Site` other than `same-origin`.
///
/// # Errors
/// `forbidden`.
pub(super) fn check(app: &App, headers: &HeaderMap) -> ApiResult<()> {
    let same_site = one(headers, "sec-fetch-site")?.is_none_or(|site| site == "same-origin");
    let origin = one(headers, header::ORIGIN.as_str())?;
    let own = own_origin(app.public_url.as_ref(), one(headers, header::HOST.as_str())?);
    if same_site && origin.is_some() && origin == own.as_deref() { Ok(()) } else { Err(Code::Forbidden.into()) }
}

/// The origin of the pages. The configured address decides. Without one it is the host that the request names: a browser
/// takes the host from its address bar, so a page of another origin cannot choose it. On this machine all names of the
/// loopback interface are the same.
fn own_origin(public: Option<&PublicUrl>, host: Option<&str>) -> Option<String> {
    match public {
        None => Some(format!("https://{}", host?)),
        Some(url) if url.is_https() => Some(url.origin().to_owned()),
        Some(url) => {
            let named = format!("http://{}", host?);
            PublicUrl::parse(&named).ok().filter(|named| named.port() == url.port())?;
            Some(named)
        }
    }
}

/// Whether a browser resolves the text to a path of this origin.
#[must_use]
pub fn is_own_path(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && c != '\\';
    text.len() <= MAX_PATH && text.starts_with('/') && !text.starts_with("//") && text.chars().all(plain)
}

/// Where a form leads afterwards: the path that it names, if that is a path of this origin, or `/`.
#[must_use]
pub fn own_path(path: Option<String>) -> String {
    path.filter(|path| is_own_path(path)).unwrap_or_else(|| "/".to_owned())
}

/// A path with query parameters. Those without a value are left out.
#[must_use]
pub fn with_query<'a>(path: &str, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let given: Vec<_> = parameters.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let query = serde_urlencoded::to_string(given).unwrap_or_default();
    let separator = if query.is_empty() {
        ""
    } else if path.contains('?') {
        "&"
    } else {
        "?"
    };
    format!("{path}{separator}{query}")
}

/// A path with the path to return to afterwards, unless that is `/`.
#[must_use]
pub fn with_return_to(path: &str, return_to: &str) -> String {
    if return_to == "/" || !is_own_path(return_to) {
        return path.to_owned();
    }
    with_query(path, [("return_to", return_to)])
}

/// The path and query of a request, to return to.
pub(super) fn path_of(uri: &Uri) -> String {
    let text = uri.path_and_query().map_or("/", |it| it.as_str());
    if is_own_path(text) { text.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_path_must_be_on_this_origin() {
        let long = "/".to_owned() + &"a".repeat(1024);
        for (path, own) in [
            ("/", true),
            ("/portal?x=1#y", true),
            ("//evil.example", false),
            ("/\\evil.example", false),
            ("https://evil.example", false),
            ("", false),
            ("/a b", false),
            ("/a\n", false),
            ("javascript:x", false),
            (&long[..1024], true),
            (&long, false),
        ] {
            assert_eq!(is_own_path(path), own, "{path}");
        }
    }

    /// `//evil.example` is a path of a request, but as the target of a link it leads to another site.
    #[test]
    fn path_of_a_request_is_only_returned_to_on_this_origin() {
        for (uri, path) in
            [("/admin/users?q=a", "/admin/users?q=a"), ("//evil.example/x", "/"), ("https://a.example/x?y", "/x?y")]
        {
            assert_eq!(path_of(&uri.parse().unwrap()), path, "{uri}");
        }
    }

    #[test]
    fn return_path_is_encoded_and_foreign_ones_are_dropped() {
        assert_eq!(
            with_return_to("/verify", "/admin/users?q=a&limit=5"),
            "/verify?return_to=%2Fadmin%2Fusers%3Fq%3Da%26limit%3D5"
        );
        assert_eq!(with_return_to("/verify", "//evil.example"), "/verify");
        assert_eq!(with_return_to("/login?tenant=acme", "/x"), "/login?tenant=acme&return_to=%2Fx");
        assert_eq!(with_query("/support", [("tenant", "acme"), ("q", "")]), "/support?tenant=acme");
        assert_eq!(with_query("/support", [("q", "")]), "/support");
    }

    #[test]
    fn own_origin_is_the_configured_one() {
        let public = |text: &str| PublicUrl::parse(text).unwrap();
        let own = |url: Option<&str>, host| own_origin(url.map(public).as_ref(), host);
        assert_eq!(
            own(Some("https://login.example.com/auth"), Some("evil.example")).unwrap(),
            "https://login.example.com"
        );
        assert_eq!(own(None, Some("api.example.com")).unwrap(), "https://api.example.com");
        assert_eq!(own(None, None), None);
        assert_eq!(own(Some("http://127.0.0.1:8080"), Some("localhost:8080")).unwrap(), "http://localhost:8080");
        assert_eq!(own(Some("http://127.0.0.1:8080"), Some("localhost:9090")), None);
        assert_eq!(own(Some("http://127.0.0.1:8080"), Some("evil.example:8080")), None);
    }
}
