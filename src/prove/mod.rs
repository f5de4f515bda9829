//! Whether a plan ends where the original migrations end: both are run, each on a throw-away server of its own, and what they leave is
//! compared, catalog and rows.

mod difference;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

pub use difference::{Catalog, Difference, differences};

use crate::engine::{self, Options, Outcome, RunChoice};
use crate::pg::{Database, Session, sqlstate};
use crate::plan::Plan;
use crate::report::Screen;
use crate::shadow::{Binaries, Cluster, Folder};
use crate::sql::{Block, Ident, Literal, QualifiedName, split};
use crate::step::Interrupt;
use crate::terms::{Severity, Side};

/// One of the original migrations.
#[derive(Debug, Clone)]
pub struct Original {
    /// The file's name, for messages.
    pub file: String,
    /// Its version, as its tool records it.
    pub version: String,
    /// Its text.
    pub text: String,
    /// Whether its tool runs it as one transaction.
    pub wrapped: bool,
}

/// The application's table of applied versions.
#[derive(Debug, Clone)]
pub struct History {
    /// The table.
    pub table: QualifiedName,
    /// Its column of versions.
    pub column: Ident,
    /// What a new row has in other columns, as in a plan: `version_self = 0`.
    pub constants: String,
}

/// What is proved from what.
pub struct Setup {
    /// The original migrations in their order.
    pub originals: Vec<Original>,
    /// The plan.
    pub plan: Plan,
    /// SQL files that make the database both begin with, schema and rows, as `pg_dump` writes them.
    pub start: Vec<PathBuf>,
    /// Where the versions are recorded.
    pub history: Option<History>,
    /// Columns, as `table.column`, whose values may differ: random ones, times of the run.
    pub ignored: Vec<String>,
    /// Whether to show less of the plan's run.
    pub quiet: bool,
}

/// What came of it.
#[derive(Debug, serde::Serialize)]
pub struct Proof {
    /// Original migrations that ran.
    pub migrations: usize,
    /// Properties of the catalog that were compared.
    pub properties: usize,
    /// Tables whose rows were compared, with their number.
    pub tables: usize,
    /// Rows in them, by the original.
    pub rows: u64,
    /// What differs.
    pub differences: Vec<Difference>,
    /// Tables whose columns stand in another order, which only `SELECT *` and `INSERT` without columns notice.
    pub orders: Vec<Difference>,
}

/// Runs both and compares.
///
/// # Errors
/// When servers cannot be started, when the start cannot be loaded, when one of the original migrations or a step of the plan fails.
pub async fn prove(setup: Setup) -> Result<Proof> {
    let binaries = Binaries::find()?;
    let (original, planned) = tokio::try_join!(Cluster::start(&binaries, Vec::new()), Cluster::start(&binaries, Vec::new()))?;
    let (original_db, planned_db) = (begin(&original, &setup, &binaries).await?, begin(&planned, &setup, &binaries).await?);
    let migrations = setup.originals.len();
    run_originals(&original_db, &setup.originals, setup.history.as_ref(), 0).await?;
    let ignored = setup.ignored.clone();
    run_plan(&planned_db, setup).await?;
    let (one, other) = (original_db.connect("crossfade/prove").await?, planned_db.connect("crossfade/prove").await?);
    let (one_catalog, other_catalog) = (catalog(&one).await?, catalog(&other).await?);
    let (orders, mut found): (Vec<_>, Vec<_>) =
        differences(&one_catalog, &other_catalog).into_iter().partition(|difference| difference.kind == "order of columns");
    let (tables, rows) = compare_rows(&one, &other, &one_catalog, &ignored, &mut found).await?;
    // Where columns are missing, the differences say so already.
    let orders = orders.into_iter().filter(same_words).collect();
    Ok(Proof { migrations, properties: one_catalog.len(), tables, rows, differences: found, orders })
}

fn same_words(order: &Difference) -> bool {
    let words =
        |text: &Option<String>| -> Option<BTreeSet<String>> { Some(text.as_ref()?.split(", ").map(ToOwned::to_owned).collect()) };
    words(&order.original) == words(&order.plan)
}

/// A database with what both begin with.
async fn begin(cluster: &Cluster, setup: &Setup, binaries: &Binaries) -> Result<Database> {
    let maintenance = cluster.database("the throw-away server", "postgres")?.connect("crossfade/prove").await?;
    maintenance.batch_execute("CREATE DATABASE proof").await?;
    for file in &setup.start {
        load(cluster, file, binaries).await?;
    }
    cluster.database("the throw-away server", "proof")
}

