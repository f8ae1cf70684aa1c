//! The form of bodies and queries: strict, and decided before any work is done.
//!
//! serde keeps the last of two equal keys, takes an array for a struct, and lets unknown fields pass where nobody forbade
//! it. So everything is read into a checked tree first, and types are read from that by a [`Deserializer`] that knows none
//! of these kindnesses.

use std::{fmt, future::Future, ops::Deref};

use axum::{
    body::Body as HttpBody,
    http::{HeaderMap, header},
};
use http_body_util::BodyExt;
use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, Map, Number, Value};
use zeroize::Zeroizing;

use super::{
    call::one,
    problem::{Answer, Code, Problem},
};

const LIMIT: usize = 16 * 1024;
const LARGE: usize = 256 * 1024;
/// How much of a body that is too large is read, so that the client gets to read the answer.
const DRAIN: usize = 1024 * 1024;
const DEPTH: u8 = 8;

/// What can be the body of a [`super::Call`].
pub trait Body: Sized + Send {
    /// Reads it, strictly.
    ///
    /// # Errors
    /// `invalid_request`, `payload_too_large`.
    fn read(headers: &HeaderMap, body: HttpBody) -> impl Future<Output = Answer<Self>> + Send;
}

/// An endpoint that takes no body: one that comes has to be empty.
pub struct NoBody;

/// A JSON body of at most 256 KiB.
pub struct Large<T>(pub T);

/// A JSON body all of whose fields are optional: an empty one is `{}`.
pub struct OrEmpty<T>(pub T);

/// An `application/x-www-form-urlencoded` body.
pub struct FormBody<T>(pub T);

/// One of at most 256 KiB, of another party's making: further fields are ignored.
pub struct LargeForm<T>(pub T);

impl Body for NoBody {
    async fn read(_: &HeaderMap, body: HttpBody) -> Answer<Self> {
        if collect(body, LIMIT).await?.is_empty() { Ok(Self) } else { Err(invalid("this request takes no body")) }
    }
}

impl<T: DeserializeOwned + Send> Body for T {
    async fn read(headers: &HeaderMap, body: HttpBody) -> Answer<Self> {
        let bytes = collect(body, LIMIT).await?;
        content_type(headers, "application/json")?;
        json(&bytes)
    }
}

impl<T: DeserializeOwned + Send> Body for Large<T> {
    async fn read(headers: &HeaderMap, body: HttpBody) -> Answer<Self> {
        let bytes = collect(body, LARGE).await?;
        content_type(headers, "application/json")?;
        json(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Send> Body for OrEmpty<T> {
    async fn read(headers: &HeaderMap, body: HttpBody) -> Answer<Self> {
        let bytes = collect(body, LIMIT).await?;
        if bytes.is_empty() {
            return json(b"{}").map(Self);
        }
        content_type(headers, "application/json")?;
        json(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Send> Body for FormBody<T> {
    async fn read(headers: &HeaderMap, body: HttpBody) -> Answer<Self> {
        form(headers, body, LIMIT, false).await.map(Self)
    }
}

impl<T: DeserializeOwned + Send> Body for LargeForm<T> {
    async fn read(headers: &HeaderMap, body: HttpBody) -> Answer<Self> {
        form(headers, body, LARGE, true).await.map(Self)
    }
}

async fn form<T: DeserializeOwned>(headers: &HeaderMap, body: HttpBody, limit: usize, more: bool) -> Answer<T> {
    let bytes = collect(body, limit).await?;
    content_type(headers, "application/x-www-form-urlencoded")?;
    pairs(std::str::from_utf8(&bytes).map_err(|_| invalid("the body is not UTF-8"))?, more)
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(Code::InvalidRequest).detail(detail)
}

async fn collect(mut body: HttpBody, limit: usize) -> Answer<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| invalid("the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen > DRAIN {
            break;
        }
        if seen <= limit {
            bytes.extend_from_slice(&data);
        }
    }
    if seen > limit { Err(Code::PayloadTooLarge.into()) } else { Ok(bytes) }
}

fn content_type(headers: &HeaderMap, wanted: &str) -> Answer<()> {
    let given = one(headers, header::CONTENT_TYPE.as_str())?.unwrap_or("");
    let (kind, parameter) = given.split_once(';').unwrap_or((given, "charset=utf-8"));
    let parameter = parameter.trim().replace('"', "");
    if kind.trim().eq_ignore_ascii_case(wanted) && parameter.eq_ignore_ascii_case("charset=utf-8") {
        Ok(())
    } else {
        Err(Problem::new(Code::InvalidRequest).detail(format!("the body has to be {wanted}")))
    }
}

/// Reads a JSON object.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    // serde's words may quote what was sent, so none of them is passed on.
    let malformed = |_: Error| invalid("the body is not the JSON object that this request takes");
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value =
        Checked(DEPTH).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value)).map_err(malformed)?;
    if !value.is_object() {
        return Err(malformed(Error::custom("no object")));
    }
    T::deserialize(Strict { value, text: false, more: false }).map_err(malformed)
}

/// Reads the query; an empty one is none.
pub(super) fn query<T: DeserializeOwned>(text: &str) -> Answer<T> {
    pairs(text, false)
}

fn pairs<T: DeserializeOwned>(text: &str, more: bool) -> Answer<T> {
    let malformed = || invalid("a parameter is unknown, malformed or comes twice");
    // Decoding replaces what is not UTF-8; here that is refused.
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text).map_err(|_| malformed())?;
    let mut map = Map::new();
    for (name, value) in pairs {
        let odd = |text: &str| text.contains(['\0', char::REPLACEMENT_CHARACTER]);
        if odd(&name) || odd(&value) || map.insert(name, Value::String(value)).is_some() {
            return Err(malformed());
        }
    }
    T::deserialize(Strict { value: Value::Object(map), text: true, more }).map_err(|_| malformed())
}

