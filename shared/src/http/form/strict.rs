//! The second step: the types of a request, read strictly from a checked tree.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        self, Error as _, Expected, IntoDeserializer, Unexpected, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::Value;

use super::{checked::TWICE, is_name};

/// What is wrong with a value. The text does not quote the value.
#[derive(Debug)]
pub(super) struct FormError {
    /// The field within the value that is missing or not allowed.
    pub(super) member: Option<String>,
    pub(super) detail: String,
}

impl FormError {
    fn new(member: Option<&str>, detail: impl Into<String>) -> Self {
        Self { member: member.map(str::to_owned), detail: detail.into() }
    }
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for FormError {}

impl de::Error for FormError {
    /// Errors of the request's own types, whose texts quote nothing.
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(None, text.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let detail = match expected.to_string().as_str() {
            "u8" | "u16" | "u32" | "u64" | "usize" => "must be a whole number".to_owned(),
            "a sequence" => "must be a list".to_owned(),
            expected => format!("must be {expected}"),
        };
        Self::new(None, detail)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::new(None, format!("must have the length of {expected}"))
    }

    fn unknown_variant(_: &str, names: &'static [&'static str]) -> Self {
        Self::new(None, format!("must be one of {}", names.join(", ")))
    }

    fn unknown_field(name: &str, _: &'static [&'static str]) -> Self {
        Self::new(Some(name).filter(|name| is_name(name)), "is not a field of this request")
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(Some(name), "is missing")
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::new(Some(name), TWICE)
    }
}

/// Deserializes types from a checked tree: structs only from objects, without unknown fields. It does not support maps
/// with free keys, nor `flatten`, which would let unknown fields pass.
pub(super) struct Strict {
    pub(super) value: Value,
    /// The values come from a query or form: numbers and booleans are parsed from text.
    pub(super) text: bool,
    /// Whether unknown fields are ignored.
    pub(super) ignore_unknown: bool,
}

impl Strict {
    /// A number or boolean; in a query or form it is parsed from text.
    fn scalar(self) -> Self {
        let value = match &self.value {
            Value::String(word) if self.text => match word.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                digits => digits
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
                    .then(|| digits.parse().ok())
                    .flatten()
                    .map_or(self.value, |number: u64| number.into()),
            },
            _ => self.value,
        };
        Self { value, text: self.text, ignore_unknown: self.ignore_unknown }
    }
}

impl<'de> IntoDeserializer<'de, FormError> for Strict {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! scalars {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
            self.scalar().deserialize_any(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Strict {
    type Error = FormError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        match self.value {
            Value::Array(list) => {
                let items = list.into_iter().map(|value| Self { value, text: self.text, ignore_unknown: false });
                let mut items = SeqDeserializer::new(items);
                let read = visitor.visit_seq(&mut items)?;
                items.end().map(|()| read)
            }
            Value::Object(_) => Err(FormError::invalid_type(Unexpected::Map, &visitor)),
            Value::Null => Err(FormError::invalid_type(Unexpected::Unit, &visitor)),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::String(text) => visitor.visit_string(text),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormError> {
        let Value::Object(map) = self.value else { return Err(FormError::new(None, "must be an object")) };
        if let Some(key) = map.keys().find(|key| !self.ignore_unknown && !fields.contains(&key.as_str())) {
            return Err(FormError::unknown_field(key, fields));
        }
        visitor.visit_map(MapDeserializer::new(
            map.into_iter().map(|(key, value)| (key, Self { value, text: self.text, ignore_unknown: false })),
        ))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, FormError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormError> {
        match self.value {
            Value::String(name) => visitor.visit_enum(name.into_deserializer()),
            _ => Err(FormError::unknown_variant("", names)),
        }
    }

    /// `()` counts as a struct without fields.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        match self.value {
            Value::Object(map) => match map.keys().next() {
                None => visitor.visit_unit(),
                Some(key) if !self.ignore_unknown => Err(FormError::unknown_field(key, &[])),
                Some(_) => visitor.visit_unit(),
            },
            _ => Err(FormError::new(None, "must be an object")),
        }
    }

    scalars! { deserialize_bool deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i8 deserialize_i16
    deserialize_i32 deserialize_i64 }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}
