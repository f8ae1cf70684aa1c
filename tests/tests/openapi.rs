//! `openapi.json` is what the routes say of themselves. `just openapi` writes it anew; the difference is reviewed.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

#[test]
fn the_committed_document_is_that_of_the_routes() {
    let document = vestibule::http::document(local::server::routes());
    let made = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        fs::write(path, made).unwrap();
        return;
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(committed == made, "openapi.json differs from the routes: run `just openapi` and review the difference");
}

#[test]
fn whatever_takes_a_body_describes_it() {
    let paths = tests::document::DOCUMENT["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    let bare: Vec<_> = operations
        .filter(|(name, operation)| {
            let takes = name.starts_with("post") || name.starts_with("patch");
            takes && operation["requestBody"]["content"].as_object().is_none_or(serde_json::Map::is_empty)
        })
        .map(|(name, _)| name)
        .collect();
    assert_eq!(bare, ["post /v1/mfa/recovery-token"]);
}
