//! The store's contract on DynamoDB's semantics: the real SDK over HTTP against an emulator in this process. And what the
//! network and DynamoDB do on a bad day (replies lost after the commit, conflicts, throttling, silence): no emulator does any
//! of it, so it is injected below the SDK.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{sync::Arc, time::Duration};

use tests::{
    emulator,
    faulty::{
        BROKEN, BUSY, CONFLICT, DENIED,
        Fault::{self, Answer, LoseReply, LoseRequest, Page, Silence, Unprocessed},
        Script, THROTTLED,
    },
};
use vestibule::store::{
    StoreError, Table, contract,
    dynamo::DynamoTable,
    table::{Retry, Transacted, Updated},
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
const GATEWAY: Fault = Answer(503, "<html>try later</html>");
async fn table() -> (DynamoTable, Script) {
    let script = Script::default();
    let table = emulator::table(|inner| script.between(inner)).await;
    (table, script)
}

#[tokio::test]
async fn a_transaction_with_a_lost_reply_is_committed_once() {
    let (table, script) = table().await;
    script.set([LoseReply]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    let sent = script.sent("TransactWriteItems");
    assert_eq!(sent.len(), 2);
    assert!(sent[0]["ClientRequestToken"].is_string() && sent[0] == sent[1]);
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn each_transaction_has_a_token_of_its_own() {
    let (table, script) = table().await;
    script.set([]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    // The same writes again are another call: told as refused, never as done by the token of the first.
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Refused(_))));
    let sent = script.sent("TransactWriteItems");
    assert_ne!(sent[0]["ClientRequestToken"], sent[1]["ClientRequestToken"]);
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn with_every_reply_lost_the_receipt_is_the_proof() {
    let (table, script) = table().await;
    script.set(vec![LoseReply; 4]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    assert_eq!((script.sent("TransactWriteItems").len(), script.sent("BatchGetItem").len()), (4, 1));
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn after_a_lost_reply_its_own_row_in_the_way_is_the_proof() {
    let (table, script) = table().await;
    script.set([LoseReply, ROW_THERE]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    assert_eq!(script.sent("TransactWriteItems").len(), 2);
    // Without a lost reply it is a refusal like any other.
    script.set([ROW_THERE]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Refused(_))));
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn a_transaction_that_never_arrives_is_not_known() {
    let (table, script) = table().await;
    script.set(vec![LoseRequest; 4]);
    let answer = table.transact(&contract::increment_in_transaction()).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(contract::stored_count(&table).await, 0);
}

#[tokio::test]
async fn a_conflict_passes_or_is_contention() {
    let (table, script) = table().await;
    script.set([CONFLICT, CONFLICT]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    assert_eq!(contract::stored_count(&table).await, 1);
    script.set(vec![CONFLICT; 4]);
    let answer = table.transact(&contract::increment_in_transaction()).await;
    // The row of the transaction before is there: of another call, so no proof of this one.
    assert!(matches!(answer, Err(StoreError::Contended(_))), "{answer:?}");
    assert_eq!(script.sent("TransactWriteItems").len(), 4);
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn what_may_have_been_written_is_never_told_as_contention() {
    let (table, script) = table().await;
    script.set([LoseRequest, CONFLICT, CONFLICT, CONFLICT]);
    let answer = table.transact(&contract::increment_in_transaction()).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
async fn throttling_passes_within_limits() {
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
async fn an_update_is_sent_once_when_a_second_would_show() {
    let (table, script) = table().await;
    script.set([LoseReply]);
    let answer = table.update(&contract::increment(), Retry::Never).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(script.sent("UpdateItem").len(), 1);
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn an_update_that_knows_itself_is_sent_once_more() {
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
async fn what_the_store_will_never_do_is_asked_once_and_is_no_refusal() {
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
    // An action that does not fit its item is one, as in the model.
    script.set([]);
    assert!(matches!(table.update(&contract::unfit_write(), Retry::Never).await, Ok(Updated::Refused(_))));
}

#[tokio::test]
async fn silence_ends() {
    let (table, script) = table().await;
    // Far beyond any limit of ours: this asks whether it ends, not when.
    let patience = Duration::from_secs(60);
    script.set(vec![Silence]);
    let write = contract::increment_once("mine");
    let answer = tokio::time::timeout(patience, table.update(&write, Retry::Idempotent)).await;
    assert!(matches!(answer, Ok(Ok(Updated::Refused(Some(_))))), "{answer:?}");
    script.set(vec![Silence; 99]);
    let transaction = contract::increment_in_transaction();
    let answer = tokio::time::timeout(patience, table.transact(&transaction)).await;
    assert!(matches!(answer, Ok(Err(StoreError::Unavailable(_)))), "{answer:?}");
}

#[tokio::test]
async fn throttling_has_several_names() {
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
        // It was not applied, so nothing is looked up.
        assert_eq!((script.sent("TransactWriteItems").len(), script.sent("BatchGetItem").len()), (4, 0));
        assert_eq!(contract::stored_count(&table).await, 0);
    }
    script.set(vec![OVER_LIMIT; 3]);
    assert!(matches!(table.update(&contract::increment(), Retry::Never).await, Ok(Updated::Written(_))));
    script.set([THROTTLED, OVER_LIMIT]);
    assert_eq!(contract::stored_count(&table).await, 1);
}

/// A transaction at work on the item has not let the write in: even one that must not be done twice is sent again.
#[tokio::test]
async fn a_write_whose_item_is_busy_waits_for_it() {
    let (table, script) = table().await;
    script.set(vec![BUSY; 3]);
    let answer = table.update(&contract::increment(), Retry::Never).await;
    assert!(matches!(answer, Ok(Updated::Written(_))), "{answer:?}");
    script.set(vec![BUSY; 9]);
    let answer = table.update(&contract::increment(), Retry::Idempotent).await;
    assert!(matches!(answer, Err(StoreError::Contended(_))), "{answer:?}");
    assert_eq!(script.sent("UpdateItem").len(), 4);
    // What may have been written is not told as contention.
    script.set([LoseReply, BUSY, BUSY, BUSY]);
    let answer = table.update(&contract::increment_once("mine"), Retry::Idempotent).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    script.fine();
    assert_eq!(contract::stored_count(&table).await, 2);
}

#[tokio::test]
async fn a_fault_of_the_server_is_an_unknown_outcome() {
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
        // Reads are asked again.
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
async fn a_transaction_in_progress_may_yet_be_committed() {
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

/// Other bytes under the same token would be a mismatch, and what was committed an error.
#[tokio::test]
async fn what_is_sent_again_is_the_same_to_the_byte() {
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

/// An item over 400 KB is a defect, and no refusal: nobody is told that a code was wrong.
#[tokio::test]
async fn an_item_that_is_too_large_is_no_refusal() {
    let (table, script) = table().await;
    script.fine();
    let answer = table.update(&contract::increment_once(&"x".repeat(410_000)), Retry::Idempotent).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(script.sent("UpdateItem").len(), 1);
    script.set([TX_MALFORMED]);
    let answer = table.transact(&contract::increment_in_transaction()).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(script.sent("TransactWriteItems").len(), 1);
    // After an unknown outcome it may still have been committed.
    script.set([LoseReply, TX_MALFORMED]);
    assert!(matches!(table.transact(&contract::increment_in_transaction()).await, Ok(Transacted::Committed)));
    assert_eq!(contract::stored_count(&table).await, 1);
}

#[tokio::test]
async fn keys_that_stay_unprocessed_are_asked_for_again() {
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
    let asked: Vec<_> = script.sent("BatchGetItem");
    let asked = asked.iter().map(|read| read["RequestItems"]["vestibule"]["Keys"].as_array().unwrap().len());
    assert_eq!(asked.collect::<Vec<_>>(), [7, 7 - 2, 7 - 2, 7 - 3]);
    assert!(script.sent("BatchGetItem").iter().all(|it| it["RequestItems"]["vestibule"]["ConsistentRead"] == true));
    // What is not known is not told as absent.
    script.set(vec![Unprocessed(1); 9]);
    let answer = table.read(&keys).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(script.sent("BatchGetItem").len(), 4);
}

#[tokio::test]
async fn a_list_of_several_pages_is_read_to_its_limit() {
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
    // Half a list is none.
    script.set([Page(2), LoseRequest, Page(2), BROKEN, BROKEN, BROKEN]);
    assert!(matches!(table.query(&contract::rows(10)).await, Err(StoreError::Unavailable(_))));
}

/// No injection: nobody listens, or nobody answers.
#[tokio::test]
async fn a_store_that_is_not_there_is_unavailable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = emulator::table_at(&url, "vestibule", |inner| inner);
    let write = contract::increment();
    let patience = Duration::from_secs(60); // whether it ends, not when
    let answer = tokio::time::timeout(patience, silent.update(&write, Retry::Never)).await;
    assert!(matches!(answer, Ok(Err(StoreError::Unavailable(_)))), "{answer:?}");
    drop(listener);
    let refused = emulator::table_at(&url, "vestibule", |inner| inner);
    let (transaction, keys) = (contract::increment_in_transaction(), [write.key().clone()]);
    let all = async {
        let update = refused.update(&write, Retry::Idempotent).await.err();
        let (read, list) = (refused.read(&keys).await.err(), refused.query(&contract::rows(1)).await.err());
        [update, refused.transact(&transaction).await.err(), read, list]
    };
    let answers = tokio::time::timeout(patience, all).await.unwrap();
    assert!(answers.iter().all(|it| matches!(it, Some(StoreError::Unavailable(_)))), "{answers:?}");
}

#[tokio::test]
async fn decisions_read_what_is_there_now_and_lists_only_what_they_show() {
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
async fn expressions_mean_what_the_model_means() {
    contract::same_meaning(&table().await.0, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_one_winner() {
    contract::races(Arc::new(table().await.0), 5).await;
}
