//! `clone`: brings a whole database to green, definitions and rows.
//!
//! Where it stands is told by green: rows of `crossfade.clone_entry` (every definition to come is known, and how to take all
//! of it away), rows of `crossfade.copy_part` and `crossfade.copy_missing` (parts that are in, and those that are not), marker `loaded`
//! (all rows of one snapshot are in), `clone_entry.done`, and the part row of projection `*` (everything is there). Once its parts are
//! planned a new attempt goes on with those that are missing, as long as somebody holds their snapshot; otherwise it drops what it
//! finds of its own and begins again.

mod away;
mod checks;
mod notes;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use async_trait::async_trait;

use super::copy::{BEGINS_AGAIN, ended, hold, load_missing, loader, stop_here, unseen_sessions};
use super::registry::{Fault, Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, Step, Summary, from_table};
use crate::copy::clone::{
    Archive, Choice, Entry, LargeObject, Programs, Relation, Stage, Stretch, block_size, bound, entries, left_behind, owners,
    plan, positions, stretches, together,
};
use crate::copy::{Filling, Held, missing};
use crate::pg::{Session, control_present, mark, marked, on_threads, reads_block_ranges};
use crate::sql::{Ident, Literal, QualifiedName};
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind {
    name: "clone",
    about: "bring a whole database to an empty green: definitions by pg_dump, rows in parallel",
    parse,
    keys: keys_of::<Choice>,
};

const BEGUN: &str = "begun";
const LOADED: &str = "loaded";

/// So many statements are one transaction: each takes locks of its own.
const TOGETHER: usize = 200;

struct Clone {
    choice: Choice,
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let choice: Choice = from_table(table)?;
    if !around.has_green {
        return Err(vec![Fault { what: "works on green, but the plan has no [green]".to_owned(), ..Fault::default() }]);
    }
    Ok((Box::new(Clone { choice }), Vec::new()))
}

