//! From paths to migrations in the order in which their tool runs them. Pure: names in, names out.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which direction of a migration is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The one that makes the change.
    Up,
    /// The one that takes it back.
    Down,
}

/// A file and how its tool runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The file.
    pub path: PathBuf,
    /// Its version, as its name tells; empty for plain files.
    pub version: String,
    /// Whether the tool runs it as one transaction.
    pub wrapped: bool,
}

/// What the name of a file tells.
struct Named {
    version: String,
    /// The rest of the name, which makes files of one version differ.
    title: String,
    direction: Option<Direction>,
    dialect: Option<String>,
    autocommit: bool,
    /// Runs after all versions (`R__x.sql` of Flyway).
    repeatable: bool,
    /// Named as a versioned migration at all.
    migration: bool,
}

const DIALECTS: &[&str] =
    &["postgres", "postgresql", "pg", "cockroach", "mysql", "mariadb", "sqlite", "sqlite3", "mssql", "oracle"];

/// The SQL files among `paths` in the order in which the tool of each folder runs them. Of files for several database
/// systems, those for PostgreSQL take the place of the general one, and others are left out. `all` has every file of the
/// folders, from which the tool is known.
pub fn order(paths: &[PathBuf], all: &[PathBuf], direction: Direction) -> Vec<Placed> {
    let mut folders: BTreeMap<&Path, Vec<&PathBuf>> = BTreeMap::new();
    for path in paths.iter().filter(|path| is_sql(path)) {
        folders.entry(root(path)).or_default().push(path);
    }
    let of_pop: BTreeSet<&Path> = all.iter().filter(|path| is_pop(path)).map(|path| root(path)).collect();
    let mut placed = Vec::new();
    for (folder, files) in folders {
        let pop = of_pop.contains(folder);
        let mut chosen: BTreeMap<(bool, Key, String), (bool, &PathBuf, Named)> = BTreeMap::new();
        for path in files {
            let named = name(path);
            if named.direction.unwrap_or(Direction::Up) != direction && named.migration {
                continue;
            }
            let ours = match named.dialect.as_deref() {
                None => false,
                Some("postgres" | "postgresql" | "pg") => true,
                Some(_) => continue,
            };
            let title = format!("{}{}", named.title, if named.migration { "" } else { "/" });
            match chosen.entry((named.repeatable, Key::new(&named.version), title)) {
                Entry::Vacant(none) => {
                    none.insert((ours, path, named));
                }
                Entry::Occupied(other) if other.get().0 && !ours => {}
                Entry::Occupied(mut other) => {
                    other.insert((ours, path, named));
                }
            }
        }
        let mut files: Vec<Placed> = chosen
            .into_values()
            .map(|(_, path, named)| Placed {
                path: path.clone(),
                // pop, diesel, sqlx, refinery, Flyway and Prisma run a file in a transaction; golang-migrate sends it in one
                // message, which is one as well. A plain file is run by psql, statement by statement.
                wrapped: named.migration && !(named.autocommit && pop),
                version: named.version,
            })
            .collect();
        if direction == Direction::Down {
            files.reverse();
        }
        placed.extend(files);
    }
    placed
}

/// Where the tool that these files are named for records applied versions, as `table.column`; `None` where that is not known, or where
/// a row holds more than the version.
pub fn history(all: &[PathBuf]) -> Option<&'static str> {
    if all.iter().any(|path| is_pop(path)) {
        return Some("schema_migration.version");
    }
    all.iter().any(|path| in_own_folder(path) && file_name(path) == "up.sql").then_some("__diesel_schema_migrations.version")
}

/// Whether the file is SQL by its name.
pub fn is_sql(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql"))
}

