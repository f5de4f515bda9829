//! What the kinds that work on projections share: the plan keys `projections` and `tables`.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::registry::Surroundings;
use super::{Fault, Forecast, Touched, Use};
use crate::pg::{READER, Session, reads_block_ranges};
use crate::projection::{
    Binding, Blocks, DirtyEffect, ProjectionSet, ReadPlan, Target, bind, bind_to_blue, cut, identity, load, read_target,
};
use crate::sql::QualifiedName;
use crate::terms::Side;

/// The two keys as written.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    /// A directory of projection files.
    projections: Option<String>,
    /// Tables that are the same on both sides.
    #[serde(default)]
    tables: Vec<QualifiedName>,
}

/// Projections from files and from the catalogs.
#[derive(Debug)]
pub struct Projected {
    set: ProjectionSet,
    tables: Vec<QualifiedName>,
}

impl Keys {
    /// The keys of a kind that has more of them.
    pub(super) fn new(projections: Option<String>, tables: Vec<QualifiedName>) -> Self {
        Self { projections, tables }
    }

    /// Reads the files; also gives their content.
    pub(super) fn read(self, around: &Surroundings) -> Result<(Projected, Vec<Vec<u8>>), Vec<Fault>> {
        let mut faults = Vec::new();
        if self.projections.is_none() && self.tables.is_empty() {
            faults.push(Fault::key("projections", "give `projections` (a directory), `tables`, or both: nothing to work on"));
        }
        let (set, contents) = match self.projections.map(|directory| load(&around.base.join(directory))) {
            None => Default::default(),
            Some(Ok(loaded)) => loaded,
            Some(Err(flaws)) => {
                faults.extend(flaws.into_iter().map(|flaw| Fault::file(flaw.file, flaw.line, flaw.what)));
                Default::default()
            }
        };
        for (index, table) in self.tables.iter().enumerate() {
            if self.tables[..index].contains(table) || set.projections.iter().any(|projection| projection.table == *table) {
                faults.push(Fault::key("tables", format!("table {} is named twice, here or by a projection", table.plain())));
            }
        }
        if faults.is_empty() { Ok((Projected { set, tables: self.tables }, contents)) } else { Err(faults) }
    }
}

impl Projected {
    /// The projections that are written in files.
    pub fn set(&self) -> &ProjectionSet {
        &self.set
    }

    /// The tables that are the same on both sides.
    pub fn tables(&self) -> &[QualifiedName] {
        &self.tables
    }

    /// The tables of blue whose changes matter, as the files say.
    pub(super) fn captured_tables(&self) -> Vec<QualifiedName> {
        let sources = self.set.projections.iter().flat_map(|projection| &projection.sources);
        let rules = sources.flat_map(|source| {
            let affects = source.dirty.iter().filter(|rule| matches!(rule.effect, DirtyEffect::Rows { .. }));
            affects.map(|rule| &rule.table).chain([&source.drives])
        });
        let tables: BTreeSet<&QualifiedName> = rules.chain(&self.tables).collect();
        tables.into_iter().cloned().collect()
    }

    /// How many tables.
    pub(super) fn len(&self) -> usize {
        self.set.projections.len() + self.tables.len()
    }

    /// Holds everything against both catalogs; see [`bind`].
    pub(super) async fn bind(&self, blue: &Session, green: &Session, keys_indexed: bool) -> anyhow::Result<Binding> {
        let (same, findings) = identity(blue, green, &self.tables).await?;
        let mut set = self.set.clone();
        set.projections.extend(same);
        let mut binding = bind(blue, green, &set, keys_indexed).await?;
        binding.findings.splice(0..0, findings);
        Ok(binding)
    }

    /// Holds the files against blue's catalog alone; see [`bind_to_blue`].
    pub(super) async fn bind_to_blue(&self, blue: &Session) -> anyhow::Result<Binding> {
        bind_to_blue(blue, &self.set).await
    }

    /// Every table the projections read on blue, and those they speak of on green, used there as `green` says.
    pub(super) fn touches(&self, green: Use) -> Vec<Touched> {
        let mut touched = Vec::new();
        for projection in &self.set.projections {
            touched.push(Touched::new(Side::Green, &projection.table, green));
            for source in &projection.sources {
                touched.push(Touched::new(Side::Blue, &source.drives, Use::Carries));
                let expressions: Vec<&str> = source.columns.iter().map(|(_, text)| text.as_str()).collect();
                let filter = source.filter.as_deref().unwrap_or("true");
                let query = format!("SELECT {} FROM {} WHERE {filter}", expressions.join(", "), source.from);
                let read = Touched::by_text(Side::Blue, &query).into_iter();
                // The constants' relation is a part of the statement that crossfade composes.
                touched.extend(
                    read.filter(|read| read.relation != QualifiedName::bare("green"))
                        .map(|read| Touched { how: Use::Carries, ..read }),
                );
            }
        }
        for table in &self.tables {
            touched.push(Touched::new(Side::Blue, table, Use::Carries));
            touched.push(Touched::new(Side::Green, table, green));
        }
        touched
    }

