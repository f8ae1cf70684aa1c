//! The first step: any JSON, read into a checked tree.

use std::fmt;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

const NULL: &str = "must not be null";
const NUL: &str = "must not contain NUL";
pub(super) const TWICE: &str = "must occur once";
const DEEP: &str = "must not be nested more than 8 levels deep";

/// The error of [`Checked`]. serde's own messages may quote what was sent, so they are not passed on.
pub(super) fn unreadable(error: &serde_json::Error) -> &'static str {
    let text = error.to_string();
    [NULL, NUL, TWICE, DEEP].into_iter().find(|words| text.starts_with(words)).unwrap_or("must be JSON (RFC 8259)")
}

/// Reads a tree with at most this many levels. It refuses duplicate keys, NUL and null.
#[derive(Clone, Copy)]
pub(super) struct Checked(pub(super) u8);

impl Checked {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom(DEEP))
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value other than null")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Err(E::custom(NULL))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        if text.contains('\0') { Err(E::custom(NUL)) } else { Ok(Value::String(text.to_owned())) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                entries.next_value_seed(Refused(TWICE))?;
            }
            let value = entries.next_value_seed(inner)?;
            if key.contains('\0') {
                return Err(A::Error::custom(NUL));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Refuses a value, with this error.
struct Refused(&'static str);

impl<'de> DeserializeSeed<'de> for Refused {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(D::Error::custom(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::DEPTH, *};

    /// serde_json's own limit is 128 levels.
    #[test]
    fn nesting_is_limited_to_8_levels() {
        let read = |levels: usize| {
            let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let mut reader = serde_json::Deserializer::from_str(&text);
            Checked(DEPTH).deserialize(&mut reader).is_ok()
        };
        assert!(read(usize::from(DEPTH)) && !read(usize::from(DEPTH) + 1));
    }
}