#[async_trait]
impl Step for Clone {
    fn describe(&self) -> Summary {
        let what = if self.choice.is_everything() { "the whole database" } else { "the chosen part of the database" };
        Summary {
            effect: format!("bring {what} to green, definitions and rows, from one snapshot of blue"),
            lock: "ACCESS SHARE on blue while it runs: no reader or writer waits".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![Side::Blue, Side::Green]
    }

    fn notes(&self) -> Vec<Side> {
        vec![Side::Green]
    }

    fn reversal(&self) -> Reversal {
        Reversal::Reversible
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let blue = cx.connect(Side::Blue).await?;
        let size = u64::from(block_size(&blue).await?);
        let mut tables = self.chosen(&blue).await?;
        tables.sort_by_key(|table| std::cmp::Reverse(table.blocks));
        let line = |object: String, what: String, rows: Option<i64>| Forecast { object, what, rows, lock: String::new() };
        let bytes = |tables: &[Relation]| tables.iter().map(|table| u64::from(table.blocks) * size).sum::<u64>();
        let megabytes = |bytes: u64| format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10);
        let rows = |tables: &[Relation]| tables.iter().map(|table| (table.rows >= 0).then_some(table.rows)).sum::<Option<i64>>();
        let mut lines = vec![line(format!("{} tables", tables.len()), megabytes(bytes(&tables)), rows(&tables))];
        let (shown, more) = tables.split_at(tables.len().min(20));
        for table in shown {
            let form = if table.binary { "binary" } else { "text" };
            let what = format!("{}, {form}", megabytes(u64::from(table.blocks) * size));
            lines.push(line(table.table.plain(), what, rows(std::slice::from_ref(table))));
        }
        if !more.is_empty() {
            lines.push(line(format!("{} smaller tables", more.len()), megabytes(bytes(more)), rows(more)));
        }
        let objects = LargeObject::all(&blue).await?.len();
        if objects > 0 && self.choice.is_everything() {
            lines.push(line(format!("{objects} large objects"), "carried".to_owned(), None));
        }
        for (object, what) in left_behind(&blue).await? {
            lines.push(line(object, format!("not carried: {what}"), None));
        }
        Ok(lines)
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        let mut findings = Vec::new();
        if let Err(error) = Programs::find(major(&blue).await?) {
            findings.push(blocks("pg_dump", error.to_string(), "install them, then do this again"));
        }
        if !marked(&green, &cx.run, &cx.step, BEGUN).await? {
            findings.extend(self.in_the_way(&blue, &green).await?);
        }
        findings.extend(self.missing(&blue, &green).await?);
        findings.extend(unseen_sessions(cx, &blue).await?);
        Ok(findings)
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let green = cx.connect(Side::Green).await?;
        if !control_present(&green).await? || !marked(&green, &cx.run, &cx.step, BEGUN).await? {
            return Ok(Extent::Absent);
        }
        let row = green
            .query_one(
                "SELECT count(*) FILTER (WHERE projection = '*'), coalesce(sum(rows) FILTER (WHERE projection <> '*'), 0)::bigint \
                 FROM crossfade.copy_part WHERE run = $1 AND step = $2",
                &[&cx.run.as_str(), &cx.step.as_str()],
            )
            .await?;
        let (ended, rows): (i64, i64) = (row.get(0), row.get(1));
        Ok(if ended > 0 {
            Extent::Complete
        } else if marked(&green, &cx.run, &cx.step, LOADED).await? {
            Extent::Partial(format!("{rows} rows loaded, indexes and constraints not all there"))
        } else {
            Extent::Partial(format!("{rows} rows loaded, not all"))
        })
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Before::of(&()) // what an undo needs is on green, in the transaction of the first effect
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        let green = cx.connect(Side::Green).await?;
        let settings = if marked(&green, &cx.run, &cx.step, LOADED).await? {
            let settings = self.settings(cx, &green).await?;
            self.rest(cx, &green, &[Stage::Chain, Stage::Last], settings.clone()).await?;
            settings
        } else if let Some(held) = Held::find(&green, cx.opener(Side::Blue)?, &cx.run, &cx.step).await? {
            let settings = self.settings(cx, &green).await?;
            self.load(cx, &green, &held, true, settings.clone()).await?;
            settings
        } else {
            if marked(&green, &cx.run, &cx.step, BEGUN).await? {
                cx.remark(format!("what an earlier attempt brought is dropped: {BEGINS_AGAIN}"));
                self.drop_all(cx, &green).await?;
                cx.crash_point("emptied");
            }
            let held = hold(cx).await?;
            let work = async {
                let settings = self.define(cx, &green, &held).await?;
                self.load(cx, &green, &held, false, settings.clone()).await?;
                Ok(settings)
            };
            held.driven(&green, &cx.run, &cx.step, work).await?
        };
        drop(green);
        cx.crash_point("indexed");
        stop_here(cx)?;
        // The dump's settings are for the statements of the dump alone.
        let green = cx.connect(Side::Green).await?;
        green.batch_execute(&settings).await?;
        for stage in [Stage::Later, Stage::Key] {
            self.in_order(cx, &green, stage).await?;
        }
        cx.crash_point("keyed");
        self.rest(cx, &green, &[Stage::Validate], settings).await?;
        cx.crash_point("validated");
        self.in_order(cx, &green, Stage::After).await?;
        let wanted =
            "SELECT table_schema, table_name FROM crossfade.clone_entry WHERE run = $1 AND step = $2 AND stage = 'sequence'";
        let wanted = green.query(wanted, &[&cx.run.as_str(), &cx.step.as_str()]).await?;
        let wanted: BTreeSet<(String, String)> = wanted.iter().map(|row| (row.get(0), row.get(1))).collect();
        for some in positions(&cx.connect(Side::Blue).await?, &wanted).await?.chunks(TOGETHER) {
            green.batch_execute(&some.join(";\n")).await.context("sequences on green")?;
        }
        cx.crash_point("sequences");
        self.in_order(cx, &green, Stage::End).await?;
        green.batch_execute(&ended(cx)).await?;
        Ok(())
    }

    async fn undo(&self, cx: &Cx, _: &Before) -> anyhow::Result<()> {
        let green = cx.connect(Side::Green).await?;
        if !marked(&green, &cx.run, &cx.step, BEGUN).await? {
            // Every other effect comes after this marker.
            if control_present(&green).await? {
                green.batch_execute(&missing::forget(&cx.run, &cx.step).join("; ")).await?;
            }
            return Ok(());
        }
        self.drop_all(cx, &green).await
    }
}

