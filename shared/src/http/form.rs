//! The form of bodies and queries. It is strict, and checked before any work is done.
//!
//! serde keeps the last of two equal keys, accepts an array for a struct, and ignores unknown fields unless a type
//! forbids them. So a request is first read into a checked tree, and types are then read from the tree by a
//! [`Deserializer`] that does none of this.

use std::future::Future;

use axum::{
    body::Body as HttpBody,
    http::{HeaderMap, header},
};
use http_body_util::BodyExt;
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment, Track};
use zeroize::Zeroizing;

use super::{
    call::one,
    problem::{ApiResult, Code, Problem},
};

mod checked;
mod multipart;
mod strict;
mod types;

use checked::{Checked, TWICE, unreadable};
use strict::Strict;
pub use types::{Limit, Line, Page, cursor};

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
/// absent. A field whose name ends in `[]` is a list and may occur several times; one whose name ends in `[base64]` need not be
/// text, and the form has it encoded as Base64.
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
        let fields = multipart::fields(boundary, &bytes);
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

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

    #[derive(Deserialize)]
    struct Several {
        names: Vec<String>,
    }

    #[test]
    fn only_a_form_with_a_file_has_lists() {
        let read = |fields| pairs::<Several>("names[]=a&names[]=b", Place::Body, fields).map(|it| it.names).ok();
        assert_eq!(read(Fields::Uploaded), Some(vec!["a".to_owned(), "b".to_owned()]));
        for fields in [Fields::Strict, Fields::Filled, Fields::Lenient] {
            assert_eq!(read(fields), None);
        }
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
        assert_eq!(detail(json(br#"{"\u0000":"a"}"#)), "must not contain NUL");
        assert_eq!(detail(pairs("%00=a", Place::Body, Fields::Strict)), "must be UTF-8 without NUL");
    }
}
