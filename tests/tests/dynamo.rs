//! The store's contract on DynamoDB's semantics: the real SDK over HTTP against an emulator in this process. Faults of
//! the network and of DynamoDB (replies lost after the commit, conflicts, throttling, silence) are injected below the
//! SDK, because no emulator simulates them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{sync::Arc, time::Duration};

use tests::{
    emulator,
    faulty::{
        BROKEN, BUSY, CONFLICT, DENIED,
        Fault::{self, Answer, LoseReply, LoseRequest, Page, Silence, Unprocessed},
        Script, THROTTLED,
    },
    log::Log,
};
use vestibule::{
    id::TenantId,
    store::{
        Store, StoreError, Table, contract,
        dynamo::DynamoTable,
        lists::UserFilter,
        table::{Retry, Transacted, Updated},
    },
};

const TX_THROTTLED: Fault = Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled","CancellationReasons":[{"Code":"ThrottlingError","Message":"slow down"},{"Code":"None"}]}"#,
);
const ROW_THERE: Fault = Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled","CancellationReasons":[{"Code":"None"},{"Code":"ConditionalCheckFailed","Message":"failed"}]}"#,
);
const MALFORMED: Fault =
    Answer(400, r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"Item size has exceeded"}"#);
const TX_MALFORMED: Fault = Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled","CancellationReasons":[{"Code":"ValidationError","Message":"Item size to update has exceeded the maximum allowed size"},{"Code":"None"}]}"#,
);
const TX_PROVISIONED: Fault = Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled","CancellationReasons":[{"Code":"None"},{"Code":"ProvisionedThroughputExceeded","Message":"slow down"}]}"#,
);
const TX_IN_PROGRESS: Fault = Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionInProgressException","Message":"in progress"}"#,
);
const MISMATCH: Fault = Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#IdempotentParameterMismatchException","Message":"mismatch"}"#,
);
const OVER_LIMIT: Fault =
    Answer(400, r#"{"__type":"com.amazonaws.dynamodb.v20120810#RequestLimitExceeded","message":"slow down"}"#);
/// The second write met another transaction.
const LATE_CONFLICT: Fault = Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled","CancellationReasons":[{"Code":"None"},{"Code":"TransactionConflict","Message":"conflict"}]}"#,
);
/// A refused write that found no item: the answer has an empty one.
const NOTHING_THERE: Fault = Answer(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled","CancellationReasons":[{"Code":"ConditionalCheckFailed","Message":"failed","Item":{}},{"Code":"None"}]}"#,
);
const ALL_PROCESSED: Fault =
    Answer(200, r#"{"Responses":{"vestibule":[]},"UnprocessedKeys":{"vestibule":{"Keys":[]}}}"#);
const GATEWAY: Fault = Answer(503, "<html>try later</html>");
async fn table() -> (DynamoTable, Script) {
    let script = Script::default();
    let table = emulator::table(|inner| script.wrap_client(inner)).await;
    (table, script)
}

#[tokio::test]
async fn transaction_with_a_lost_reply_is_committed_once() {
    let (table, script) = table().await;
    script.set([LoseReply]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    let sent = script.sent("TransactWriteItems");
    assert_eq!(sent.len(), 2);
    assert!(sent[0]["ClientRequestToken"].is_string() && sent[0] == sent[1]);
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn each_transaction_has_a_unique_client_token() {
    let (table, script) = table().await;
    script.set([]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    // The same writes again are a separate call: it is refused, not reported as done by the first call's token.
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Refused(_))));
    let sent = script.sent("TransactWriteItems");
    assert_ne!(sent[0]["ClientRequestToken"], sent[1]["ClientRequestToken"]);
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn transaction_with_all_replies_lost_is_resolved_by_its_marker() {
    let (table, script) = table().await;
    script.set(vec![LoseReply; 4]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    assert_eq!((script.sent("TransactWriteItems").len(), script.sent("BatchGetItem").len()), (4, 1));
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn transaction_with_lost_reply_recognises_its_own_row() {
    let (table, script) = table().await;
    script.set([LoseReply, ROW_THERE]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    assert_eq!(script.sent("TransactWriteItems").len(), 2);
    // Without a lost reply it is an ordinary refusal.
    script.set([ROW_THERE]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Refused(_))));
    assert_eq!(contract::stored_count(&table).await, 1);
}

/// A single write has no row of its own, so a refusal after a lost request is a refusal.
#[tokio::test]
async fn single_write_whose_request_was_lost_is_refused_by_the_item_that_is_there() {
    let (table, script) = table().await;
    script.set([]);
    assert!(matches!(table.update(&contract::create_row(), Retry::Never).await, Ok(Updated::Written(_))));
    script.set([LoseRequest]);
    assert!(matches!(table.update(&contract::create_row(), Retry::Never).await, Ok(Updated::Refused(Some(_)))));
    assert_eq!(script.sent("TransactWriteItems").len(), 2);
}

/// DynamoDB Local reports a write that does not fit its item for the whole call.
#[tokio::test]
async fn write_that_does_not_fit_is_refused_unless_an_earlier_attempt_may_have_been_applied() {
    let (table, script) = table().await;
    script.set([MALFORMED]);
    let answer = table.transact(&contract::unfit_transaction()).await;
    assert!(matches!(answer, Ok(Transacted::Refused(_))), "{answer:?}");
    assert_eq!(script.sent("TransactWriteItems").len(), 1);
    // The first attempt was applied. Compared with what it wrote, the writes would not fit any more.
    script.set([LoseReply, MALFORMED]);
    let answer = table.transact(&contract::increment_in_transaction()).await;
    assert!(matches!(answer, Ok(Transacted::Committed)), "{answer:?}");
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn refusal_says_whether_the_write_found_an_item() {
    let (table, script) = table().await;
    script.set([NOTHING_THERE]);
    let answer = table.transact(&contract::increment_in_transaction()).await;
    assert!(matches!(&answer, Ok(Transacted::Refused(unmet)) if unmet.values().eq([&None])), "{answer:?}");
}

/// Whichever write of the transaction met the other one.
#[tokio::test]
async fn transaction_that_meets_another_one_is_contended() {
    for conflict in [CONFLICT, LATE_CONFLICT] {
        let (table, script) = table().await;
        script.set(vec![conflict; 4]);
        let answer = table.transact(&contract::increment_in_transaction()).await;
        assert!(matches!(answer, Err(StoreError::Contended(_))), "{answer:?}");
    }
}

/// An alarm is raised on an error in the log.
#[tokio::test]
async fn only_a_request_that_cannot_succeed_is_logged_as_an_error() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_writer(log.clone()).finish();
    // The subscriber applies to this thread; the test runs on one.
    let _guard = tracing::subscriber::set_default(subscriber);
    let (table, script) = table().await;
    for (fault, logged) in [(DENIED, true), (BROKEN, false)] {
        script.set(vec![fault; 9]);
        assert!(table.query(&contract::rows(1)).await.is_err());
        assert_eq!(log.take().contains("cannot succeed"), logged);
    }
}

#[tokio::test]
async fn lost_transaction_has_an_unknown_outcome() {
    let (table, script) = table().await;
    script.set(vec![LoseRequest; 4]);
    let answer = table.transact(&contract::increment_in_transaction()).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(contract::stored_count(&table).await, 0);
}

#[tokio::test]
async fn conflict_is_retried_or_becomes_contention() {
    let (table, script) = table().await;
    script.set([CONFLICT, CONFLICT]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    assert_eq!(contract::stored_count(&table).await, 1);
    script.set(vec![CONFLICT; 4]);
    let answer = table.transact(&contract::increment_in_transaction()).await;
    // The row belongs to an earlier transaction, so it proves nothing about this one.
    assert!(matches!(answer, Err(StoreError::Contended(_))), "{answer:?}");
    assert_eq!(script.sent("TransactWriteItems").len(), 4);
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn possibly_committed_write_is_never_reported_as_contention() {
    let (table, script) = table().await;
    script.set([LoseRequest, CONFLICT, CONFLICT, CONFLICT]);
    let answer = table.transact(&contract::increment_in_transaction()).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
async fn brief_throttling_is_retried() {
    let (table, script) = table().await;
    script.set([THROTTLED, THROTTLED]);
    assert!(matches!(table.update(&contract::increment(), Retry::Never).await, Ok(Updated::Written(_))));
    script.set([TX_THROTTLED, THROTTLED]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    assert_eq!(contract::stored_count(&table).await, 2);
    script.set(vec![THROTTLED; 9]);
    assert!(matches!(table.update(&contract::increment(), Retry::Never).await, Err(StoreError::Unavailable(_))));
    assert_eq!(script.sent("UpdateItem").len(), 4);
    script.set([]);
    assert_eq!(contract::stored_count(&table).await, 2);
}

#[tokio::test]
async fn update_with_visible_repetition_is_sent_once() {
    let (table, script) = table().await;
    script.set([LoseReply]);
    let answer = table.update(&contract::increment(), Retry::Never).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(script.sent("UpdateItem").len(), 1);
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn update_that_recognises_itself_is_retried() {
    let (table, script) = table().await;
    script.set([LoseReply]);
    match table.update(&contract::increment_once("mine"), Retry::Idempotent).await {
        Ok(Updated::Refused(Some(item))) => assert!(format!("{:?}", item["mark"]).contains("mine")),
        other => panic!("{other:?}"),
    }
    assert_eq!(contract::stored_count(&table).await, 1);
    script.set(vec![LoseReply; 9]);
    let answer = table.update(&contract::increment_once("mine"), Retry::Idempotent).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(script.sent("UpdateItem").len(), 2);
}

#[tokio::test]
async fn permanent_store_error_is_not_retried_and_is_no_refusal() {
    let (table, script) = table().await;
    for fault in [DENIED, MALFORMED] {
        script.set(vec![fault.clone(); 9]);
        let answer = table.update(&contract::increment_once("mine"), Retry::Idempotent).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{fault:?}: {answer:?}");
        assert_eq!(script.sent("UpdateItem").len(), 1, "{fault:?}");
        script.set(vec![fault.clone(); 1]);
        let answer = table.transact(&contract::increment_in_transaction()).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{fault:?}: {answer:?}");
        assert_eq!(script.sent("TransactWriteItems").len(), 1, "{fault:?}");
    }
    // An action that does not fit its item is such an error, as in the model.
    script.set([]);
    assert!(matches!(table.update(&contract::unfit_write(), Retry::Never).await, Ok(Updated::Refused(_))));
}

#[tokio::test]
async fn silent_connection_times_out() {
    let (table, script) = table().await;
    // Far beyond all limits: the test checks that the call ends, not when.
    let limit = Duration::from_secs(60);
    script.set(vec![Silence]);
    let write = contract::increment_once("mine");
    let answer = tokio::time::timeout(limit, table.update(&write, Retry::Idempotent)).await;
    assert!(matches!(answer, Ok(Ok(Updated::Refused(Some(_))))), "{answer:?}");
    script.set(vec![Silence; 99]);
    let transaction = contract::increment_in_transaction();
    let answer = tokio::time::timeout(limit, table.transact(&transaction)).await;
    assert!(matches!(answer, Ok(Err(StoreError::Unavailable(_)))), "{answer:?}");
    // Each attempt waits a second. After two seconds there is no further one.
    assert!(script.sent("TransactWriteItems").len() <= 2);
}

#[tokio::test]
async fn all_throttling_errors_are_recognised() {
    let (table, script) = table().await;
    for (n, fault) in [TX_PROVISIONED, TX_THROTTLED, OVER_LIMIT, THROTTLED].into_iter().enumerate() {
        let (table, script) = self::table().await;
        script.set(vec![fault.clone(); 3]);
        let done = table.transact(&contract::increment_in_transaction()).await;
        assert!(matches!(done, Ok(Transacted::Committed)), "{n}: {done:?}");
        assert_eq!(script.sent("TransactWriteItems").len(), 4);
        let (table, script) = self::table().await;
        script.set(vec![fault.clone(); 4]);
        let done = table.transact(&contract::increment_in_transaction()).await;
        assert!(matches!(done, Err(StoreError::Unavailable(_))), "{n}: {done:?}");
        // The update was not executed, so nothing is looked up.
        assert_eq!((script.sent("TransactWriteItems").len(), script.sent("BatchGetItem").len()), (4, 0));
        assert_eq!(contract::stored_count(&table).await, 0);
    }
    script.set(vec![OVER_LIMIT; 3]);
    assert!(matches!(table.update(&contract::increment(), Retry::Never).await, Ok(Updated::Written(_))));
    script.set([THROTTLED, OVER_LIMIT]);
    assert_eq!(contract::stored_count(&table).await, 1);
}

/// While another transaction holds the item, the write was not executed, so even a non-idempotent one is sent again.
#[tokio::test]
async fn write_to_a_busy_item_waits() {
    let (table, script) = table().await;
    script.set(vec![BUSY; 3]);
    let answer = table.update(&contract::increment(), Retry::Never).await;
    assert!(matches!(answer, Ok(Updated::Written(_))), "{answer:?}");
    script.set(vec![BUSY; 9]);
    let answer = table.update(&contract::increment(), Retry::Idempotent).await;
    assert!(matches!(answer, Err(StoreError::Contended(_))), "{answer:?}");
    assert_eq!(script.sent("UpdateItem").len(), 4);
    // A possibly executed write is not reported as contention.
    script.set([LoseReply, BUSY, BUSY, BUSY]);
    let answer = table.update(&contract::increment_once("mine"), Retry::Idempotent).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    script.fine();
    assert_eq!(contract::stored_count(&table).await, 2);
}

#[tokio::test]
async fn server_error_has_an_unknown_outcome() {
    for fault in [BROKEN, GATEWAY] {
        let (table, script) = table().await;
        script.set([fault.clone()]);
        let answer = table.update(&contract::increment(), Retry::Never).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        assert_eq!(script.sent("UpdateItem").len(), 1);
        script.set([fault.clone()]);
        let answer = table.update(&contract::increment_once("mine"), Retry::Idempotent).await;
        assert!(matches!(answer, Ok(Updated::Written(_))), "{answer:?}");
        script.set([fault.clone(), LoseReply, fault.clone()]);
        assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
        assert_eq!(script.sent("TransactWriteItems").len(), 4);
        // Reads are retried.
        script.set([fault.clone(), fault.clone()]);
        assert_eq!(contract::stored_count(&table).await, 2);
        script.set([fault.clone(), fault.clone()]);
        assert_eq!(table.query(&contract::rows(9)).await.unwrap().len(), 1);
        script.set(vec![fault.clone(); 9]);
        assert!(matches!(table.query(&contract::rows(9)).await, Err(StoreError::Unavailable(_))));
        script.set(vec![fault; 9]);
        let read = table.read(&[contract::increment().key().clone()]).await;
        assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    }
}

#[tokio::test]
async fn transaction_in_progress_may_still_commit() {
    let (table, script) = table().await;
    script.set([LoseReply, TX_IN_PROGRESS]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    let (table, script) = self::table().await;
    script.set(vec![TX_IN_PROGRESS; 4]);
    let answer = table.transact(&contract::increment_in_transaction()).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!((script.sent("TransactWriteItems").len(), script.sent("BatchGetItem").len()), (4, 1));
    assert_eq!(contract::stored_count(&table).await, 0);
}

/// Other bytes with the same client token would be a mismatch: a committed transaction would be reported as an error.
#[tokio::test]
async fn retry_sends_identical_bytes() {
    let (table, script) = table().await;
    script.set([CONFLICT, BROKEN, LoseReply]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    let sent = script.sent("TransactWriteItems");
    assert!(sent.len() == 4 && sent.iter().all(|one| *one == sent[0]), "{sent:?}");
    assert_eq!(contract::stored_count(&table).await, 1);
    script.set([MISMATCH]);
    let answer = table.transact(&contract::increment_in_transaction()).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(script.sent("TransactWriteItems").len(), 1);
}

/// An item over 400 KB is an error of the service and not a refusal: no user is told that a code was wrong.
#[tokio::test]
async fn too_large_item_is_an_error_and_no_refusal() {
    let (table, script) = table().await;
    script.fine();
    let answer = table.update(&contract::increment_once(&"x".repeat(410_000)), Retry::Idempotent).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(script.sent("UpdateItem").len(), 1);
    script.set([TX_MALFORMED]);
    let answer = table.transact(&contract::increment_in_transaction()).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(script.sent("TransactWriteItems").len(), 1);
    // After an unknown outcome the transaction may have been committed.
    script.set([LoseReply, TX_MALFORMED]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn unprocessed_keys_are_requested_again() {
    let (table, script) = table().await;
    let rows: Vec<_> = (0..6).map(contract::numbered_row).collect();
    for row in &rows {
        table.update(row, Retry::Never).await.unwrap();
    }
    let mut keys: Vec<_> = rows.iter().map(|row| row.key().clone()).collect();
    keys.push(contract::increment().key().clone());
    script.fine();
    let whole = table.read(&keys).await.unwrap();
    assert_eq!(whole.iter().filter(|item| item.is_some()).count(), 6);
    script.set([Unprocessed(2), Unprocessed(0), Unprocessed(1)]);
    assert_eq!(table.read(&keys).await.unwrap(), whole);
    let requested: Vec<_> = script.sent("BatchGetItem");
    let requested = requested.iter().map(|read| read["RequestItems"]["vestibule"]["Keys"].as_array().unwrap().len());
    assert_eq!(requested.collect::<Vec<_>>(), [7, 7 - 2, 7 - 2, 7 - 3]);
    assert!(script.sent("BatchGetItem").iter().all(|it| it["RequestItems"]["vestibule"]["ConsistentRead"] == true));
    // An empty list of unprocessed keys is the end.
    script.set([ALL_PROCESSED]);
    assert_eq!(table.read(&keys).await.unwrap(), vec![None; keys.len()]);
    assert_eq!(script.sent("BatchGetItem").len(), 1);
    // Unread keys are not reported as absent.
    script.set(vec![Unprocessed(1); 9]);
    let answer = table.read(&keys).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(script.sent("BatchGetItem").len(), 4);
}

#[tokio::test]
async fn list_of_several_pages_is_read_to_its_limit() {
    let (table, script) = table().await;
    for number in 0..6 {
        table.update(&contract::numbered_row(number), Retry::Never).await.unwrap();
    }
    script.fine();
    let whole = table.query(&contract::rows(10)).await.unwrap();
    assert_eq!(whole.len(), 6);
    for (page, limit, pages) in [(1, 10, 7), (2, 10, 4), (2, 3, 2), (4, 5, 2), (6, 6, 1)] {
        script.from(0, Page(page));
        assert_eq!(table.query(&contract::rows(limit)).await.unwrap(), whole[..limit.min(6)], "{page} {limit}");
        let sent = script.sent("Query");
        assert_eq!(sent.len(), pages, "{page} {limit}");
        assert!(sent.iter().all(|query| query["ConsistentRead"] == true));
    }
    // A partial list is an error.
    script.set([Page(2), LoseRequest, Page(2), BROKEN, BROKEN, BROKEN]);
    assert!(matches!(table.query(&contract::rows(10)).await, Err(StoreError::Unavailable(_))));
}

/// DynamoDB refuses a read of no items, and an empty text as the bound of a key.
#[tokio::test]
async fn list_of_nobody_asks_for_no_items_and_has_no_empty_bound() {
    let (table, script) = table().await;
    let (store, tenant) = (Store::new(Arc::new(table)), TenantId::parse("acme").unwrap());
    script.set([]);
    let page = store.list_users(&tenant, &UserFilter::default(), None, 10).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_none());
    assert_eq!((script.sent("Query").len(), script.sent("BatchGetItem").len()), (1, 0));
    assert!(script.sent("Query")[0]["ExpressionAttributeValues"].get(":low").is_none());
}

/// Without injection: the port refuses connections, or accepts and never answers.
#[tokio::test]
async fn unreachable_store_is_unavailable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = emulator::table_at(&url, "vestibule", |inner| inner);
    let write = contract::increment();
    let limit = Duration::from_secs(60); // far beyond all limits
    let answer = tokio::time::timeout(limit, silent.update(&write, Retry::Never)).await;
    assert!(matches!(answer, Ok(Err(StoreError::Unavailable(_)))), "{answer:?}");
    drop(listener);
    let refused = emulator::table_at(&url, "vestibule", |inner| inner);
    let (transaction, keys) = (contract::increment_in_transaction(), [write.key().clone()]);
    let all = async {
        let update = refused.update(&write, Retry::Idempotent).await.err();
        let (read, list) = (refused.read(&keys).await.err(), refused.query(&contract::rows(1)).await.err());
        [update, refused.transact(&transaction).await.err(), read, list]
    };
    let answers = tokio::time::timeout(limit, all).await.unwrap();
    assert!(answers.iter().all(|it| matches!(it, Some(StoreError::Unavailable(_)))), "{answers:?}");
}

#[tokio::test]
async fn decisions_read_consistently_and_lists_read_only_what_they_show() {
    let (table, script) = table().await;
    script.set([]);
    contract::stored_count(&table).await;
    table.query(&contract::rows(1)).await.unwrap();
    let (reads, query) = (script.sent("BatchGetItem"), script.sent("Query"));
    assert!(reads.iter().all(|read| read["RequestItems"]["vestibule"]["ConsistentRead"] == true));
    assert_eq!(query[0]["ConsistentRead"], true);
    assert!(query[0]["Limit"].as_u64().is_some_and(|limit| limit <= 2), "{}", query[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn expressions_match_the_model() {
    contract::same_meaning(&table().await.0, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_one_winner() {
    contract::races(Arc::new(table().await.0), 5).await;
}
