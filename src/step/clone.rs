//! `clone`: brings a whole database to green, definitions and rows.
//!
//! Where it stands is told by green: rows of `crossfade.clone_entry` (every definition to come is known, and how to take all
//! of it away), rows of `crossfade.copy_part`, marker `loaded` (all rows of one snapshot are in), `clone_entry.done`, and the part
//! row of projection `*` (everything is there). Before `loaded` a new attempt drops what it finds of its own and begins again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use async_trait::async_trait;

use super::registry::{Fault, Kind, KindResult, Surroundings};
use super::{Cx, Forecast, Reversal, Step, Summary, from_table};
use crate::copy::clone::{
    Archive, Choice, Entry, LargeObject, Planned, Programs, Relation, Stage, block_size, entries, left_behind, owners, plan,
    positions,
};
use crate::copy::{Filling, Load, Moment, Piece, Rest};
use crate::pg::{Session, Snapshot, control_present, mark, marked, unmark};
use crate::sql::{Ident, Literal, QualifiedName};
use crate::step::Stop;
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind =
    Kind { name: "clone", about: "bring a whole database to an empty green: definitions by pg_dump, rows in parallel", parse };

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
        } else {
            if marked(&green, &cx.run, &cx.step, BEGUN).await? {
                cx.remark("what an earlier attempt brought is dropped: the snapshot it came from ended with it");
                self.drop_all(cx, &green).await?;
                cx.crash_point("emptied");
            }
            self.fill(cx, &green).await?
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
            return Ok(()); // every other effect comes after this marker
        }
        self.drop_all(cx, &green).await
    }
}

impl Clone {
    /// The tables of blue that are meant and hold rows of their own, as far as their names tell. The dump decides in the end.
    async fn chosen(&self, blue: &Session) -> anyhow::Result<Vec<Relation>> {
        let all = Relation::all(blue).await?;
        let named = |list: &[QualifiedName], table: &QualifiedName| {
            list.iter()
                .any(|name| name.name() == table.name() && name.schema().is_none_or(|schema| Some(schema) == table.schema()))
        };
        Ok(all
            .into_iter()
            .filter(|one| self.choice.tables.is_empty() || named(&self.choice.tables, &one.table))
            .filter(|one| !named(&self.choice.exclude, &one.table))
            .filter(|one| {
                self.choice.schemas.is_empty() || one.table.schema().is_some_and(|schema| self.choice.schemas.contains(schema))
            })
            .collect())
    }

    /// Relations of green that have the name of one that is meant.
    async fn in_the_way(&self, blue: &Session, green: &Session) -> anyhow::Result<Vec<Finding>> {
        let chosen = self.chosen(blue).await?;
        let names: Vec<String> =
            chosen.iter().filter(|table| table.extension.is_none()).map(|table| table.table.to_string()).collect();
        let there = green
            .query("SELECT name FROM unnest($1::text[]) AS t (name) WHERE to_regclass(name) IS NOT NULL LIMIT 4", &[&names])
            .await?;
        let there: Vec<String> = there.iter().map(|row| row.get(0)).collect();
        let next = "clone into an empty database, or choose other tables";
        Ok(match there.as_slice() {
            [] => Vec::new(),
            some => vec![blocks("green", format!("has tables that the clone would make: {}", some.join(", ")), next)],
        })
    }

