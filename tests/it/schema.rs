//! The JSON schema of plan files says what the parser says, of every shipped plan and every example, and refuses what it refuses.

use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use crossfade::step::KINDS;
use serde_json::{Value, json};

use crate::support::{Ran, crossfade};

struct Validator(Schemas, SchemaIndex);

impl Validator {
    /// With the schema that the program prints.
    fn new() -> Self {
        let printed = Ran::of(crossfade().arg("schema").output().unwrap()).exits(0).stdout;
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("plan.json", serde_json::from_str(&printed).unwrap()).unwrap();
        let index = compiler.compile("plan.json", &mut schemas).unwrap();
        Self(schemas, index)
    }

    fn says(&self, plan: &Value) -> Result<(), String> {
        self.0.validate(plan, self.1).map_err(|error| format!("{error:#}"))
    }
}

fn plans() -> Vec<(PathBuf, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join("plans")).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|extension| extension == "toml") {
            let plan: Value = toml::from_str(&std::fs::read_to_string(&entry).unwrap()).unwrap();
            if plan.get("step").is_some() {
                found.push((entry, plan));
            }
        }
    }
    let reference = std::fs::read_to_string(root.join("plans/reference.md")).unwrap();
    for (number, example) in reference.split("```toml\n").skip(1).enumerate() {
        let example = example.split("```").next().unwrap();
        let head = "format = 1\nname = \"x\"\nblue = { url_env = \"B\" }\n";
        found.push((format!("example {number} of the reference").into(), toml::from_str(&format!("{head}{example}")).unwrap()));
    }
    found
}

#[test]
fn every_shipped_plan_fits() {
    let validator = Validator::new();
    let plans = plans();
    assert!(plans.len() > KINDS.len());
    for (path, plan) in &plans {
        validator.says(plan).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    for kind in KINDS {
        let used = plans.iter().flat_map(|(_, plan)| plan["step"].as_array().unwrap());
        assert!(used.into_iter().any(|step| step["kind"] == kind.name), "no plan has a step of kind {}", kind.name);
    }
}

/// An unknown key anywhere, a missing key that every step has, and another type are refused: by the schema as by the parser.
#[test]
fn what_the_parser_refuses_is_refused() {
    let validator = Validator::new();
    for (path, plan) in plans() {
        let refused = |what: &str, change: &dyn Fn(&mut Value)| {
            let mut wrong = plan.clone();
            change(&mut wrong);
            assert!(validator.says(&wrong).is_err(), "{}: {what} is let pass", path.display());
        };
        refused("an unknown key of the plan", &|plan| plan["no_such_key"] = json!(1));
        refused("another type of name", &|plan| plan["name"] = json!(1));
        refused("an unknown limit", &|plan| plan["limits"] = json!({"no_such_key": "1s"}));
        refused("a limit without a unit", &|plan| plan["limits"] = json!({"lock_timeout": "200"}));
        refused("an unknown key of blue", &|plan| plan["blue"]["no_such_key"] = json!(1));
        for index in 0..plan["step"].as_array().unwrap().len() {
            refused("an unknown key of a step", &|plan| plan["step"][index]["no_such_key"] = json!(1));
            refused("an unknown kind", &|plan| plan["step"][index]["kind"] = json!("no_such_kind"));
            refused("an unknown phase", &|plan| plan["step"][index]["phase"] = json!("no_such_phase"));
            for key in ["id", "phase", "kind"] {
                refused("a step without what every step has", &|plan| {
                    plan["step"][index].as_object_mut().unwrap().remove(key);
                });
            }
            let tables = plan["step"][index].as_object().unwrap().iter();
            for (key, _) in
                tables.filter(|(_, value)| value.as_array().is_some_and(|list| list.first().is_some_and(Value::is_object)))
            {
                refused("an unknown key deeper down", &|plan| plan["step"][index][key][0]["no_such_key"] = json!(1));
            }
        }
    }
}

#[test]
fn keys_have_their_words_from_the_reference() {
    let printed = Ran::of(crossfade().arg("schema").output().unwrap()).exits(0).stdout;
    for words in [
        "column → SQL expression over the row",
        "connection string of the database that serves now",
        "parallel connections per side",
    ] {
        assert!(printed.contains(words), "{words}");
    }
}
