//! `migrate`: a directory of versioned SQL files, recorded in the application's own history table.
//!
//! Files are `<version>_<name>.sql` with an optional `<version>_<name>.down.sql`. A file is pending iff its own version is
//! not in the history table. See [`script`] for the directives and [`pass`] for what survives a crash where.

mod alone;
mod folder;
mod history;
mod pass;
mod script;

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use self::folder::Migration;
use self::history::{History, Marks};
use self::pass::{Hands, Pass};
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, RowChange, Step, Summary, Touched, from_table};
use crate::pg::Session;
use crate::sql::{Demand, QualifiedName, Statement, written};
use crate::terms::{Before, Extent, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind {
    name: "migrate",
    about: "apply a directory of versioned SQL files, recording the versions",
    parse,
    keys: keys_of::<Written>,
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    side: Side,
    /// Where the files are, from the plan file.
    directory: String,
    /// The application's table of applied versions.
    history: History,
}

struct Migrate {
    side: Side,
    directory: String,
    history: History,
    migrations: Vec<Migration>,
}

/// What was applied before the step began: never undone.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Earlier {
    applied: BTreeSet<String>,
}

/// What the database says: versions in the history, and markers of files that are partly done.
struct Seen {
    history: Option<BTreeSet<String>>,
    marks: Marks,
}

impl Seen {
    fn applied(&self, migration: &Migration) -> bool {
        self.history.as_ref().is_some_and(|versions| versions.contains(&migration.version))
    }

    /// Whether a pass over it has begun and not ended.
    fn begun(&self, migration: &Migration) -> bool {
        let keys = [migration.version.clone(), down_key(migration)];
        self.marks.keys().any(|(key, _)| keys.contains(key))
    }

    fn undoing(&self, migration: &Migration) -> bool {
        self.marks.keys().any(|(key, _)| *key == down_key(migration))
    }
}

fn down_key(migration: &Migration) -> String {
    format!("{}-down", migration.version)
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let Written { side, directory, history } = from_table(table)?;
    let (migrations, contents) = folder::read(&around.base.join(&directory))?;
    Ok((Box::new(Migrate { side, directory, history, migrations }), contents))
}

#[async_trait]
impl Step for Migrate {
    fn describe(&self) -> Summary {
        let count = self.migrations.len();
        let effect = format!(
            "apply {count} migration file{} of {} on {}, recorded in {}",
            if count == 1 { "" } else { "s" },
            self.directory,
            self.side,
            self.history.table.plain()
        );
        let statements = || self.migrations.iter().flat_map(|migration| migration.up.statements());
        let new = self.created();
        let locks = statements().filter_map(|statement| statement.strongest_beside(&new));
        let strongest = locks.reduce(|strong, touch| if touch.lock > strong.lock { touch } else { strong });
        let mut lock = match strongest {
            Some(touch) if touch.lock.stops_traffic() => format!("{touch}; a try waits at most lock_timeout for it"),
            Some(touch) => touch.to_string(),
            None => "none".to_owned(),
        };
        if statements().any(|statement| statement.touches().is_none()) {
            lock += "; not known for some statements";
        }
        Summary { effect, lock }
    }

    fn sides(&self) -> Vec<Side> {
        vec![self.side]
    }

    fn touches(&self) -> Vec<Touched> {
        let new = self.created();
        let statements = self.migrations.iter().flat_map(|migration| migration.up.statements());
        let touched = statements.flat_map(|statement| Touched::by(self.side, statement));
        touched.filter(|touched| !new.contains(&touched.relation)).collect()
    }

    fn reversal(&self) -> Reversal {
        for migration in &self.migrations {
            if let Some(why) = &migration.up.irreversible {
                return Reversal::Irreversible(format!("{}: {why}", migration.file));
            }
            if migration.down.is_none() {
                return Reversal::Irreversible(format!("{} has no .down.sql", migration.file));
            }
        }
        Reversal::Reversible
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let session = cx.connect(self.side).await?;
        let seen = self.see(&session).await?;
        let mut new = self.created();
        let names: Vec<String> = new.iter().map(QualifiedName::to_string).collect();
        let sql = "SELECT to_regclass(name) IS NOT NULL FROM unnest($1::text[]) WITH ORDINALITY AS n(name, i) ORDER BY i";
        let mut there = session.query(sql, &[&names]).await?.into_iter().map(|row| row.get::<_, bool>(0));
        new.retain(|_| !there.next().unwrap_or(false));
        let mut lines = Vec::new();
        for migration in self.migrations.iter().filter(|migration| !seen.applied(migration)) {
            for statement in migration.up.statements() {
                let strongest = statement.strongest_beside(&new);
                let object = statement.strongest().map(|touch| &touch.relation).or(statement.creates());
                lines.push(Forecast {
                    object: object.map_or_else(|| migration.file.clone(), QualifiedName::plain),
                    what: format!("{}: {}", migration.version, statement.kind()),
                    rows: rows(&session, statement).await?,
                    lock: match strongest {
                        Some(touch) => format!("{}: blocks {}", touch.lock, touch.lock.blocks()),
                        None if statement.touches().is_none() => format!("not known for {}", statement.kind()),
                        None => String::new(),
                    },
                });
            }
        }
        Ok(lines)
    }

