//! The rules file: what takes access away on blue, how it is taken away on green, and how green is asked.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::Flaw;
use crate::pg::{Session, explain, table_state};
use crate::projection::Captured;
use crate::sql::{Ident, LockMode, QualifiedName, split};
use crate::terms::{Finding, Severity, Side};

/// A blue table whose changes the rules read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The table.
    pub table: QualifiedName,
    /// What queries call the relation of its changes.
    pub name: Ident,
    /// The columns they read, as text. An UPDATE of others means nothing to the rules.
    pub columns: Vec<Ident>,
}

/// One kind of revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub what: String,
    /// Over the changes: `id, client, subject, transaction, revoked_at`.
    pub query: String,
    /// On green, `$1` the ids: they lose their access.
    pub replay: Vec<String>,
    /// On green, `$1` the ids: which still have access.
    pub proof: String,
    /// On blue, `$1` the ids: which were granted access anew.
    pub granted: Option<String>,
}

/// The rules of one application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What must be captured.
    pub wanted: Vec<Wanted>,
    /// Queries that others use by name, in the order of the file.
    pub relations: Vec<(Ident, String)>,
    /// The kinds, in the order of the file: that of their replay.
    pub kinds: Vec<Kind>,
    /// The file's text.
    pub text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    capture: Vec<Spanned<CaptureFile>>,
    #[serde(default)]
    relation: toml::map::Map<String, toml::Value>,
    revocation: Vec<Spanned<KindFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaptureFile {
    table: QualifiedName,
    #[serde(rename = "as")]
    name: String,
    columns: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindFile {
    what: String,
    query: String,
    replay: Vec<String>,
    proof: String,
    granted: Option<String>,
}

/// Reads a rules file.
///
/// # Errors
/// Every flaw at once.
pub fn load(path: &Path) -> Result<Rules, Vec<Flaw>> {
    let unread = |error| vec![Flaw { file: path.to_owned(), line: None, what: format!("cannot be read: {error}") }];
    read(path, std::fs::read_to_string(path).map_err(unread)?)
}

/// Reads the text of the rules file at `path`.
///
/// # Errors
/// As [`load`].
pub(super) fn read(path: &Path, text: String) -> Result<Rules, Vec<Flaw>> {
    let flaw = |line, what: String| Flaw { file: path.to_owned(), line, what };
    let line_of = |byte: usize| text.as_bytes()[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
    let file: File = toml::from_str(&text)
        .map_err(|error| vec![flaw(error.span().map(|span| line_of(span.start)), error.message().to_owned())])?;
    let mut flaws = Vec::new();
    let mut names = BTreeSet::new();
    for capture in &file.capture {
        let (line, capture) = (line_of(capture.span().start), capture.get_ref());
        if capture.columns.is_empty() {
            flaws.push(flaw(Some(line), format!("table {}: names no column", capture.table.plain())));
        }
        if !names.insert(capture.name.clone()) {
            flaws.push(flaw(Some(line), format!("`{}` is the name of two relations", capture.name)));
        }
        for column in ["transaction", "operation", "written_at"].iter().filter(|name| capture.columns.iter().any(|c| c == *name))
        {
            flaws.push(flaw(
                Some(line),
                format!("table {}: `{column}` is a column that every relation has", capture.table.plain()),
            ));
        }
    }
    let mut relations = Vec::new();
    for (name, query) in file.relation {
        if !names.insert(name.clone()) {
            flaws.push(flaw(None, format!("`{name}` is the name of two relations")));
        }
        match query.as_str() {
            Some(query) => {
                flaws.extend(wrong(query, false).map(|what| flaw(None, format!("relation {name} {what}"))));
                relations.push((Ident::new(name), query.to_owned()));
            }
            None => flaws.push(flaw(None, format!("relation {name} is a query: text is expected"))),
        }
    }
    let mut kinds = Vec::new();
    for kind in file.revocation {
        let line = line_of(kind.span().start);
        let KindFile { what, query, replay, proof, granted } = kind.into_inner();
        let mut say = |what: String| flaws.push(flaw(Some(line), what));
        let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if what.is_empty() || !what.chars().all(name) {
            say(format!("`{what}` is not a kind of revocation: lower-case letters, digits and `_`"));
        }
        if kinds.iter().any(|known: &Kind| known.what == what) {
            say(format!("`{what}` is declared twice"));
        }
        if replay.is_empty() {
            say(format!("{what}: replay has no statement"));
        }
        for (key, text) in [("query", Some(&query)), ("proof", Some(&proof)), ("granted", granted.as_ref())] {
            text.and_then(|text| wrong(text, false)).into_iter().for_each(|wrong| say(format!("{what}: {key} {wrong}")));
        }
        replay.iter().filter_map(|text| wrong(text, true)).for_each(|wrong| say(format!("{what}: replay {wrong}")));
        for (key, text) in replay
            .iter()
            .map(|text| ("replay", text))
            .chain([("proof", &proof)])
            .chain(granted.iter().map(|text| ("granted", text)))
        {
            if !text.contains("$1") {
                say(format!("{what}: {key} does not ask for $1, the ids it is about"));
            }
        }
        kinds.push(Kind { what, query, replay, proof, granted });
    }
    if kinds.is_empty() && flaws.is_empty() {
        flaws.push(flaw(None, "declares no [[revocation]]".to_owned()));
    }
    let wanted = file.capture.into_iter().map(Spanned::into_inner).map(|capture| Wanted {
        table: capture.table,
        name: Ident::new(capture.name),
        columns: capture.columns.into_iter().map(Ident::new).collect(),
    });
    if flaws.is_empty() { Ok(Rules { wanted: wanted.collect(), relations, kinds, text }) } else { Err(flaws) }
}

/// What is wrong with a text that must be one query, or one statement that changes rows.
fn wrong(text: &str, changes: bool) -> Option<String> {
    let statements = match split(text) {
        Ok(statements) => statements,
        Err(faults) => return Some(format!("is no SQL that can be read: {}", faults.first().map_or("", |fault| &fault.what))),
    };
    let [statement] = statements.as_slice() else {
        return Some(format!("holds {} statements: one is expected", statements.len()));
    };
    let strongest = statement.strongest().map_or(LockMode::AccessShare, |touch| touch.lock);
    match changes {
        true if strongest != LockMode::RowExclusive => Some("is no DELETE or UPDATE".to_owned()),
        false if strongest > LockMode::AccessShare => {
            Some("changes or locks rows: a query that only reads is expected".to_owned())
        }
        _ => None,
    }
}

impl Rules {
    /// The kind of this name.
    pub fn kind(&self, what: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.what == what)
    }

    /// Adds what the rules read to what is captured anyway. Gives a finding for a table that is not there.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn widen(&self, blue: &Session, captured: &mut Vec<Captured>) -> anyhow::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for wanted in &self.wanted {
            let Some(state) = table_state(blue, &wanted.table).await? else {
                findings.push(Finding {
                    severity: Severity::Blocks,
                    object: format!("table {} on blue", wanted.table.plain()),
                    what: "does not exist, and the revocation rules read its changes".to_owned(),
                    next: "correct the rules file".to_owned(),
                });
                continue;
            };
            match captured.iter_mut().find(|known| known.table == state.name) {
                Some(known) => {
                    known.columns.extend(wanted.columns.iter().cloned());
                    known.columns.sort();
                    known.columns.dedup();
                    if let Some(watch) = &mut known.watch {
                        watch.retain(|column| !known.columns.contains(column));
                    }
                }
                None => {
                    let mut columns = wanted.columns.clone();
                    columns.sort();
                    captured.push(Captured { table: state.name, columns, watch: Some(Vec::new()) });
                }
            }
        }
        Ok(findings)
    }

    /// The statement that gives every revocation, `what` first, over relations of changes given as queries in the order of
    /// [`Rules::wanted`].
    pub(super) fn statement(&self, changes: &[String]) -> String {
        let captured =
            self.wanted.iter().zip(changes).map(|(wanted, query)| format!("{} AS MATERIALIZED ({query}\n)", wanted.name));
        let relations = self.relations.iter().map(|(name, query)| format!("{name} AS ({query}\n)"));
        let with: Vec<String> = captured.chain(relations).collect();
        let each = self.kinds.iter().map(|kind| {
            format!(
                "SELECT {}::text, id::text, client::text, subject::text, transaction::text, revoked_at::timestamptz FROM ({}\n) AS revoked \
                 WHERE id IS NOT NULL",
                crate::sql::Literal::new(&kind.what),
                kind.query
            )
        });
        format!("WITH {}\n{}", with.join(",\n"), each.collect::<Vec<_>>().join("\nUNION ALL\n"))
    }

    /// Whether every query and statement fits the databases of these sessions, without running one.
    ///
    /// # Errors
    /// When a session is gone.
    pub async fn check(&self, blue: Option<&Session>, green: Option<&Session>) -> anyhow::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        if let Some(blue) = blue {
            let none: Vec<String> = self.wanted.iter().map(Wanted::nothing).collect();
            fits(blue, Side::Blue, "the queries over captured changes", &self.statement(&none), &mut findings).await;
            for kind in &self.kinds {
                if let Some(granted) = &kind.granted {
                    fits(blue, Side::Blue, &format!("{}: granted", kind.what), granted, &mut findings).await;
                }
            }
        }
        if let Some(green) = green {
            for kind in &self.kinds {
                for replay in &kind.replay {
                    fits(green, Side::Green, &format!("{}: replay", kind.what), replay, &mut findings).await;
                }
                fits(green, Side::Green, &format!("{}: proof", kind.what), &kind.proof, &mut findings).await;
            }
        }
        Ok(findings)
    }
}

