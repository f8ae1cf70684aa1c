//! `openapi.json` is generated from the routes. `just openapi` regenerates it; review the difference.
//!
//! The document is public documentation, and clients are generated from it. These tests check what that requires; each
//! message names the operation or schema and what it lacks.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::{Value, json};
use tests::document::{DOCUMENT, faults};
use vestibule::audit::AuditAction;

#[test]
fn committed_document_matches_the_routes() {
    let document = vestibule::http::document(local::server::routes());
    let generated = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        fs::write(path, generated).unwrap();
        return;
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == generated,
        "openapi.json differs from the routes: run `just openapi` and review the difference"
    );
}

/// Each operation, as method and path.
fn operations() -> impl Iterator<Item = (String, &'static Value)> {
    DOCUMENT["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
    })
}

fn responses(operation: &'static Value) -> impl Iterator<Item = (&'static String, &'static Value)> {
    operation["responses"].as_object().unwrap().iter()
}

fn entries(value: &'static Value) -> impl Iterator<Item = (&'static String, &'static Value)> {
    value.as_object().into_iter().flatten()
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => value,
    }
}

/// Whether the description contains a sentence.
fn is_described(value: &'static Value) -> bool {
    let said = |value: &Value| value["description"].as_str().is_some_and(|text| text.trim().len() > 5);
    said(value) || said(resolve(value))
}

#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults of the API document:\n{}\n", faults.len(), faults.join("\n"));
}

#[test]
fn every_request_body_is_described() {
    let missing: Vec<_> = operations()
        .filter(|(name, operation)| {
            let takes = name.starts_with("POST") || name.starts_with("PATCH");
            takes && operation["requestBody"]["content"].as_object().is_none_or(serde_json::Map::is_empty)
        })
        .map(|(name, _)| name)
        .collect();
    let empty = ["POST /v1/admin/users/{id}/invitation", "POST /v1/email-verifications", "POST /v1/mfa/recovery-token"];
    assert_eq!(missing, empty);
}

#[test]
fn operation_ids_are_unique() {
    let (mut seen, mut faults) = (BTreeMap::new(), Vec::new());
    for (name, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap_or_default();
        let camel = id.starts_with(|c: char| c.is_ascii_lowercase()) && id.chars().all(|c| c.is_ascii_alphanumeric());
        if !camel {
            faults.push(format!("{name}: operation_id `{id}` is not in camelCase"));
        }
        if let Some(other) = seen.insert(id, name.clone()) {
            faults.push(format!("{name}: operation_id `{id}` is that of {other} too"));
        }
    }
    assert_none(&faults);
}

