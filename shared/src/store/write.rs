//! Conditional writes: the form of all writes to the store, and their meaning.
//!
//! A command builds [`Write`]s. The embedded store and the reference model [`apply`](Write::apply) them; DynamoDB gets
//! them as expressions. So each condition is written once. Only this crate can build a write; a backend can only apply
//! or render it.
//!
//! The semantics are DynamoDB's: all conditions and actions of a write read the item as it was before; a comparison
//! with an absent attribute is false; a nested path needs its parent.

use std::{borrow::Cow, collections::HashMap};

pub use serde_dynamo::AttributeValue as Value;

use super::keys;
use crate::domain::{ItemVersion, PasswordVersion, SecurityVersion};

/// An item: named attributes, including `PK` and `SK`.
pub type Item = HashMap<String, Value>;

/// The primary key of an item. Only [`crate::store::keys`] builds keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

impl Key {
    /// The partition key.
    #[must_use]
    pub fn pk(&self) -> &str {
        &self.pk
    }

    /// The sort key.
    #[must_use]
    pub fn sk(&self) -> &str {
        &self.sk
    }

    /// The key as attributes of its item.
    #[must_use]
    pub fn attributes(&self) -> Item {
        HashMap::from([("PK".to_owned(), Value::S(self.pk.clone())), ("SK".to_owned(), Value::S(self.sk.clone()))])
    }
}

/// A step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// An attribute, or a key of a map.
    Name(Cow<'static, str>),
    /// An index of a list.
    At(usize),
}

/// The place of a value in an item.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path(Vec<Step>);

impl Path {
    /// The steps of the path; the first is the attribute.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Extends the path by a key of the map at this path.
    pub(crate) fn key(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.0.push(Step::Name(name.into()));
        self
    }

    /// Extends the path by an index of the list at this path.
    pub(crate) fn at(mut self, index: usize) -> Self {
        self.0.push(Step::At(index));
        self
    }

    fn find<'a>(&self, item: &'a Item) -> Option<&'a Value> {
        find(&self.0, item)
    }

    /// Whether the item has the map or list that this path is in. DynamoDB refuses a write below an absent parent.
    fn has_parent(&self, item: &Item) -> bool {
        match self.0.split_last() {
            None => false,
            Some((last, [])) => matches!(last, Step::Name(_)),
            Some((last, parent)) => matches!(
                (last, find(parent, item)),
                (Step::Name(_), Some(Value::M(_))) | (Step::At(_), Some(Value::L(_)))
            ),
        }
    }
}

fn find<'a>(steps: &[Step], item: &'a Item) -> Option<&'a Value> {
    let (first, rest) = steps.split_first()?;
    let Step::Name(name) = first else { return None };
    let mut found = item.get(name.as_ref())?;
    for step in rest {
        found = match (step, found) {
            (Step::Name(name), Value::M(map)) => map.get(name.as_ref())?,
            (Step::At(index), Value::L(list)) => list.get(*index)?,
            _ => return None,
        };
    }
    Some(found)
}

/// The path of an attribute.
pub(crate) fn attr(name: impl Into<Cow<'static, str>>) -> Path {
    Path(vec![Step::Name(name.into())])
}

/// A number value.
pub(crate) fn num(n: i64) -> Value {
    Value::N(n.to_string())
}

/// A text value.
pub(crate) fn text(s: impl Into<String>) -> Value {
    Value::S(s.into())
}

/// A bytes value.
pub(crate) fn bytes(b: &[u8]) -> Value {
    Value::B(b.to_vec())
}

/// A value that is an empty map. Operations change entries of maps; only tests put a whole map.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn empty() -> Value {
    Value::M(HashMap::new())
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// The value at a path.
    At(Path),
    /// The size of the value at a path: the entries of a map or list, or the bytes of a text or binary.
    Size(Path),
    /// A constant value.
    Value(Value),
}

