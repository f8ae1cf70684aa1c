//! `/mails`: the mails with links that this server would have sent, for development. A person who opens them can use the links,
//! so they are served on loopback only.

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
    letters: Vec<(u64, SentLetter)>,
}

async fn list(State(letters): State<Arc<Letters>>) -> Response {
    let letters = letters.sent().into_iter().rev().collect();
    match (List { style: STYLE.path(), letters }).render() {
        Ok(html) => (LIST_POLICY, Html(html)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A mail as the person sees it.
async fn show(State(letters): State<Arc<Letters>>, Path(number): Path<u64>) -> Response {
    match letters.sent().into_iter().find(|(of, _)| *of == number) {
        Some((_, letter)) => (MAIL_POLICY, Html(letter.html)).into_response(),
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

    async fn send(letters: &Letters, subject: &str, html: &str) {
        let (id, to) = (MessageId::parse("m").unwrap(), "bob@acme.example".to_owned());
        let (subject, html) = (subject.to_owned(), html.to_owned());
        letters.send(&Letter { id, to, subject, text: String::new(), html }).await.unwrap();
    }

    #[tokio::test]
    async fn mails_are_listed_and_shown() {
        let letters = Arc::new(Letters::new(None, Arc::new(SystemClock)).unwrap());
        assert!(text(list(State(Arc::clone(&letters))).await).await.contains("There are none."));
        send(&letters, "first", "<p>one").await;
        send(&letters, "<script>", "<p>two").await;
        let listed = text(list(State(Arc::clone(&letters))).await).await;
        assert!(!listed.contains("<script>"), "{listed}");
        assert!(listed.find("/mails/2").unwrap() < listed.find("/mails/1").unwrap(), "the newest is first: {listed}");
        assert_eq!(text(show(State(Arc::clone(&letters)), Path(2)).await).await, "<p>two");
        assert_eq!(show(State(letters), Path(3)).await.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn link_to_a_mail_shows_the_same_mail_until_it_is_forgotten() {
        let letters = Arc::new(Letters::new(None, Arc::new(SystemClock)).unwrap());
        send(&letters, "first", "<p>one").await;
        send(&letters, "second", "<p>two").await;
        for _ in 0..99 {
            send(&letters, "later", "<p>later").await;
        }
        assert_eq!(show(State(Arc::clone(&letters)), Path(1)).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(text(show(State(letters), Path(2)).await).await, "<p>two");
    }
}
