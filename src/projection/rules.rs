//! Holds the dirty rules of sources against blue's catalog.

use std::collections::BTreeSet;

use super::anatomy::relations_read;
use super::{Bound, BoundRule, BoundSource, DirtyEffect, Projection, Source, Target, TypedColumn, anatomy, read_target};
use crate::pg::{Session, explain, sqlstate};
use crate::sql::Ident;
use crate::terms::{Finding, Severity};

/// Fills in the driving key and the rules of a source that fits otherwise. `drives` is the driving table on blue.
///
/// # Errors
/// When the session is gone. What does not fit becomes a finding; it stands in the way of capture and follow, not of a copy.
pub(super) async fn bind_rules(
    blue: &Session,
    object: &str,
    source: &Source,
    bound: &Bound,
    fitted: &mut BoundSource,
    drives: &Target,
) -> anyhow::Result<Vec<Finding>> {
    let mut rules = Rules { blue, object, findings: Vec::new() };
    fitted.apart = source.apart.is_some();
    let key = source.driving.clone().unwrap_or_else(|| default_key(source, bound, fitted));
    if let Some(driving) = rules.typed(drives, &key) {
        fitted.driving = driving;
        rules.key(bound, fitted, drives).await?;
        let own = BoundRule { table: drives.table.clone(), by: fitted.driving.clone(), rows: None, watch: None };
        fitted.rules.push(own);
        rules.others(source, bound, fitted, drives).await?;
    }
    Ok(rules.findings)
}

/// Two sources of one table: each must know what the other's keys are to it.
pub(super) fn related(projection: &Projection, bound: &Bound) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, one) in bound.sources.iter().enumerate() {
        for other in &bound.sources[index + 1..] {
            let told = bound.same_key(one, other).is_some() && bound.same_key(other, one).is_some();
            if !(told || one.apart || other.apart || one.driving.is_empty() || other.driving.is_empty()) {
                findings.push(blocks(
                    &format!("projection {}, sources {} and {}", projection.table.plain(), one.name, other.name),
                    "could give the same key from different rows: a change that concerns one could remove the other's row",
                    "where the keys can never be the same, whatever the rows, say why in one of them: apart = \"...\"",
                ));
            }
        }
    }
    findings
}

/// The driving table's columns that the key expressions read, in their order.
fn default_key(source: &Source, bound: &Bound, fitted: &BoundSource) -> Vec<Ident> {
    let parts = anatomy(&source.from);
    let mut key = Vec::new();
    for column in &bound.key {
        let text = bound.columns.iter().position(|known| known.name == *column).map(|place| &fitted.expressions[place].0);
        for (alias, name) in text.into_iter().flat_map(|text| parts.reads(text)) {
            let name = Ident::new(name);
            if alias == source.alias.as_str() && !key.contains(&name) {
                key.push(name);
            }
        }
    }
    key
}

struct Rules<'a> {
    blue: &'a Session,
    object: &'a str,
    findings: Vec<Finding>,
}