impl From<Path> for Operand {
    fn from(path: Path) -> Self {
        Self::At(path)
    }
}
impl From<Value> for Operand {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}
impl From<i64> for Operand {
    fn from(n: i64) -> Self {
        Self::Value(num(n))
    }
}
macro_rules! version_operands {
    ($($version:ident)*) => { $(
        impl From<$version> for Operand {
            fn from(version: $version) -> Self {
                version.0.into()
            }
        }
    )* };
}
version_operands! { ItemVersion SecurityVersion PasswordVersion }
impl From<&str> for Operand {
    fn from(s: &str) -> Self {
        Self::Value(text(s))
    }
}
impl From<&[u8]> for Operand {
    fn from(b: &[u8]) -> Self {
        Self::Value(bytes(b))
    }
}
impl From<bool> for Operand {
    fn from(b: bool) -> Self {
        Self::Value(Value::Bool(b))
    }
}

/// How two operands are compared. Numbers, texts and bytes have an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// A condition on one item: it compares attributes with constant values. Budgets, windows and times are computed
/// before; a condition contains no policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The path has a value.
    Exists(Path),
    /// The path has no value.
    Absent(Path),
    /// The comparison holds. It is false if an operand is absent.
    Is(Operand, Comparison, Operand),
    /// All conditions hold; true if there are none.
    All(Vec<Condition>),
    /// At least one condition holds.
    Any(Vec<Condition>),
}

macro_rules! comparisons {
    ($($name:ident $op:ident)*) => { $(
        pub(crate) fn $name(left: impl Into<Operand>, right: impl Into<Operand>) -> Condition {
            Condition::Is(left.into(), Comparison::$op, right.into())
        }
    )* };
}
comparisons! { eq Eq ne Ne lt Lt le Le gt Gt ge Ge }

pub(crate) fn exists(path: Path) -> Condition {
    Condition::Exists(path)
}

pub(crate) fn absent(path: Path) -> Condition {
    Condition::Absent(path)
}

pub(crate) fn size(path: Path) -> Operand {
    Operand::Size(path)
}

impl Condition {
    fn holds(&self, item: &Item) -> bool {
        match self {
            Self::Exists(path) => path.find(item).is_some(),
            Self::Absent(path) => path.find(item).is_none(),
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(item)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(item)),
            Self::Is(left, comparison, right) => match (resolve(left, item), resolve(right, item)) {
                (Some(left), Some(right)) => compare(&left, *comparison, &right),
                _ => false,
            },
        }
    }
}

fn resolve<'a>(operand: &'a Operand, item: &'a Item) -> Option<Cow<'a, Value>> {
    match operand {
        Operand::At(path) => path.find(item).map(Cow::Borrowed),
        Operand::Value(value) => Some(Cow::Borrowed(value)),
        Operand::Size(path) => {
            let size = match path.find(item)? {
                Value::S(s) => s.len(),
                Value::B(b) => b.len(),
                Value::M(m) => m.len(),
                Value::L(l) => l.len(),
                _ => return None,
            };
            Some(Cow::Owned(num(i64::try_from(size).unwrap_or(i64::MAX))))
        }
    }
}

