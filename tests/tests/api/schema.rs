//! The document, as what answers are held against.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::http::Answer;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// An `OpenAPI` document whose objects have no keys but those that it names.
pub struct Document(Value);

impl Document {
    pub fn new(mut document: Value) -> Self {
        close(&mut document["components"]);
        Self(document)
    }

    /// Every method and path.
    pub fn operations(&self) -> BTreeSet<(String, String)> {
        let mut operations = BTreeSet::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            let methods = METHODS.iter().filter(|method| item.get(**method).is_some());
            operations.extend(methods.map(|method| ((*method).to_owned(), path.clone())));
        }
        assert!(operations.len() >= 15, "{operations:?}");
        operations
    }

    /// An answer has a status that the operation names, and a body of its schema.
    pub fn check(&self, method: &str, path: &str, answer: &Answer) {
        let operation = &self.0["paths"][path][method.to_lowercase()];
        let response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "{method} {path} may not answer {}", answer.status);
        let Some(schema) = response["content"].get("application/json").map(|content| &content["schema"]) else {
            assert!(response["content"].get("text/plain").is_some(), "{method} {path} has a content: {response}");
            return;
        };
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let mut whole = schema.clone();
        whole["components"] = self.0["components"].clone();
        let validator = jsonschema::draft202012::new(&whole).unwrap();
        let faults: Vec<_> =
            validator.iter_errors(&body).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{method} {path}: {}\n{faults:#?}", answer.body);
    }
}

/// A key that the document does not name is a fault of the document.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") && object.get("type") == Some(&json!("object")) {
                object.entry("additionalProperties").or_insert(json!(false));
            }
            object.values_mut().for_each(close);
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
