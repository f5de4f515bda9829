//! What is built into crossfade keeps to deny.toml: licences, sources, what is banned. `cargo deny` looks at advisories too.

use std::path::Path;
use std::process::Command;

#[test]
fn every_crate_has_a_licence_and_a_source_that_deny_toml_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules: toml::Table = std::fs::read_to_string(root.join("deny.toml")).unwrap().parse().unwrap();
    let texts = |table: &str, key: &str| -> Vec<String> {
        let list = rules[table][key].as_array().unwrap().iter();
        list.map(|one| one.as_str().unwrap_or_else(|| one["name"].as_str().unwrap()).to_owned()).collect()
    };
    let (licences, registries, banned) = (texts("licenses", "allow"), texts("sources", "allow-registry"), texts("bans", "deny"));
    // Fetches what other platforms alone need, where it is missing.
    let told =
        Command::new(env!("CARGO")).args(["metadata", "--locked", "--format-version", "1"]).current_dir(root).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let graph: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let packages = graph["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("no licence");
        let allowed = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX).is_ok_and(|expression| {
            expression.evaluate(|need| need.license.id().is_some_and(|id| licences.iter().any(|known| known == id.name)))
        });
        if !allowed {
            wrong.push(format!("{name}: {licence}"));
        }
        if let Some(source) = package["source"].as_str()
            && !registries.iter().any(|known| source == format!("registry+{known}"))
        {
            wrong.push(format!("{name}: from {source}"));
        }
        if banned.iter().any(|banned| banned == name) {
            wrong.push(format!("{name}: banned"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