fn compare(left: &Value, comparison: Comparison, right: &Value) -> bool {
    let order = match (left, right) {
        (Value::N(left), Value::N(right)) => match (left.parse::<i64>(), right.parse::<i64>()) {
            (Ok(left), Ok(right)) => Some(left.cmp(&right)),
            _ => return false, // the store holds integers only
        },
        (Value::S(left), Value::S(right)) => Some(left.cmp(right)),
        (Value::B(left), Value::B(right)) => Some(left.cmp(right)),
        _ => None,
    };
    match comparison {
        Comparison::Eq => left == right,
        Comparison::Ne => left != right,
        Comparison::Lt => order.is_some_and(std::cmp::Ordering::is_lt),
        Comparison::Le => order.is_some_and(std::cmp::Ordering::is_le),
        Comparison::Gt => order.is_some_and(std::cmp::Ordering::is_gt),
        Comparison::Ge => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

/// A change of one value in an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sets a value.
    Set(Path, Value),
    /// Sets a value if there is none; keeps an existing value.
    SetIfAbsent(Path, Value),
    /// Adds to an existing number.
    Add(Path, i64),
    /// Adds to a number; an absent number counts as 0.
    Count(Path, i64),
    /// Appends to an existing list.
    Append(Path, Value),
    /// Removes a value, if there is one. No write removes from a list.
    Remove(Path),
}

impl Action {
    fn path(&self) -> &Path {
        match self {
            Self::Set(path, _)
            | Self::SetIfAbsent(path, _)
            | Self::Add(path, _)
            | Self::Count(path, _)
            | Self::Append(path, _)
            | Self::Remove(path) => path,
        }
    }

    /// The value at the path after the write, given the item before it. `None`: the value is removed.
    fn evaluate(&self, before: &Item) -> Result<Option<Value>, Unfit> {
        if !self.path().has_parent(before) {
            return Err(Unfit);
        }
        let sum = |number: i64, by: &i64| number.checked_add(*by).map(num).ok_or(Unfit);
        let after = match self {
            Self::Set(_, value) => value.clone(),
            Self::SetIfAbsent(path, value) => path.find(before).unwrap_or(value).clone(),
            Self::Add(path, by) => sum(number(path.find(before).ok_or(Unfit)?)?, by)?,
            Self::Count(path, by) => sum(path.find(before).map_or(Ok(0), number)?, by)?,
            Self::Append(path, value) => match path.find(before) {
                Some(Value::L(list)) => Value::L(list.iter().chain([value]).cloned().collect()),
                _ => return Err(Unfit),
            },
            Self::Remove(path) if matches!(path.0.last(), Some(Step::At(_))) => return Err(Unfit),
            Self::Remove(_) => return Ok(None),
        };
        Ok(Some(after))
    }
}

/// An action does not fit the item.
struct Unfit;

fn number(value: &Value) -> Result<i64, Unfit> {
    match value {
        Value::N(n) => n.parse().map_err(|_| Unfit),
        _ => Err(Unfit),
    }
}

/// What a conditional write does to its item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Changes values in the item. An absent item is created, so a write that needs the item has a condition for that.
    Update(Vec<Action>),
    /// Replaces the whole item. The given item has no key attributes.
    Put(Item),
    /// Removes the item.
    Delete,
    /// Changes nothing: only a condition of a transaction.
    Check,
}

/// A conditional write of one item: nothing is written unless the condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub(crate) key: Key,
    pub(crate) condition: Condition,
    pub(crate) effect: Effect,
}

/// The condition did not hold, or an action does not fit the item. DynamoDB refuses both. With the item as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub Option<Item>);

impl Write {
    /// Changes an item. A user's item gets a new version, so that no commit overlooks this write (`store::commit`).
    pub(crate) fn update(key: Key, conditions: Vec<Condition>, mut actions: Vec<Action>) -> Self {
        if key.sk == keys::USER {
            actions.push(Action::Count(attr("v"), 1));
        }
        Self { key, condition: Condition::All(conditions), effect: Effect::Update(actions) }
    }

    /// Changes what decides nothing in a user's item: the version stays.
    pub(crate) fn note(key: Key, conditions: Vec<Condition>, actions: Vec<Action>) -> Self {
        Self { key, condition: Condition::All(conditions), effect: Effect::Update(actions) }
    }

    pub(crate) fn put_new(key: Key, item: Item) -> Self {
        Self { key, condition: absent(attr("PK")), effect: Effect::Put(item) }
    }

    /// Replaces the item without a condition.
    pub(crate) fn put(key: Key, item: Item) -> Self {
        Self { key, condition: Condition::All(vec![]), effect: Effect::Put(item) }
    }

    pub(crate) fn delete(key: Key, conditions: Vec<Condition>) -> Self {
        Self { key, condition: Condition::All(conditions), effect: Effect::Delete }
    }

