//! What is built into crossfade keeps to deny.toml: licences, sources, what is banned; and has no known faults, as far as
//! tests/fixtures/advisories.toml knows. `cargo deny` asks the advisory database of the day.

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

/// Those of `packages` (name, version) that an advisory is about.
fn affected(packages: &[(String, semver::Version)], advisories: &toml::Table, ignored: &[String]) -> Vec<String> {
    let text = |one: &toml::Value, key: &str| one[key].as_str().unwrap().to_owned();
    let mut found = Vec::new();
    for advisory in advisories["advisory"].as_array().unwrap() {
        let (id, package) = (text(advisory, "id"), text(advisory, "package"));
        let fine = |version: &semver::Version| {
            let ranges = ["patched", "unaffected"].into_iter().flat_map(|key| advisory[key].as_array().unwrap());
            ranges.into_iter().any(|range| semver::VersionReq::parse(range.as_str().unwrap()).unwrap().matches(version))
        };
        let these = packages.iter().filter(|(name, version)| *name == package && !fine(version));
        found.extend(these.filter(|_| !ignored.contains(&id)).map(|(name, version)| format!("{name} {version}: {id}")));
    }
    found
}

#[test]
fn no_crate_has_a_known_fault() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| -> toml::Table { std::fs::read_to_string(root.join(path)).unwrap().parse().unwrap() };
    let (lock, advisories, rules) = (read("Cargo.lock"), read("tests/fixtures/advisories.toml"), read("deny.toml"));
    let text = |one: &toml::Value, key: &str| one[key].as_str().unwrap().to_owned();
    let packages: Vec<(String, semver::Version)> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(one, "name"), text(one, "version").parse().unwrap()))
        .collect();
    let ignored: Vec<String> = rules["advisories"]["ignore"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().map_or_else(|| text(one, "id"), str::to_owned))
        .collect();
    let found = affected(&packages, &advisories, &ignored);
    assert!(found.is_empty(), "raise them, or write into deny.toml why they do no harm here:\n{}", found.join("\n"));
    let old = [("tokio".to_owned(), "1.43.0".parse().unwrap()), ("tokio".to_owned(), "1.44.2".parse().unwrap())];
    assert_eq!(affected(&old, &advisories, &[]), ["tokio 1.43.0: RUSTSEC-2025-0023"]);
    assert!(affected(&old, &advisories, &["RUSTSEC-2025-0023".to_owned()]).is_empty());
}