    /// Roles and extensions that definitions of blue name and green's server does not have.
    async fn missing(&self, blue: &Session, green: &Session) -> anyhow::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut roles = BTreeSet::new();
        let mut ask = async |sql: &str| -> anyhow::Result<()> {
            roles.extend(blue.query(sql, &[]).await?.iter().map(|row| row.get::<_, String>(0)));
            Ok(())
        };
        if !self.choice.no_owner {
            ask(OWNERS).await?;
        }
        if !self.choice.no_privileges {
            ask(GRANTEES).await?;
        }
        let known = green.query("SELECT rolname::text FROM pg_roles", &[]).await?;
        let known: BTreeSet<String> = known.iter().map(|row| row.get(0)).collect();
        for role in roles.difference(&known) {
            let next = format!("CREATE ROLE {} on green's server, or --no-owner and --no-privileges", Ident::new(role));
            findings.push(blocks(
                &format!("role {role} on green"),
                "owns or may use something on blue, and does not exist",
                next,
            ));
        }
        if self.choice.is_everything() {
            let sql = "SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql'";
            let wanted: Vec<String> = blue.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect();
            let sql = "SELECT name FROM unnest($1::text[]) AS t (name) \
                       WHERE NOT EXISTS (SELECT FROM pg_available_extensions a WHERE a.name = t.name)";
            for row in green.query(sql, &[&wanted]).await? {
                let name: String = row.get(0);
                let next = "install its package on green's server";
                findings.push(blocks(&format!("extension {name} on green"), "is not installed on the server", next));
            }
        }
        Ok(findings)
    }

    /// Definitions before the rows, then rows and indexes. Gives the settings for the statements that follow.
    async fn fill(&self, cx: &Cx, green: &Session) -> anyhow::Result<String> {
        let snapshot = Snapshot::export(cx.opener(Side::Blue)?).await?;
        let blue = snapshot.session();
        let programs = Programs::find(major(blue).await?)?;
        let archive = Archive::dump(programs, &cx.connect(Side::Blue).await?, snapshot.name(), &self.choice).await?;
        let (settings, before) = entries(&archive.section("pre-data").await?);
        let (_, after) = entries(&archive.section("post-data").await?);
        let settings = self.known_settings(green, settings).await?;
        blue.batch_execute("SET LOCAL search_path = pg_catalog").await?; // the server qualifies every name then
        let planned = plan(&after, &owners(blue).await?);
        let there = things_there(green).await?;
        let made: Vec<&Entry> =
            before.iter().filter(|entry| !there.contains(&(entry.sort.clone(), entry.name.clone()))).collect();
        let of_sort = |sort: &str| -> BTreeSet<(String, String)> {
            let those = before.iter().filter(|entry| entry.sort == sort);
            those.map(|entry| (entry.schema.clone(), entry.name.clone())).collect()
        };
        let dumped = of_sort("TABLE");
        let flat = |ident: &Ident| ident.as_str().replace(['\n', '\r'], " ");
        let tables: Vec<Relation> = Relation::all(blue)
            .await?
            .into_iter()
            .filter(|one| match (&one.extension, one.table.schema()) {
                (Some(_), _) => self.choice.is_everything(),
                (None, Some(schema)) => dumped.contains(&(flat(schema), flat(one.table.name()))),
                (None, None) => false,
            })
            .collect();
        let partitioned = self.partitioned(blue, &dumped).await?;
        self.note(cx, green, &archive.drops().await?, &there, &planned, &tables, &partitioned, &of_sort("SEQUENCE"), &settings)
            .await?;
        cx.crash_point("noted");

        let definitions = cx.connect(Side::Green).await?;
        definitions.batch_execute(&settings).await?;
        for some in made.chunks(TOGETHER) {
            let texts: Vec<&str> = some.iter().map(|entry| entry.text.as_str()).collect();
            let text = format!("BEGIN;\n{}\n;COMMIT", texts.join("\n"));
            definitions.batch_execute(&text).await.context("definitions on green")?;
            cx.crash_point("defined");
        }
        drop(definitions);
        if self.choice.is_everything() {
            for object in LargeObject::all(blue).await? {
                object.carry(blue, green).await?;
            }
        }
        let rests = self.rests(cx, green, &[Stage::Chain, Stage::Last]).await?;
        let size = block_size(blue).await?;
        let mut known: BTreeMap<QualifiedName, Relation> = tables.into_iter().map(|table| (table.table.clone(), table)).collect();
        let total: u64 = known.values().map(|table| u64::try_from(table.rows).unwrap_or(0)).sum();
        let texts = known.values().filter(|table| !table.binary).count();
        let fillings = rests.into_iter().map(|rest| match known.remove(&rest.table) {
            Some(table) => Filling {
                rest: Rest { bytes: u64::from(table.blocks) * u64::from(size), ..rest },
                rows: Some((table.bound(), vec![table.blocks])),
            },
            None => Filling { rest, rows: None },
        });
        let seen = snapshot.text().await?;
        let watermark = format!(
            "INSERT INTO crossfade.watermark (run, snapshot) VALUES ({}, {}) ON CONFLICT (run) DO NOTHING",
            Literal::new(cx.run.as_str()),
            Literal::new(seen)
        );
        let loaded = vec![mark(&cx.run, &cx.step, LOADED), watermark];
        let load = self.loader(cx, fillings.collect(), loaded, false, size, settings.clone())?;
        cx.crash_point("snapshot");
        let loaded = load.run(snapshot, listener(cx, total)).await?;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let (megabytes, seconds) = (loaded.bytes as f64 / 1e6, loaded.seconds.max(0.001));
        let form = if texts == 0 { "binary".to_owned() } else { format!("binary, {texts} tables as text") };
        cx.remark(format!(
            "{} rows, {megabytes:.1} MB ({form}) in {} parts and {seconds:.1} s, indexes beside them: {:.1} MB/s",
            loaded.rows,
            loaded.parts,
            megabytes / seconds
        ));
        Ok(settings)
    }

    /// Partitioned tables and those with children: their statistics are those of all their parts, which are there last.
    async fn partitioned(&self, blue: &Session, dumped: &BTreeSet<(String, String)>) -> anyhow::Result<Vec<QualifiedName>> {
        let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE (c.relkind = 'p' AND NOT c.relispartition) \
                      OR (c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)) ORDER BY 1, 2";
        let rows = blue.query(sql, &[]).await?;
        let names = rows.iter().map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)));
        Ok(names.filter(|name| dumped.contains(name)).map(|(schema, name)| QualifiedName::new(schema, name)).collect())
    }

    /// Writes down everything that will be done and how to take it away, before the first of it.
    #[expect(clippy::too_many_arguments, reason = "one row of each sort")]
    async fn note(
        &self,
        cx: &Cx,
        green: &Session,
        drops: &str,
        there: &BTreeSet<(String, String)>,
        planned: &[Planned],
        tables: &[Relation],
        partitioned: &[QualifiedName],
        sequences: &BTreeSet<(String, String)>,
        settings: &str,
    ) -> anyhow::Result<()> {
        let mut rows: Vec<(&str, Option<String>, Option<String>, String, String)> = Vec::new();
        rows.push(("drop", None, None, String::new(), dropping(drops, there, planned)));
        rows.push(("settings", None, None, String::new(), settings.to_owned()));
        let parts = |table: &QualifiedName| {
            (table.schema().map(|schema| schema.as_str().to_owned()), Some(table.name().as_str().to_owned()))
        };
        for table in tables {
            let with_parent = (table.partition && self.choice.is_everything()) || table.parent;
            let analyze = if with_parent { "" } else { "ANALYZE" };
            let (schema, name) = parts(&table.table);
            rows.push(("table", schema, name, String::new(), analyze.to_owned()));
        }
        for (schema, name) in sequences {
            rows.push(("sequence", Some(schema.clone()), Some(name.clone()), String::new(), String::new()));
        }
        for one in planned {
            let (schema, name) = one.table.as_ref().map(parts).unwrap_or_default();
            rows.push((one.stage.name(), schema, name, one.object.clone(), one.text.clone()));
        }
        for table in partitioned {
            let what = format!("statistics of {}", table.plain());
            rows.push((Stage::After.name(), None, None, what, format!("ANALYZE {table};")));
        }
        let value = |text: &Option<String>| text.as_ref().map_or("NULL".to_owned(), |text| Literal::new(text).to_string());
        let (run, step) = (Literal::new(cx.run.as_str()), Literal::new(cx.step.as_str()));
        let values = rows.iter().enumerate().map(|(number, (stage, schema, name, object, text))| {
            let (object, text) = (Literal::new(object), Literal::new(text));
            format!("({run}, {step}, {number}, '{stage}', {}, {}, {object}, {text})", value(schema), value(name))
        });
        let text = format!(
            "BEGIN;\nINSERT INTO crossfade.clone_entry (run, step, number, stage, table_schema, table_name, object, statement) VALUES\n{};\n{};\nCOMMIT",
            values.collect::<Vec<_>>().join(",\n"),
            mark(&cx.run, &cx.step, BEGUN)
        );
        green.batch_execute(&text).await.context("notes on green")
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

    async fn settings(&self, cx: &Cx, green: &Session) -> anyhow::Result<String> {
        let sql = "SELECT statement FROM crossfade.clone_entry WHERE run = $1 AND step = $2 AND stage = 'settings'";
        Ok(green.query_one(sql, &[&cx.run.as_str(), &cx.step.as_str()]).await?.get(0))
    }

    /// What is to come of the tables in these stages.
    async fn rests(&self, cx: &Cx, green: &Session, stages: &[Stage]) -> anyhow::Result<Vec<Rest>> {
        let mut rests: Vec<Rest> = Vec::new();
        let mut places: BTreeMap<QualifiedName, usize> = BTreeMap::new();
        let with_rows = stages.contains(&Stage::Chain);
        let rows = green
            .query(
                "SELECT number, stage, table_schema, table_name, object, statement, pg_table_size(to_regclass(format('%I.%I', table_schema, table_name))) \
                 FROM crossfade.clone_entry \
                 WHERE run = $1 AND step = $2 AND table_name IS NOT NULL AND stage <> 'sequence' AND NOT done ORDER BY number",
                &[&cx.run.as_str(), &cx.step.as_str()],
            )
            .await?;
        for row in rows {
            let (number, stage): (i32, String) = (row.get(0), row.get(1));
            let table = QualifiedName::new(row.get::<_, String>(2), row.get::<_, String>(3));
            let bytes = row.get::<_, Option<i64>>(6).map_or(0, i64::unsigned_abs);
            let (is_table, stage) = (stage == "table", stages.iter().find(|known| known.name() == stage));
            if stage.is_none() && !(is_table && with_rows) {
                continue;
            }
            let at = *places.entry(table.clone()).or_insert(rests.len());
            if at == rests.len() {
                rests.push(Rest { table: table.clone(), bytes, chains: Vec::new(), last: Vec::new(), analyze: false });
            }
            let text: String = row.get(5);
            let object = format!("{} of table {}", row.get::<_, String>(4), table.plain());
            match stage {
                None => rests[at].analyze = text == "ANALYZE",
                Some(Stage::Chain) => rests[at].chains.push(vec![piece(cx, number, object, text)]),
                Some(_) => rests[at].last.push(piece(cx, number, object, text)),
            }
        }
        Ok(rests)
    }

    /// Brings what is missing of these stages, several tables at a time.
    async fn rest(&self, cx: &Cx, green: &Session, stages: &[Stage], settings: String) -> anyhow::Result<()> {
        let rests = self.rests(cx, green, stages).await?;
        let fillings = rests.into_iter().map(|rest| Filling { rows: None, rest }).collect();
        self.loader(cx, fillings, Vec::new(), true, 8192, settings)?.rest(listener(cx, 0)).await
    }

    fn loader(
        &self,
        cx: &Cx,
        tables: Vec<Filling>,
        loaded: Vec<String>,
        ask: bool,
        block_size: u32,
        settings: String,
    ) -> anyhow::Result<Load> {
        let green = cx.opener(Side::Green)?;
        Ok(Load {
            run: cx.run.clone(),
            step: cx.step.clone(),
            green,
            jobs: cx.limits.jobs,
            tables,
            loaded,
            ask,
            block_size,
            settings,
        })
    }

    /// Does what is not done of a stage, in its order.
    async fn in_order(&self, cx: &Cx, green: &Session, stage: Stage) -> anyhow::Result<()> {
        let sql = "SELECT number, object, statement FROM crossfade.clone_entry \
                   WHERE run = $1 AND step = $2 AND stage = $3 AND NOT done ORDER BY number";
        let rows = green.query(sql, &[&cx.run.as_str(), &cx.step.as_str(), &stage.name()]).await?;
        for some in rows.chunks(TOGETHER) {
            let numbers: Vec<String> = some.iter().map(|row| row.get::<_, i32>(0).to_string()).collect();
            let texts: Vec<String> = some.iter().map(|row| row.get(2)).collect();
            let text = format!("BEGIN;\n{}\n;{};\nCOMMIT", texts.join("\n;"), done(cx, &numbers.join(", ")));
            if let Err(error) = green.batch_execute(&text).await {
                let first: String = some.first().map(|row| row.get(1)).unwrap_or_default();
                let last: String = some.last().map(|row| row.get(1)).unwrap_or_default();
                return Err(anyhow::Error::from(error).context(format!("definitions on green, from {first} to {last}")));
            }
            cx.crash_point(stage.name());
        }
        Ok(())
    }

    /// Takes away everything this step brought, as far as it is there; refuses where somebody else wrote rows.
    async fn drop_all(&self, cx: &Cx, green: &Session) -> anyhow::Result<()> {
        let strangers = self.strangers(cx, green).await?;
        if !strangers.is_empty() {
            return Err(Stop::Findings(strangers).into());
        }
        let sql = "SELECT statement FROM crossfade.clone_entry WHERE run = $1 AND step = $2 AND stage = 'drop'";
        let drops: String = green.query_one(sql, &[&cx.run.as_str(), &cx.step.as_str()]).await?.get(0);
        let dropping = cx.connect(Side::Green).await?;
        dropping.batch_execute("SET search_path = ''").await?;
        for some in statements(&drops).chunks(TOGETHER) {
            dropping.batch_execute(&format!("BEGIN;\n{}\n;COMMIT", some.join("\n"))).await.context("dropping on green")?;
            cx.crash_point("dropped");
        }
        let (run, step) = (Literal::new(cx.run.as_str()), Literal::new(cx.step.as_str()));
        let own = |table: &str| format!("DELETE FROM crossfade.{table} WHERE run = {run} AND step = {step}");
        let watermark = format!("DELETE FROM crossfade.watermark WHERE run = {run}");
        let forget = [own("clone_entry"), own("copy_part"), watermark, unmark(&cx.run, &cx.step)];
        green.batch_execute(&format!("BEGIN; {}; COMMIT", forget.join("; "))).await?;
        Ok(())
    }

    /// Tables that hold more rows than were loaded: what this step did not load it does not drop.
    async fn strangers(&self, cx: &Cx, green: &Session) -> anyhow::Result<Vec<Finding>> {
        let sql = "SELECT e.table_schema, e.table_name FROM crossfade.clone_entry e WHERE e.run = $1 AND e.step = $2 AND e.stage = 'table' \
                     AND to_regclass(format('%I.%I', e.table_schema, e.table_name)) IS NOT NULL";
        let mut findings = Vec::new();
        let parts = "SELECT projection, sum(rows)::bigint FROM crossfade.copy_part WHERE run = $1 AND step = $2 GROUP BY 1";
        let parts = green.query(parts, &[&cx.run.as_str(), &cx.step.as_str()]).await?;
        let loaded: BTreeMap<String, i64> = parts.iter().map(|row| (row.get(0), row.get(1))).collect();
        for row in green.query(sql, &[&cx.run.as_str(), &cx.step.as_str()]).await? {
            let table = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            let rows: i64 = green.query_one(&format!("SELECT count(*) FROM ONLY {table}"), &[]).await?.get(0);
            let loaded = loaded.get(&table.plain()).copied().unwrap_or(0);
            if rows > loaded {
                let what = format!(
                    "holds {rows} rows, the clone loaded {loaded}: somebody else writes to it, and its rows would be lost"
                );
                let next = format!("keep green as it is, or, if its rows may go, TRUNCATE {table} on green and do this again");
                findings.push(blocks(&format!("table {} on green", table.plain()), what, next));
            }
        }
        Ok(findings)
    }
}

