//! A conformance suite for all backends: each result of a table is compared with that of the reference model, and each
//! race must have one winner. It is a test, so it panics if a backend differs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

use std::sync::Arc;

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngSeed, TestRunner},
};

pub mod commands;

use super::{
    memory::MemoryTable,
    table::{Query, Retry, StoreError, Table, Transacted, Transaction, Updated},
    write::{self, Action, Condition, Item, Key, Path, Value, Write, absent, attr, exists, num, size, text},
};

const KEYS: u8 = 4;

fn key(n: u8) -> Key {
    Key { pk: format!("CONTRACT#{}", n % 2), sk: format!("K#{n}") }
}

/// A path: an attribute, or an entry of the map `m`, which may be absent.
fn path() -> impl Strategy<Value = Path> {
    prop_oneof![
        "[ns]".prop_map(attr),
        "[xyz]".prop_map(|name| attr("m").key(name)),
        "[xyz]".prop_map(|name| attr("m").key(name).key("deep")),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3_i64..12).prop_map(num),
        "[ab]{1,2}".prop_map(text),
        any::<bool>().prop_map(Value::Bool),
        prop::collection::vec(any::<u8>(), 1..3).prop_map(Value::B),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let simple = prop_oneof![
        path().prop_map(exists),
        path().prop_map(absent),
        (path(), value()).prop_map(|(path, value)| write::eq(path, value)),
        (path(), value()).prop_map(|(path, value)| write::ne(path, value)),
        (path(), -3_i64..12).prop_map(|(path, n)| write::lt(path, n)),
        (path(), -3_i64..12).prop_map(|(path, n)| write::ge(path, n)),
        // DynamoDB refuses to compare a path with itself, and no command does it.
        (path(), path())
            .prop_filter_map("equal paths", |(left, right)| (left != right).then(|| write::eq(left, right))),
        (0_i64..4).prop_map(|n| write::le(size(attr("m")), n)),
    ];
    simple.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Condition::All),
            prop::collection::vec(inner, 1..3).prop_map(Condition::Any),
        ]
    })
}

/// Actions on different paths: DynamoDB refuses overlapping ones, and no command has them.
fn actions() -> impl Strategy<Value = Vec<Action>> {
    prop_oneof![
        (value(), -2_i64..3).prop_map(|(value, by)| vec![Action::Set(attr("s"), value), Action::Count(attr("n"), by)]),
        (value(), value()).prop_map(|(one, two)| vec![
            Action::Set(attr("m").key("x"), one),
            Action::SetIfAbsent(attr("m").key("y"), two),
            Action::Remove(attr("m").key("z")),
        ]),
        Just(vec![Action::Set(attr("m"), write::empty()), Action::Set(attr("n"), num(0))]),
        "[pq]".prop_map(|sort| vec![Action::Set(attr("GP"), text("CONTRACT")), Action::Set(attr("GS"), text(sort))]),
        Just(vec![Action::Remove(attr("GP")), Action::Remove(attr("GS"))]),
        Just(vec![Action::Add(attr("n"), 1), Action::Set(attr("m").key("x").key("deep"), num(1))]),
    ]
}

fn write_to(n: u8) -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (prop::option::of(condition()), actions())
            .prop_map(move |(condition, actions)| Write::update(key(n), condition.into_iter().collect(), actions)),
        1 => prop::collection::hash_map("[ns]", value(), 0..2).prop_map(move |item| Write::put_new(key(n), item)),
        1 => condition().prop_map(move |condition| Write::delete(key(n), vec![condition])),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Update(Write),
    UpdateEach(Vec<Write>),
    Transact(Vec<Write>),
}

fn step() -> impl Strategy<Value = Step> {
    let transaction = (write_to(0), write_to(1), prop::option::of(condition())).prop_map(|(one, two, condition)| {
        Step::Transact(
            [one, two].into_iter().chain(condition.map(|condition| Write::check(key(2), vec![condition]))).collect(),
        )
    });
    let independent = (write_to(0), write_to(2), write_to(3)).prop_map(|(a, b, c)| Step::UpdateEach(vec![a, b, c]));
    prop_oneof![
        2 => (0..KEYS).prop_flat_map(write_to).prop_map(Step::Update),
        1 => independent,
        2 => transaction
    ]
}

