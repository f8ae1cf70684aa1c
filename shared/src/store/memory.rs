//! The reference model: conditional writes applied to a map under one lock. Backends are compared with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    table::{Query, Retry, StoreError, Table, Transacted, Transaction, Unmet, Updated},
    write::{Effect, Item, Key, Refused, Value, Write},
};

/// A table in memory.
#[derive(Debug, Default)]
pub struct MemoryTable(Mutex<BTreeMap<Key, Item>>);

impl MemoryTable {
    fn items(&self) -> MutexGuard<'_, BTreeMap<Key, Item>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of all items, for comparison.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Key, Item> {
        self.items().clone()
    }
}

fn store(items: &mut BTreeMap<Key, Item>, write: &Write, after: Option<Item>) {
    match after {
        _ if matches!(write.effect, Effect::Check) => {}
        Some(item) => {
            items.insert(write.key.clone(), item);
        }
        None => {
            items.remove(&write.key);
        }
    }
}

#[async_trait]
impl Table for MemoryTable {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let items = self.items();
        Ok(keys.iter().map(|key| items.get(key).cloned()).collect())
    }

    async fn update(&self, write: &Write, _: Retry) -> Result<Updated, StoreError> {
        let mut items = self.items();
        match write.apply(items.get(&write.key).cloned()) {
            Err(Refused(before)) => Ok(Updated::Refused(before)),
            Ok(after) => {
                store(&mut items, write, after.clone());
                Ok(Updated::Written(after))
            }
        }
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        let mut items = self.items();
        let keys: BTreeSet<_> = transaction.writes.iter().map(|write| &write.key).collect();
        if keys.len() < transaction.writes.len() {
            return Err(StoreError::Unavailable("a transaction has two writes of one item".into()));
        }
        let (mut applied, mut unmet) = (Vec::new(), Unmet::new());
        for write in &transaction.writes {
            match write.apply(items.get(&write.key).cloned()) {
                Ok(after) => applied.push((write, after)),
                Err(Refused(before)) => {
                    unmet.insert(write.key.clone(), before);
                }
            }
        }
        if !unmet.is_empty() {
            return Ok(Transacted::Refused(unmet));
        }
        for (write, after) in applied {
            store(&mut items, write, after);
        }
        Ok(Transacted::Committed)
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        let (partition, sort) = if query.index { ("GP", "GS") } else { ("PK", "SK") };
        let of = |item: &Item, name: &str| match item.get(name) {
            Some(Value::S(text)) => Some(text.clone()),
            _ => None,
        };
        let mut found: Vec<(String, Item)> = self
            .items()
            .values()
            .filter(|item| of(item, partition).as_deref() == Some(&query.partition))
            .filter_map(|item| Some((of(item, sort)?, item.clone())))
            .filter(|(sort, _)| sort.starts_with(&query.prefix))
            .filter(|(sort, _)| match &query.after {
                Some(after) if query.descending => sort < after,
                Some(after) => sort > after,
                None => true,
            })
            .collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        if query.descending {
            found.reverse();
        }
        Ok(found.into_iter().take(query.limit).map(|(_, item)| item).collect())
    }
}
