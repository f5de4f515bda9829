//! `crossfade quarantine list|show|restore PLAN`: the rows that steps set aside, and their way back.

mod restore;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::databases::DatabaseArgs;
use super::{Format, PlanArgs, print_json, text};
use crate::pg::{Session, control_present};
use crate::plan;
use crate::terms::{Exit, Side, key_digest};

#[derive(Debug, Args)]
pub(super) struct QuarantineArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Count the rows set aside, by run, step, table and reason
    List(Chosen),
    /// Name each row by a digest of its key; with --rows print the rows themselves
    Show {
        #[command(flatten)]
        chosen: Chosen,
        /// Print whole rows with all their values to stdout, as one JSON array. This is the only command that prints values
        #[arg(long)]
        rows: bool,
    },
    /// Put rows back as they were; without --execute say which could go back
    Restore {
        #[command(flatten)]
        chosen: Chosen,
        /// Really do it; without this nothing is changed
        #[arg(long)]
        execute: bool,
    },
}

#[derive(Debug, Args)]
struct Chosen {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Only rows of this run (default: all; restore: the latest run of the plan)
    #[arg(long)]
    run: Option<String>,
    /// Only rows that this step set aside
    #[arg(long)]
    step: Option<String>,
    /// Only rows of this table, named as `list` names it or without its schema
    #[arg(long)]
    table: Option<String>,
}

/// The condition on `crossfade.quarantine` for `$1` run, `$2` step, `$3` table, each NULL for all.
const CHOSEN: &str = "($1::text IS NULL OR run = $1) AND ($2::text IS NULL OR step = $2) \
    AND ($3::text IS NULL OR table_name = $3 OR right(table_name, length($3) + 1) = '.' || $3)";

impl Chosen {
    fn parameters(&self) -> [&(dyn tokio_postgres::types::ToSql + Sync); 3] {
        [&self.run, &self.step, &self.table]
    }

    fn has_table(&self, name: &str) -> bool {
        self.table.as_ref().is_none_or(|table| name == table || name.ends_with(&format!(".{table}")))
    }

    /// Sessions on the sides that have our tables.
    async fn sessions(&self) -> anyhow::Result<Vec<(Side, Session)>> {
        let plan = plan::load(&self.plan.plan)?;
        let mut sessions = Vec::new();
        for (side, database) in self.databases.resolve(&plan)? {
            let session = database.connect("crossfade/quarantine").await?;
            if control_present(&session).await? {
                sessions.push((side, session));
            }
        }
        Ok(sessions)
    }
}

pub(super) async fn quarantine(args: &QuarantineArgs, format: Format) -> anyhow::Result<Exit> {
    match &args.action {
        Action::List(chosen) => list(chosen, format).await,
        Action::Show { chosen, rows: false } => show(chosen, format).await,
        Action::Show { chosen, rows: true } => print_rows(chosen).await,
        Action::Restore { chosen, execute } => restore::restore(chosen, *execute, format).await,
    }
}

/// Rows of one reason.
#[derive(Debug, Serialize)]
struct Group {
    side: Side,
    run: String,
    step: String,
    table: String,
    reason: String,
    rows: i64,
    restored: i64,
    first_set_aside_at: String,
    last_set_aside_at: String,
}

