//! `explicit_columns`: finds the programs that read all columns of a table, before a column is added that they do not know.
//!
//! Looks at `pg_stat_statements`, at `pg_stat_activity`, and at source folders. Says where, how often and what to write
//! instead; never shows a query's text, which may hold values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use async_trait::async_trait;
use serde::Deserialize;

use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::rows::keyed_table::list;
use super::{Cx, Fault, Forecast, Reversal, Step, Summary, from_table};
use crate::pg::{Session, explain};
use crate::sql::program::{fragments, is_read};
use crate::sql::{Ident, QualifiedName, Reads, stars};
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind {
    name: "explicit_columns",
    about: "find programs that would trip over columns to be added",
    parse,
    keys: keys_of::<ExplicitColumns>,
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExplicitColumns {
    side: Side,
    /// Tables and the columns that later steps add to them.
    tables: BTreeMap<String, Vec<Ident>>,
    #[serde(default)]
    source_folders: Vec<PathBuf>,
    #[serde(default)]
    on_finding: OnFinding,
    #[serde(skip)]
    named: Vec<(QualifiedName, Vec<Ident>)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnFinding {
    #[default]
    Stop,
    Warn,
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let mut step: ExplicitColumns = from_table(table)?;
    let mut faults = Vec::new();
    if step.tables.is_empty() {
        faults.push(Fault::key("tables", "`tables` is empty; expected { table = [\"column to be added\", ...] }"));
    }
    for (name, columns) in std::mem::take(&mut step.tables) {
        match QualifiedName::try_from(name.clone()) {
            Ok(_) if columns.is_empty() => faults.push(Fault::key("tables", format!("`tables.{name}` names no column"))),
            Ok(table) => step.named.push((table, columns)),
            Err(why) => faults.push(Fault::key("tables", why)),
        }
    }
    for folder in &mut step.source_folders {
        *folder = around.base.join(&*folder);
        if !folder.is_dir() {
            faults.push(Fault::key("source_folders", format!("{} is not a folder", folder.display())));
        }
    }
    if faults.is_empty() { Ok((Box::new(step), Vec::new())) } else { Err(faults) }
}

/// A watched table as the catalog has it.
struct Watched {
    name: QualifiedName,
    columns: Vec<Ident>,
    missing: Vec<Ident>,
}

impl Watched {
    /// Whether a statement's name means this table. Without a schema it may.
    fn is(&self, name: &QualifiedName) -> bool {
        name.name() == self.name.name() && name.schema().is_none_or(|schema| Some(schema) == self.name.schema())
    }

    fn finding(&self, how: Reads, places: &[String], on_finding: OnFinding) -> Finding {
        let new = list(self.missing.iter().map(|column| column.as_str().to_owned()));
        let severity = match (how, on_finding) {
            (Reads::InsertWithoutColumns, _) | (_, OnFinding::Warn) => Severity::Warning,
            _ => Severity::Blocks,
        };
        let effect = match how {
            Reads::InsertWithoutColumns => format!("{new} get their defaults, and it fails where one has none and is NOT NULL"),
            Reads::CopyWithoutColumns => format!("COPY FROM fails and COPY TO gives more columns when {new} are added"),
            _ => format!("it gets columns it may not know when {new} are added"),
        };
        let shown = places.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
        let more = places.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        Finding {
            severity,
            object: self.name.plain(),
            what: format!("{how}: {effect}. Seen: {shown}{more}"),
            next: format!("name the columns: {}", list(self.columns.iter().map(quoted_if_needed))),
        }
    }
}

/// As many places as a finding names.
const SHOWN: usize = 10;

fn quoted_if_needed(name: &Ident) -> String {
    let text = name.as_str();
    let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !text.starts_with(|c: char| c.is_ascii_digit());
    if plain { text.to_owned() } else { name.to_string() }
}

/// Where each watched table (by its position) is read whole.
type Sightings = BTreeMap<(usize, Reads), Vec<String>>;

fn sight(watched: &[Watched], sql: &str, place: &str, sightings: &mut Sightings) {
    for star in stars(sql) {
        for (index, _) in watched.iter().enumerate().filter(|(_, table)| table.is(&star.table)) {
            let places = sightings.entry((index, star.how)).or_default();
            if !places.iter().any(|known| known == place) {
                places.push(place.to_owned());
            }
        }
    }
}

impl ExplicitColumns {
    async fn look(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let session = cx.connect(self.side).await?;
        let mut watched = Vec::new();
        for (table, added) in &self.named {
            let table = catalog(&session, table, added).await?;
            if !table.missing.is_empty() {
                watched.push(table);
            }
        }
        let mut findings = Vec::new();
        let mut sightings = Sightings::new();
        findings.extend(statements(&session, &watched, &mut sightings).await?);
        findings.extend(activity(&session, &watched, &mut sightings).await?);
        let mut unread = Vec::new();
        for folder in &self.source_folders {
            walk(
                folder,
                &mut |file, text| {
                    let extension = extension(file);
                    for fragment in fragments(extension, text) {
                        sight(&watched, &fragment.sql, &format!("{}:{}", file.display(), fragment.line), &mut sightings);
                    }
                },
                &mut unread,
            );
        }
        findings.extend(unread.into_iter().map(|file| note(&file, "could not be read and was not searched", "")));
        findings.extend(sightings.iter().map(|((index, how), places)| watched[*index].finding(*how, places, self.on_finding)));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Ok(findings)
    }
}

fn note(object: &str, what: &str, next: &str) -> Finding {
    Finding { severity: Severity::Note, object: object.to_owned(), what: what.to_owned(), next: next.to_owned() }
}

async fn catalog(session: &Session, table: &QualifiedName, added: &[Ident]) -> anyhow::Result<Watched> {
    let row = session
        .query_opt(
            "SELECT n.nspname::text, c.relname::text, \
                    (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a \
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)",
            &[&table.to_string()],
        )
        .await?
        .with_context(|| format!("there is no table {} on {}", table.plain(), session.database().name()))?;
    let columns: Vec<Ident> = row.get::<_, Option<Vec<String>>>(2).unwrap_or_default().into_iter().map(Ident::new).collect();
    let missing = added.iter().filter(|column| !columns.contains(column)).cloned().collect();
    Ok(Watched { name: QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)), columns, missing })
}

