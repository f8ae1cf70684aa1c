//! A browser without scripts: it keeps cookies, and sends forms as a browser does.

use std::collections::BTreeMap;

use axum::http::{Method, header};

use crate::{PUBLIC_URL, Reply, Service, TestRequest, TestUser};

/// The path of each page, and the function that serves it.
pub const PAGES: &[(&str, &str)] = &[
    ("/login", "login"),
    ("/verify", "verify"),
    ("/step-up", "verify"),
    ("/enroll", "enable-mfa"),
    ("/settings/security", "enable-mfa"),
    ("/settings/recovery-token", "recovery"),
    ("/settings/password", "directory"),
    ("/settings/email", "password"),
    ("/settings/sessions", "session"),
    ("/password/forgot", "password"),
    ("/password/reset", "password"),
    ("/email/verify", "password"),
    ("/logout", "session"),
    ("/assets/{file}", "session"),
    ("/admin/users", "directory"),
    ("/admin/users/new", "directory"),
    ("/admin/users/import", "directory"),
    ("/admin/users/{id}", "directory"),
    ("/admin/users/{id}/mfa-reset", "admin-reset"),
    ("/admin/exclusions", "batch-portal-exclude"),
    ("/admin/audit", "directory"),
    ("/admin/settings", "directory"),
    ("/admin/sso", "sso"),
    ("/support", "support"),
];

/// A browser with its cookies.
pub struct Browser<'a> {
    service: &'a Service,
    /// The cookies, by name.
    pub cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    /// A browser without cookies.
    #[must_use]
    pub fn new(service: &'a Service) -> Self {
        Self { service, cookies: BTreeMap::new() }
    }

    /// A browser with the session of a signed-in user.
    #[must_use]
    pub fn signed_in(service: &'a Service, user: &TestUser) -> Self {
        Self::with_cookies(service, BTreeMap::from([("__Host-vestibule".to_owned(), user.session.clone())]))
    }

    /// A browser with these cookies.
    #[must_use]
    pub fn with_cookies(service: &'a Service, cookies: BTreeMap<String, String>) -> Self {
        Self { service, cookies }
    }

    /// Opens a page. Redirects are not followed.
    pub async fn open(&mut self, path: &str) -> Reply {
        let request = TestRequest::new(Method::GET, path).header("accept", "text/html,*/*;q=0.8");
        self.send(request).await
    }

    /// Sends a form of a page of this service.
    pub async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.send(Self::form(path, fields).header("origin", PUBLIC_URL).header("sec-fetch-site", "same-origin")).await
    }

    /// Sends a form with a file of a page of this service.
    pub async fn upload(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let request = TestRequest::new(Method::POST, path).multipart(fields).header("accept", "text/html,*/*;q=0.8");
        self.send(request.header("origin", PUBLIC_URL).header("sec-fetch-site", "same-origin")).await
    }

    /// The request of a form, without the headers that say where it comes from.
    #[must_use]
    pub fn form(path: &str, fields: &[(&str, &str)]) -> TestRequest {
        let body = serde_urlencoded::to_string(fields).unwrap();
        TestRequest::new(Method::POST, path).form(&body).header("accept", "text/html,*/*;q=0.8")
    }

    /// Sends a request with the cookies, and keeps those of the answer.
    pub async fn send(&mut self, request: TestRequest) -> Reply {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header("cookie", &cookies.join("; ")) };
        let reply = self.service.send(request).await;
        for line in reply.headers.get_all(header::SET_COOKIE) {
            let (name, rest) = line.to_str().unwrap().split_once('=').unwrap();
            let (value, attributes) = rest.split_once(';').unwrap();
            match attributes.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        reply
    }
}

impl Reply {
    /// Where a redirect leads. Panics if it is not one.
    #[must_use]
    pub fn location(&self) -> &str {
        assert_eq!(self.status, 303, "{self:?}");
        self.headers["location"].to_str().unwrap()
    }

    /// The HTML of a page. Panics if it is not one.
    #[must_use]
    pub fn html(&self) -> &str {
        assert_eq!(self.headers["content-type"], "text/html; charset=utf-8", "{self:?}");
        self.body.as_str().unwrap()
    }
}
