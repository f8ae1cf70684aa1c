//! Items as JSON, in the form of the DynamoDB API: `{"PK": {"S": "T#acme"}, "n": {"N": "1"}}`.
//!
//! `Value` can read this form too, but allocates a text for the name of each value's type. Every write decodes an item of hundreds of
//! values, so here serde's own form of an enum reads it (docs/performance.md).

use std::fmt;

use data_encoding::BASE64;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use vestibule::store::{
    StoreError,
    write::{Item, Value},
};

/// # Errors
/// [`StoreError::Corrupt`].
pub(super) fn decode(bytes: &[u8]) -> Result<Item, StoreError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    item(&mut json).and_then(|item| json.end().map(|()| item)).map_err(|error| corrupt(&error))
}

/// # Errors
/// [`StoreError::Corrupt`]. No item that the store writes has one.
pub(super) fn encode(item: &Item) -> Result<Box<RawValue>, StoreError> {
    serde_json::value::to_raw_value(item).map_err(|error| corrupt(&error))
}

/// The position and the category of the error. Nothing of the item, because it can hold secrets that must not be logged.
fn corrupt(error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt(format!("line {}, column {}: {:?}", error.line(), error.column(), error.classify()))
}

#[derive(Deserialize)]
struct Stored(#[serde(with = "StoredValue")] Value);

/// The types of values that the store writes.
#[derive(Deserialize)]
#[serde(remote = "Value", rename_all = "UPPERCASE")]
enum StoredValue {
    N(String),
    S(String),
    Bool(bool),
    #[serde(deserialize_with = "bytes")]
    B(Vec<u8>),
    Null(bool),
    #[serde(deserialize_with = "item")]
    M(Item),
    #[serde(deserialize_with = "list")]
    L(Vec<Value>),
    Ss(Vec<String>),
}

fn item<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Item, D::Error> {
    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = Item;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a map of values")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Item, A::Error> {
            let mut item = Item::new();
            while let Some((name, Stored(value))) = entries.next_entry()? {
                item.insert(name, value);
            }
            Ok(item)
        }
    }

    deserializer.deserialize_map(Entries)
}

fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
    Ok(Vec::<Stored>::deserialize(deserializer)?.into_iter().map(|Stored(value)| value).collect())
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64.decode(<&str>::deserialize(deserializer)?.as_bytes()).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_item_decodes_to_the_same_item() {
        let item = Item::from([
            ("PK".to_owned(), Value::S("p \" \u{e9}\n".to_owned())),
            ("n".to_owned(), Value::N("-7".to_owned())),
            ("b".to_owned(), Value::B(vec![0, 255, 7])),
            ("yes".to_owned(), Value::Bool(true)),
            ("null".to_owned(), Value::Null(true)),
            ("m".to_owned(), Value::M(Item::from([("b".to_owned(), Value::B(vec![1]))]))),
            ("l".to_owned(), Value::L(vec![Value::N("1".to_owned()), Value::L(vec![])])),
            ("e".to_owned(), Value::M(Item::new())),
            ("texts".to_owned(), Value::Ss(vec!["a".to_owned(), "b".to_owned()])),
        ]);
        assert_eq!(decode(encode(&item).unwrap().get().as_bytes()).unwrap(), item);
    }

    #[test]
    fn damaged_item_is_refused_without_its_content() {
        let whole = r#"{"sec":{"B":"c2VjcmV0"}}"#;
        assert!(decode(whole.as_bytes()).is_ok());
        for damaged in [
            &whole[..whole.len() - 1],
            r#"{"sec":{"B":"c2VjcmV0="}}"#,
            r#"{"sec":{"X":"c2VjcmV0"}}"#,
            r#"{"sec":{"B":"c2VjcmV0","S":""}}"#,
            r#"{"sec":{}}"#,
            r#"{"sec":{"B":"c2VjcmV0"}} {}"#,
            r#"["c2VjcmV0"]"#,
        ] {
            let Err(StoreError::Corrupt(error)) = decode(damaged.as_bytes()) else { panic!("{damaged} is an item") };
            assert!(error.starts_with("line 1, column ") && !error.contains("c2VjcmV0"), "{damaged}: {error}");
        }
    }
}