/// A dump holds COPY data and lines for psql: psql reads it.
async fn load(cluster: &Cluster, file: &Path, binaries: &Binaries) -> Result<()> {
    let beside = binaries.program("psql");
    let program = if beside.exists() { beside } else { PathBuf::from("psql") };
    let mut command = tokio::process::Command::new(program);
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d"]).arg(cluster.url("proof")).arg("-f").arg(file);
    let output = command
        .stdin(Stdio::null())
        .output()
        .await
        .context("psql does not start; install PostgreSQL's client programs (postgresql-client)")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} cannot be loaded: {}", file.display(), said.lines().take(3).collect::<Vec<_>>().join("; "));
    }
    Ok(())
}

/// Runs migrations as their tool does, one transaction for each file, and records their versions where there is a table for that.
/// A file that the server ended because of a deadlock is run anew, `patience` times in all at most. How many times that was.
///
/// # Errors
/// The server's, with the file.
pub async fn run_originals(
    database: &Database,
    originals: &[Original],
    history: Option<&History>,
    patience: u32,
) -> Result<u32> {
    let mut recorded: BTreeSet<&str> = BTreeSet::new();
    let mut deadlocks = 0;
    for (at, original) in originals.iter().enumerate() {
        let session = loop {
            let session = database.connect("crossfade/prove").await?;
            match original.run(&session).await {
                Ok(()) => break session,
                Err(error) if deadlocks < patience && in_deadlock(&error) => deadlocks += 1,
                Err(error) => return Err(error.context(format!("the original {} fails", original.file))),
            }
        };
        let Some(History { table, column, constants }) = history else { continue };
        let there: bool = session.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table.to_string()]).await?.get(0);
        if !there {
            continue;
        }
        let (names, values) = columns(constants);
        for earlier in originals[..=at].iter().filter(|earlier| !earlier.version.is_empty()) {
            if recorded.insert(&earlier.version) {
                let version = Literal::new(earlier.version.as_str());
                session.batch_execute(&format!("INSERT INTO {table} ({column}{names}) VALUES ({version}{values})")).await?;
            }
        }
    }
    Ok(deadlocks)
}

fn in_deadlock(error: &anyhow::Error) -> bool {
    error.downcast_ref::<tokio_postgres::Error>().is_some_and(|error| sqlstate(error) == "40P01")
}

impl Original {
    async fn run(&self, session: &Session) -> Result<()> {
        if self.wrapped {
            let begins = split(&self.text).is_ok_and(|all| all.iter().any(|one| one.block() == Block::Control));
            let text = if begins { self.text.clone() } else { format!("BEGIN;\n{}\n;COMMIT;", self.text) };
            return Ok(session.batch_execute(&text).await?);
        }
        let all =
            split(&self.text).map_err(|faults| anyhow::anyhow!("{}:{}: {}", self.file, faults[0].line, faults[0].what))?;
        for statement in all {
            session.batch_execute(statement.text()).await?;
        }
        Ok(())
    }
}

/// `version_self = 0, kind = "up"` as `, version_self, kind` and `, 0, 'up'`.
fn columns(constants: &str) -> (String, String) {
    let Ok(table) = format!("x = {{ {constants} }}").parse::<toml::Table>() else { return Default::default() };
    let Some(toml::Value::Table(inner)) = table.get("x") else { return Default::default() };
    let value = |value: &toml::Value| match value {
        toml::Value::String(text) => Literal::new(text.as_str()).to_string(),
        other => other.to_string(),
    };
    (
        inner.keys().map(|name| format!(", {}", Ident::new(name))).collect(),
        inner.values().map(|given| format!(", {}", value(given))).collect(),
    )
}

/// The whole plan, as `crossfade run --execute` does it, with every approval given.
async fn run_plan(database: &Database, setup: Setup) -> Result<()> {
    let Setup { plan, quiet, .. } = setup;
    if plan.sides().any(|side| side == Side::Green) {
        bail!("{} works on green; only plans that change one database in place can be proved", plan.path().display());
    }
    let state = Folder::make("crossfade-prove-")?;
    let (screen, notices) = Screen::start(quiet);
    let options = Options {
        state_dir: state.path().to_owned(),
        choice: RunChoice::New,
        approve: plan.steps().iter().map(|step| step.id.as_str().to_owned()).collect(),
        allow_hooks: false,
        databases: [(Side::Blue, database.clone())].into(),
        interrupt: Interrupt::default(),
        notices,
    };
    let mut driver = engine::prepare(plan, options).await?;
    let outcome = engine::drive(&mut driver).await?;
    drop(driver);
    screen.finish().await;
    match outcome {
        Outcome::Left { reason, findings, .. } => {
            let blocking = findings.iter().filter(|finding| finding.severity == Severity::Blocks);
            bail!("the plan stops: {}", blocking.fold(reason, |text, finding| format!("{text}\n{finding}")))
        }
        _ => Ok(()),
    }
}

