//! What the linter says about locks, held to what servers do.

use crossfade::lint::rules::{self, Example, Rule};
use crossfade::lint::{Config, DEFAULT_VERSION, Known, Report, Within, lint};
use crossfade::shadow::Binaries;
use crossfade::trace::trace;

use crate::lint::{files, one};
use crate::support::TestDb;

/// An example, as the linter reads it.
fn read(example: &Example) -> Report {
    lint(files(example), &Config::default(), Known::new()).unwrap()
}

/// Rules whose bad example a server refuses, which is what they are about, or which needs what the servers of the tests lack.
pub const REFUSED: &[(&str, &str)] = &[
    ("body-not-read", "plperl is not installed"),
    ("drop-database", "there is no such database"),
    ("drop-extension", "hstore is not installed"),
    ("duplicate-assignment", "refused: 42601"),
    ("enum-value-in-transaction", "of PostgreSQL 11"),
    ("enum-value-used-early", "its second statement runs in a transaction of its own here"),
    ("extension-upgrade", "needs nothing of the tables"),
    ("lock-not-known", "there are no such roles"),
    ("psql-command", "not SQL"),
    ("syntax-error", "not SQL"),
    ("template-directive", "not SQL"),
];

/// Examples that cannot be run as their tool runs them, beside those.
const ALSO_REFUSED: &[(&str, &str, &str)] = &[
    ("not-in-a-transaction", "bad", "refused in the transaction that its tool makes: 25001"),
    ("drop-extension", "good", "there is no extension hstore_2"),
];

/// What the linter says of every rule's examples, held to what a server does by the same means as `crossfade trace`: locks, rewrites, scans,
/// and whether a reader and a writer are kept out.
#[tokio::test(flavor = "multi_thread")]
async fn claims_are_those_of_a_server() {
    let major = Binaries::find().unwrap().major();
    let mut config = Config::default();
    config.set_version(&major.to_string()).unwrap();
    let (mut wrong, mut compared, mut outside, mut queries, mut tried) = (Vec::new(), 0, 0, 0, 0);
    let db = TestDb::empty().await;
    for (rule, which, example) in examples() {
        let refused = which == "bad" && REFUSED.iter().any(|(id, _)| *id == rule.id);
        if refused
            || ALSO_REFUSED.iter().any(|(id, of, _)| (*id, *of) == (rule.id, which))
            || example.pg > major.max(DEFAULT_VERSION)
        {
            continue;
        }
        db.sweep().await;
        let report = lint(files(example), &config, Known::new()).unwrap();
        let found = trace(&db.database(), &report).await.unwrap_or_else(|e| panic!("{} {which}: {e:?}", rule.id));
        let newer = report.findings.iter().any(|finding| finding.rule == "needs-newer-server");
        match &found.failure {
            Some(failure) if !newer => {
                wrong.push(format!("{} {which}: line {} is refused: {}", rule.id, failure.line, failure.why));
            }
            None if newer => wrong.push(format!("{} {which}: is said to need a newer server, and runs on {major}", rule.id)),
            _ => {}
        }
        for statement in &found.statements {
            let text = &report.scripts[statement.file].text[statement.at.clone()];
            outside += usize::from(statement.alone);
            compared += usize::from(statement.claimed && !statement.alone);
            tried += statement.blocked.len();
            wrong.extend(statement.differences.iter().map(|one| format!("{} {which}: {text}\n  {one}", rule.id)));
        }
        let counts: Vec<String> = read(example).findings.into_iter().filter_map(|finding| finding.query).collect();
        if !counts.is_empty() {
            db.sweep().await;
            let session = db.session().await;
            session.batch_execute(example.before).await.unwrap();
            for query in counts {
                session.query(query.as_str(), &[]).await.unwrap_or_else(|e| panic!("{}: {query}: {e:?}", rule.id));
                queries += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(queries >= 9, "{queries} queries that count rows were run");
    eprintln!("{compared} statements compared, {outside} run outside a transaction, {tried} tables blocked");
    assert!(compared > 160 && outside > 10 && tried > 60, "{compared} compared, {outside} outside, {tried} blocked");
}

/// A server compiles these bodies; then the linter reads them, and sees each table that they touch.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_a_server_compiles_are_read() {
    let text = include_str!("../fixtures/lint/corpus/15_plpgsql.sql");
    let db = TestDb::empty().await;
    db.session().await.batch_execute(text).await.unwrap();
    let report = one(text, false);
    let unread: Vec<&str> =
        report.findings.iter().filter(|f| f.rule == "body-not-read").map(|finding| finding.message.as_str()).collect();
    assert!(unread.is_empty(), "{unread:#?}");
    let inner: Vec<&str> = report.scripts[0]
        .pieces
        .iter()
        .filter(|piece| piece.within != Within::File)
        .map(|piece| &text[piece.at.clone()])
        .collect();
    for statement in [
        "SELECT count(*) INTO n FROM pl WHERE b = NEW.b",
        "DELETE FROM pl RETURNING pl.*",
        "SELECT 4",
        "SELECT 5",
        "LOCK TABLE pl IN SHARE MODE",
    ] {
        assert!(inner.contains(&statement), "{statement}: {inner:#?}");
    }
}

/// The examples of all rules.
fn examples() -> impl Iterator<Item = (&'static Rule, &'static str, &'static Example)> {
    rules::all().flat_map(|rule| [(rule, "bad", &rule.bad), (rule, "good", &rule.good)])
}
