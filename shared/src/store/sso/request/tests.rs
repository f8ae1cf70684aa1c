//! Tests of requests to an IdP.

use std::time::Duration;

use super::{
    super::{
        OpeningRejection,
        sign_in::tests::{ann_with_sso_user, opened},
    },
    *,
};
use crate::store::fixture::{NOW, idp};

#[tokio::test]
async fn sso_request_expires_after_fifteen_minutes() {
    let (ann, _) = ann_with_sso_user().await;
    let (tenant, relay) = (ann.key.tenant().clone(), ann.request().await);
    assert!(ann.store.load_request(&tenant, Some(&relay), NOW).await.unwrap().is_none(), "the tenant has no IdP yet");
    ann.put(Write::put_new(keys::idp(&tenant), item::write(&idp()).unwrap())).await;
    let last = NOW + REQUEST_LIFE - Duration::from_millis(1);
    let early = NOW - policy::SKEW - Duration::from_millis(1);
    for (at, waits) in [(NOW, true), (last, true), (NOW + REQUEST_LIFE, false), (early, false)] {
        let loaded = ann.store.load_request(&tenant, Some(&relay), at).await.unwrap().unwrap();
        assert_eq!(loaded.request.is_some(), waits, "{at}");
    }
    // A request that was valid when loaded is refused if it expires before the commit.
    let late = ann.owner(ann.asserted("bob", "1", Some(relay)), NOW + REQUEST_LIFE).await.unwrap();
    assert!(matches!(opened(&ann, late).await, Err(OpeningRejection::Spent)));
}
