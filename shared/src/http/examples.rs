//! Examples of the API document, composed from the examples of types.
//!
//! A field has its example in `#[schema(example = "ann")]`. A field whose type has its own schema cannot have one;
//! there the struct gives a partial example (`#[schema(example = json!({"name": "Acme"}))]`), which is merged into the
//! composed one. An enum with variants gives partial examples by the `status` of the variant
//! (`#[schema(examples(json!({…})))]`). A route gives one for its response (`example = json!({…})` next to `body`).
//! Times, booleans and closed sets need none. An optional field is in the example if something gives it a value.

use serde_json::{Map, Value, json};
use utoipa::openapi::{
    Content, OpenApi, RefOr, Schema,
    example::ExampleBuilder,
    schema::{ArrayItems, Object},
};

use super::openapi::operations;

/// Adds examples to every request and every success response, and removes the partial examples from the types.
pub(super) fn compose(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    let schemas = serde_json::to_value(&components.schemas).unwrap_or_default();
    components.schemas.values_mut().for_each(finish_schema);
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            body.content.values_mut().for_each(|content| fill(content, &schemas));
        }
        for response in operation.responses.responses.values_mut() {
            let RefOr::T(response) = response else { continue };
            response.content.values_mut().for_each(|content| fill(content, &schemas));
        }
    }
}

fn fill(content: &mut RefOr<Content>, schemas: &Value) {
    let RefOr::T(content) = content else { return };
    if !content.examples.is_empty() {
        return;
    }
    let part = content.example.take().unwrap_or_default();
    let schema = serde_json::to_value(&content.schema).unwrap_or_default();
    for (number, mut value) in all(&schema, schemas).into_iter().enumerate() {
        merge(&mut value, &part);
        let named = value["status"].as_str().map(str::to_owned);
        let name =
            named.unwrap_or_else(|| if number == 0 { "example".to_owned() } else { format!("example{}", number + 1) });
        content.examples.insert(name, ExampleBuilder::new().value(Some(value)).build().into());
    }
}

/// The examples of a schema: several if the schema is one of several.
fn all(schema: &Value, schemas: &Value) -> Vec<Value> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or_default();
        return all(&schemas[name], schemas);
    }
    if let Some(variants) = schema["oneOf"].as_array() {
        let parts = schema["examples"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut values: Vec<_> = variants.iter().flat_map(|variant| all(variant, schemas)).collect();
        for value in &mut values {
            if let Some(part) = parts.iter().find(|part| part["status"] == value["status"]) {
                merge(value, part);
            }
        }
        return values;
    }
    vec![one(schema, schemas)]
}

fn one(schema: &Value, schemas: &Value) -> Value {
    if schema["$ref"].is_string() {
        return all(schema, schemas).into_iter().next().unwrap_or_default();
    }
    let given = &schema["example"];
    if let Some(properties) = schema["properties"].as_object() {
        let mut value = object(schema, properties, schemas);
        merge(&mut value, given);
        return value;
    }
    if !given.is_null() {
        return given.clone();
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("array"), _) => json!([one(&schema["items"], schemas)]),
        (Some("object"), _) => json!({}),
        (Some("boolean"), _) => json!(false),
        (Some("string"), Some("date-time")) => json!("2026-01-15T09:30:00Z"),
        _ => Value::Null,
    }
}

fn object(schema: &Value, properties: &Map<String, Value>, schemas: &Value) -> Value {
    let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.contains(&json!(name)));
    let shown = properties.iter().filter(|(name, property)| required(name) || !property["example"].is_null());
    shown.map(|(name, property)| (name.clone(), one(property, schemas))).collect::<Map<_, _>>().into()
}

fn merge(value: &mut Value, part: &Value) {
    match (value, part) {
        (_, Value::Null) => {}
        (Value::Object(fields), Value::Object(parts)) => {
            for (name, part) in parts {
                merge(fields.entry(name.clone()).or_insert_with(|| json!({})), part);
            }
        }
        (value, part) => *value = part.clone(),
    }
}

/// Keeps the examples of single fields in the form of OpenAPI 3.1. Partial examples are removed, since they are not
/// valid by themselves.
fn finish_schema(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            let Object { example, examples, .. } = object;
            let given = example.take();
            if !object.properties.is_empty() {
                examples.clear();
            } else {
                examples.extend(given);
            }
            object.properties.values_mut().for_each(finish_schema);
        }
        RefOr::T(Schema::Array(array)) => {
            array.examples.extend(array.example.take());
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                finish_schema(items);
            }
        }
        RefOr::T(Schema::OneOf(one)) => {
            (one.example, one.examples) = (None, Vec::new());
            one.items.iter_mut().for_each(finish_schema);
        }
        _ => {}
    }
}