#[test]
fn operations_parameters_and_responses_are_described() {
    let mut faults = Vec::new();
    for (name, operation) in operations() {
        let summary = operation["summary"].as_str().unwrap_or_default();
        if summary.is_empty() || summary.len() > 60 {
            faults.push(format!(
                "{name}: the first paragraph of its comment is the summary, 1 to 60 characters: {summary:?}"
            ));
        }
        if !is_described(operation) {
            faults.push(format!("{name}: no description (a second paragraph of its comment)"));
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if !is_described(parameter) {
                faults.push(format!("{name}: parameter {} has no description", parameter["name"]));
            }
        }
        for (status, response) in responses(operation) {
            if !is_described(response) {
                faults.push(format!("{name}: response {status} has no description, or names no known code"));
            }
            for (header, it) in entries(&response["headers"]).filter(|(_, it)| !is_described(it)) {
                faults.push(format!("{name}: header {header} of response {status} has no description: {it}"));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn tags_servers_and_security_schemes_are_declared_and_described() {
    let mut faults = Vec::new();
    let tags = DOCUMENT["tags"].as_array().cloned().unwrap_or_default();
    let declared: BTreeSet<_> = tags.iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let used: BTreeSet<_> =
        operations().flat_map(|(_, it)| it["tags"].as_array().unwrap()).map(|tag| tag.as_str().unwrap()).collect();
    faults.extend(used.difference(&declared).map(|tag| format!("tag {tag} is not declared (TAGS in http/openapi.rs)")));
    faults.extend(declared.difference(&used).map(|tag| format!("tag {tag} is declared, and no operation has it")));
    let servers = DOCUMENT["servers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if servers.is_empty() {
        faults.push("no server".to_owned());
    }
    let schemes = entries(&DOCUMENT["components"]["securitySchemes"]);
    let missing = DOCUMENT["tags"].as_array().into_iter().flatten().chain(servers).chain(schemes.map(|(_, it)| it));
    faults.extend(missing.filter(|it| !is_described(it)).map(|it| format!("no description: {it}")));
    for (name, operation) in operations() {
        let Some(schemes_of_operation) = operation["security"].as_array() else {
            faults.push(format!("{name}: does not say what token it needs"));
            continue;
        };
        for scheme in schemes_of_operation.iter().flat_map(|one| one.as_object().unwrap().keys()) {
            if DOCUMENT["components"]["securitySchemes"][scheme].is_null() {
                faults.push(format!("{name}: security scheme {scheme} is not declared"));
            }
        }
    }
    assert_none(&faults);
}

/// Calls `visit` with a schema and all schemas within it, once per name; references are followed.
fn walk(name: &str, schema: &'static Value, seen: &mut BTreeSet<String>, visit: &mut dyn FnMut(&str, &'static Value)) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        if seen.insert(name.to_owned()) {
            walk(name, resolve(schema), seen, visit);
        }
        return;
    }
    visit(name, schema);
    for (field, property) in entries(&schema["properties"]) {
        walk(&format!("{name}.{field}"), property, seen, visit);
    }
    for (number, variant) in schema["oneOf"].as_array().into_iter().flatten().enumerate() {
        walk(&format!("{name}[{number}]"), variant, seen, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{name}[]"), &schema["items"], seen, visit);
    }
}

#[test]
fn schemas_and_their_fields_are_described() {
    let mut faults = Vec::new();
    for (name, schema) in entries(&DOCUMENT["components"]["schemas"]) {
        if !is_described(schema) {
            faults.push(format!("schema {name}: no description (a comment at the type)"));
        }
        let mut seen = BTreeSet::new();
        walk(name, schema, &mut seen, &mut |name, schema| {
            let missing = entries(&schema["properties"]).filter(|(_, it)| !is_described(it));
            faults.extend(missing.map(|(field, _)| format!("schema {name}: field `{field}` has no description")));
        });
    }
    faults.sort();
    faults.dedup();
    assert_none(&faults);
}

/// The schema names that a source file derives.
fn derived(text: &str) -> Vec<String> {
    let word = |text: &str| text.trim_start().split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned();
    let mut names = Vec::new();
    for rest in text.split("ToSchema").skip(1).filter(|rest| rest.starts_with([')', ','])) {
        let Some(declared) = ["struct ", "enum "].iter().filter_map(|it| Some((rest.find(it)?, it.len()))).min() else {
            continue;
        };
        let (attributes, declared) = (&rest[..declared.0], &rest[declared.0 + declared.1..]);
        names.push(attributes.split_once("schema(as = ").map_or_else(|| word(declared), |(_, name)| word(name)));
    }
    // The name of a type in a macro is a macro parameter.
    names.retain(|name| !name.is_empty());
    names
}

/// Of two types with one schema name, one would silently replace the other in the document.
#[test]
fn each_schema_is_one_type() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = vec![root.join("shared/src"), root.join("functions")];
    let (mut seen, mut faults) = (BTreeMap::new(), Vec::new());
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            for name in derived(&fs::read_to_string(&path).unwrap()) {
                if let Some(other) = seen.insert(name.clone(), path.clone()) {
                    faults.push(format!("schema {name} is a type of {} and of {}", path.display(), other.display()));
                }
            }
        }
    }
    let documented: BTreeSet<_> = entries(&DOCUMENT["components"]["schemas"]).map(|(name, _)| name.clone()).collect();
    let found = documented.intersection(&seen.into_keys().collect()).count();
    assert!(found + 10 > documented.len(), "{found} of {} were found", documented.len());
    assert_none(&faults);
}

/// The server refuses null, so optional fields are omitted.
#[test]
fn no_request_accepts_null() {
    let mut faults = BTreeSet::new();
    for (name, operation) in operations() {
        let bodies = entries(&operation["requestBody"]["content"]).map(|(_, content)| content);
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        for taken in bodies.chain(parameters) {
            walk(&name, &taken["schema"], &mut BTreeSet::new(), &mut |name, schema| {
                let takes =
                    |of: &Value| *of == "null" || of.as_array().is_some_and(|types| types.contains(&json!("null")));
                if takes(&schema["type"]) {
                    faults.insert(format!("{name} takes null"));
                }
            });
        }
    }
    assert_none(&faults.into_iter().collect::<Vec<_>>());
}

