//! Lists.

use super::*;
use crate::store::{fixture::ann, lists::UserFilter};

/// The work for one page is bounded: a page may be empty and still have a cursor.
#[tokio::test]
async fn empty_page_after_twenty_queries_returns_cursor() {
    let (ann, _) = ann(0).await;
    for n in 0..2_000 {
        for write in ann.to_be(&format!("{n:04}"), Role::Standard).writes().unwrap() {
            ann.put(write).await;
        }
    }
    ann.someone("zoe", Role::Standard).await;
    let filter = UserFilter { start: Some("zoe".to_owned()), ..UserFilter::default() };
    let tenant = ann.key.tenant();
    let first = ann.store.list_users(tenant, &filter, None, 10).await.unwrap();
    assert!(first.items.is_empty());
    let next = ann.store.list_users(tenant, &filter, first.next.as_ref(), 10).await.unwrap();
    assert!(first.next.is_some() && next.items.len() == 1 && next.next.is_none());
}
