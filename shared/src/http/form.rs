//! The form of bodies and queries. It is strict, and checked before any work is done.
//!
//! serde keeps the last of two equal keys, accepts an array for a struct, and ignores unknown fields unless a type
//! forbids them. So a request is first read into a checked tree, and types are then read from the tree by a
//! [`Deserializer`] that does none of this.

mod multipart;

use std::{fmt, future::Future, ops::Deref};

use axum::{
    body::Body as HttpBody,
    http::{HeaderMap, header},
};
use http_body_util::BodyExt;
use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess,
        Unexpected, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Number, Value};
use serde_path_to_error::{Path, Segment, Track};
use zeroize::Zeroizing;

use super::{
    call::one,
    problem::{ApiResult, Code, Problem},
};
use crate::store::lists::{Cursor, List};

const LIMIT: usize = 16 * 1024;
const LARGE: usize = 256 * 1024;
/// Bytes that are read of a body that is too large, so that the client can receive the response.
const DRAIN: usize = 1024 * 1024;
const DEPTH: u8 = 8;

/// A type that can be the body of a [`super::ApiRequest`].
pub trait Body: Sized + Send {
    /// Reads the body strictly.
    ///
    /// # Errors
    /// `invalid_request` for a wrong form, `payload_too_large` beyond the size limit.
    fn read(headers: &HeaderMap, body: HttpBody) -> impl Future<Output = ApiResult<Self>> + Send;
}

/// For an operation without a body: the body must be empty.
pub struct NoBody;

/// A JSON body of at most 256 KiB.
pub struct Large<T>(pub T);

/// A JSON body whose fields are all optional: an empty body counts as `{}`.
pub struct OrEmpty<T>(pub T);

/// An `application/x-www-form-urlencoded` body.
pub struct FormBody<T>(pub T);

/// The form of a page. A browser also sends fields that were left empty; they count as absent.
pub struct PageBody<T>(pub T);

/// The form of a page with a file: a `multipart/form-data` body of at most 256 KiB. As in [`PageBody`], empty fields count as
/// absent. A field whose name ends in `[]` is a list and may occur several times.
pub struct UploadBody<T>(pub T);

/// An `application/x-www-form-urlencoded` body of at most 256 KiB that another system makes: unknown fields are
/// ignored.
pub struct LargeForm<T>(pub T);

impl Body for NoBody {
    async fn read(_: &HeaderMap, body: HttpBody) -> ApiResult<Self> {
        if collect(body, LIMIT).await?.is_empty() { Ok(Self) } else { Err(Problem::field("", "must be empty")) }
    }
}

impl<T: DeserializeOwned + Send> Body for T {
    async fn read(headers: &HeaderMap, body: HttpBody) -> ApiResult<Self> {
        let bytes = collect(body, LIMIT).await?;
        content_type(headers, "application/json")?;
        json(&bytes)
    }
}

