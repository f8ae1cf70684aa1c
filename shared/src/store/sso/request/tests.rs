//! Tests of requests to an IdP.

use std::time::Duration;

use super::{
    super::{
        SsoOpened,
        sign_in::tests::{office, opened},
    },
    *,
};
use crate::store::fixture::{NOW, idp};

#[tokio::test]
async fn a_request_waits_a_quarter_of_an_hour() {
    let (ann, _) = office().await;
    let (tenant, relay) = (ann.key.tenant().clone(), ann.request().await);
    assert!(ann.store.load_request(&tenant, Some(&relay), NOW).await.unwrap().is_none(), "there is no IdP yet");
    ann.put(Write::put_new(keys::idp(&tenant), item::write(&idp()).unwrap())).await;
    let last = NOW + REQUEST_LIFE - Duration::from_millis(1);
    let early = NOW - policy::SKEW - Duration::from_millis(1);
    for (at, waits) in [(NOW, true), (last, true), (NOW + REQUEST_LIFE, false), (early, false)] {
        let loaded = ann.store.load_request(&tenant, Some(&relay), at).await.unwrap().unwrap();
        assert_eq!(loaded.request.is_some(), waits, "{at}");
    }
    // In time when it was read, and late when it is spent.
    let late = ann.owner(ann.asserted("bob", "1", Some(relay)), NOW + REQUEST_LIFE).await.unwrap();
    assert!(matches!(opened(&ann, late).await, SsoOpened::Spent));
}