impl Rules<'_> {
    fn find(&mut self, what: impl Into<String>, next: impl Into<String>) {
        self.findings.push(blocks(self.object, what, next));
    }

    /// These columns of a table with their types.
    fn typed(&mut self, table: &Target, names: &[Ident]) -> Option<Vec<TypedColumn>> {
        let mut typed = Vec::new();
        for name in names {
            match table.column(name) {
                Some(column) => typed.push(TypedColumn { name: name.clone(), of_type: column.bare_type.clone() }),
                None => {
                    let what = format!("table {} on blue has no column {}", table.table.plain(), name.as_str());
                    self.find(what, "correct the name in the projection");
                }
            }
        }
        if names.is_empty() {
            self.find(
                "its key expressions read no column of the table that drives",
                "name the columns that the key follows from: drives = { ..., key = [\"...\"] }",
            );
        }
        (!names.is_empty() && typed.len() == names.len()).then_some(typed)
    }

    /// The green key must follow from the driving key alone, and blue must find rows by it.
    async fn key(&mut self, bound: &Bound, fitted: &BoundSource, drives: &Target) -> anyhow::Result<()> {
        let names: Vec<&str> = fitted.driving.iter().map(|column| column.name.as_str()).collect();
        let read = relations_read(&bound.dirty_keys(fitted)).into_iter().filter(|table| table.plain() != "green");
        if let Some(table) = read.into_iter().next() {
            let what = format!("the key is read from table {}, not from the driving key alone", table.plain());
            self.find(what, "let the key's expressions read columns of the driving table and constants only");
        }
        if let Err(why) = self.accepts(&bound.dirty_keys(fitted)).await? {
            let what = format!("the key does not follow from the driving key ({}) alone: {why}", names.join(", "));
            let next = "name every column of the driving table that the key reads: drives = { ..., key = [\"...\"] }; \
                        columns of other tables cannot be part of it";
            self.find(what, next);
        } else if let Err(why) = self.accepts(&bound.dirty_rows(fitted)).await? {
            self.find(format!("its rows cannot be read by the driving key: {why}"), "correct `drives.key`");
        }
        let indexed = self
            .blue
            .query_one(
                "SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
                 WHERE i.indrelid = $1 AND i.indisvalid AND i.indpred IS NULL AND a.attname = ANY ($2))",
                &[&drives.oid, &names],
            )
            .await?;
        if !indexed.get::<_, bool>(0) {
            let columns: Vec<String> = fitted.driving.iter().map(|column| column.name.to_string()).collect();
            self.findings.push(Finding {
                severity: Severity::Warning,
                object: format!("table {} on blue", drives.table.plain()),
                what: format!("has no index that begins with one of {}: each batch reads it whole", names.join(", ")),
                next: format!("CREATE INDEX CONCURRENTLY ON {} ({})", drives.table, columns.join(", ")),
            });
        }
        Ok(())
    }

    /// Every table that the source reads beside the driving table's own row has a rule.
    async fn others(&mut self, source: &Source, bound: &Bound, fitted: &mut BoundSource, drives: &Target) -> anyhow::Result<()> {
        let expressions: Vec<&str> = source.columns.iter().map(|(_, text)| text.as_str()).collect();
        let filter = source.filter.as_deref().unwrap_or("true");
        let all = relations_read(&format!("SELECT {}\nFROM {}\nWHERE {filter}\n", expressions.join("\n, "), source.from));
        let mut ruled = BTreeSet::new();
        for rule in &source.dirty {
            let Some(table) = read_target(self.blue, &rule.table).await? else {
                let what = format!("the dirty rule's table {} is not on blue", rule.table.plain());
                self.find(what, "correct the name in the projection");
                continue;
            };
            ruled.insert(table.oid);
            let DirtyEffect::Rows { by, rows, watch } = &rule.effect else { continue };
            let watched = watch.as_deref().unwrap_or_default();
            let watch_known = watched.is_empty() || self.typed(&table, watched).is_some();
            let Some(by) = self.typed(&table, by).filter(|_| watch_known) else { continue };
            let rule = BoundRule { table: table.table.clone(), by, rows: rows.clone(), watch: watch.clone() };
            if self.rule(bound, fitted, &rule).await? {
                fitted.rules.push(rule);
            }
        }
        let mut own_rows = 0;
        let mut said = BTreeSet::new();
        for name in all.iter().filter(|name| name.plain() != "green") {
            let Some(table) = read_target(self.blue, name).await? else { continue }; // a name of the statement's own
            let own = table.oid == drives.oid;
            own_rows += usize::from(own);
            let needed = if own { own_rows > 1 } else { true };
            if needed && !ruled.contains(&table.oid) && said.insert(table.oid) {
                self.find(missing(&table, own), format!(
                    "say which rows: [[source.dirty]] table = \"{}\", by = [its columns in the join], rows = \"SELECT {} FROM changed \
                     JOIN ...\"; or unaffected = \"why\"",
                    name.plain(),
                    fitted.driving.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
                ));
            }
            if !table.plain {
                let what = format!("reads {}, which is no ordinary table: its changes cannot be captured", name.plain());
                self.find(what, "name the tables themselves");
            }
        }
        Ok(())
    }

    async fn rule(&mut self, bound: &Bound, fitted: &BoundSource, rule: &BoundRule) -> anyhow::Result<bool> {
        let name = rule.table.plain();
        match bound.driving_keys(fitted, rule) {
            Some(statement) => {
                if let Err(why) = self.accepts(&statement).await? {
                    let next = "correct `rows`: a query over `changed` and blue's tables that gives the driving key";
                    self.find(format!("dirty rule of {name}: blue refuses its rows: {why}"), next);
                    return Ok(false);
                }
            }
            None if rule.by.len() != fitted.driving.len() => {
                let what = format!("dirty rule of {name}: `by` has another number of columns than the driving key");
                self.find(what, "give `rows`, a query over `changed` that gives the driving key");
                return Ok(false);
            }
            None => {}
        }
        Ok(true)
    }

    /// Whether blue can prepare a statement, and if not, why.
    async fn accepts(&self, statement: &str) -> anyhow::Result<Result<(), String>> {
        match self.blue.prepare(statement).await {
            Ok(_) => Ok(Ok(())),
            Err(error) if sqlstate(&error).is_empty() => Err(error.into()),
            Err(error) => Ok(Err(explain(&error.into()))),
        }
    }
}

fn missing(table: &Target, own: bool) -> String {
    let name = table.table.plain();
    match own {
        true => format!("reads table {name} a second time: other rows of it than the driving one can change what a row is"),
        false => format!("reads table {name}, and does not say which rows a change of it makes dirty"),
    }
}

fn blocks(object: &str, what: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { severity: Severity::Blocks, object: object.to_owned(), what: what.into(), next: next.into() }
}

/// A green key that may be NULL names no row.
pub(super) fn nullable_key(projection: &Projection, target: &Target) -> Vec<Finding> {
    let nullable = projection.key.iter().filter(|key| target.column(key).is_some_and(|column| !column.not_null));
    let plain = projection.table.plain();
    nullable
        .map(|key| {
            blocks(
                &format!("table {plain} on green"),
                format!("column {} of the key may be NULL: such a row cannot be found again", key.as_str()),
                format!("ALTER TABLE {} ALTER COLUMN {key} SET NOT NULL on green, or take another key", projection.table),
            )
        })
        .collect()
}