/// Applies random sequences of writes. Every result and every item must equal the reference model's.
pub async fn same_meaning(table: &dyn Table, sequences: u32) {
    let config = Config { rng_seed: RngSeed::Fixed(sequences.into()), ..Config::default() };
    let mut runner = TestRunner::new(config);
    let model = MemoryTable::default();
    let mut rows = 0;
    for _ in 0..sequences {
        let steps = prop::collection::vec(step(), 1..12).new_tree(&mut runner).unwrap().current();
        for step in steps {
            rows += 1;
            assert_same_result(table, &model, &step, rows).await;
        }
        // One key is read twice, as by a caller who reads their own item.
        let keys: Vec<_> = (0..KEYS).chain([0]).map(key).collect();
        assert_eq!(table.read(&keys).await.unwrap(), model.read(&keys).await.unwrap());
        assert_same_lists(table, &model).await;
    }
}

async fn assert_same_result(table: &dyn Table, model: &MemoryTable, step: &Step, row: u32) {
    match step {
        Step::Update(write) => {
            assert_same_update(table.update(write, Retry::Never).await, model, write).await;
        }
        Step::UpdateEach(writes) => {
            let each: Vec<_> = writes.iter().map(|write| (write.clone(), Retry::Never)).collect();
            let got = table.update_each(&each).await;
            assert_eq!(got.len(), writes.len());
            for (got, write) in got.into_iter().zip(writes) {
                assert_same_update(got, model, write).await;
            }
        }
        Step::Transact(writes) => {
            let marker = Key { pk: "CONTRACT#rows".into(), sk: format!("R#{row:06}") };
            let transaction = Transaction::new(writes.clone(), Write::put_new(marker, Item::new()));
            match (table.transact(&transaction).await.unwrap(), model.transact(&transaction).await.unwrap()) {
                (Transacted::Committed, Transacted::Committed) => {}
                (Transacted::Refused(got), Transacted::Refused(want)) => assert_eq!(got, want, "{writes:?}"),
                (got, want) => panic!("{writes:?}: {got:?}, the model says {want:?}"),
            }
        }
    }
}

async fn assert_same_update(got: Result<Updated, StoreError>, model: &MemoryTable, write: &Write) {
    match (got.unwrap(), model.update(write, Retry::Never).await.unwrap()) {
        (Updated::Written(got), Updated::Written(want)) | (Updated::Refused(got), Updated::Refused(want)) => {
            assert_eq!(got, want, "{write:?}");
        }
        (got, want) => panic!("{write:?}: {got:?}, the model says {want:?}"),
    }
}

async fn assert_same_lists(table: &dyn Table, model: &MemoryTable) {
    for descending in [false, true] {
        for after in [None, Some("K#1"), Some("K#12"), Some("K#9")] {
            let query = |limit| Query {
                index: false,
                partition: "CONTRACT#1".into(),
                prefix: "K#".into(),
                after: after.map(str::to_owned),
                descending,
                limit,
            };
            for limit in [1, 10] {
                let (got, want) =
                    (table.query(&query(limit)).await.unwrap(), model.query(&query(limit)).await.unwrap());
                assert_eq!(got, want, "after {after:?}, {descending}, {limit}");
            }
        }
        let index = Query {
            index: true,
            partition: "CONTRACT".into(),
            prefix: String::new(),
            after: None,
            descending,
            limit: 100,
        };
        let sorts = |items: Vec<Item>| items.iter().map(|item| format!("{:?}", item["GS"])).collect::<Vec<_>>();
        assert_eq!(sorts(table.query(&index).await.unwrap()), sorts(model.query(&index).await.unwrap()));
    }
}

