//! `plans/reference.md` says what the program does: every kind, every key, and examples that are plans.

use std::path::Path;

use crossfade::plan;
use crossfade::step::KINDS;

const HEAD: &str = "format = 1\nname = \"reference\"\nblue = { url_env = \"B\" }\ngreen = { url_env = \"G\" }\n";

/// The text under `## kind`.
fn section<'a>(text: &'a str, kind: &str) -> &'a str {
    let begin = format!("\n## {kind}\n");
    let (_, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no section for {kind}"));
    rest.split("\n## ").next().unwrap()
}

fn examples(section: &str) -> Vec<&str> {
    section.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The files that the examples name.
fn files(folder: &Path) {
    for name in ["src", "migrations", "projections", "switch"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    let rules = "[[capture]]\ntable = \"orders\"\nas = \"order_change\"\ncolumns = [\"id\"]\n[[revocation]]\nwhat = \"order\"\n\
                 query = \"SELECT id, NULL AS client, NULL AS subject, transaction, written_at AS revoked_at FROM order_change\"\n\
                 replay = [\"DELETE FROM orders WHERE id::text = ANY ($1)\"]\nproof = \"SELECT id FROM orders WHERE id::text = ANY ($1)\"\n";
    std::fs::write(folder.join("revocations.toml"), rules).unwrap();
    std::fs::write(folder.join("drain.sh"), "#!/bin/sh\n").unwrap();
    std::fs::write(folder.join("lever.sh"), "#!/bin/sh\n").unwrap();
    for (name, text) in [
        ("app.blue.ini", "[databases]\napp = host=blue\n"),
        ("app.green.ini", "[databases]\napp = host=green\n"),
        ("worker.blue.conf", "blue"),
        ("worker.green.conf", "green"),
    ] {
        std::fs::write(folder.join("switch").join(name), text).unwrap();
    }
    std::fs::write(folder.join("migrations/1_orders.sql"), "CREATE TABLE orders (id int PRIMARY KEY);\n").unwrap();
    let projection = "table = \"orders\"\nkey = [\"id\"]\n[[source]]\nname = \"orders\"\n\
                      drives = { table = \"orders\", alias = \"o\" }\nfrom = \"orders o\"\n[source.columns]\nid = \"o.id\"\n";
    std::fs::write(folder.join("projections/orders.toml"), projection).unwrap();
    let query = "SELECT id::text AS key, 'x'::text AS state, true AS valid FROM orders";
    let facts = format!("[[facts]]\nname = \"orders\"\nblue = \"{query}\"\ngreen = \"{query}\"\n");
    std::fs::write(folder.join("facts.toml"), facts).unwrap();
    let repairs = "[[table]]\ntable = \"orders\"\nreason = \"lost\"\ninsert_from = [\"orders\"]\n";
    std::fs::write(folder.join("repairs.toml"), repairs).unwrap();
}

#[test]
fn the_plan_reference_holds() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/reference.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let path = folder.path().join("plan.toml");
    let mut seen = 0;
    for kind in KINDS {
        let section = section(&text, kind.name);
        assert!(section.contains("Locks: ") && section.contains("Undo: "), "{}: locks and undo", kind.name);
        assert!(!examples(section).is_empty(), "{} has no example", kind.name);
        for example in examples(section) {
            seen += 1;
            std::fs::write(&path, format!("{HEAD}{example}")).unwrap();
            let plan = plan::load(&path).unwrap_or_else(|problems| panic!("{}: {problems}\n{example}", kind.name));
            // What must stand before it may be of another kind.
            assert!(plan.steps().last().is_some_and(|step| step.kind == kind.name), "{}: an example of another kind", kind.name);
        }
        // A key that the program does not know makes it name those it knows: each is in the section.
        let table: toml::Table = toml::from_str(examples(section)[0]).unwrap();
        let mut step = table["step"].as_array().unwrap().last().unwrap().as_table().unwrap().clone();
        step.insert("no_such_key".to_owned(), true.into());
        let plan = format!("{HEAD}{}", toml::Table::from_iter([("step".to_owned(), toml::Value::Array(vec![step.into()]))]));
        std::fs::write(&path, plan).unwrap();
        let problems = plan::load(&path).err().unwrap().to_string();
        if problems.contains("there are no fields") {
            assert!(section.contains("No keys of its own."), "{}: {problems}", kind.name);
            continue;
        }
        let (_, known) = problems.split_once("expected ").unwrap_or_else(|| panic!("{}: {problems}", kind.name));
        let keys: Vec<&str> = known.lines().next().unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!keys.is_empty(), "{problems}");
        for key in keys {
            let written = section.lines().any(|line| {
                line.starts_with('|')
                    && line.split('|').nth(1).is_some_and(|cell| {
                        [format!("`{key}"), format!("`[[step.{key}]]")].iter().any(|name| cell.contains(name))
                    })
            });
            assert!(written, "{}: key `{key}` has no line", kind.name);
        }
    }
    assert_eq!(seen, text.matches("```toml").count(), "an example outside of a kind's section");
}