fn piece(cx: &Cx, number: i32, object: String, text: String) -> Piece {
    let (run, step) = (Literal::new(cx.run.as_str()), Literal::new(cx.step.as_str()));
    Piece {
        object,
        there: format!("(SELECT done FROM crossfade.clone_entry WHERE run = {run} AND step = {step} AND number = {number})"),
        statements: vec![text, done(cx, &number.to_string())],
    }
}

/// The statement that says of these entries that they are there.
fn done(cx: &Cx, numbers: &str) -> String {
    let (run, step) = (Literal::new(cx.run.as_str()), Literal::new(cx.step.as_str()));
    format!("UPDATE crossfade.clone_entry SET done = true WHERE run = {run} AND step = {step} AND number IN ({numbers})")
}

/// The statements of a text that begins each on a line of its own with `DROP`, `ALTER` or `SELECT`.
fn statements(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let begins = ["DROP ", "ALTER ", "SELECT ", "CREATE ", "COMMENT "].iter().any(|word| line.starts_with(word));
        match all.last_mut() {
            Some(last) if !(begins && last.ends_with(';')) => {
                last.push('\n');
                last.push_str(line);
            }
            _ => all.push(line.to_owned()),
        }
    }
    all
}

/// What of the dropping text is needed, and nothing that was there before. Indexes and constraints go with their tables, and
/// those of a partition cannot go before: foreign keys alone stand between tables.
fn dropping(drops: &str, there: &BTreeSet<(String, String)>, planned: &[Planned]) -> String {
    let key = |planned: &Planned| -> Option<String> {
        let at = planned.text.find("ALTER TABLE ")?;
        let (table, rest) = planned.text[at..].strip_prefix("ALTER TABLE ")?.split_once("\n    ADD CONSTRAINT ")?;
        let (name, _) = rest.split_once(" FOREIGN KEY (")?;
        Some(format!("ALTER TABLE IF EXISTS {table} DROP CONSTRAINT IF EXISTS {name};"))
    };
    let keys: BTreeSet<String> = planned.iter().filter(|planned| planned.stage == Stage::Key).filter_map(key).collect();
    let needed = |line: &&str| {
        let constraint = line.starts_with("ALTER TABLE IF EXISTS ") && line.contains(" DROP CONSTRAINT IF EXISTS ");
        !line.starts_with("DROP INDEX IF EXISTS ")
            && (!constraint || keys.contains(*line))
            && !there.iter().any(|(sort, name)| drops_it(line, sort, name))
    };
    drops.lines().filter(needed).collect::<Vec<_>>().join("\n")
}

