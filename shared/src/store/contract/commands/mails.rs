//! Races of mails with links.

use std::{sync::Arc, time::Duration};

use super::{RACERS, RaceTenant, count_true, race_tenant};
use crate::{
    env::{SystemEntropy, Timestamp},
    id::MessageId,
    language::Language,
    mail_order::{MailOrder, OrderedMail},
    policy,
    secret::TokenRef,
    store::{
        Table,
        fixture::{NOW, attempt},
        keys,
        mail::IssuedToken,
        write::{Action, Value, Write, attr, text},
    },
};

/// `charge_mail_request`, `issue_mail_token`, `reset_password`.
pub(super) async fn race(table: &Arc<dyn Table>, round: usize) {
    requests(table, round).await;
    tokens(table, round).await;
}

/// Requests of a client network are all counted.
async fn requests(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "mail-requests", round).await;
    let admitted = count_true(RACERS, |_| {
        let one = Arc::clone(&one);
        let network = format!("10.8.{round}");
        async move { one.store().charge_mail_request(&network, &attempt(NOW)).await.is_ok() }
    });
    assert_eq!(admitted.await, policy::MAIL_REQUESTS, "requests admitted");
}

/// Mails to a user are all counted, and a token sets one password.
async fn tokens(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "mail-tokens", round).await;
    let address = Action::Set(attr("em"), text("ann@acme.example"));
    one.ann.put(Write::update(keys::profile(&one.ann.key), vec![], vec![address])).await;
    let verified = Action::Set(attr("ev"), Value::Bool(true));
    one.ann.put(Write::update(keys::user(&one.ann.key), vec![], vec![verified])).await;
    let made = count_true(8, |_| {
        let one = Arc::clone(&one);
        async move { one.mail(NOW).await.is_some() }
    });
    // Contention is a valid result too: the message is delivered again.
    let made = made.await;
    assert!((1..=policy::NETWORK_MAILS).contains(&made), "{made} tokens made");
    assert_eq!(one.ann.read(&one.ann.key).await.mail_tokens.len(), made, "tokens of the user");

    let later = NOW + Duration::from_secs(3_601);
    let token = one.mail(later).await.unwrap().token.reference().clone();
    let used = count_true(RACERS, |_| {
        let (one, token) = (Arc::clone(&one), token.clone());
        async move { one.sets_password(&token, later).await }
    });
    assert_eq!(used.await, 1, "passwords set by a token");
}

impl RaceTenant {
    /// The mail of a new message for a forgotten password, if it may be sent.
    async fn mail(&self, at: Timestamp) -> Option<IssuedToken> {
        let mail = OrderedMail::reset(&self.ann.login, "10.0.0".to_owned());
        let id = MessageId::generate(&SystemEntropy).unwrap();
        let order = MailOrder { id, request_id: "r".to_owned(), language: Language::English, mail };
        self.store().issue_mail_token(&order, &attempt(at), &SystemEntropy).await.ok()
    }

    async fn sets_password(&self, token: &TokenRef, at: Timestamp) -> bool {
        let Ok(user) = self.store().load_mail_token(token).await else { return false };
        let hash = self.ann.hash("another good password").await;
        self.store().reset_password(token, user, &hash, &attempt(at), &self.ann.event()).await.is_ok()
    }
}