/// What DDL left behind in a database.
///
/// # Errors
/// When the session is gone.
pub async fn catalog(session: &Session) -> Result<Catalog> {
    let rows = session.query(include_str!("catalog.sql"), &[]).await?;
    Ok(rows
        .iter()
        .map(|row| ((row.get(0), row.get(1), row.get(2)), row.get::<_, Option<String>>(3).unwrap_or_default()))
        .collect())
}

/// Number and hash of the rows of each table that both have, and where sequences stand. Columns are compared by name.
async fn compare_rows(
    one: &Session,
    other: &Session,
    catalog: &Catalog,
    ignored: &[String],
    found: &mut Vec<Difference>,
) -> Result<(usize, u64)> {
    let of_kind = |kinds: &'static [&str], value: &'static [&str]| {
        let is = move |((kind, _, property), given): &(&(String, String, String), &String)| {
            kinds.contains(&kind.as_str()) && property == "kind" && value.contains(&given.as_str())
        };
        catalog.iter().filter(is).map(|((_, object, _), _)| object.clone()).collect::<Vec<_>>()
    };
    let (mut tables, mut total) = (0, 0);
    for table in of_kind(&["table", "materialized view"], &["r", "m"]) {
        let columns = |session| columns_of(session, &table);
        let (a, b) = (columns(one).await?, columns(other).await?);
        let shared: Vec<Ident> = a.into_iter().filter(|column| b.contains(column)).collect();
        let spared: Vec<Ident> = shared
            .iter()
            .filter(|column| {
                ignored.iter().any(|name| *name == format!("{table}.{column}").replace('"', "").replace("public.", ""))
            })
            .cloned()
            .collect();
        let (a, b) = (numbers(one, &table, &shared, &spared).await?, numbers(other, &table, &shared, &spared).await?);
        tables += 1;
        total += a.rows.parse::<u64>().unwrap_or_default();
        let mut differs = |property: String, a: &str, b: &str| {
            let (original, plan) = (Some(a.to_owned()), Some(b.to_owned()));
            found.push(Difference { kind: "rows".to_owned(), object: table.clone(), property, original, plan });
        };
        if a.rows != b.rows {
            differs("number".to_owned(), &a.rows, &b.rows);
        } else if a.whole != b.whole {
            let columns = shared.iter().zip(a.columns.iter().zip(&b.columns));
            let other: Vec<String> = columns.filter(|(_, (a, b))| a != b).map(|(column, _)| column.as_str().to_owned()).collect();
            let what = if other.is_empty() {
                "values that stand together".to_owned()
            } else {
                format!("values of {}", other.join(", "))
            };
            differs(format!("{what}, as a hash"), &a.whole, &b.whole);
        }
    }
    for sequence in of_kind(&["sequence"], &["S"]) {
        let sql = format!("SELECT last_value || ' called ' || is_called FROM {sequence}");
        let (Ok(a), Ok(b)) = (one.query_one(&sql, &[]).await, other.query_one(&sql, &[]).await) else { continue };
        let (a, b): (String, String) = (a.get(0), b.get(0));
        if a != b {
            found.push(Difference {
                kind: "sequence".to_owned(),
                object: sequence,
                property: "stands at".to_owned(),
                original: Some(a),
                plan: Some(b),
            });
        }
    }
    Ok((tables, total))
}

/// Number of rows, hash of them all, and of each column.
struct Numbers {
    rows: String,
    whole: String,
    columns: Vec<String>,
}

/// The columns of a table, by name.
async fn columns_of(session: &Session, table: &str) -> Result<Vec<Ident>> {
    let sql =
        "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY 1";
    Ok(session.query(sql, &[&table]).await?.iter().map(|row| Ident::new(row.get::<_, String>(0))).collect())
}

async fn numbers(session: &Session, table: &str, columns: &[Ident], spared: &[Ident]) -> Result<Numbers> {
    let sum = |text: &str| format!("coalesce(sum(hashtextextended({text}, 0)::numeric), 0)::text");
    let each: Vec<String> = columns.iter().map(|column| sum(&format!("t.{column}::text"))).collect();
    let kept: Vec<String> =
        columns.iter().filter(|column| !spared.contains(column)).map(|column| format!("t.{column}")).collect();
    let whole = sum(&format!("ROW({})::text", kept.join(", ")));
    let each = if each.is_empty() { String::new() } else { format!(", {}", each.join(", ")) };
    let row = session.query_one(&format!("SELECT count(*)::text, {whole}{each} FROM {table} t"), &[]).await?;
    Ok(Numbers { rows: row.get(0), whole: row.get(1), columns: (0..columns.len()).map(|at| row.get(at + 2)).collect() })
}