/// Whether only pop names files like this.
fn is_pop(path: &Path) -> bool {
    let name = file_name(path);
    name.ends_with(".fizz") || name.contains(".autocommit.") || name.contains(".postgres.") || name.contains(".cockroach.")
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// The folder whose files are one sequence: for `x/2020_name/up.sql` that is `x`.
fn root(path: &Path) -> &Path {
    fn above(path: &Path) -> &Path {
        path.parent().unwrap_or(Path::new(""))
    }
    let parent = above(path);
    if in_own_folder(path) { above(parent) } else { parent }
}

/// diesel's `up.sql` and `down.sql`, Prisma's `migration.sql`: the version is the folder's name.
fn in_own_folder(path: &Path) -> bool {
    matches!(file_name(path).as_str(), "up.sql" | "down.sql" | "migration.sql")
        && path.parent().is_some_and(|p| p.file_name().is_some())
}

fn name(path: &Path) -> Named {
    let own = in_own_folder(path);
    let file = file_name(path);
    let stem = file.strip_suffix(".sql").unwrap_or(&file).to_owned();
    let text = if own { path.parent().map(file_name).unwrap_or_default() } else { stem.clone() };
    let mut named = Named {
        version: String::new(),
        title: text.clone(),
        direction: None,
        dialect: None,
        autocommit: false,
        repeatable: false,
        migration: own,
    };
    if own {
        named.direction = Some(if stem == "down" { Direction::Down } else { Direction::Up });
    } else {
        let mut parts: Vec<&str> = text.split('.').collect();
        while parts.len() > 1 {
            match parts[parts.len() - 1] {
                "up" => named.direction = Some(Direction::Up),
                "down" => named.direction = Some(Direction::Down),
                "autocommit" | "no_transaction" => named.autocommit = true,
                dialect if DIALECTS.contains(&dialect) => named.dialect = Some(dialect.to_owned()),
                _ => break,
            }
            parts.pop();
        }
        named.title = parts.join(".");
    }
    let title = named.title.clone();
    let flyway = |letter: char| {
        title.strip_prefix(letter).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains("__"))
    };
    if let Some(rest) = flyway('v').or(flyway('u')).or(flyway('b')) {
        named.version = rest.split("__").next().unwrap_or_default().to_owned();
        named.direction = Some(if title.starts_with('u') { Direction::Down } else { Direction::Up });
        named.migration = true;
    } else if title.starts_with("r__") {
        (named.repeatable, named.migration) = (true, true);
    } else {
        let digits: String = title.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '-' | '.')).collect();
        let digits = digits.trim_end_matches(['-', '.']).to_owned();
        let rest = &title[digits.len()..];
        if !digits.is_empty() && (rest.is_empty() || rest.starts_with(['_', '-', '.'])) {
            named.version = digits;
            named.migration = true;
        }
        named.migration |= named.direction.is_some();
    }
    named
}

/// A version in its order: parts as numbers of any length, then as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// Of two numbers without leading zeros, the longer is the greater.
    numbers: Vec<(usize, String)>,
    text: String,
}

impl Key {
    fn new(version: &str) -> Self {
        let digits = version.split(['.', '-', '_']).map(|part| part.trim_start_matches('0'));
        Self { numbers: digits.map(|digits| (digits.len(), digits.to_owned())).collect(), text: version.to_owned() }
    }
}

/// Orders two versions as their tool does.
pub fn compare(a: &str, b: &str) -> Ordering {
    Key::new(a).cmp(&Key::new(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(names: &[&str], direction: Direction) -> Vec<String> {
        let paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        let sql: Vec<PathBuf> = paths.clone();
        let mark = |placed: Placed| format!("{}{}", placed.path.display(), if placed.wrapped { "" } else { " -" });
        order(&sql, &paths, direction).into_iter().map(mark).collect()
    }

    #[test]
    fn every_layout_in_its_own_order() {
        for (names, up, down) in [
            (vec!["10_b.sql", "9_a.sql", "notes.md"], vec!["9_a.sql", "10_b.sql"], vec![]),
            (
                vec!["V2__b.sql", "V10__c.sql", "V1_1__a.sql", "R__v.sql", "U2__b.sql"],
                vec!["V1_1__a.sql", "V2__b.sql", "V10__c.sql", "R__v.sql"],
                vec!["U2__b.sql"],
            ),
            (
                vec!["2_b.up.sql", "2_b.down.sql", "1_a.up.sql", "1_a.down.sql"],
                vec!["1_a.up.sql", "2_b.up.sql"],
                vec!["2_b.down.sql", "1_a.down.sql"],
            ),
            (
                vec![
                    "2019_a.up.sql",
                    "2019_a.postgres.up.sql",
                    "2019_a.mysql.up.sql",
                    "2020_b.cockroach.up.sql",
                    "2021_c.postgres.autocommit.up.sql",
                    "2021_c.postgres.autocommit.down.sql",
                ],
                vec!["2019_a.postgres.up.sql", "2021_c.postgres.autocommit.up.sql -"],
                vec!["2021_c.postgres.autocommit.down.sql -"],
            ),
            (
                vec!["m/2020-01-02-0_b/up.sql", "m/2020-01-02-0_b/down.sql", "m/2019-01-01-0_a/up.sql"],
                vec!["m/2019-01-01-0_a/up.sql", "m/2020-01-02-0_b/up.sql"],
                vec!["m/2020-01-02-0_b/down.sql"],
            ),
            (vec!["p/20200101_x/migration.sql"], vec!["p/20200101_x/migration.sql"], vec![]),
            (vec!["b.sql", "a.sql"], vec!["a.sql -", "b.sql -"], vec!["b.sql -", "a.sql -"]),
            (vec!["20200101000001_x.sql", "20200101000001_y.sql"], vec!["20200101000001_x.sql", "20200101000001_y.sql"], vec![]),
        ] {
            assert_eq!(ordered(&names, Direction::Up), up, "{names:?}");
            assert_eq!(ordered(&names, Direction::Down), down, "{names:?}");
        }
    }
}