impl Clone {
    /// Definitions before the rows, large objects, and the plan of all parts. Gives the settings for the statements that follow.
    async fn define(&self, cx: &Cx, green: &Session, held: &Held) -> anyhow::Result<String> {
        let reader = held.join().await?;
        let blue = &reader;
        let programs = Programs::find(major(blue).await?)?;
        blue.batch_execute("SET LOCAL search_path = pg_catalog").await?; // the server qualifies every name then
        let session = cx.connect(Side::Blue).await?;
        let dump = Archive::dump(programs, &session, held.name(), &self.choice);
        let facts = async { Ok((owners(blue).await?, bound(blue).await?, Relation::all(blue).await?)) };
        let (archive, (owners, bound, relations)) = tokio::try_join!(dump, facts)?;
        let (settings, before) = entries(&archive.section("pre-data").await?);
        let (_, after) = entries(&archive.section("post-data").await?);
        let drops = archive.drops().await?;
        drop(archive);
        let settings = self.known_settings(green, settings).await?;
        let planned = plan(&after, &owners);
        let there = things_there(green).await?;
        let made: Vec<&Entry> =
            before.iter().filter(|entry| !there.contains(&(entry.sort.clone(), entry.name.clone()))).collect();
        let of_sort = |sort: &str| -> BTreeSet<(String, String)> {
            let those = before.iter().filter(|entry| entry.sort == sort);
            those.map(|entry| (entry.schema.clone(), entry.name.clone())).collect()
        };
        let dumped = of_sort("TABLE");
        let flat = |ident: &Ident| ident.as_str().replace(['\n', '\r'], " ");
        let tables: Vec<Relation> = relations
            .into_iter()
            .filter(|one| match (&one.extension, one.table.schema()) {
                (Some(_), _) => self.choice.is_everything(),
                (None, Some(schema)) => dumped.contains(&(flat(schema), flat(one.table.name()))),
                (None, None) => false,
            })
            .collect();
        let last = self.analyzed_last(blue, &dumped, &of_sort("MATERIALIZED VIEW")).await?;
        self.note(cx, green, &drops, &there, &planned, &tables, &last, &of_sort("SEQUENCE"), &settings).await?;
        cx.crash_point("noted");

        for stretch in stretches(&made, &bound) {
            let (entries, sessions) = match stretch {
                Stretch::InOrder(entries) => (entries, 1),
                Stretch::Beside(entries) => (entries, cx.limits.jobs),
            };
            bring_definitions(cx, &entries, sessions, &settings).await?;
        }
        if self.choice.is_everything() {
            for object in LargeObject::all(blue).await? {
                object.carry(blue, green).await?;
            }
        }
        let size = block_size(blue).await?;
        let fillings: Vec<Filling> = tables
            .iter()
            .map(|table| Filling {
                bound: table.bound(),
                blocks: vec![table.blocks],
                toast: table.toast,
                empty: table.extension.is_none(),
            })
            .collect();
        let parts = missing::parts(&fillings, size, cx.limits.jobs, reads_block_ranges(blue).await?);
        missing::plan(green, &cx.run, &cx.step, &settings, &parts).await?;
        cx.crash_point("planned");
        Ok(settings)
    }

    /// Loads what is missing of every table, and brings its indexes.
    async fn load(&self, cx: &Cx, green: &Session, held: &Held, resumed: bool, settings: String) -> anyhow::Result<()> {
        let mut rests = self.rests(cx, green, &[Stage::Chain, Stage::Last], resumed).await?;
        let parts = missing::read(green, &cx.run, &cx.step).await?;
        let bytes: BTreeMap<&QualifiedName, u64> = parts.iter().map(|part| (&part.table, part.bytes)).collect();
        for rest in &mut rests {
            rest.bytes = bytes.get(&rest.table).copied().unwrap_or(rest.bytes);
        }
        let blue = held.join().await?;
        let known = Relation::all(&blue).await?;
        drop(blue);
        let here: BTreeSet<&QualifiedName> = rests.iter().map(|rest| &rest.table).collect();
        let known: Vec<&Relation> = known.iter().filter(|table| here.contains(&table.table)).collect();
        let total: u64 = known.iter().map(|table| u64::try_from(table.rows).unwrap_or(0)).sum();
        let texts = known.iter().filter(|table| !table.binary).count();
        let watermark = format!(
            "INSERT INTO crossfade.watermark (run, snapshot) VALUES ({}, {}) ON CONFLICT (run) DO NOTHING",
            Literal::new(cx.run.as_str()),
            Literal::new(&held.seen)
        );
        let mut loaded = vec![mark(&cx.run, &cx.step, LOADED), watermark];
        loaded.extend(missing::forget(&cx.run, &cx.step));
        let load = loader(cx, rests, parts, loaded, resumed, settings)?;
        load_missing(cx, green, load, held, resumed, total, texts).await
    }

