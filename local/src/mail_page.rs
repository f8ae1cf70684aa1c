//! `/mails`: the mails with links that this server would have sent, for development. Whoever opens them can use the links, so
//! they are served on loopback only.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderName, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use vestibule::http::page::STYLE;

use crate::letters::{Letters, SentLetter};

/// A mail has styles within, and neither scripts nor pictures.
const MAIL_POLICY: [(HeaderName, &str); 2] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (header::CACHE_CONTROL, "no-store"),
];

/// The policy of the list.
const LIST_POLICY: [(HeaderName, &str); 2] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'self'; frame-ancestors 'none'"),
    (header::CACHE_CONTROL, "no-store"),
];

/// The pages of mails.
pub(crate) fn router(letters: Arc<Letters>) -> Router {
    Router::new().route("/mails", get(list)).route("/mails/{number}", get(show)).with_state(letters)
}

#[derive(Template)]
#[template(path = "mails.html")]
struct List {
    style: String,
    /// The newest first.
    letters: Vec<(usize, SentLetter)>,
}

async fn list(State(letters): State<Arc<Letters>>) -> Response {
    let letters = letters.sent().into_iter().enumerate().rev().collect();
    match (List { style: STYLE.path(), letters }).render() {
        Ok(html) => (LIST_POLICY, Html(html)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A mail as the person sees it.
async fn show(State(letters): State<Arc<Letters>>, Path(number): Path<usize>) -> Response {
    match letters.sent().into_iter().nth(number) {
        Some(letter) => (MAIL_POLICY, Html(letter.html)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use password_mail::{Letter, Post};
    use vestibule::{env::SystemClock, id::MessageId};

    use super::*;

    async fn text(response: Response) -> String {
        String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn mails_are_listed_and_shown() {
        let letters = Arc::new(Letters::new(None, Arc::new(SystemClock)).unwrap());
        assert!(text(list(State(Arc::clone(&letters))).await).await.contains("There are none."));
        for (subject, html) in [("first", "<p>one"), ("<script>", "<p>two")] {
            let (to, text) = ("bob@acme.example".to_owned(), String::new());
            let id = MessageId::parse("m").unwrap();
            letters.send(&Letter { id, to, subject: subject.to_owned(), text, html: html.to_owned() }).await.unwrap();
        }
        let listed = text(list(State(Arc::clone(&letters))).await).await;
        assert!(!listed.contains("<script>"), "{listed}");
        assert!(listed.find("/mails/1").unwrap() < listed.find("/mails/0").unwrap(), "the newest is first: {listed}");
        assert_eq!(text(show(State(Arc::clone(&letters)), Path(1)).await).await, "<p>two");
        assert_eq!(show(State(letters), Path(2)).await.status(), StatusCode::NOT_FOUND);
    }
}