    fn demands(&self) -> Vec<Demand> {
        let statements = || self.migrations.iter().flat_map(|migration| migration.up.statements());
        let new = self.created();
        statements().flat_map(Statement::demands).filter(|demand| !new.contains(&demand.table)).collect()
    }

    fn row_changes(&self) -> Vec<RowChange> {
        let statements = self.migrations.iter().flat_map(|migration| migration.up.statements());
        statements.flat_map(written).map(|table| RowChange { table, known: None }).collect()
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let seen = self.see(&cx.connect(self.side).await?).await?;
        let done = self.migrations.iter().filter(|migration| seen.applied(migration) && !seen.undoing(migration)).count();
        let begun = self.migrations.iter().any(|migration| seen.begun(migration));
        Ok(match (done, begun) {
            (done, _) if done == self.migrations.len() => Extent::Complete,
            (0, false) => Extent::Absent,
            (done, _) => Extent::Partial(format!("{done} of {} files", self.migrations.len())),
        })
    }

    async fn before(&self, cx: &Cx) -> anyhow::Result<Before> {
        let applied = self.see(&cx.connect(self.side).await?).await?.history.unwrap_or_default();
        Before::of(&Earlier { applied })
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        let mut hands = self.hands(cx).await?;
        let seen = self.see(&hands.session).await?;
        let (pending, done): (Vec<&Migration>, Vec<&Migration>) = self.migrations.iter().partition(|m| !seen.applied(m));
        if let Some(migration) = self.migrations.iter().find(|migration| seen.undoing(migration)) {
            anyhow::bail!("{} is partly undone; `crossfade rollback` ends that first", migration.file);
        }
        let count = |migrations: &[&Migration]| migrations.iter().map(|m| m.up.statements().count()).sum::<usize>();
        let (mut so_far, total) = (count(&done), count(&pending) + count(&done));
        for migration in pending {
            let mut closing = self.history.record(migration.versions());
            closing.push(self.history.unmark(&[&migration.version]));
            let pass = Pass {
                history: &self.history,
                file: &migration.file,
                key: migration.version.clone(),
                script: &migration.up,
                opening: Vec::new(),
                closing,
                stoppable: true,
            };
            let mut told = |more: usize| {
                so_far += more;
                cx.progress(so_far as u64, total as u64, "statements");
            };
            pass.go(cx, &mut hands, &seen.marks, &mut told).await?;
        }
        Ok(())
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> anyhow::Result<()> {
        let earlier: Earlier = before.read()?;
        let mut hands = self.hands(cx).await?;
        let seen = self.see(&hands.session).await?;
        let ours = |migration: &&Migration| {
            !earlier.applied.contains(&migration.version) && (seen.applied(migration) || seen.begun(migration))
        };
        let ours: Vec<&Migration> = self.migrations.iter().filter(ours).collect();
        let total: usize = ours.iter().filter_map(|m| m.down.as_ref()).map(|down| down.statements().count()).sum();
        let mut so_far = 0;
        for migration in ours.into_iter().rev() {
            let Some(down) = &migration.down else { anyhow::bail!("{} has no .down.sql", migration.file) };
            let forget = self.history.forget(migration.versions().filter(|version| !earlier.applied.contains(*version)));
            let key = down_key(migration);
            let pass = Pass {
                history: &self.history,
                file: &migration.file.replace(".sql", ".down.sql"),
                closing: vec![self.history.unmark(&[&migration.version, &key])],
                key,
                script: down,
                opening: forget.into_iter().filter(|_| seen.history.is_some()).collect(),
                stoppable: false,
            };
            let mut told = |more: usize| {
                so_far += more;
                cx.progress(so_far as u64, total as u64, "statements");
            };
            pass.go(cx, &mut hands, &seen.marks, &mut told).await?;
        }
        Ok(())
    }
}

impl Migrate {
    async fn see(&self, session: &Session) -> anyhow::Result<Seen> {
        Ok(Seen { history: self.history.versions(session).await?, marks: self.history.marks(session).await? })
    }

    /// What the files create themselves: nobody else uses it yet.
    fn created(&self) -> BTreeSet<QualifiedName> {
        let statements = self.migrations.iter().flat_map(|migration| migration.up.statements());
        statements.filter_map(|statement| statement.creates().cloned()).collect()
    }

    async fn hands(&self, cx: &Cx) -> anyhow::Result<Hands> {
        Ok(Hands { session: cx.connect(self.side).await?, observer: cx.connect(self.side).await? })
    }
}

/// Estimated rows a statement may read: of the tables it scans that exist and were analyzed.
async fn rows(session: &Session, statement: &Statement) -> anyhow::Result<Option<i64>> {
    let scanned = statement.touches().unwrap_or_default().iter().filter(|touch| touch.scans);
    let names: Vec<String> = scanned.map(|touch| touch.relation.to_string()).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let sql = "SELECT sum(c.reltuples)::bigint FROM unnest($1::text[]) AS name \
               JOIN pg_class c ON c.oid = to_regclass(name) WHERE c.reltuples >= 0";
    Ok(session.query_one(sql, &[&names]).await?.get(0))
}