/// Whether a line drops this schema or extension.
fn drops_it(line: &str, sort: &str, name: &str) -> bool {
    let quoted = Ident::new(name).to_string();
    [name, &quoted].iter().any(|name| line == format!("DROP {sort} IF EXISTS {name};"))
}

/// Schemas and extensions that are on green already: they are not made, and not dropped.
async fn things_there(green: &Session) -> anyhow::Result<BTreeSet<(String, String)>> {
    let sql = "SELECT 'SCHEMA', nspname::text FROM pg_namespace UNION ALL SELECT 'EXTENSION', extname::text FROM pg_extension";
    Ok(green.query(sql, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn major(session: &Session) -> anyhow::Result<u32> {
    let number: i32 = session.query_one("SELECT current_setting('server_version_num')::int / 10000", &[]).await?.get(0);
    Ok(number.unsigned_abs())
}

/// The statement that says everything is there.
fn ended(cx: &Cx) -> String {
    let (run, step) = (Literal::new(cx.run.as_str()), Literal::new(cx.step.as_str()));
    format!(
        "INSERT INTO crossfade.copy_part (run, step, projection, source, part, rows, bytes) \
         SELECT {run}, {step}, '*', '', 0, coalesce(sum(rows), 0), coalesce(sum(bytes), 0) \
         FROM crossfade.copy_part WHERE run = {run} AND step = {step} AND projection <> '*' ON CONFLICT DO NOTHING"
    )
}

fn blocks(object: &str, what: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { severity: Severity::Blocks, object: object.to_owned(), what: what.into(), next: next.into() }
}

/// After the first signal, between two phases that keep what is done.
fn stop_here(cx: &Cx) -> anyhow::Result<()> {
    if cx.interrupt.soft.is_cancelled() { Err(Stop::Interrupted.into()) } else { Ok(()) }
}

/// Tells progress to whoever watches, and the places to the tests.
fn listener(cx: &Cx, total: u64) -> impl Fn(Moment) + Send + Sync + 'static {
    let told = cx.clone();
    move |moment| match moment {
        Moment::Sent => told.crash_point("part-sent"),
        Moment::Committed(rows) => {
            told.progress(rows, total.max(rows), "rows");
            told.crash_point("part");
        }
        Moment::Loaded => told.crash_point("loaded"),
        Moment::Built => told.crash_point("rebuilt"),
        Moment::Constrained => told.crash_point("constraint"),
    }
}

const OWNERS: &str = "\
    SELECT DISTINCT r.rolname::text FROM pg_roles r JOIN ( \
        SELECT relowner AS owner, relnamespace AS namespace FROM pg_class UNION SELECT proowner, pronamespace FROM pg_proc \
        UNION SELECT typowner, typnamespace FROM pg_type UNION SELECT nspowner, oid FROM pg_namespace \
        UNION SELECT lomowner, 0 FROM pg_largeobject_metadata) AS owned ON owned.owner = r.oid \
    LEFT JOIN pg_namespace n ON n.oid = owned.namespace \
    WHERE n.oid IS NULL OR (n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'crossfade') AND n.nspname !~ '^pg_(temp|toast)_')";

const GRANTEES: &str = "\
    SELECT DISTINCT r.rolname::text FROM pg_roles r JOIN ( \
        SELECT a.grantee FROM pg_class, aclexplode(relacl) AS a UNION SELECT a.grantee FROM pg_proc, aclexplode(proacl) AS a \
        UNION SELECT a.grantee FROM pg_namespace, aclexplode(nspacl) AS a \
        UNION SELECT a.grantee FROM pg_attribute, aclexplode(attacl) AS a \
        UNION SELECT a.grantee FROM pg_type, aclexplode(typacl) AS a \
        UNION SELECT a.grantee FROM pg_default_acl, aclexplode(defaclacl) AS a) AS granted ON granted.grantee = r.oid \
    WHERE r.rolname !~ '^pg_'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_take_their_indexes_along() {
        let text = "ALTER TABLE ONLY public.a\n    ADD CONSTRAINT k FOREIGN KEY (x) REFERENCES public.b(x) NOT VALID;".to_owned();
        let planned = [Planned { stage: Stage::Key, table: None, object: String::new(), text }];
        let drops = "ALTER TABLE IF EXISTS ONLY public.a DROP CONSTRAINT IF EXISTS k;\nDROP INDEX IF EXISTS public.i;\n\
                     ALTER TABLE IF EXISTS ONLY public.b DROP CONSTRAINT IF EXISTS b_pkey;\nDROP TABLE IF EXISTS public.a;\n\
                     DROP SCHEMA IF EXISTS s;";
        let there = BTreeSet::from([("SCHEMA".to_owned(), "s".to_owned())]);
        let expected = "ALTER TABLE IF EXISTS ONLY public.a DROP CONSTRAINT IF EXISTS k;\nDROP TABLE IF EXISTS public.a;";
        assert_eq!(dropping(drops, &there, &planned), expected);
    }

    #[test]
    fn dropping_statements_are_told_apart() {
        let text = "DROP INDEX IF EXISTS public.i;\nSELECT pg_catalog.lo_unlink(oid) FROM x\nWHERE oid = 5;\nDROP TABLE IF EXISTS \"a\nb\";\n";
        let expected = [
            "DROP INDEX IF EXISTS public.i;",
            "SELECT pg_catalog.lo_unlink(oid) FROM x\nWHERE oid = 5;",
            "DROP TABLE IF EXISTS \"a\nb\";",
        ];
        assert_eq!(statements(text), expected);
        assert!(drops_it("DROP SCHEMA IF EXISTS \"A\";", "SCHEMA", "A"));
        assert!(!drops_it("DROP SCHEMA IF EXISTS a;", "EXTENSION", "a"));
    }
}