    pub(crate) fn check(key: Key, conditions: Vec<Condition>) -> Self {
        Self { key, condition: Condition::All(conditions), effect: Effect::Check }
    }

    /// The key of the item.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The condition of the write.
    #[must_use]
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// What the write does.
    #[must_use]
    pub fn effect(&self) -> &Effect {
        &self.effect
    }

    /// Applies the write: returns the item after it, given the item before it. `None` means that there is no item.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn apply(&self, before: Option<Item>) -> Result<Option<Item>, Refused> {
        let nothing = Item::new();
        let Some(changes) = self.changes(before.as_ref().unwrap_or(&nothing)) else { return Err(Refused(before)) };
        Ok(match &self.effect {
            Effect::Check => before,
            Effect::Delete => None,
            Effect::Put(item) => Some(item.clone().into_iter().chain(self.key.attributes()).collect()),
            Effect::Update(_) => {
                let mut item = before.unwrap_or_else(|| self.key.attributes());
                for (path, value) in changes {
                    change(path, value, &mut item);
                }
                Some(item)
            }
        })
    }

    /// The values after an update; without a value, it is removed. `None`: the write is refused.
    fn changes(&self, before: &Item) -> Option<Vec<(&Path, Option<Value>)>> {
        if !self.condition.holds(before) {
            return None;
        }
        let Effect::Update(actions) = &self.effect else { return Some(Vec::new()) };
        actions.iter().map(|action| Some((action.path(), action.evaluate(before).ok()?))).collect()
    }
}

/// Sets or removes the value at a path whose parent exists. No write changes a value and its parent: DynamoDB refuses that.
fn change(path: &Path, value: Option<Value>, item: &mut Item) {
    match path.0.split_last() {
        Some((Step::Name(name), [])) => set(item, name, value),
        Some((last, parent)) => match (last, find_mut(parent, item)) {
            (Step::Name(name), Some(Value::M(map))) => set(map, name, value),
            (Step::At(index), Some(Value::L(list))) => match (list.get_mut(*index), value) {
                (Some(place), Some(value)) => *place = value,
                (None, Some(value)) => list.push(value), // DynamoDB appends if the index is past the end
                (_, None) => {}
            },
            _ => {}
        },
        None => {}
    }
}

fn set(map: &mut Item, name: &str, value: Option<Value>) {
    match value {
        Some(value) => map.insert(name.to_owned(), value),
        None => map.remove(name),
    };
}