    /// Partitioned tables and those with children, whose statistics are those of all their parts, and materialized views: all these
    /// have their rows last.
    async fn analyzed_last(
        &self,
        blue: &Session,
        tables: &BTreeSet<(String, String)>,
        views: &BTreeSet<(String, String)>,
    ) -> anyhow::Result<Vec<QualifiedName>> {
        let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE (c.relkind = 'p' AND NOT c.relispartition) OR (c.relkind = 'm' AND c.relispopulated) \
                      OR (c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)) ORDER BY 1, 2";
        let rows = blue.query(sql, &[]).await?;
        let names = rows.iter().map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)));
        Ok(names
            .filter(|name| tables.contains(name) || views.contains(name))
            .map(|(schema, name)| QualifiedName::new(schema, name))
            .collect())
    }

    /// The dump's settings that this server knows.
    async fn known_settings(&self, green: &Session, settings: Vec<String>) -> anyhow::Result<String> {
        let name = |line: &str| line.strip_prefix("SET ").and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned();
        let names: Vec<String> = settings.iter().map(|line| name(line)).filter(|name| !name.is_empty()).collect();
        let sql = "SELECT name FROM unnest($1::text[]) AS t (name) WHERE current_setting(name, true) IS NULL";
        let unknown: BTreeSet<String> = green.query(sql, &[&names]).await?.iter().map(|row| row.get(0)).collect();
        let kept = settings.into_iter().filter(|line| !unknown.contains(&name(line)) && !line.contains("client_min_messages"));
        Ok(kept.collect::<Vec<_>>().join("\n"))
    }
}

/// Schemas and extensions that are on green already: they are not made, and not dropped.
async fn things_there(green: &Session) -> anyhow::Result<BTreeSet<(String, String)>> {
    let sql = "SELECT 'SCHEMA', nspname::text FROM pg_namespace UNION ALL SELECT 'EXTENSION', extname::text FROM pg_extension";
    Ok(green.query(sql, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Brings definitions in as many sessions; with one, in their order.
async fn bring_definitions(cx: &Cx, entries: &[&Entry], sessions: usize, settings: &str) -> anyhow::Result<()> {
    let text = |some: &[&Entry]| {
        let texts: Vec<&str> = some.iter().map(|entry| entry.text.as_str()).collect();
        format!("BEGIN;\n{}\n;COMMIT", together(&texts))
    };
    let (green, settings, cx) = (cx.opener(Side::Green)?, settings.to_owned(), cx.clone());
    // All that are under way at once take as many locks as one after the other did.
    let some = entries.len().div_ceil(sessions).clamp(1, (TOGETHER / sessions).max(1));
    let texts = entries.chunks(some).map(text).collect();
    on_threads(sessions, texts, move |texts| {
        let (green, settings, cx) = (green.clone(), settings.clone(), cx.clone());
        async move {
            let session = green.open().await?;
            session.batch_execute(&settings).await?;
            while let Some(text) = texts.take() {
                session.batch_execute(&text).await.context("definitions on green")?;
                cx.crash_point("defined");
            }
            Ok(())
        }
    })
    .await
}

async fn major(session: &Session) -> anyhow::Result<u32> {
    let number: i32 = session.query_one("SELECT current_setting('server_version_num')::int / 10000", &[]).await?.get(0);
    Ok(number.unsigned_abs())
}

fn blocks(object: &str, what: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { severity: Severity::Blocks, object: object.to_owned(), what: what.into(), next: next.into() }
}
