//! The cookies of pages: the tokens, the pre-session and the language. A cookie lives as long as its token, except that of a mailed
//! token, which lives for an hour.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use super::super::App;
use crate::{
    env::Timestamp,
    http::{
        call::{Request, accepted_language},
        dto::{EnrolmentDto, SessionDto},
    },
    language::Language,
    policy,
    secret::{RestoreEpoch, TokenClass, TokenRef},
    sso::{PreSession, PublicUrl},
};

/// The language that a person chose, for a year.
const LANGUAGE: &str = "vestibule-language";
/// The pre-session of a browser that signs in through an identity provider.
const PRE_SESSION: &str = "vestibule-sso";
const LANGUAGE_LIFE: Duration = Duration::from_secs(365 * 86_400);

/// The cookies as this deployment sets them.
#[derive(Debug, Clone, Copy)]
pub struct Cookies {
    https: bool,
}

impl Cookies {
    /// For the configured address. Without one the service is behind HTTPS.
    #[must_use]
    pub fn new(app: &App) -> Self {
        Self { https: app.public_url.as_ref().is_none_or(PublicUrl::is_https) }
    }

    /// The name of a cookie. With `__Host-`, neither another host nor plain HTTP can set it.
    #[must_use]
    pub fn name(self, name: &str) -> String {
        format!("{}{name}", if self.https { "__Host-" } else { "" })
    }

    /// The name of the cookie of a token.
    pub(super) fn token_name(self, class: TokenClass) -> String {
        self.name(match class {
            TokenClass::Session => "vestibule",
            TokenClass::Challenge => "vestibule-challenge",
            TokenClass::Enrolment => "vestibule-enrolment",
            TokenClass::Device => "vestibule-device",
            TokenClass::Mail => "vestibule-mail",
        })
    }

    /// Sets the cookie of a token. `Lax`, because a link from a mail or from the IdP's page leads here with the cookie;
    /// forms check their origin.
    #[must_use]
    pub fn set(self, class: TokenClass, token: &str, life: Duration) -> HeaderValue {
        self.line(&self.token_name(class), token, life)
    }

    /// The cookie of a token, for as long as the token lives.
    #[must_use]
    pub fn until(self, class: TokenClass, token: &str, expires_at: Timestamp, now: Timestamp) -> HeaderValue {
        self.set(class, token, expires_at - now)
    }

    /// The cookies that sign a browser in. The tokens of the steps before are used up.
    #[must_use]
    pub fn signed_in(self, session: &SessionDto, now: Timestamp) -> Vec<HeaderValue> {
        let device = session.device_token().map(|token| self.set(TokenClass::Device, token, policy::DEVICE_LIFE));
        let mut cookies = vec![
            self.until(TokenClass::Session, session.token(), session.expires_at(), now),
            self.end(TokenClass::Challenge),
            self.end(TokenClass::Enrolment),
        ];
        cookies.extend(device);
        cookies
    }

    /// The cookie of a browser that has to enrol.
    #[must_use]
    pub(super) fn enrolment(self, enrolment: &EnrolmentDto, now: Timestamp) -> HeaderValue {
        self.until(TokenClass::Enrolment, enrolment.token(), enrolment.expires_at(), now)
    }

    /// Ends the cookie of a token.
    #[must_use]
    pub fn end(self, class: TokenClass) -> HeaderValue {
        self.line(&self.token_name(class), "", Duration::ZERO)
    }

    /// Sets the cookie of a pre-session. The identity provider's response is a POST from another site, which sends only
    /// `SameSite=None` cookies, and browsers accept those only with `Secure`. Over plain HTTP on loopback, `Lax` is enough: all
    /// ports belong to one site.
    #[must_use]
    pub fn set_pre_session(self, pre_session: &PreSession) -> HeaderValue {
        let (name, value, life) = (self.name(PRE_SESSION), pre_session.cookie_value(), PreSession::LIFE.as_secs());
        let site = if self.https { "None; Secure" } else { "Lax" };
        let line = format!("{name}={}; Path=/; Max-Age={life}; HttpOnly; SameSite={site}", *value);
        HeaderValue::from_str(&line).unwrap_or(HeaderValue::from_static(""))
    }

    /// The pre-session that the browser sent.
    #[must_use]
    pub fn pre_session(self, request: &Request) -> Option<PreSession> {
        PreSession::parse(request.cookie(&self.name(PRE_SESSION))?)
    }

    pub(super) fn set_language(self, code: &str) -> HeaderValue {
        self.line(&self.name(LANGUAGE), code, LANGUAGE_LIFE)
    }

    fn line(self, name: &str, value: &str, life: Duration) -> HeaderValue {
        let secure = if self.https { "; Secure" } else { "" };
        let line = format!("{name}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}", life.as_secs());
        HeaderValue::from_str(&line).unwrap_or(HeaderValue::from_static(""))
    }

    /// The tokens that the browser sent.
    pub(in crate::http) fn tokens(self, headers: &HeaderMap, restore_epoch: RestoreEpoch) -> Vec<TokenRef> {
        let one = |class: &TokenClass| {
            let text = cookie(headers, &self.token_name(*class))?;
            TokenRef::parse(text, restore_epoch).filter(|token| token.class() == *class)
        };
        TokenClass::ALL.iter().filter_map(one).collect()
    }
}

/// The language that the person chose before, or the one that their browser prefers.
pub(in crate::http) fn language(headers: &HeaderMap) -> Language {
    named(headers, LANGUAGE).and_then(Language::parse).unwrap_or_else(|| accepted_language(headers))
}

/// Whether the browser has a pre-session.
pub(in crate::http) fn has_pre_session(headers: &HeaderMap) -> bool {
    named(headers, PRE_SESSION).is_some()
}

/// The value of a cookie, whether it was set over HTTPS or not.
fn named<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    [true, false].into_iter().find_map(|https| cookie(headers, &Cookies { https }.name(name)))
}

/// The value of a cookie. If the name occurs more than once, the first.
pub(in crate::http) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|one| one.trim().split_once('='));
    cookies.find(|(given, _)| *given == name).map(|(_, value)| value).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemEntropy;

    /// A browser does not keep a cookie with `Secure` that comes over plain HTTP.
    #[test]
    fn cookies_are_only_for_https_if_the_service_uses_it() {
        let pre_session = PreSession::generate(&SystemEntropy).unwrap();
        for (https, name, end, returned) in [
            (true, "__Host-vestibule", "SameSite=Lax; Secure", "SameSite=None; Secure"),
            (false, "vestibule", "SameSite=Lax", "SameSite=Lax"),
        ] {
            let cookies = Cookies { https };
            let session = cookies.set(TokenClass::Session, "vs_x", Duration::from_secs(60));
            assert_eq!(session, format!("{name}=vs_x; Path=/; Max-Age=60; HttpOnly; {end}"));
            let from_the_idp = cookies.set_pre_session(&pre_session);
            let (_, attributes) = from_the_idp.to_str().unwrap().split_once("; ").unwrap();
            assert_eq!(attributes, format!("Path=/; Max-Age=900; HttpOnly; {returned}"));
        }
    }
}