fn find_mut<'a>(steps: &[Step], item: &'a mut Item) -> Option<&'a mut Value> {
    let (first, rest) = steps.split_first()?;
    let Step::Name(name) = first else { return None };
    let mut found = item.get_mut(name.as_ref())?;
    for step in rest {
        found = match (step, found) {
            (Step::Name(name), Value::M(map)) => map.get_mut(name.as_ref())?,
            (Step::At(index), Value::L(list)) => list.get_mut(*index)?,
            _ => return None,
        };
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key { pk: "A".into(), sk: "B".into() }
    }

    fn item(pairs: &[(&str, Value)]) -> Item {
        let mut item = key().attributes();
        item.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        item
    }

    fn map(pairs: &[(&str, i64)]) -> Value {
        Value::M(pairs.iter().map(|(name, n)| ((*name).to_owned(), num(*n))).collect())
    }

    fn list(numbers: &[i64]) -> Value {
        Value::L(numbers.iter().copied().map(num).collect())
    }

    fn holds(condition: Condition, before: &Item) -> bool {
        Write::check(key(), vec![condition]).apply(Some(before.clone())).is_ok()
    }

    #[test]
    fn comparison_with_absent_attribute_is_false() {
        let before = item(&[("n", num(5))]);
        assert!(
            !holds(eq(attr("m"), 5), &before) && !holds(ne(attr("m"), 5), &before) && !holds(lt(attr("m"), 9), &before)
        );
        assert!(!holds(eq(attr("n"), attr("m")), &before));
        assert!(holds(Condition::Any(vec![absent(attr("m")), eq(attr("n"), 0)]), &before));
    }

    #[test]
    fn numbers_compare_as_numbers_and_not_with_texts() {
        let before = item(&[("n", num(10)), ("s", text("10"))]);
        assert!(holds(lt(attr("n"), 11), &before) && !holds(lt(attr("n"), 9), &before));
        assert!(!holds(lt(attr("s"), 11), &before) && !holds(eq(attr("s"), 10), &before));
        assert!(
            holds(le(attr("n"), 10), &before) && holds(gt(attr("n"), 9), &before) && holds(ge(attr("n"), 10), &before)
        );
    }

    #[test]
    fn actions_read_the_item_before_the_write() {
        let before = item(&[
            ("n", num(1)),
            ("kept", num(1)),
            ("m", map(&[("x", 7)])),
            ("replaced", list(&[1, 2])),
            ("past the end", list(&[1])),
            ("appended", list(&[1])),
        ]);
        let actions = vec![
            Action::Add(attr("n"), 1),
            Action::SetIfAbsent(attr("kept"), num(9)),
            Action::SetIfAbsent(attr("set"), num(9)),
            Action::Count(attr("c"), 3),
            Action::Set(attr("m").key("y"), num(8)),
            Action::Remove(attr("m").key("x")),
            Action::Set(attr("replaced").at(1), num(5)),
            Action::Set(attr("past the end").at(7), num(5)),
            Action::Append(attr("appended"), num(5)),
        ];
        let after = Write::update(key(), vec![eq(attr("n"), 1)], actions).apply(Some(before)).unwrap().unwrap();
        let expected = item(&[
            ("n", num(2)),
            ("kept", num(1)),
            ("set", num(9)),
            ("c", num(3)),
            ("m", map(&[("y", 8)])),
            ("replaced", list(&[1, 5])),
            ("past the end", list(&[1, 5])),
            ("appended", list(&[1, 5])),
        ]);
        assert_eq!(after, expected);
    }

    #[test]
    fn write_with_unfit_action_is_refused() {
        let before = item(&[("n", num(1)), ("m", map(&[("x", i64::MAX)])), ("l", list(&[1]))]);
        for action in [
            Action::Set(attr("absent").key("x"), num(1)),
            Action::Set(attr("n").key("x"), num(1)),
            Action::Set(attr("l").key("x"), num(1)),
            Action::Set(attr("m").at(0), num(1)),
            Action::Remove(attr("absent").key("x")),
            Action::Remove(attr("l").at(0)),
            Action::Add(attr("absent"), 1),
            Action::Add(attr("l"), 1),
            Action::Add(attr("m").key("x"), 1),
            Action::Count(attr("m"), 1),
            Action::Append(attr("n"), num(1)),
        ] {
            let write = Write::update(key(), vec![], vec![Action::Set(attr("set"), num(2)), action]);
            assert_eq!(write.apply(Some(before.clone())), Err(Refused(Some(before.clone()))), "{write:?}");
        }
    }

    #[test]
    fn update_creates_an_item_and_put_new_does_not_replace_one() {
        let made = Write::update(key(), vec![], vec![Action::Count(attr("n"), 1)]).apply(None).unwrap().unwrap();
        assert_eq!(made, item(&[("n", num(1))]));
        assert_eq!(Write::put_new(key(), Item::new()).apply(Some(made.clone())), Err(Refused(Some(made.clone()))));
        assert_eq!(Write::put_new(key(), Item::new()).apply(None), Ok(Some(item(&[]))));
        assert_eq!(Write::delete(key(), vec![eq(attr("n"), 1)]).apply(Some(made)), Ok(None));
    }

    #[test]
    fn size_counts_map_entries() {
        let before = item(&[("m", map(&[("x", 1), ("y", 2)]))]);
        assert!(holds(lt(size(attr("m")), 3), &before) && !holds(lt(size(attr("m")), 2), &before));
        assert!(!holds(lt(size(attr("absent")), 3), &before));
    }
}
