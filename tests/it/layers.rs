//! Dependencies point one way. This reads every `crate::` path of `src/` and holds it to the table.

use std::path::{Path, PathBuf};

/// Each module with everything it may name. A module that is not here may name nothing and be named by nobody but `main.rs`
/// and `lib.rs`: add its line when you add the module.
const MAY_NAME: &[(&str, &str)] = &[
    // What everybody speaks of.
    ("terms", ""),
    ("sql", ""),
    ("limits", ""),
    ("crash", ""),
    ("hook", ""),
    ("suggest", ""),
    ("junit", ""),
    ("lint", "junit sql"),
    // The servers. Time limits come in classes over the limits of a plan.
    ("pg", "limits sql terms"),
    ("shadow", "pg sql terms"),
    // A journal line records which databases (pg::Identity) and what was done to them (pg::Counters).
    ("journal", "crash pg terms"),
    // What the steps do their work with.
    ("projection", "pg sql terms"),
    ("capture", "limits pg projection sql terms"),
    ("copy", "crash limits pg projection sql terms"),
    ("revocation", "pg projection sql terms"),
    ("follow", "capture pg projection revocation sql terms"),
    ("verify", "limits pg projection sql terms"),
    ("audit", "limits pg sql terms"),
    ("cutover", "hook limits pg projection router sql terms"),
    ("router", "pg terms"),
    ("nats", "crash pg revocation terms"),
    // A notice carries the journal line it is about.
    ("step", "audit capture copy crash cutover follow hook journal limits pg projection revocation sql suggest terms verify"),
    // It tells systems of yours what a run comes to.
    ("notify", "cutover hook journal step terms"),
    ("plan", "limits lint notify sql step suggest terms"),
    // It reads two catalogs.
    ("draft", "pg projection sql suggest"),
    // It reads blue, logs and metrics.
    ("window", "pg sql"),
    // Pages about the codes of everything else.
    ("explain", "lint step suggest terms"),
    // It looks at what the steps of a plan ask of rows, on throw-away servers where green is not there yet.
    ("preflight", "limits pg plan projection shadow sql step terms"),
    // The screen listens to the notices of a step; the sampler watches its databases.
    ("report", "journal pg step terms"),
    // The engine samples while it drives.
    ("engine", "journal limits pg plan report step terms"),
    // It runs migrations and a plan side by side.
    ("prove", "engine pg plan report shadow sql step terms"),
    // It drives a plan on throw-away servers that hold a sample of the real rows, and predicts what a report compares.
    ("rehearse", "copy engine journal pg plan prove report shadow sql step terms"),
    ("demo", "engine journal pg plan projection prove report revocation router shadow sql step terms"),
    // It runs what the linter has read, and compares.
    ("trace", "lint pg shadow sql"),
    (
        "cli",
        "audit copy cutover demo draft engine explain journal junit limits lint nats notify pg plan preflight projection prove rehearse report revocation router shadow sql step terms trace window",
    ),
];

#[test]
fn dependencies_point_one_way() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in rust_files(&source) {
        let inside = file.strip_prefix(&source).unwrap();
        let module = inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        if module == "main" || module == "lib" {
            continue;
        }
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("src/{}: module {module} is not in the table", inside.display()));
            continue;
        };
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]") {
            for named in named_modules(line) {
                seen += 1;
                if named != module && !allowed.split(' ').any(|allowed| allowed == named) {
                    wrong.push(format!("src/{}:{}: {module} may not name {named}", inside.display(), number + 1));
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} paths were read");
    assert!(wrong.is_empty(), "{}\nthe table is in tests/it/layers.rs", wrong.join("\n"));
}

/// The modules that a line names by `crate::module`, comments aside.
fn named_modules(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => group.split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        let first = |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
        named.extend(names.into_iter().map(first).filter(|name| !name.is_empty()));
    }
    named
}

pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn paths_are_read_as_rust_reads_them() {
    assert_eq!(named_modules("use crate::pg::{Session, table_state}; // crate::plan"), ["pg"]);
    assert_eq!(named_modules("use crate::{plan::Plan, step};"), ["plan", "step"]);
    assert_eq!(named_modules("pub(in crate::demo) fn x(e: crate::pg::Session)"), ["demo", "pg"]);
    assert!(named_modules("/// see [`crate::engine`]").is_empty());
}