/// The server does not answer with null where it can omit a field.
#[test]
fn only_required_fields_can_be_null() {
    let mut faults = BTreeSet::new();
    for (name, schema) in entries(&DOCUMENT["components"]["schemas"]) {
        walk(name, schema, &mut BTreeSet::new(), &mut |name, schema| {
            for (field, property) in entries(&schema["properties"]) {
                let required = schema["required"].as_array().is_some_and(|names| names.contains(&json!(field)));
                if !required && property.to_string().contains("\"null\"") {
                    faults.insert(format!("schema {name}: `{field}` is optional, and can be null"));
                }
            }
        });
    }
    assert_none(&faults.into_iter().collect::<Vec<_>>());
    let actor = &DOCUMENT["components"]["schemas"]["AuditDto"]["properties"]["actor"]["type"];
    assert_eq!(*actor, json!(["string", "null"]));
}

#[test]
fn closed_sets_are_enums() {
    let values = |schema: &str| {
        let values = DOCUMENT["components"]["schemas"][schema]["enum"].as_array().cloned().unwrap_or_default();
        values.into_iter().map(|value| value.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let actions: BTreeSet<_> = AuditAction::ALL.iter().map(|action| action.as_str().to_owned()).collect();
    assert_eq!(values("Action"), actions);
    let action = &DOCUMENT["components"]["schemas"]["AuditDto"]["properties"]["action"];
    assert_eq!(action["$ref"], "#/components/schemas/Action");
    for (schema, field) in [("StatusAnswer", "method"), ("StartAnswer", "algorithm"), ("ActiveDto", "token_type")] {
        let field = resolve(&DOCUMENT["components"]["schemas"][schema]["properties"][field]);
        assert_eq!(field["enum"].as_array().map(Vec::len), Some(1), "{schema}: {field}");
    }
}

#[test]
fn each_value_of_a_closed_set_is_explained() {
    let mut faults = Vec::new();
    for (name, schema) in entries(&DOCUMENT["components"]["schemas"]) {
        let values = schema["enum"].as_array().filter(|values| values.len() > 1);
        for value in values.into_iter().flatten().filter_map(Value::as_str) {
            if !schema["description"].as_str().unwrap_or_default().contains(&format!("`{value}`")) {
                faults.push(format!("schema {name}: its comment does not say what `{value}` means"));
            }
        }
    }
    assert_none(&faults);
}

fn check_examples(what: &str, content: &'static Value, faulty: &mut Vec<String>) {
    let examples: Vec<_> = entries(&content["examples"]).collect();
    if examples.is_empty() && content["example"].is_null() {
        faulty.push(format!("{what}: no example"));
    }
    let given = examples.iter().map(|(_, it)| &resolve(it)["value"]).chain(content.get("example"));
    for example in given {
        let found = faults(&content["schema"], example);
        faulty
            .extend(found.iter().map(|fault| format!("{what}: {fault} (give the field an example: http/examples.rs)")));
    }
}

#[test]
fn every_request_and_response_has_valid_examples() {
    let mut faults = Vec::new();
    for (name, operation) in operations() {
        for (kind, content) in entries(&operation["requestBody"]["content"]) {
            check_examples(&format!("{name}: request as {kind}"), content, &mut faults);
        }
        for (status, response) in responses(operation) {
            for (kind, content) in entries(&response["content"]) {
                check_examples(&format!("{name}: {status} as {kind}"), content, &mut faults);
            }
        }
    }
    assert_none(&faults);
}

/// An example of a problem has a status that the response can have.
#[test]
fn examples_of_problems_have_the_status_of_their_response() {
    let mut faults = Vec::new();
    for (name, operation) in operations() {
        for (status, response) in responses(operation) {
            for (code, example) in entries(&response["content"]["application/problem+json"]["examples"]) {
                let value = &resolve(example)["value"];
                if value["status"].as_u64() != status.parse().ok() || value["code"] != code.as_str() {
                    faults.push(format!("{name}: {status} names `{code}`, whose status is {}", value["status"]));
                }
            }
        }
    }
    assert_none(&faults);
}