impl<T: DeserializeOwned + Send> Body for Large<T> {
    async fn read(headers: &HeaderMap, body: HttpBody) -> ApiResult<Self> {
        let bytes = collect(body, LARGE).await?;
        content_type(headers, "application/json")?;
        json(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Send> Body for OrEmpty<T> {
    async fn read(headers: &HeaderMap, body: HttpBody) -> ApiResult<Self> {
        let bytes = collect(body, LIMIT).await?;
        if bytes.is_empty() {
            return json(b"{}").map(Self);
        }
        content_type(headers, "application/json")?;
        json(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Send> Body for FormBody<T> {
    async fn read(headers: &HeaderMap, body: HttpBody) -> ApiResult<Self> {
        form(headers, body, LIMIT, Fields::Strict).await.map(Self)
    }
}

impl<T: DeserializeOwned + Send> Body for PageBody<T> {
    async fn read(headers: &HeaderMap, body: HttpBody) -> ApiResult<Self> {
        form(headers, body, LIMIT, Fields::Filled).await.map(Self)
    }
}

impl<T: DeserializeOwned + Send> Body for UploadBody<T> {
    async fn read(headers: &HeaderMap, body: HttpBody) -> ApiResult<Self> {
        let bytes = collect(body, LARGE).await?;
        let boundary = multipart::boundary(one(headers, header::CONTENT_TYPE.as_str())?.unwrap_or(""));
        let boundary = boundary
            .ok_or_else(|| Problem::field("header:content-type", "must be multipart/form-data with a boundary"))?;
        let fields = multipart::fields(boundary, &String::from_utf8_lossy(&bytes));
        let fields = fields.ok_or_else(|| Problem::field("", "must be multipart/form-data"))?;
        object(fields, Place::Body, Fields::Uploaded).map(Self)
    }
}

impl<T: DeserializeOwned + Send> Body for LargeForm<T> {
    async fn read(headers: &HeaderMap, body: HttpBody) -> ApiResult<Self> {
        form(headers, body, LARGE, Fields::Lenient).await.map(Self)
    }
}

async fn form<T: DeserializeOwned>(headers: &HeaderMap, body: HttpBody, limit: usize, fields: Fields) -> ApiResult<T> {
    let bytes = collect(body, limit).await?;
    content_type(headers, "application/x-www-form-urlencoded")?;
    pairs(std::str::from_utf8(&bytes).map_err(|_| Problem::field("", "must be UTF-8"))?, Place::Body, fields)
}

async fn collect(mut body: HttpBody, limit: usize) -> ApiResult<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::field("", "must be complete"))?;
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

fn content_type(headers: &HeaderMap, expected: &str) -> ApiResult<()> {
    let given = one(headers, header::CONTENT_TYPE.as_str())?.unwrap_or("");
    let (kind, parameter) = given.split_once(';').unwrap_or((given, "charset=utf-8"));
    let parameter = parameter.trim().replace('"', "");
    if kind.trim().eq_ignore_ascii_case(expected) && parameter.eq_ignore_ascii_case("charset=utf-8") {
        Ok(())
    } else {
        Err(Problem::field("header:content-type", format!("must be {expected}, in UTF-8")))
    }
}

/// Reads a JSON object.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    let (mut reader, mut track) = (serde_json::Deserializer::from_slice(bytes), Track::new());
    let read = Checked(DEPTH).deserialize(serde_path_to_error::Deserializer::new(&mut reader, &mut track));
    let sent = |track: &Path| Place::Body.of(names(track).take_while(|name| is_name(name)));
    let value = read.map_err(|error| Problem::field(sent(&track.path()), unreadable(&error)))?;
    reader.end().map_err(|_| Problem::field("", "must be one JSON object, with nothing after it"))?;
    if !value.is_object() {
        return Err(Problem::field("", "must be a JSON object"));
    }
    typed(Strict { value, text: false, ignore_unknown: false }, Place::Body)
}

/// The error of [`Checked`]. serde's own messages may quote what was sent, so they are not passed on.
fn unreadable(error: &serde_json::Error) -> &'static str {
    let text = error.to_string();
    [NULL, NUL, TWICE, DEEP].into_iter().find(|words| text.starts_with(words)).unwrap_or("must be JSON (RFC 8259)")
}

const NULL: &str = "must not be null";
const NUL: &str = "must not contain NUL";
const TWICE: &str = "must occur once";
const DEEP: &str = "must not be nested more than 8 levels deep";

fn typed<T: DeserializeOwned>(strict: Strict, place: Place) -> ApiResult<T> {
    serde_path_to_error::deserialize(strict).map_err(|error| {
        // The path contains only names of fields that the types define, so it can be repeated.
        let field = place.of(names(error.path()).chain(error.inner().member.clone()));
        Problem::field(field, error.into_inner().detail)
    })
}

/// Which part of the request a field is in.
#[derive(Clone, Copy)]
enum Place {
    /// In the body: a JSON Pointer.
    Body,
    /// In the query.
    Query,
}

impl Place {
    /// The name of a field, from the names on the path to it.
    fn of(self, names: impl Iterator<Item = String>) -> String {
        match self {
            Self::Body => names.map(|name| format!("/{name}")).collect(),
            Self::Query => format!("query:{}", names.collect::<Vec<_>>().join(".")),
        }
    }
}

fn names(path: &Path) -> impl Iterator<Item = String> {
    path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    })
}

/// Whether a field name that the client sent may be repeated in the response. An unknown field name may be anything,
/// even a secret in the wrong place.
fn is_name(text: &str) -> bool {
    let like_ours = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=40).contains(&text.len()) && text.bytes().all(like_ours)
}

/// Parses the query. An empty query has no parameters.
pub(super) fn query<T: DeserializeOwned>(text: &str) -> ApiResult<T> {
    pairs(text, Place::Query, Fields::Strict)
}

/// Parses the query of a page, where links may have brought other parameters.
pub(super) fn lenient_query<T: DeserializeOwned>(text: &str) -> ApiResult<T> {
    pairs(text, Place::Query, Fields::Lenient)
}

/// Which pairs of a form or a query count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fields {
    /// All. An unknown field is refused.
    Strict,
    /// All that are not empty. An unknown field is refused.
    Filled,
    /// As [`Self::Filled`], with lists: fields whose name ends in `[]`.
    Uploaded,
    /// All that are known. Other fields are ignored.
    Lenient,
}

fn pairs<T: DeserializeOwned>(text: &str, place: Place, fields: Fields) -> ApiResult<T> {
    // The decoder replaces invalid UTF-8, which is refused below.
    let pairs = serde_urlencoded::from_str(text);
    let pairs =
        pairs.map_err(|_| Problem::field(place.of([].into_iter()), "must be application/x-www-form-urlencoded"))?;
    object(pairs, place, fields)
}

