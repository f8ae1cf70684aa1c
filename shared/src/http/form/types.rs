//! Types of fields that several requests have.

use std::ops::Deref;

use serde::Deserialize;

use crate::{
    http::problem::{ApiResult, Problem},
    store::lists::{Cursor, List},
};

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
