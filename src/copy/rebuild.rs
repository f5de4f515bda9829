//! Puts fittings back. What is there is left alone; an INVALID index is dropped and built again.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;

use super::Fittings;
use super::fittings::{Constraint, Index};
use super::piece::{AGAIN, Piece, Rest};
use crate::pg::{Opener, Session, on_threads};
use crate::sql::{Ident, Literal, QualifiedName};

/// Called after each thing that is there again, with the name of its sort.
pub type Told = Arc<dyn Fn(&'static str) + Send + Sync>;

/// The way back of everything a load took off.
pub struct Rebuild {
    /// What must be there.
    pub fittings: Fittings,
    /// Opens sessions on green.
    pub green: Opener,
    /// Sessions at once.
    pub jobs: usize,
    /// Who is told.
    pub told: Told,
}

impl Rebuild {
    /// What comes after the rows of each table. Indexes are built side by side, but the unique ones of a table come one after
    /// the other in the order they were made in: a foreign key leans on the oldest that fits (`transformFkeyCheckAttrs`), and
    /// must lean on the same one as before. Then their constraints under the old names.
    pub fn rests(&self) -> Vec<Rest> {
        let of = |table: &QualifiedName| Rest {
            table: table.clone(),
            bytes: 0,
            chains: Vec::new(),
            last: Vec::new(),
            analyze: true,
            done: None,
        };
        let mut rests: Vec<Rest> = self.fittings.tables.iter().map(of).collect();
        let mut tables: BTreeMap<QualifiedName, &mut Rest> = rests.iter_mut().map(|rest| (rest.table.clone(), rest)).collect();
        for chain in in_turn(&self.fittings.indexes) {
            if let Some(rest) = tables.get_mut(&chain[0].table) {
                rest.last.extend(chain.iter().filter_map(Index::constraint_piece));
                rest.chains.push(chain.iter().map(Index::piece).collect());
            }
        }
        for exclusion in &self.fittings.exclusions {
            if let Some(rest) = tables.get_mut(&exclusion.table) {
                rest.last.push(exclusion.piece());
            }
        }
        rests
    }

    /// Foreign keys: added without looking at the rows, then validated in parallel.
    ///
    /// # Errors
    /// The first one that rows break: names it and its table.
    pub async fn foreign_keys(&self) -> anyhow::Result<()> {
        let session = self.green.open().await?;
        for key in &self.fittings.foreign_keys {
            self.add(&session, key, &key.add_unchecked()).await?;
        }
        // Of one table one after the other: their locks do not go together.
        let mut tasks: Vec<Vec<Constraint>> = Vec::new();
        for key in self.fittings.foreign_keys.iter().filter(|key| key.validated) {
            match tasks.iter_mut().find(|task| task[0].table == key.table) {
                Some(task) => task.push(key.clone()),
                None => tasks.push(vec![key.clone()]),
            }
        }
        let order = self.biggest_first(&session).await?;
        let place: BTreeMap<&QualifiedName, usize> = order.iter().enumerate().map(|(place, table)| (table, place)).collect();
        tasks.sort_by_key(|task| place.get(&task[0].table).copied());
        self.each(tasks, async |session, keys: &Vec<Constraint>| {
            for key in keys {
                if constraint(session, &key.table, &key.name).await? != Some(true) {
                    session.run(&key.validate()).await.with_context(|| {
                        let (name, table) = (key.name.as_str(), key.table.plain());
                        format!("foreign key {name} of table {table} on green: {AGAIN}")
                    })?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Sequences past the rows; those of `identity` tables at least where blue's stand.
    ///
    /// # Errors
    /// When a session is gone, or a sequence cannot hold the value.
    pub async fn sequences(&self, blue: &Session, identity: &[QualifiedName]) -> anyhow::Result<()> {
        let green = self.green.open().await?;
        for sequence in &self.fittings.sequences {
            let blue = identity.contains(&sequence.table).then_some(blue);
            sequence.advance(&green, blue).await.with_context(|| format!("sequence {} on green", sequence.name.plain()))?;
        }
        Ok(())
    }

    /// The statements that bring back whatever is missing, for empty tables and in one transaction: an undo's.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn back_to_empty(&self, session: &Session) -> anyhow::Result<Vec<String>> {
        let mut statements = Vec::new();
        for key in &self.fittings.foreign_keys {
            if constraint(session, &key.table, &key.name).await?.is_some() {
                statements.push(format!("ALTER TABLE {} DROP CONSTRAINT {}", key.table, key.name));
            }
        }
        statements.push(self.fittings.truncate());
        for index in &self.fittings.indexes {
            match valid(session, index).await? {
                Some(true) => {}
                found => {
                    statements.extend(found.map(|_| format!("DROP INDEX {}", index.name)));
                    statements.extend([index.set_tablespace(), index.definition.clone()]);
                }
            }
            if constraint(session, &index.table, index.name.name()).await?.is_none() {
                statements.extend(index.attach());
            }
        }
        for exclusion in &self.fittings.exclusions {
            if constraint(session, &exclusion.table, &exclusion.name).await?.is_none() {
                statements.push(exclusion.add());
            }
        }
        statements.extend(self.fittings.foreign_keys.iter().map(Constraint::add));
        statements.extend(self.fittings.triggers.iter().map(super::fittings::Trigger::enable));
        statements.extend(self.fittings.sequences.iter().map(super::sequence::Sequence::put_back));
        Ok(statements)
    }

    async fn biggest_first(&self, session: &Session) -> anyhow::Result<Vec<QualifiedName>> {
        let names: Vec<String> = self.fittings.tables.iter().map(QualifiedName::to_string).collect();
        let sql = "SELECT place::int8 FROM unnest($1::text[]) WITH ORDINALITY AS t (name, place) \
                   ORDER BY coalesce(pg_table_size(to_regclass(name)), 0) DESC";
        let rows = session.query(sql, &[&names]).await?;
        let places = rows.iter().filter_map(|row| usize::try_from(row.get::<_, i64>(0) - 1).ok());
        Ok(places.filter_map(|place| self.fittings.tables.get(place).cloned()).collect())
    }

    /// The statements that take off what is there of the fittings; they belong in one transaction.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn take_off(&self, session: &Session) -> anyhow::Result<Vec<String>> {
        let there = Fittings::there(session, &self.fittings).await?;
        Ok(there.take_off())
    }

    async fn add(&self, session: &Session, wanted: &Constraint, statement: &str) -> anyhow::Result<()> {
        if constraint(session, &wanted.table, &wanted.name).await?.is_none() {
            let what = || format!("constraint {} of table {} on green", wanted.name.as_str(), wanted.table.plain());
            session.run(statement).await.with_context(what)?;
            (self.told)("constraint");
        }
        Ok(())
    }

    /// Does each task on some thread, with a session that may use more memory for maintenance.
    async fn each<T, D>(&self, tasks: Vec<T>, work: D) -> anyhow::Result<()>
    where
        T: Send + 'static,
        D: AsyncFn(&Session, &T) -> anyhow::Result<()> + Send + Sync + 'static,
    {
        let (green, told, work) = (self.green.clone(), Arc::clone(&self.told), Arc::new(work));
        on_threads(self.jobs, tasks, move |tasks| {
            let (green, told, work) = (green.clone(), Arc::clone(&told), Arc::clone(&work));
            async move {
                let session = green.open().await?;
                session.batch_execute(MORE_MEMORY).await?;
                while let Some(task) = tasks.take() {
                    work(&session, &task).await?;
                    told("rebuilt");
                }
                Ok(())
            }
        })
        .await
    }
}

/// The indexes as tasks: the unique ones of a table are one task, in their order, every other index is one of its own.
fn in_turn(indexes: &[Index]) -> Vec<Vec<Index>> {
    let mut tasks: Vec<Vec<Index>> = Vec::new();
    for index in indexes {
        let same = |task: &&mut Vec<Index>| index.is_unique() && task[0].is_unique() && task[0].table == index.table;
        match tasks.iter_mut().find(same) {
            Some(task) => task.push(index.clone()),
            None => tasks.push(vec![index.clone()]),
        }
    }
    tasks
}

/// Several sessions build at once, so none needs helpers of its own (theirs pass sorted runs through temporary files).
const MORE_MEMORY: &str = "SET max_parallel_maintenance_workers = 0; SELECT set_config('maintenance_work_mem', \
    greatest(pg_size_bytes(current_setting('maintenance_work_mem')), 268435456) / 1024 || 'kB', false)";

impl Index {
    fn piece(&self) -> Piece {
        let name = Literal::new(self.name.to_string());
        Piece {
            object: format!("index {} of table {}", self.name.plain(), self.table.plain()),
            there: format!("(SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass({name}))"),
            // An INVALID one is built again.
            statements: vec![
                format!("DROP INDEX IF EXISTS {}", self.name),
                self.set_tablespace(), // others may have come before it in the transaction
                self.definition.clone(),
            ],
            done: None,
        }
    }

    fn constraint_piece(&self) -> Option<Piece> {
        let statements = vec![self.attach()?];
        Some(Piece {
            object: format!("constraint {} of table {}", self.name.name().as_str(), self.table.plain()),
            there: is_constraint(&self.table, self.name.name()),
            statements,
            done: None,
        })
    }
}

impl Constraint {
    fn piece(&self) -> Piece {
        Piece {
            object: format!("constraint {} of table {}", self.name.as_str(), self.table.plain()),
            there: is_constraint(&self.table, &self.name),
            statements: vec!["SET LOCAL default_tablespace = ''".to_owned(), self.add()],
            done: None,
        }
    }
}

fn is_constraint(table: &QualifiedName, name: &Ident) -> String {
    format!(
        "EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass({}) AND conname = {})",
        Literal::new(table.to_string()),
        Literal::new(name.as_str())
    )
}

/// Whether the index is there, and if so, valid.
async fn valid(session: &Session, index: &Index) -> anyhow::Result<Option<bool>> {
    let sql = format!("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass({})", Literal::new(index.name.to_string()));
    Ok(session.query_opt(&sql, &[]).await?.map(|row| row.get(0)))
}

/// Whether the constraint is there, and if so, validated.
async fn constraint(session: &Session, table: &QualifiedName, name: &Ident) -> anyhow::Result<Option<bool>> {
    let row = session
        .query_opt(
            "SELECT convalidated FROM pg_constraint WHERE conrelid = to_regclass($1::text) AND conname = $2",
            &[&table.to_string(), &name.as_str()],
        )
        .await?;
    Ok(row.map(|row| row.get(0)))
}