fn object<T: DeserializeOwned>(pairs: Vec<(String, String)>, place: Place, fields: Fields) -> ApiResult<T> {
    let wrong = |name: &str, detail: &'static str| {
        Problem::field(place.of(Some(name).filter(|name| is_name(name)).map(str::to_owned).into_iter()), detail)
    };
    let mut map = Map::new();
    for (name, value) in pairs {
        let odd = |text: &str| text.contains(['\0', char::REPLACEMENT_CHARACTER]);
        let list = name.strip_suffix("[]").filter(|_| fields == Fields::Uploaded);
        let name = list.unwrap_or(&name);
        if odd(name) || odd(&value) {
            return Err(wrong(name, "must be UTF-8 without NUL"));
        }
        if value.is_empty() && matches!(fields, Fields::Filled | Fields::Uploaded) {
            continue;
        }
        match (list, map.get_mut(name)) {
            (Some(_), Some(Value::Array(values))) => values.push(Value::String(value)),
            (_, Some(_)) => return Err(wrong(name, TWICE)),
            (Some(_), None) => drop(map.insert(name.to_owned(), Value::Array(vec![Value::String(value)]))),
            (None, None) => drop(map.insert(name.to_owned(), Value::String(value))),
        }
    }
    let ignore_unknown = fields == Fields::Lenient;
    typed(Strict { value: Value::Object(map), text: true, ignore_unknown }, place)
}

/// Reads a tree with at most this many levels. It refuses duplicate keys, NUL and null.
#[derive(Clone, Copy)]
struct Checked(u8);

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

/// What is wrong with a value. The text does not quote the value.
#[derive(Debug)]
struct FormError {
    /// The field within the value that is missing or not allowed.
    member: Option<String>,
    detail: String,
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
struct Strict {
    value: Value,
    /// The values come from a query or form: numbers and booleans are parsed from text.
    text: bool,
    /// Whether unknown fields are ignored.
    ignore_unknown: bool,
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
                Some(key) => Err(FormError::unknown_field(key, &[])),
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

/// A line of text: 1 to 200 characters, without control characters, and not only spaces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 200)]
pub struct Line(String);

impl TryFrom<String> for Line {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = text.chars().count() <= 200 && !text.trim().is_empty() && !text.contains(char::is_control);
        if fits {
            Ok(Self(text))
        } else {
            Err("must be 1 to 200 characters, no control characters, and not only spaces")
        }
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

/// The maximum number of items in a page: 1 to 100. The default is 50.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "u64")]
#[schema(value_type = u64, minimum = 1, maximum = 100, default = 50)]
pub struct Limit(usize);

impl Limit {
    /// The limit as a number.
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
            1..=100 => usize::try_from(limit).map(Self).map_err(|_| "must be 1 to 100"),
            _ => Err("must be 1 to 100"),
        }
    }
}

/// Parses the cursor of a list, which says where the page begins.
///
/// # Errors
/// `invalid_request` if it is not a cursor of this list.
pub fn cursor(list: List, text: Option<&str>) -> ApiResult<Option<Cursor>> {
    let bad = || Problem::field("query:cursor", "must be a next_cursor of this list");
    text.map(|text| Cursor::parse(list, text).ok_or_else(bad)).transpose()
}

/// The query of a list without filters. A query with filters declares these two fields itself.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// The maximum number of items in a page: 1 to 100. The default is 50.
    #[serde(default)]
    #[param(inline, required = false)]
    pub limit: Limit,
    /// Where the page begins: the `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl Page {
    /// The maximum number of items.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Named {
        name: String,
    }

    #[test]
    fn unknown_field_is_refused_unless_another_system_makes_the_form() {
        let read = |fields| pairs::<Named>("more=1&name=a", Place::Body, fields).map(|it| it.name);
        assert_eq!((read(Fields::Lenient).ok().as_deref(), read(Fields::Strict).is_err()), (Some("a"), true));
    }

    #[test]
    fn only_field_name_of_our_form_is_repeated() {
        let longest = "a".repeat(40);
        assert!(["a", "new_password2", &longest].into_iter().all(is_name));
        let long = "a".repeat(41);
        assert!(!["", "Secret", "a-b", "é", "a/b", &long].into_iter().any(is_name));
        let field = |result: ApiResult<Named>| {
            serde_json::to_value(result.unwrap_err().body("r")).unwrap()["errors"][0]["field"].clone()
        };
        for (json_text, form_text) in [(r#"{"s":1,"name":"a"}"#, "s=1&name=a"), (r#"{"s":null}"#, "s=1&s=1")] {
            let odd = |text: &str| text.replace('s', "S3cret");
            assert_eq!(
                (field(json(json_text.as_bytes())), field(pairs(form_text, Place::Body, Fields::Strict))),
                ("/s".into(), "/s".into())
            );
            assert_eq!(field(json(odd(json_text).as_bytes())), "");
            assert_eq!(field(pairs(&odd(form_text), Place::Body, Fields::Strict)), "");
        }
    }

    #[test]
    fn error_says_what_is_wrong_with_the_whole() {
        let detail = |result: ApiResult<Named>| {
            serde_json::to_value(result.unwrap_err().body("r")).unwrap()["errors"][0]["detail"].clone()
        };
        assert_eq!(detail(json(b"[]")), "must be a JSON object");
        assert_eq!(detail(json(br#"{"\u0000":"a"}"#)), NUL);
        assert_eq!(detail(pairs("%00=a", Place::Body, Fields::Strict)), "must be UTF-8 without NUL");
    }

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