impl Wanted {
    /// The relation without a row.
    fn nothing(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| format!(", NULL::text AS {column}")).collect();
        format!(
            "SELECT NULL::xid8 AS transaction, NULL::text AS operation, NULL::timestamptz AS written_at{} WHERE false",
            columns.concat()
        )
    }
}

async fn fits(session: &Session, side: Side, what: &str, sql: &str, findings: &mut Vec<Finding>) {
    if let Err(error) = session.prepare(sql).await {
        findings.push(Finding {
            severity: Severity::Blocks,
            object: format!("revocation rules, {what}"),
            what: format!("{side} does not understand it: {}", explain(&error.into())),
            next: "mend the rules file; `crossfade check` reads it again".to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Rules, Vec<String>> {
        super::read(Path::new("rules.toml"), text.to_owned()).map_err(|flaws| flaws.into_iter().map(|flaw| flaw.what).collect())
    }

    const GOOD: &str = r#"
[[capture]]
table = "card"
as = "card_change"
columns = ["nr", "holder"]
[relation]
ended = "SELECT * FROM card_change WHERE operation = 'd'"
[[revocation]]
what = "card"
query = "SELECT nr AS id, NULL AS client, holder AS subject, transaction, written_at AS revoked_at FROM ended"
replay = ["DELETE FROM card WHERE nr = ANY ($1)"]
proof = "SELECT nr FROM card WHERE nr = ANY ($1)"
"#;

    #[test]
    fn a_file_gives_its_rules() {
        let rules = read(GOOD).unwrap();
        assert_eq!(rules.wanted[0].columns, [Ident::new("nr"), Ident::new("holder")]);
        let statement = rules.statement(&["SELECT 1".to_owned()]);
        assert!(statement.starts_with("WITH \"card_change\" AS MATERIALIZED (SELECT 1\n),\n\"ended\" AS ("), "{statement}");
    }

    #[test]
    fn every_flaw_is_found_at_once() {
        let bad = GOOD
            .replace("\"nr\", \"holder\"", "\"nr\", \"operation\"")
            .replace("DELETE FROM card WHERE nr = ANY ($1)", "TRUNCATE card")
            .replace("SELECT nr FROM card WHERE nr = ANY ($1)", "DELETE FROM card")
            .replace("what = \"card\"", "what = \"A card\"")
            .replace("WHERE operation = 'd'", "WHERE (");
        let flaws = read(&bad).unwrap_err().join("\n");
        for words in
            ["`operation` is a column", "not a kind", "is no DELETE or UPDATE", "only reads", "does not ask for $1", "no SQL"]
        {
            assert!(flaws.contains(words), "`{words}` is not in:\n{flaws}");
        }
        assert!(read(&GOOD.replace("proof", "prove")).unwrap_err()[0].contains("prove"));
    }

    #[test]
    fn the_shipped_rules_have_no_flaw() {
        let rules = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/revocations/hydra-1x.toml")).unwrap();
        let what: Vec<&str> = rules.kinds.iter().map(|kind| kind.what.as_str()).collect();
        assert_eq!(what, ["client", "consent", "token", "access_token", "login_session"]);
    }
}
