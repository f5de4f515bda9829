//! The JSON schema of plan files, made from the structs that parse them; what a key means is taken from the plan reference.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::file::PlanFile;
use crate::step::KINDS;
use crate::terms::Phase;

const REFERENCE: &str = include_str!("../../plans/reference.md");

/// The schema: draft 7, which editors of TOML know.
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<PlanFile>();
    schema.insert("title".to_owned(), json!("crossfade plan"));
    schema.insert("description".to_owned(), json!("A plan of crossfade, format 1; see plans/reference.md"));
    let mut schema = schema.to_value();
    describe(&mut schema, "The plan");
    if let Some(definitions) = schema.get_mut("definitions").and_then(Value::as_object_mut) {
        for (name, definition) in definitions {
            match name.as_str() {
                "LimitsFile" => describe(definition, "Limits"),
                _ if definition.pointer("/properties/url_env").is_some() && definition.pointer("/properties/on").is_some() => {
                    describe(definition, "Notifications");
                }
                "Written" | "GuardKeys" if definition.pointer("/properties/job").is_some() => describe(definition, "Guards"),
                _ => {}
            }
        }
    }
    schema
}

/// A step of any kind.
pub(super) struct AnyStep;

impl JsonSchema for AnyStep {
    fn schema_name() -> Cow<'static, str> {
        "Step".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let phase = generator.subschema_for::<Phase>();
        let kinds: Vec<Value> = KINDS
            .iter()
            .map(|kind| {
                let mut own = (kind.keys)(generator).to_value();
                own["title"] = json!(kind.name);
                own["description"] = json!(kind.about);
                describe(&mut own, kind.name);
                let mut properties = common(kind.name, &phase);
                if let Some(keys) = own.get("properties").and_then(Value::as_object) {
                    properties.extend(keys.clone());
                }
                let required = own.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
                let required: Vec<Value> = ["id", "phase", "kind"].map(Value::from).into_iter().chain(required).collect();
                own["properties"] = Value::Object(properties);
                own["required"] = Value::Array(required);
                own
            })
            .collect();
        json_schema!({ "oneOf": kinds })
    }
}

/// The keys of every step.
fn common(kind: &str, phase: &Schema) -> Map<String, Value> {
    let keys = json!({
        "id": {"type": "string", "pattern": "^[a-z0-9-]{1,30}$", "description": "its name, unique in the plan"},
        "phase": phase,
        "kind": {"const": kind},
        "description": {"type": "string", "description": "for people"},
    });
    keys.as_object().cloned().unwrap_or_default()
}

/// Gives the properties of an object the words of their lines in this section of the reference.
fn describe(object: &mut Value, section: &str) {
    let Some((_, text)) = REFERENCE.split_once(&format!("\n## {section}\n")) else { return };
    let text = text.split("\n## ").next().unwrap_or_default();
    let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, property) in properties {
        if let (Some(words), Some(property)) = (words(text, name), property.as_object_mut()) {
            property.insert("description".to_owned(), Value::from(words));
        }
    }
}

/// What the table of a section says of a key.
fn words(section: &str, key: &str) -> Option<String> {
    let line = section
        .lines()
        .find(|line| [format!("| `{key}`"), format!("| `{key}.")].iter().any(|begin| line.starts_with(begin.as_str())))?;
    let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
    let (default, words) = (cells.nth(1)?, cells.collect::<Vec<_>>().join(" | "));
    let words = words.trim_end_matches('|').trim();
    Some(match (words.is_empty(), default) {
        (true, default) => default.to_owned(),
        (false, "required" | "none" | "") => words.to_owned(),
        (false, default) => format!("{words} (default: {default})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_from_the_reference() {
        let section = "| key | default | |\n| --- | --- | --- |\n| `name` | required | what it is |\n| `validate` | `true` | or not |\n| `side` | required | |\n";
        assert_eq!(words(section, "name").as_deref(), Some("what it is"));
        assert_eq!(words(section, "validate").as_deref(), Some("or not (default: `true`)"));
        assert_eq!(words(section, "side").as_deref(), Some("required"));
        assert_eq!(words(section, "other"), None);
    }
}