    /// The green tables, as far as they are there.
    pub(super) async fn targets(&self, green: &Session) -> anyhow::Result<Vec<Target>> {
        let mut targets = Vec::new();
        for table in self.set.projections.iter().map(|projection| &projection.table).chain(&self.tables) {
            targets.extend(read_target(green, table).await?);
        }
        Ok(targets)
    }

    /// Per green table the blue tables that drive it, as written.
    pub(super) fn driven(&self) -> Vec<(QualifiedName, Vec<QualifiedName>)> {
        let drives = |sources: &[crate::projection::Source]| sources.iter().map(|source| source.drives.clone()).collect();
        let mut tables: Vec<(QualifiedName, Vec<QualifiedName>)> =
            self.set.projections.iter().map(|p| (p.table.clone(), drives(&p.sources))).collect();
        tables.extend(self.tables.iter().map(|table| (table.clone(), vec![table.clone()])));
        tables
    }

    /// Per table: rows as blue estimates them, in how many parts. Asks blue alone: green may have no table yet.
    pub(super) async fn forecast(&self, blue: &Session, jobs: usize, what: &str) -> anyhow::Result<Vec<Forecast>> {
        let tables = self.driven();
        let (mut lines, mut blocks, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for (line, (table, drives)) in tables.iter().enumerate() {
            let (mut rows, mut missing) = (Some(0), Vec::new());
            for name in drives {
                match read_target(blue, name).await? {
                    Some(found) => {
                        rows = rows.filter(|_| found.estimated_rows >= 0).map(|sum| sum + found.estimated_rows);
                        blocks.push(found.blocks);
                        owners.push(line);
                    }
                    None => missing.push(name.plain()),
                }
            }
            let what = match missing.is_empty() {
                true => what.to_owned(),
                false => format!("{what}; blue has no table {}", missing.join(", ")),
            };
            lines.push(Forecast { object: table.plain(), what, rows, lock: "ACCESS SHARE on blue".to_owned() });
        }
        let parts = cut(&blocks, 8192, jobs, true);
        for (index, line) in lines.iter_mut().enumerate() {
            let count = parts.iter().filter(|part| owners[part.of] == index).count();
            line.what += &format!(", {count} part{}", if count == 1 { "" } else { "s" });
        }
        Ok(lines)
    }

    /// How blue would read one part of each projection that is written in a file, with the memory that reading sessions get. Those
    /// that do not fit blue's catalog are left out: the preconditions say why. Changes nothing but the session's settings.
    pub(super) async fn read_plans(&self, blue: &Session, jobs: usize) -> anyhow::Result<Vec<(QualifiedName, ReadPlan)>> {
        blue.batch_execute(READER).await?;
        let mut plans: Vec<(QualifiedName, ReadPlan)> = Vec::new();
        let ranges = reads_block_ranges(blue).await?;
        for (bound, _) in self.bind_to_blue(blue).await?.bound {
            let mut blocks = Vec::new();
            for source in &bound.sources {
                blocks.push(read_target(blue, &source.drives).await?.map_or(0, |found| found.blocks));
            }
            let (mut all, parts) = (ReadPlan::default(), cut(&blocks, 8192, jobs, ranges));
            for (index, source) in bound.sources.iter().enumerate() {
                let part = parts.iter().find(|part| part.of == index).map_or(Blocks::ALL, |part| part.blocks);
                all.and(ReadPlan::of(blue, &bound, source, part).await?);
            }
            plans.push((bound.table, all));
        }
        Ok(plans)
    }

    /// Rows to expect in all as blue estimates them; 0 when a table was never analyzed.
    pub(super) async fn estimate(&self, blue: &Session) -> anyhow::Result<u64> {
        let lines = self.forecast(blue, 1, "").await?;
        let sum: Option<i64> = lines.iter().map(|line| line.rows).sum();
        Ok(u64::try_from(sum.unwrap_or(0)).unwrap_or(0))
    }
}