/// What PostgreSQL puts where a role may not see a query.
const HIDDEN: &str = "<insufficient privilege>";

/// Looks at `pg_stat_statements` (PostgreSQL manual F.32), which keeps statements with `$1` in place of constants.
async fn statements(session: &Session, watched: &[Watched], sightings: &mut Sightings) -> anyhow::Result<Option<Finding>> {
    let extension = "pg_stat_statements";
    let schema = session
        .query_opt(
            "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = $1",
            &[&extension],
        )
        .await?;
    let Some(schema) = schema else {
        let next = "CREATE EXTENSION pg_stat_statements (with it in shared_preload_libraries) to see statements of the past";
        return Ok(Some(note(
            extension,
            "is not installed here: only running statements and source folders were searched",
            next,
        )));
    };
    let sql = format!(
        "SELECT s.query, coalesce(s.queryid, 0), coalesce(r.rolname::text, s.userid::text), sum(s.calls)::bigint \
         FROM {} s LEFT JOIN pg_roles r ON r.oid = s.userid \
         WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY 1, 2, 3 ORDER BY 4 DESC",
        QualifiedName::new(schema.get::<_, String>(0), extension)
    );
    let rows = match session.query(&sql, &[]).await {
        Ok(rows) => rows,
        Err(error) => {
            let why = explain(&anyhow::Error::from(error));
            let next = "add it to shared_preload_libraries, or grant pg_read_all_stats";
            return Ok(Some(note(extension, &format!("cannot be read: {why}"), next)));
        }
    };
    let mut hidden = 0;
    for row in rows {
        let (query, id, role, calls): (Option<String>, i64, String, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
        match query.as_deref() {
            None | Some(HIDDEN) => hidden += 1,
            Some(query) => {
                let times = if calls == 1 { "once".to_owned() } else { format!("{calls} times") };
                sight(watched, query, &format!("pg_stat_statements queryid {id}, run {times} by role {role}"), sightings);
            }
        }
    }
    let what = format!("{hidden} statements are hidden from this role and were not searched");
    Ok((hidden > 0).then(|| note(extension, &what, "grant pg_read_all_stats to this role")))
}

/// What other sessions run now or ran last.
async fn activity(session: &Session, watched: &[Watched], sightings: &mut Sightings) -> anyhow::Result<Option<Finding>> {
    let rows = session
        .query(
            "SELECT query, coalesce(application_name, ''), usename::text, count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND query <> '' \
               AND coalesce(application_name, '') NOT LIKE 'crossfade/%' GROUP BY 1, 2, 3 ORDER BY 2, 3",
            &[],
        )
        .await?;
    let mut hidden = 0;
    for row in rows {
        let (query, application, role): (String, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
        if query == HIDDEN {
            hidden += row.get::<_, i64>(3);
            continue;
        }
        let place = format!("running or last run by application {application:?}, role {}", role.unwrap_or_default());
        sight(watched, &query, &place, sightings);
    }
    let what = format!("what {hidden} sessions run is hidden from this role and was not searched");
    Ok((hidden > 0).then(|| note("pg_stat_activity", &what, "grant pg_read_all_stats to this role")))
}

/// The largest source file that is read, in bytes: generated code beyond it.
const LARGEST: u64 = 2 << 20;

/// Folders of other people's code and of build results.
const LEFT_OUT: [&str; 3] = ["node_modules", "target", "vendor"];

fn extension(file: &Path) -> &str {
    file.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// Shows every source file below `folder`, in the order of names; symbolic links and hidden or foreign folders are left out.
fn walk(folder: &Path, show: &mut impl FnMut(&Path, &str), unread: &mut Vec<String>) {
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let Ok(mut entries) = entries else {
        unread.push(folder.display().to_string());
        return;
    };
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') || LEFT_OUT.contains(&&*name) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&path, show, unread),
            Ok(kind) if kind.is_file() && is_read(extension(&path)) => {
                if entry.metadata().is_ok_and(|about| about.len() > LARGEST) {
                    unread.push(path.display().to_string());
                    continue;
                }
                match std::fs::read(&path) {
                    Ok(bytes) => show(&path, &String::from_utf8_lossy(&bytes)),
                    Err(_) => unread.push(path.display().to_string()),
                }
            }
            _ => {}
        }
    }
}

#[async_trait]
impl Step for ExplicitColumns {
    fn describe(&self) -> Summary {
        let tables = list(self.named.iter().map(|(table, _)| table.plain()));
        Summary { effect: format!("find statements on {} that take all columns of {tables}", self.side), lock: "none".to_owned() }
    }

    fn sides(&self) -> Vec<Side> {
        vec![self.side]
    }

    fn reversal(&self) -> Reversal {
        Reversal::NothingToUndo("a search changes nothing".to_owned())
    }

    fn reads_only(&self) -> bool {
        true
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        Ok(self.look(cx).await?.into_iter().map(Forecast::of).collect())
    }

    async fn observe(&self, _: &Cx) -> anyhow::Result<Extent> {
        Ok(Extent::Absent)
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, _: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        Ok(())
    }

    /// The search itself, so that its warnings stand in the journal with the step.
    async fn verify(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        self.look(cx).await
    }

    async fn undo(&self, _: &Cx, _: &Before) -> anyhow::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statements_on_the_table_that_take_all_columns_count() {
        let idents = |names: &[&str]| names.iter().map(|name| Ident::new(*name)).collect::<Vec<_>>();
        let watched = [Watched {
            name: QualifiedName::new("public", "client"),
            columns: idents(&["id", "Odd"]),
            missing: idents(&["metadata"]),
        }];
        let mut sightings = Sightings::new();
        for (place, sql) in [
            ("a", "SELECT * FROM client WHERE id = $1"),
            ("b", "SELECT * FROM auth.client"),
            ("c", "SELECT id FROM client"),
            ("d", "INSERT INTO public.client VALUES ($1, $2)"),
            ("a", "SELECT c.* FROM client c"),
        ] {
            sight(&watched, sql, place, &mut sightings);
        }
        let found: Vec<Finding> =
            sightings.iter().map(|((index, how), places)| watched[*index].finding(*how, places, OnFinding::Stop)).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].severity, found[1].severity), (Severity::Blocks, Severity::Warning));
        assert!(found[0].what.contains("metadata") && found[0].what.ends_with("Seen: a"), "{}", found[0].what);
        assert_eq!(found[0].next, "name the columns: id, \"Odd\"");
    }
}