/// Reads a tree with at most so many levels: no key twice, no NUL, no null.
#[derive(Clone, Copy)]
struct Checked(u8);

impl Checked {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("nested too deeply"))
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

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        if text.contains('\0') { Err(E::custom("NUL")) } else { Ok(Value::String(text.to_owned())) }
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
            let value = entries.next_value_seed(inner)?;
            if key.contains('\0') || map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is malformed or comes twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

/// Reads types from a checked tree: structs from objects alone, and no field that the struct does not have. Maps of free
/// keys do not read, nor does `flatten`, which would let unknown fields pass.
struct Strict {
    value: Value,
    /// The values are text, of a query or form: numbers and booleans are read from it.
    text: bool,
    /// Whether further fields are ignored.
    more: bool,
}

impl Strict {
    fn scalar(self) -> Result<Value, Error> {
        let Value::String(word) = &self.value else { return Ok(self.value) };
        match word.as_str() {
            _ if !self.text => {}
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                return digits.parse::<u64>().map(Value::from).map_err(Error::custom);
            }
            _ => {}
        }
        Ok(self.value)
    }
}

impl<'de> IntoDeserializer<'de, Error> for Strict {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! scalars {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.scalar()?.$method(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Strict {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Array(list) => {
                let items = list.into_iter().map(|value| Self { value, text: self.text, more: false });
                let mut items = SeqDeserializer::new(items);
                let read = visitor.visit_seq(&mut items)?;
                items.end().map(|()| read)
            }
            Value::Object(_) => Err(Error::custom("an object where none belongs")),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Value::Object(map) = self.value else { return Err(Error::custom("no object")) };
        if !self.more && map.keys().any(|key| !fields.contains(&key.as_str())) {
            return Err(Error::custom("unknown field"));
        }
        visitor.visit_map(MapDeserializer::new(
            map.into_iter().map(|(key, value)| (key, Self { value, text: self.text, more: false })),
        ))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::String(name) => visitor.visit_enum(name.into_deserializer()),
            _ => Err(Error::custom("no name")),
        }
    }

    /// `()` is the struct without fields.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Object(map) if map.is_empty() => visitor.visit_unit(),
            _ => Err(Error::custom("unknown field")),
        }
    }

    scalars! { deserialize_bool deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i8 deserialize_i16
    deserialize_i32 deserialize_i64 }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// A line of text for people: 1 to 200 characters, without control characters, and not only spaces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 200)]
pub struct Line(String);

impl TryFrom<String> for Line {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = text.chars().count() <= 200 && !text.trim().is_empty() && !text.contains(char::is_control);
        if fits { Ok(Self(text)) } else { Err("no line of 1 to 200 characters") }
    }
}

impl Deref for Line {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Line> for String {
    fn from(line: Line) -> Self {
        line.0
    }
}

/// The most items of a page: 1 to 100. Without it: 50.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "u64")]
#[schema(value_type = u64, minimum = 1, maximum = 100, default = 50)]
pub struct Limit(usize);

impl Limit {
    /// The number.
    #[must_use]
    pub fn get(self) -> usize {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl TryFrom<u64> for Limit {
    type Error = &'static str;
    fn try_from(limit: u64) -> Result<Self, Self::Error> {
        match limit {
            1..=100 => usize::try_from(limit).map(Self).map_err(|_| "no limit"),
            _ => Err("a limit is 1 to 100"),
        }
    }
}

/// The query of a list without filters. A query with filters has these two fields of its own.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// The most items of a page: 1 to 100. Without it: 50.
    #[serde(default)]
    #[param(inline, required = false)]
    pub limit: Limit,
    /// Where the page begins: the `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl Page {
    /// How many items at most.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// serde_json's own bound is 128.
    #[test]
    fn nesting_has_a_bound_of_its_own() {
        let read = |levels: usize| {
            let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let mut reader = serde_json::Deserializer::from_str(&text);
            Checked(DEPTH).deserialize(&mut reader).is_ok()
        };
        assert!(read(usize::from(DEPTH)) && !read(usize::from(DEPTH) + 1));
    }
}