async fn list(chosen: &Chosen, format: Format) -> anyhow::Result<Exit> {
    let sql = format!(
        "SELECT run, step, table_name, reason, count(*), count(restored_at), {}, {} FROM crossfade.quarantine WHERE {CHOSEN} \
         GROUP BY run, step, table_name, reason ORDER BY run, min(id)",
        at("min(set_aside_at)"),
        at("max(set_aside_at)")
    );
    let mut groups = Vec::new();
    for (side, session) in chosen.sessions().await? {
        for row in session.query(&sql, &chosen.parameters()).await? {
            groups.push(Group {
                side,
                run: row.get(0),
                step: row.get(1),
                table: row.get(2),
                reason: row.get(3),
                rows: row.get(4),
                restored: row.get(5),
                first_set_aside_at: row.get(6),
                last_set_aside_at: row.get(7),
            });
        }
    }
    if format == Format::Json {
        return print_json(&serde_json::json!({ "quarantine": groups })).map(|()| Exit::Done);
    }
    let mut out = String::new();
    let mut run = String::new();
    for group in &groups {
        if run != group.run {
            run.clone_from(&group.run);
            out += &format!("run {run}\n");
        }
        let Group { side, step, table, reason, rows, restored, last_set_aside_at, .. } = group;
        out += &format!(
            "  {step}, {table} on {side}: {} set aside until {last_set_aside_at}, {restored} restored: {reason}\n",
            counted(*rows)
        );
    }
    if groups.is_empty() {
        out += "no rows are set aside\n";
    }
    text::print(&out)?;
    Ok(Exit::Done)
}

/// One row set aside, without its values.
#[derive(Debug, Serialize)]
struct Named {
    side: Side,
    run: String,
    step: String,
    table: String,
    key_digest: String,
    reason: String,
    set_aside_at: String,
    restored_at: Option<String>,
}

async fn show(chosen: &Chosen, format: Format) -> anyhow::Result<Exit> {
    let sql = format!(
        "SELECT run, step, table_name, row_key::text, reason, {}, {} FROM crossfade.quarantine WHERE {CHOSEN} ORDER BY id",
        at("set_aside_at"),
        at("restored_at")
    );
    let mut named = Vec::new();
    for (side, session) in chosen.sessions().await? {
        named.extend(session.query(&sql, &chosen.parameters()).await?.iter().map(|row| Named {
            side,
            run: row.get(0),
            step: row.get(1),
            table: row.get(2),
            key_digest: key_digest(row.get(3)),
            reason: row.get(4),
            set_aside_at: row.get(5),
            restored_at: row.get(6),
        }));
    }
    if format == Format::Json {
        return print_json(&serde_json::json!({ "rows": named })).map(|()| Exit::Done);
    }
    let mut out = String::new();
    for Named { side, run, step, table, key_digest, reason, set_aside_at, restored_at } in &named {
        let restored = restored_at.as_ref().map_or(String::new(), |at| format!(", restored {at}"));
        out += &format!("{key_digest}  {table} on {side}, {run}/{step}, set aside {set_aside_at}{restored}: {reason}\n");
    }
    if named.is_empty() {
        out += "no rows are set aside\n";
    }
    text::print(&out)?;
    Ok(Exit::Done)
}

/// Rows at a time: they may be large.
const PAGE: i64 = 500;

async fn print_rows(chosen: &Chosen) -> anyhow::Result<Exit> {
    let sql = format!(
        "SELECT id, json_build_object('side', $4::text, 'run', run, 'step', step, 'table', table_name, 'reason', reason, 'key', row_key, \
                    'row', row_data, 'row_text', row_text, 'set_aside_at', set_aside_at, 'restored_at', restored_at)::text \
         FROM crossfade.quarantine WHERE {CHOSEN} AND id > $5 ORDER BY id LIMIT {PAGE}"
    );
    let mut before = "[\n";
    for (side, session) in chosen.sessions().await? {
        let (side, mut last) = (side.to_string(), i64::MIN);
        loop {
            let [run, step, table] = chosen.parameters();
            let rows = session.query(&sql, &[run, step, table, &side, &last]).await?;
            let Some(end) = rows.last() else { break };
            last = end.get(0);
            for row in &rows {
                text::print(&format!("{before}{}", row.get::<_, &str>(1)))?;
                before = ",\n";
            }
        }
    }
    text::print(if before == "[\n" { "[]\n" } else { "\n]\n" })?;
    Ok(Exit::Done)
}

fn counted(rows: impl Into<i128>) -> String {
    match rows.into() {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    }
}

/// A time in UTC to the second (sessions are in UTC).
fn at(expression: &str) -> String {
    format!("to_char({expression}, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
}