/// Races of 32 tasks that start together: a budget of five admits five, and a single-use key has one winner.
pub async fn races(table: Arc<dyn Table>, rounds: usize) {
    for round in 0..rounds {
        let counter = Key { pk: "CONTRACT#races".into(), sk: format!("C#{round}") };
        let charge = Write::update(
            counter,
            vec![Condition::Any(vec![absent(attr("n")), write::lt(attr("n"), 5)])],
            vec![Action::Count(attr("n"), 1)],
        );
        let admitted = count_true(32, |_| {
            let (table, charge) = (Arc::clone(&table), charge.clone());
            async move { matches!(table.update(&charge, Retry::Never).await.unwrap(), Updated::Written(_)) }
        });
        assert_eq!(admitted.await, 5, "round {round}");
        let won = count_true(32, |racer| {
            let table = Arc::clone(&table);
            async move {
                let key = |kind: &str| Key { pk: "CONTRACT#races".into(), sk: format!("{kind}#{round}") };
                let once = Write::put_new(key("O"), Item::new());
                let row = Write::put_new(key(&format!("R{racer}")), Item::new());
                let transaction = Transaction::new(vec![once], row);
                matches!(table.transact(&transaction).await.unwrap(), Transacted::Committed)
            }
        });
        assert_eq!(won.await, 1, "round {round}");
    }
}

/// Runs the tasks concurrently and counts those that return true.
async fn count_true<F>(racers: usize, race: impl Fn(usize) -> F) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let barrier = Arc::new(tokio::sync::Barrier::new(racers));
    let tasks: Vec<_> = (0..racers)
        .map(|racer| {
            let (barrier, race) = (Arc::clone(&barrier), race(racer));
            tokio::spawn(async move {
                barrier.wait().await;
                race.await
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += usize::from(task.await.unwrap());
    }
    count
}

/// Increments without a condition, so a second application is visible.
#[must_use]
pub fn increment() -> Write {
    Write::update(counter_key(), vec![], vec![Action::Count(attr("n"), 1)])
}

/// Increments on condition that its mark is absent, so it is applied once.
#[must_use]
pub fn increment_once(mark: &str) -> Write {
    Write::update(
        counter_key(),
        vec![absent(attr("mark"))],
        vec![Action::Count(attr("n"), 1), Action::Set(attr("mark"), text(mark))],
    )
}

/// An action that does not fit the item, so the store itself refuses it.
#[must_use]
pub fn unfit_write() -> Write {
    Write::update(counter_key(), vec![], vec![Action::Add(attr("absent"), 1)])
}

/// An increment in a transaction with its audit row.
#[must_use]
pub fn increment_in_transaction() -> Transaction {
    Transaction::new(vec![increment()], Write::put_new(row(), Item::new()))
}

/// A write that does not fit its item, in a transaction.
#[must_use]
pub fn unfit_transaction() -> Transaction {
    Transaction::new(vec![unfit_write()], Write::put_new(row(), Item::new()))
}

/// Creates the row of [`increment_in_transaction`] without a transaction.
#[must_use]
pub fn create_row() -> Write {
    Write::put_new(row(), Item::new())
}

/// Creates the row with this number, below ten.
#[must_use]
pub fn numbered_row(number: u8) -> Write {
    let key = Key { pk: row().pk, sk: format!("R#{number}") };
    Write::update(key, vec![], vec![Action::Set(attr("n"), num(number.into()))])
}

/// Lists at most `limit` rows.
#[must_use]
pub fn rows(limit: usize) -> Query {
    Query { index: false, partition: row().pk, prefix: "R#".into(), after: None, descending: false, limit }
}

fn row() -> Key {
    Key { pk: "CONTRACT#faults".into(), sk: "R#1".into() }
}

/// Increments the counter without end, one write after another. `answered` gets each new count after the reply.
pub async fn count_forever(table: &dyn Table, mut answered: impl FnMut(i64)) {
    loop {
        match table.update(&increment(), Retry::Never).await.unwrap() {
            Updated::Written(Some(item)) => answered(number(&item)),
            other => panic!("{other:?}"),
        }
    }
}

/// The counter of [`count_forever`] in the store.
pub async fn stored_count(table: &dyn Table) -> i64 {
    table.read(&[counter_key()]).await.unwrap()[0].as_ref().map_or(0, number)
}

fn counter_key() -> Key {
    Key { pk: "CONTRACT#durable".into(), sk: "N".into() }
}

fn number(item: &Item) -> i64 {
    match &item["n"] {
        Value::N(n) => n.parse().unwrap(),
        other => panic!("{other:?}"),
    }
}
