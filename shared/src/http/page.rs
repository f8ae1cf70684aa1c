//! Pages: what a person sees and does in a browser.
//!
//! A page belongs to the function that owns the operation, so it has the rights of that function and no others. Its paths
//! are outside of `/v1`. It authenticates by cookies, which the API below `/v1` ignores, and calls the same functions as the
//! API. Every page works without scripts: a form is a POST, and the answer to a POST that succeeds is a redirect, except
//! where it shows a secret once.

mod asset;
mod brand;
mod cookies;
mod form;
mod layout;
mod origin;
mod request;
mod table;

pub use asset::{Asset, ICON, SCRIPT, STYLE, accent_style, logo_file, logo_named, logo_path};
pub use cookies::Cookies;
pub(super) use cookies::{cookie, has_pre_session, language};
pub use form::{Field, FormErrors, choice_name};
pub(super) use layout::problem_page;
pub use layout::{Navigation, PageError, PageResult, redirect, redirect_to_enrolment};
pub use origin::{is_own_path, own_path, with_query, with_return_to};
pub use request::{Page, PageForm, PageRequest, PageUpload};
pub use table::{CSV_FORMULA, Csv, CsvRow, NotCsv, csv_line, csv_reader, csv_row};

pub use crate::text::Text;
